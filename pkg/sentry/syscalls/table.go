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
	aioSyscalls,
	pollSyscalls,
	socketSyscalls,
	messageSyscalls,
	sysvIPCSyscalls,
	mqueueSyscalls,
	ptraceSyscalls,
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
