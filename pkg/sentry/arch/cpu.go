package arch

// cpuid is the instruction of that name.
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

// xgetbv reads XCR0. The CPU must have OSXSAVE.
func xgetbv() uint64

// cpu is what the host's CPU and kernel offer to user code. It never changes.
var cpu = detect()

type cpuFeatures struct {
	hwcap     uint64
	xsave     bool
	xcr0      uint64 // enabled XSAVE components
	xsaveSize int    // size of the standard-format area for xcr0, in bytes
	mxcsrMask uint32 // bits of MXCSR that exist
}

func detect() cpuFeatures {
	_, _, ecx, edx := cpuid(1, 0)
	f := cpuFeatures{hwcap: uint64(edx), xcr0: 3, xsaveSize: sizeofLegacyFP + sizeofXStateHeader, mxcsrMask: 0xffff}
	if max, _, _, _ := cpuid(0, 0); ecx&(1<<27) != 0 && max >= 0xd {
		_, ebx, _, _ := cpuid(0xd, 0)
		f.xsave, f.xcr0, f.xsaveSize = true, xgetbv(), int(ebx)
	}
	if max, _, _, _ := cpuid(0x80000000, 0); max >= 0x80000001 {
		if _, _, ecx, _ := cpuid(0x80000001, 0); ecx&(1<<7) != 0 { // misaligned SSE mode
			f.mxcsrMask |= 1 << 17
		}
	}
	return f
}

// HWCap is AT_HWCAP: the CPU's basic features.
func HWCap() uint64 { return cpu.hwcap }

// HWCap2 is AT_HWCAP2: what works on every platform. User code must not set segment bases by
// itself (bit 1, FSGSBASE), because a platform may need GS.
func HWCap2() uint64 { return 0 }

// XCR0 is the set of XSAVE components that the host's kernel enabled.
func XCR0() uint64 { return cpu.xcr0 }

// XStateSize is the size of an FPState in bytes.
func XStateSize() int { return cpu.xsaveSize }

// MinSignalStack is AT_MINSIGSTKSZ: the most bytes that a signal frame takes.
func MinSignalStack() uint64 {
	return uint64(redZone + sizeofFrame + frameAlign + 64 + cpu.xsaveSize + sizeofMagic2)
}
