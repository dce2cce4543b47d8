// Package proc is the filesystem that shows processes and the kernel (proc(5)).
//
// A Filesystem shows one pid namespace. Its root has the fixed files of root.go and a
// directory per process, which is made anew at every lookup (vfs.CacheNone): a dentry never
// outlives a reused pid. What is in a process's directory stands in one table, taskFiles
// (task.go), and what is under /proc/sys in another, sysctls (sysctl.go); a line names the
// file, its mode, and the function that writes it.
//
// Contents are generated when a file is first read, and read in pieces from that (see
// package pseudo). Generators run without locks of this package and call the kernel, mm and
// vfs through their exported, self-locking methods.
//
// Who may see what is Linux's: files that show memory, descriptors or environment need the
// right to trace the process (ptrace(2), "Ptrace access mode checking").
//
// This package imports the kernel, as the one filesystem that is about it. What belongs to
// others (the network stack's tables, container-wide values) comes through Options.
//
// Sources: proc(5) and the proc_*(5) pages, user_namespaces(7), namespaces(7).
package proc
