// Package systrap runs application code in processes whose system calls, faults and
// interrupts raise signals that the process itself handles: the handler, in the stub, leaves
// the registers in memory that it shares with the sentry and waits there for what to do
// next. No host system call is needed for that while both sides are looking.
//
// # Processes and threads
//
// An address space is a host process, a stub process. Its memory holds the application's
// mappings and, above UserRange, the stub (layout.go, stub_amd64.s). Stub processes are clones of the
// zygote, a process forked off when the platform is made, of which nothing is left but the
// stub; one is always ready ahead of need. They have no capabilities, share the sentry's descriptor
// table, so that whatever the sentry can map they can map, die with the sentry, and are
// watched by pidfd (process.go).
//
// The first thread of each process, its helper, carries out lists of host system calls (orders)
// that it finds in a window which is read-only in its process; it keeps all of its state in registers
// and reports with pwrite(2), which no other thread there may call. Every other thread belongs to one
// context at a time (taskContext) and sleeps while its task is blocked in the sentry.
//
// # Events
//
// Everything that stops application code is a signal on the thread's alternate stack, which
// lies with struct shared in the thread's slot, readable and writable on both sides. The handler copies
// the registers to the slot, swaps the slot's state word (stateSentry) and waits; the task's
// goroutine, which waits for that word itself (no dispatcher is between them), takes the
// event, and answers by swapping the word back. Each side looks at the word for a while, if
// the other side runs on another CPU and there is a CPU for it, and sleeps in futex(2) then. The thread
// goes back by loading registers in user mode; rt_sigreturn(2) is never called.
//
// FP state stays where it is: in the frame that the host has written, or in the registers, until
// the sentry asks for it (PullFullState).
//
// # What application code can do
//
// Its threads' seccomp filter traps everything but the stub's own futex(2) and
// arch_prctl(2), which do no harm with any arguments; so it may jump into the stub, with any
// registers. It may write to slots. So the sentry copies what it takes from a slot once and checks
// the copy, bounds addresses by the slot, and believes only the helper. An application can make its
// own Switch wait for ever in this way; when it is interrupted and its thread does not stop,
// the process is killed (taskContext.kick).
//
// GS: the stub keeps the slot's address in the GS base of threads whose application has
// none. Applications that need GS get their own.
//
// # Locks
//
// process.Mu is held while orders are carried out. addressSpace.threadsMu is held for moments only.
// Below both comes slotFile.mu. Platform.spareMu and forkMu are taken without others.
package systrap
