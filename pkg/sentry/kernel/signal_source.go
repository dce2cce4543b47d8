package kernel

import "runsc/pkg/waiter"

// SignalQueue is notified with EventIn when a signal becomes pending for t or its process;
// signalfd(2) waits on it.
func (t *Task) SignalQueue() *waiter.Queue { return &t.sigWaiters }

// SignalSource tells a signalfd whose signals the owner of the waker means.
func (w *taskWaker) SignalSource() any { return w.t }
