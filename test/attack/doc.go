// Package attack runs hostile programs as the application inside a sandbox: what they do to
// their own processes may not stop the sentry, harm other processes, or reach the host.
//
// The *.c files are programs of cases, run natively first and then inside as test/cases tells:
// each line of the design's threat list has one. areas.c maps and changes what the platform
// has in the address space; slots.c rewrites what threads share with the sentry; jumps.c enters the
// stub's code anywhere; faults.c forges fault addresses; flood.c makes more events than can be
// taken; segments.c plays with selectors and bases, flags.c and fp.c with flags and control words; entry.c enters
// the kernel in other ways; code.c rewrites code that runs; sigreturn.c forges
// signal frames.
//
// attack_test.go looks from outside: containers under attack are killed in time, their
// neighbours live, the sentry says nothing of a panic, and stub processes have on the host
// what they should have.
//
// What an attacker could do after taking over the sentry or a stub is tested beside the code:
// runsc/boot/filter, pkg/platform/ptrace and pkg/platform/systrap.
package attack
