// Package filter is the sentry's own system call filter: what the process that holds the
// sandboxed kernel may still ask of the host, should an application take it over.
//
// Install puts the filter on every thread, for good, before any application instruction
// runs. Nothing can be opened by path, connected, executed or traced any more: the process
// works with the descriptors that it was given, memory, futexes and threads. Arguments are
// checked wherever they decide about the danger: mmap and mprotect may not make memory
// executable, clone may only make the threads that Go makes, tgkill may only signal
// threads of this process, ioctl may only do what terminals need.
//
// A call outside the list ends the process. Calls of seccomp.DangerousRules end it at
// once; others leave the call's name and Go's stack trace on standard error and in the crash
// output (see package seccomp and seccomp.Describe).
//
// Options add what a configuration needs: the platform's rules, sockets for the host's
// network stack, timers for profiling. Widened says, for the log, by what a filter is
// wider than the usual one.
//
// The list is in three files: goruntime.go is what Go's run-time and libraries do by
// themselves, sentry.go what the sentry does, options.go what options add.
package filter

import (
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
)

// Options say what the filter must allow beyond the usual.
type Options struct {
	// Platform are the rules of the platform (platform.Platform.SeccompRules).
	Platform seccomp.Rules
	// ControlFD is the listening socket of the control server, or -1.
	ControlFD int
	// HostNetwork allows sockets of the host (--network=host).
	HostNetwork bool
	// Profile allows what CPU and block profiles need (--profile).
	Profile bool
	// Extra are rules of other parts of a configuration, by the name that Widened gives
	// them.
	Extra map[string]seccomp.Rules
}

// Rules are all calls that the filter allows.
func Rules(o Options) seccomp.Rules {
	r := goRuntimeRules()
	r.Merge(cgoRules())
	r.Merge(sentryRules())
	if o.ControlFD >= 0 {
		r.Merge(controlRules(o.ControlFD))
	}
	if o.Platform != nil {
		r.Merge(o.Platform)
	}
	if o.HostNetwork {
		r.Merge(hostNetworkRules())
	}
	if o.Profile {
		r.Merge(profileRules())
	}
	for _, extra := range o.Extra {
		r.Merge(extra)
	}
	return r
}

// Widened lists the options that make the filter wider, for the log.
func Widened(o Options) []string {
	var w []string
	if o.HostNetwork {
		w = append(w, "host network: sockets of the host can be made")
	}
	if o.Profile {
		w = append(w, "profiling: interval timers can be set")
	}
	for name := range o.Extra {
		w = append(w, name)
	}
	return w
}

// Install restricts the process. An error means that it is not restricted.
func Install(o Options) error {
	prepare()
	refused := rules{}
	refused.Merge(cgoRefused)
	if o.Profile {
		// A CPU profile ends with an attempt to list the program's mappings.
		refused[unix.SYS_OPENAT] = nil
	}
	return seccomp.InstallRules(Rules(o), seccomp.RuleSet{Rules: refused, Action: seccomp.Errno(unix.EACCES)})
}

// prepare makes the standard library open now what it would open at first use.
func prepare() {
	time.Now().Local().Zone() // the time zone file
}
