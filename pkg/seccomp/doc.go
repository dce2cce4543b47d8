// Package seccomp builds and installs filters of system calls for the sandbox's own
// processes: the sentry, the gofer and the stub processes of platforms.
//
// Rules say which calls are meant, by number and arguments. Build compiles one or more
// RuleSets, each with the Action that its calls get, and a default action for all others,
// into a classic BPF program: architecture check, refusal of the x32 calls, a binary
// search for the number, then the rules of that number one after the other. Install puts
// the program on every thread of the process, for good.
//
// # What happens on a violation, and who hears of it
//
// KILL_PROCESS alone would be the shortest answer, but nobody except the host's audit log
// would then know the call's name: the parent sees only a death by SIGSYS. So filters of Go
// processes are to be built in two parts. Calls that no bug of ours makes by accident and
// that an attacker wants (execve, ptrace, open, socket, mount, bpf…: Dangerous) kill at once. Any other
// call outside the list gets Trap: it is not carried out, the thread gets SIGSYS, and Go's
// run-time, for which SIGSYS is fatal, writes the registers and the goroutine's stack, to
// standard error and to the file of debug.SetCrashOutput, and ends the process. Describe finds
// the name of the call in that text for the operator. The rule that keeps it fatal is part
// of the filter: rt_sigaction of SIGSYS is killed whatever is allowed, and a SIGSYS that was
// blocked kills by itself.
//
// # Arguments
//
// Matchers compare all 64 bits of an argument. The kernel itself ignores the upper half of
// an int, so a rule that allows a value is strict (a caller that leaves rubbish above an int
// is refused); one that is meant to refuse a value of an int must use MaskedEqual.
//
// A filter cannot look through pointers; whatever lies behind one is not checked.
package seccomp
