// Package syscalls is the system call table of Linux on x86-64 and the functions in it.
//
// Every area has a file (memory.go, path.go, signal.go, …) with its functions and, at its
// top, its rows of the table:
//
//	var memorySyscalls = []kernel.Syscall{
//		{Number: 9, Name: "mmap", Fn: mmap, Args: []strace.Format{strace.Hex, strace.Dec64, strace.MmapProt, …}},
//		…
//	}
//
// which table.go joins with the others. So number, name, function, argument formats (for
// strace), support level and note of a call stand in one place, and strace, the report of
// missing calls, `runsc help syscalls` and the compatibility page all come from it.
//
// A function has the form
//
//	func dup(t *kernel.Task, a arch.Args) (uintptr, error)
//
// It takes its arguments by a.Int(0), a.Uint(1), a.Pointer(2) …, copies what pointers lead
// to exactly once (t.CopyIn…, before any check), bounds sizes before it allocates, and
// returns errno values. It blocks only by the pattern of context.Blocker, and when
// interrupted returns the restart result that signal(7) names for the call. It may not keep
// a lock while it copies memory of the application.
//
// Arrows: syscalls → kernel → mm, vfs. Sockets and filesystems know nothing of tasks but
// context.Context.
package syscalls
