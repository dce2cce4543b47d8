package kernel

// What uname(2) and /proc/version say. The release must be new enough for every libc
// (glibc refuses kernels older than the one it was built for); the suffix tells whose kernel
// it is.
const (
	Sysname = "Linux"
	Release = "6.12.0-runsc"
	Version = "#1 SMP runsc"
	Machine = "x86_64"
)

// LoadAverage is the number of runnable tasks now, for all three periods: averages would
// need a clock that ticks while nothing runs.
func (k *Kernel) LoadAverage() [3]float64 {
	n := 0.0
	for _, t := range k.Tasks() {
		if t.State() == StateRunning {
			n++
		}
	}
	return [3]float64{n, n, n}
}
