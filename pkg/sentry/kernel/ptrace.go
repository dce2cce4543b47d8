package kernel

import "runsc/pkg/sentry/arch"

// ptraceState is a task's side of ptrace(2).
type ptraceState struct {
	tracer           *Task // guarded by tasksMu
	interruptPending bool  // guarded by signalMu
}

// traced says whether some task traces this one.
func (p *ptraceState) traced() bool { return p.tracer != nil }

func (t *Task) ptraceInterruptStop() bool {
	t.ptrace.interruptPending = false
	return false
}
func (t *Task) ptraceSignalStop(info *arch.SignalInfo) bool { return true }
func (t *Task) ptraceExitEvent()                            {}
func (t *Task) ptraceExecEvent()                            {}
func (t *Task) ptraceCloned(c *Task, a *CloneArgs)          {}
func (t *Task) ptraceSyscallEnter(nr *uintptr) bool         { return false }
func (t *Task) ptraceSyscallExit(nr uintptr)                {}
func (t *Task) ptraceSeccomp(value uint32) bool             { return false }
func (k *Kernel) detachTracees(t *Task)                     {}
func (t *Task) waitTracees(o *WaitOptions) (r WaitResult, found, any bool) {
	return r, false, false
}
