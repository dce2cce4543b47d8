package syscalls

import (
	"fmt"

	"runsc/pkg/sentry/kernel"
)

// areas lists the rows of every file of the package.
var areas = [][]kernel.Syscall{
	processSyscalls,
	pidfdSyscalls,
	signalSyscalls,
	timeSyscalls,
	idSyscalls,
	systemSyscalls,
	prctlSyscalls,
	schedSyscalls,
	namespaceSyscalls,
	memorySyscalls,
	memoryRemoteSyscalls,
	futexSyscalls,
	shmSyscalls,
	epollSyscalls,
	eventFileSyscalls,
	fileSyscalls,
	ioSyscalls,
	fcntlSyscalls,
	statSyscalls,
	pathSyscalls,
	mountSyscalls,
	xattrSyscalls,
	inotifySyscalls,
	spliceSyscalls,
	pollSyscalls,
	socketSyscalls,
	messageSyscalls,
	sysvIPCSyscalls,
}

// NewTable joins the areas. Two rows with one number are a mistake in this package.
func NewTable() *kernel.SyscallTable {
	var t kernel.SyscallTable
	for _, rows := range areas {
		for _, r := range rows {
			if t[r.Number].Fn != nil {
				panic(fmt.Sprintf("syscalls: number %d is %s and %s", r.Number, t[r.Number].Name, r.Name))
			}
			t[r.Number] = r
		}
	}
	return &t
}

// names finds the name of a system call by number, for reports: those in the table and
// those that only have a name (numbers.go).
var names = func() map[uintptr]string {
	m := map[uintptr]string{}
	for _, rows := range areas {
		for _, r := range rows {
			m[r.Number] = r.Name
		}
	}
	return m
}()

// Name is the name of system call number nr, "syscall_NR" if it has none here.
func Name(nr uintptr) string {
	if n, ok := names[nr]; ok {
		return n
	}
	return fmt.Sprintf("syscall_%d", nr)
}
