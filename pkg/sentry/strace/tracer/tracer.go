// Package tracer logs the system calls of applications (--strace): it implements
// kernel.SyscallTracer with the decoders of package strace.
//
// A line is written when a call returns:
//
//	[   2] openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 (12.1µs)
//
// Calls that do not return (exit, execve when it succeeds, rt_sigreturn) are written when they
// begin, without a result. Arguments are decoded when the call begins, because the call may
// change them; they wait in a table by task.
//
// Tracer.mu guards that table and is a leaf. The set of traced calls is immutable: a change
// (runsc debug --strace) makes a new Tracer.
package tracer

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
)

// Options are --strace-syscalls and --strace-log-size.
type Options struct {
	// Syscalls are the names of the calls to log, separated by commas; empty: all.
	Syscalls string
	// LogSize bounds what is shown of a string or buffer, in bytes; 0 is 1024.
	LogSize int
	// Log takes the lines; nil is the process's log, at level Info.
	Log Logger
}

// Logger takes lines.
type Logger interface{ Line(s string) }

type processLog struct{}

// Line implements Logger.
func (processLog) Line(s string) { log.Infof("%s", s) }

// Tracer implements kernel.SyscallTracer.
type Tracer struct {
	only map[string]bool // nil: all
	size int
	log  Logger

	mu    sync.Mutex // guards calls
	calls map[*kernel.Task]*strace.Call
}

// New makes a tracer. A name in o.Syscalls that table does not have is an error.
func New(table *kernel.SyscallTable, o Options) (*Tracer, error) {
	t := &Tracer{size: o.LogSize, log: o.Log, calls: map[*kernel.Task]*strace.Call{}}
	if t.size <= 0 {
		t.size = 1024
	}
	if t.log == nil {
		t.log = processLog{}
	}
	if o.Syscalls == "" {
		return t, nil
	}
	known := map[string]bool{}
	for i := range table {
		known[table[i].Name] = true
	}
	t.only = map[string]bool{}
	for n := range strings.SplitSeq(o.Syscalls, ",") {
		if n = strings.TrimSpace(n); n == "" {
			continue
		}
		if !known[n] {
			return nil, fmt.Errorf("strace: unknown system call %q", n)
		}
		t.only[n] = true
	}
	return t, nil
}

// files names the descriptors of a task, for calls on its own goroutine.
type files struct{ t *kernel.Task }

// FileName implements strace.FileNamer.
func (f files) FileName(fd int32) string {
	table := f.t.FDTable()
	if table == nil {
		return ""
	}
	file := table.Get(fd)
	if file == nil {
		return ""
	}
	defer file.DecRef(f.t)
	return file.Path().String()
}

func (tr *Tracer) wants(s *kernel.Syscall) bool { return tr.only == nil || tr.only[s.Name] }

// Enter implements kernel.SyscallTracer.
func (tr *Tracer) Enter(t *kernel.Task, s *kernel.Syscall, a arch.Args) {
	if !tr.wants(s) {
		return
	}
	c := &strace.Call{Name: s.Name, Formats: s.Args, Values: a, Memory: t.MemoryManager(), Limit: tr.size, Names: files{t}}
	if c.Name == "" {
		c.Name = fmt.Sprintf("syscall_%d", s.Number)
		c.Formats = []strace.Format{strace.Hex, strace.Hex, strace.Hex, strace.Hex, strace.Hex, strace.Hex}
	}
	c.Begin()
	switch s.Number {
	case unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_RT_SIGRETURN:
		tr.line(t, c.String())
	}
	if s.Number == unix.SYS_EXIT || s.Number == unix.SYS_EXIT_GROUP {
		tr.take(t)
		return
	}
	tr.mu.Lock()
	tr.calls[t] = c
	tr.mu.Unlock()
}

// take removes and returns the task's call.
func (tr *Tracer) take(t *kernel.Task) *strace.Call {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	c := tr.calls[t]
	delete(tr.calls, t)
	return c
}

// Exit implements kernel.SyscallTracer.
func (tr *Tracer) Exit(t *kernel.Task, s *kernel.Syscall, _ arch.Args, ret uintptr, err error, nanoseconds int64) {
	if !tr.wants(s) {
		return
	}
	c := tr.take(t)
	if c == nil {
		return // it began before tracing was on
	}
	if m := t.MemoryManager(); m != nil {
		c.Memory = m // execve has made a new one
	}
	tr.line(t, fmt.Sprintf("%s = %s (%s)", c.Finish(ret, err), strace.Result(ret, err), time.Duration(nanoseconds)))
}

func (tr *Tracer) line(t *kernel.Task, s string) {
	tr.log.Line(fmt.Sprintf("[%4d] %s", t.ThreadID(), s))
}
