// Package vdso makes the two things that let applications read the time without a system
// call: an ELF image, mapped executable into every address space (AT_SYSINFO_EHDR), and the
// parameter page in front of it ("vvar"), which says how to turn the CPU's time stamp counter
// into nanoseconds. It also is the kernel's own clock, so that both always agree.
//
// Image is the ELF image. Its text is Go assembly of this package (text_amd64.s), copied at
// start behind tables that image.go writes: nothing is generated at build time. It exports
// what Linux exports, version LINUX_2.6: clock_gettime, gettimeofday, time, getcpu and
// clock_getres, each with and without the prefix "__vdso_". Image is a memmap.Mappable of
// VVarSize bytes of parameters followed by the ELF file; the loader maps it.
//
// Clock turns the counter into time:
//
//	monotonic = base + (tsc - tscBase) * mult / 2^32      while tsc - tscBase <= valid
//
// Nobody polls to keep these parameters right. They expire: valid is a few milliseconds at
// first and grows to 200 ms while the clock's prediction is found to be good. An application
// that asks later than that makes the real system call, the sentry reads the host's clock,
// publishes new parameters and answers from them; the sentry's own reads do the same. So an
// idle sandbox does nothing, a busy one pays one system call in 200 ms, and the distance from
// the host's clock is bounded by how much its rate can change in one interval (a rate change
// of 5 ppm, which is a large one for NTP, is 1 µs). Since every expiry interval is at most some
// twelve times the baseline over which the rate was measured, time is read in user space from
// the first instruction on, with an error below a microsecond.
//
// Time never goes backwards: new parameters start where the old ones stand, or ahead of it. If
// the host turns out to be behind us, the rate is lowered a little for one interval instead
// (slewing); if it is ahead, we jump forward. CLOCK_REALTIME is the same line plus an offset
// that only changes when the host's clock is set, and so it may step like Linux's.
//
// If the counter is not invariant, the host keeps its own time by something else, or
// predictions turn out to be bad again and again, the mode word of the parameter page sends
// every call to the sentry, which then reads the host's clock.
//
// Locks: Clock.mu serialises writers of the page; readers (here and in applications) use the
// sequence number in it. It is a leaf.
//
// Sources: vdso(7), clock_gettime(2), the ELF gABI and the GNU symbol versioning and hash
// section descriptions, Intel SDM vol. 3 "Time-Stamp Counter".
package vdso
