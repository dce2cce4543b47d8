package systrap

import (
	"sync/atomic"
	"time"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
)

// taskContext is one task's platform.Context. Only the task's goroutine uses the fields
// that are not atomic.
type taskContext struct {
	p *Platform

	// pending is set by Interrupt until a Switch has returned EventInterrupt for it; running
	// is the thread that Switch has given control to. Interrupt sets pending and
	// then looks at running, Switch sets running and then looks at pending: one of them sees
	// the other, and kicks.
	pending atomic.Bool
	running atomic.Pointer[thread]
	events  atomic.Uint64 // counts the Switches that have ended

	th *thread // where the application's state is, or nil

	// What of the arch.Context th does not have, and the other way round.
	fpStored bool // the arch.Context has the FP state
	fpLoad   bool // and th must load it
	image    []byte

	last    arch.Registers // what the slot holds
	patched bool           // th is in a patched call, to which it can return

	sites [64]site // system call sites, see hot

	distance
}

// A thread that does not stop when it is kicked is kicked again each kickEvery, and killed with
// its process after the last of kicks. No thread that runs takes so long, unless the application has
// found a way to evade kicks; its task would live for ever.
const (
	kicks     = 3
	kickEvery = 500 * time.Millisecond
)

// Interrupt implements platform.Context.
func (c *taskContext) Interrupt() {
	events := c.events.Load()
	if c.pending.Swap(true) {
		return // somebody has kicked, or Switch will look
	}
	if th := c.running.Load(); th != nil {
		c.kick(th, events, kicks)
	}
}

func (c *taskContext) kick(th *thread, events uint64, tries int) {
	if tries == 0 {
		th.as.kill()
		return
	}
	tgkill(th.as.pid, th.tid, kickSignal)
	if tries < kicks {
		// The application may have hidden from the sentry that it slept.
		futexWakeAll(&th.shared.state)
	}
	time.AfterFunc(kickEvery, func() {
		if c.events.Load() == events && c.running.Load() == th {
			c.kick(th, events, tries-1)
		}
	})
}

// Release implements platform.Context.
func (c *taskContext) Release() { c.leave() }

// leave gives the thread back.
func (c *taskContext) leave() {
	if c.th != nil {
		c.th.as.release(c.th)
		c.th = nil
	}
}

// FullStateChanged implements platform.Context.
func (c *taskContext) FullStateChanged() { c.fpStored, c.fpLoad = true, true }

// PullFullState implements platform.Context.
func (c *taskContext) PullFullState(_ platform.AddressSpace, ac *arch.Context) error {
	if c.th == nil || c.fpStored {
		return nil
	}
	if c.th.as.dead.Load() {
		return errDead{c.th.as.pid}
	}
	s := c.th.shared
	if s.fp == 0 {
		if err := c.exchange(c.th, answerSave); err != nil {
			return err
		}
		if s.kind != kindSaved {
			c.patched = false // a late kick has moved the FP state from the registers to its frame
		}
	}
	image := c.th.at(s.fp, arch.XStateSize())
	c.image = append(c.image[:0], image...) // it is checked in the copy
	if image == nil || ac.FP.Load(c.image, ^uint64(0)) != nil {
		// The application has destroyed its own state.
		ac.FP.Reset()
		c.fpLoad = true
	}
	c.fpStored = true
	return nil
}

// enter makes sure that the context has a thread of as.
func (c *taskContext) enter(as *addressSpace, ac *arch.Context) error {
	if c.th != nil && c.th.as == as {
		return nil
	}
	if c.th != nil {
		if err := c.PullFullState(nil, ac); err != nil && !c.th.as.dead.Load() {
			return err
		}
		c.leave()
	}
	th, err := as.acquire()
	if err != nil {
		return err
	}
	c.th = th
	c.patched = false
	c.last = arch.Registers{}
	c.FullStateChanged()
	return nil
}

// load writes the application's state to the slot and says how to answer.
func (c *taskContext) load(ac *arch.Context) uint32 {
	th, s := c.th, c.th.shared
	r := &ac.Regs
	c.last.Rax, c.last.OrigRax = r.Rax, r.OrigRax
	same := c.last == *r
	if same && c.patched && !c.fpLoad {
		s.result = r.Rax
		return answerFast
	}
	s.regs.Rax = r.Rax
	if !same {
		s.regs = *r
		c.last = *r
		if r.FsBase != th.fsBase {
			s.load |= loadFS
			th.fsBase = r.FsBase
		}
		gs := th.addr
		if r.GsBase != 0 {
			gs = r.GsBase
			th.as.page.patch = 0 // trampolines need GS, in all threads
		}
		if gs != th.gsBase {
			s.load |= loadGS
			s.gs, th.gsBase = gs, gs
		}
	}
	if c.fpLoad {
		copy(th.mem[offFP:], ac.FP)
		s.fp = th.addr + offFP
		s.stack = th.addr + offStackTop
		c.fpLoad = false
	}
	return answerFull
}

// Switch implements platform.Context.
func (c *taskContext) Switch(pas platform.AddressSpace, ac *arch.Context) (platform.Event, error) {
	if c.pending.Load() && c.pending.Swap(false) {
		return platform.Event{Kind: platform.EventInterrupt}, nil
	}
	as := pas.(*addressSpace)
	if err := c.enter(as, ac); err != nil {
		return platform.Event{}, err
	}
	th := c.th
	how := c.load(ac)
	c.fpStored = false
	err := c.exchange(th, how)
	c.running.Store(nil)
	c.events.Add(1)
	if err != nil {
		return platform.Event{}, err
	}
	return c.event(ac)
}

// Sleep implements platform.Context. The thread stops looking; and whoever wakes the task is
// likely to sleep soon, so that the thread is better woken near.
func (c *taskContext) Sleep() {
	if c.th != nil {
		set(&c.th.shared.spin, 0)
	}
	c.apart, c.run = false, 0
}

var _ platform.Context = (*taskContext)(nil)
