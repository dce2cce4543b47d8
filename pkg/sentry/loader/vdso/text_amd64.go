package vdso

// Assembly of text_amd64.s. The text* functions are never called here; only their bytes
// are used.
func textClockGettime()
func textGettimeofday()
func textTime()
func textClockGetres()
func textGetcpu()

// textAddresses stores the addresses of the functions above in that order.
func textAddresses(out *[5]uintptr)

// rdtsc reads the time stamp counter, after everything before it is done.
func rdtsc() uint64

// cpuid is the CPUID instruction, subleaf 0.
func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)

// cpuSegment is the current CPU's number by the segment limit that textGetcpu reads.
func cpuSegment() (cpu uint32, ok bool)
