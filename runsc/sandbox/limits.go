package sandbox

import (
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
)

// callerLimits are the caller's resource limits (setrlimit(2)) that would bound the sandbox as if it
// were one program, each with the least that it needs. Applications have limits of their own, from
// the specification.
var callerLimits = []struct {
	resource int
	name     string
	least    uint64
}{
	{unix.RLIMIT_FSIZE, "the size of files (ulimit -f)", 1 << 32}, // the files that hold memory
	{unix.RLIMIT_AS, "virtual memory (ulimit -v)", 16 << 40},      // most of it never used
	{unix.RLIMIT_DATA, "data (ulimit -d)", 1 << 30},               // the sentry's heap
	{rlimitSigpending, "pending signals (ulimit -i)", 64},         // Go's runtime waits for ever
	{unix.RLIMIT_NPROC, "processes (ulimit -u)", 256},             // threads of the sandbox
	{unix.RLIMIT_CPU, "processor time (ulimit -t)", 0},            // of all applications together
}

const rlimitSigpending = 11 // asm-generic/resource.h

// raiseLimits raises the limits of this process that its children must not inherit, as far as it
// may. restore, which is never nil, brings them back. It is an error if less is left than a sandbox
// needs.
func raiseLimits() (restore func(), err error) {
	var undo []func()
	restore = func() {
		for _, f := range undo {
			f()
		}
	}
	for _, l := range callerLimits {
		var old unix.Rlimit
		if err := unix.Prlimit(0, l.resource, nil, &old); err != nil {
			return restore, fmt.Errorf("reading the limit of %s: %w", l.name, err)
		}
		if old.Cur == unix.RLIM_INFINITY {
			continue
		}
		now := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		if unix.Prlimit(0, l.resource, &now, nil) != nil {
			now = unix.Rlimit{Cur: old.Max, Max: old.Max}
			if err := unix.Prlimit(0, l.resource, &now, nil); err != nil {
				return restore, fmt.Errorf("raising the limit of %s: %w", l.name, err)
			}
		}
		undo = append(undo, func() { unix.Prlimit(0, l.resource, &old, nil) })
		if now.Cur < l.least {
			return restore, fmt.Errorf("the limit of %s is %d and cannot be raised; a sandbox needs %d: start it from a process without that limit", l.name, now.Cur, l.least)
		}
	}
	return restore, nil
}

// maxFiles is the limit of open files of our processes: each file that an application has
// open may be one of the sandbox and one of the gofer. It is the kernel's default nr_open.
const maxFiles = 1 << 20

// setLimits gives a process what the specification says about the host's side of it. What
// cannot be had is done without.
func (ch *child) setLimits(spec *specs.Spec) {
	if adj := spec.Process.OOMScoreAdj; adj != nil {
		path := fmt.Sprintf("/proc/%d/oom_score_adj", ch.pid)
		if err := os.WriteFile(path, []byte(strconv.Itoa(*adj)), 0); err != nil {
			log.Warningf("setting oom_score_adj: %v", err)
		}
	}
	files := unix.Rlimit{Cur: maxFiles, Max: maxFiles}
	if err := unix.Prlimit(ch.pid, unix.RLIMIT_NOFILE, &files, nil); err != nil {
		log.Debugf("raising the limit of open files: %v", err)
	}
	// A core would hold all of the container's memory.
	if err := unix.Prlimit(ch.pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil); err != nil {
		log.Debugf("forbidding core dumps: %v", err)
	}
}
