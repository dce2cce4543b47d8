package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel/auth"
)

// NumSignals is the highest signal number; real-time signals begin at 32.
const (
	NumSignals    = 64
	firstRTSignal = 32
)

// Sets of signals by what their default action is (signal(7)).
var (
	unblockable        = arch.SignalBit(int32(unix.SIGKILL)) | arch.SignalBit(int32(unix.SIGSTOP))
	stopSignals        = arch.SignalBit(int32(unix.SIGSTOP)) | arch.SignalBit(int32(unix.SIGTSTP)) | arch.SignalBit(int32(unix.SIGTTIN)) | arch.SignalBit(int32(unix.SIGTTOU))
	ignoredByDefault   = arch.SignalBit(int32(unix.SIGCHLD)) | arch.SignalBit(int32(unix.SIGURG)) | arch.SignalBit(int32(unix.SIGWINCH)) | arch.SignalBit(int32(unix.SIGCONT))
	synchronousSignals = arch.SignalBit(int32(unix.SIGSEGV)) | arch.SignalBit(int32(unix.SIGBUS)) | arch.SignalBit(int32(unix.SIGILL)) |
		arch.SignalBit(int32(unix.SIGTRAP)) | arch.SignalBit(int32(unix.SIGFPE)) | arch.SignalBit(int32(unix.SIGSYS))
	coreSignals = arch.SignalBit(int32(unix.SIGQUIT)) | arch.SignalBit(int32(unix.SIGILL)) | arch.SignalBit(int32(unix.SIGABRT)) |
		arch.SignalBit(int32(unix.SIGFPE)) | arch.SignalBit(int32(unix.SIGSEGV)) | arch.SignalBit(int32(unix.SIGBUS)) | arch.SignalBit(int32(unix.SIGTRAP)) |
		arch.SignalBit(int32(unix.SIGSYS)) | arch.SignalBit(int32(unix.SIGXCPU)) | arch.SignalBit(int32(unix.SIGXFSZ))
)

// pendingSignals is the queue of one task or thread group. Standard signals are queued at
// most once, real-time signals each time up to RLIMIT_SIGPENDING (signal(7), "Queueing and
// delivery semantics for real-time signals").
type pendingSignals struct {
	set    arch.SignalSet
	queues [NumSignals + 1]*queuedSignal
}

type queuedSignal struct {
	info  arch.SignalInfo
	timer *PosixTimer // whose expiration this is; its overruns are read at delivery
	payer auth.KUID   // on whose RLIMIT_SIGPENDING it counts
	paid  bool
	next  *queuedSignal
}

// enqueueSignal adds a copy of info to p, on payer's account; false if a standard signal was
// pending already. EAGAIN: payer has limit real-time signals queued; a standard signal then
// goes without its siginfo.
func (k *Kernel) enqueueSignal(p *pendingSignals, info *arch.SignalInfo, timer *PosixTimer, payer auth.KUID, limit uint64) (queued bool, err error) {
	signo := info.Signo
	if signo < firstRTSignal && p.set&arch.SignalBit(signo) != 0 {
		return false, nil
	}
	q := &queuedSignal{info: *info, timer: timer, payer: payer}
	if timer == nil {
		k.sigqueueMu.Lock()
		if k.sigqueue[payer] >= limit {
			k.sigqueueMu.Unlock()
			if signo >= firstRTSignal && info.Code != arch.SiUser {
				return false, unix.EAGAIN
			}
			// Like Linux: the signal is delivered, its siginfo is lost.
			q.info = arch.SignalInfo{Signo: signo, Code: arch.SiUser}
			if signo >= firstRTSignal && p.set&arch.SignalBit(signo) != 0 {
				return false, nil
			}
		} else {
			k.sigqueue[payer]++
			q.paid = true
			k.sigqueueMu.Unlock()
		}
	}
	at := &p.queues[signo]
	for *at != nil {
		at = &(*at).next
	}
	*at = q
	p.set |= arch.SignalBit(signo)
	return true, nil
}

func (k *Kernel) unpaySignal(q *queuedSignal) {
	if !q.paid {
		return
	}
	k.sigqueueMu.Lock()
	if k.sigqueue[q.payer]--; k.sigqueue[q.payer] == 0 {
		delete(k.sigqueue, q.payer)
	}
	k.sigqueueMu.Unlock()
}

// dequeueSignal removes the first pending signal outside mask: synchronous ones first, then by
// number. nil: there is none.
func (k *Kernel) dequeueSignal(p *pendingSignals, mask arch.SignalSet) *queuedSignal {
	ready := p.set &^ mask
	if ready == 0 {
		return nil
	}
	if s := ready & synchronousSignals; s != 0 {
		ready = s
	}
	signo := int32(1)
	for ready&1 == 0 {
		ready >>= 1
		signo++
	}
	q := p.queues[signo]
	p.queues[signo] = q.next
	if q.next == nil {
		p.set &^= arch.SignalBit(signo)
	}
	q.next = nil
	k.unpaySignal(q)
	return q
}

// discardSignals drops every pending signal of set.
func (k *Kernel) discardSignals(p *pendingSignals, set arch.SignalSet) {
	for s := p.set & set; s != 0; {
		q := k.dequeueSignal(p, ^s)
		s = p.set & set
		if q.timer != nil {
			q.timer.signalDropped()
		}
	}
}

// SignalHandlers are the actions of a process, guarded by its signalMu. Processes that
// share them, by CLONE_SIGHAND without CLONE_THREAD, do so under two locks: a change by one
// while the other takes a signal is not ordered.
type SignalHandlers struct {
	actions [NumSignals + 1]arch.SignalAct
}

func (h *SignalHandlers) clone() *SignalHandlers {
	c := *h
	return &c
}

// clonedForExec gives caught signals back to the default action; ignored ones stay ignored
// (execve(2)).
func (h *SignalHandlers) clonedForExec() *SignalHandlers {
	c := &SignalHandlers{}
	for i := range h.actions {
		if h.actions[i].Handler == arch.SigIgn {
			c.actions[i].Handler = arch.SigIgn
		}
	}
	return c
}

// ignores says whether signo would be thrown away by action.
func (h *SignalHandlers) ignores(signo int32) bool {
	switch h.actions[signo].Handler {
	case arch.SigIgn:
		return true
	case arch.SigDfl:
		return ignoredByDefault&arch.SignalBit(signo) != 0
	}
	return false
}
