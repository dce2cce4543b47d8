package mqueue

import (
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// MaxPriority is one more than the highest priority of a message (MQ_PRIO_MAX).
const MaxPriority = 32768

// Queue is a message queue, and its inode.
type Queue struct {
	pseudo.Node
	fs      *Filesystem
	attr    Attr
	payer   auth.KUID
	charged uint64

	queue waiter.Queue // EventIn: a message came; EventOut: there is room

	mu        sync.Mutex // guards the fields below
	messages  []message  // highest priority last, and of one priority the oldest last
	bytes     int
	receivers int // who waits in Receive
	notifier  Notifier
	notified  *File // through which notifier was registered
}

type message struct {
	priority uint32
	text     []byte
}

// Notifier is who asked by mq_notify(3) to be told of a message in an empty queue.
type Notifier interface {
	// Notify is called once, without locks, by the sender ctx.
	Notify(ctx context.Context)
	// Status are the sigev_notify, signal and process id of the file's text.
	Status() (notify, signo, pid int32)
	// Released is called when Notify will not be.
	Released(ctx context.Context)
}

// Release implements vfs.Inode.
func (q *Queue) Release(context.Context) {
	f := q.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count--
	if f.bytes[q.payer] -= q.charged; f.bytes[q.payer] == 0 {
		delete(f.bytes, q.payer)
	}
}

// Stat implements vfs.Inode; the size is that of the text, as in Linux.
func (q *Queue) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := q.Node.Stat(ctx)
	a.Size = textSize
	return a, err
}

// Open implements vfs.Inode.
func (q *Queue) Open(_ context.Context, flags uint32) (vfs.File, error) {
	acc := flags & unix.O_ACCMODE
	return &File{q: q, readable: acc != unix.O_WRONLY, writable: acc != unix.O_RDONLY}, nil
}

// File is an open queue.
type File struct {
	vfs.FileDefaults
	q                  *Queue
	readable, writable bool
}

// Attr is what the queue can hold, and what it holds.
func (f *File) Attr() (a Attr, current int64) {
	f.q.mu.Lock()
	defer f.q.mu.Unlock()
	return f.q.attr, int64(len(f.q.messages))
}

// NoDeadline makes Send and Receive wait for ever.
const NoDeadline = int64(1<<63 - 1)

// Send is mq_timedsend(2), with a deadline on CLOCK_MONOTONIC; the queue keeps text.
// EAGAIN: it is full and nonblock is set; ETIMEDOUT; a restart result: a signal came.
func (f *File) Send(ctx context.Context, text []byte, priority uint32, nonblock bool, deadline int64) error {
	q := f.q
	if priority >= MaxPriority {
		return unix.EINVAL
	}
	if !f.writable {
		return unix.EBADF
	}
	if int64(len(text)) > q.attr.MessageSize {
		return unix.EMSGSIZE
	}
	var e *waiter.Entry
	for {
		q.mu.Lock()
		if int64(len(q.messages)) < q.attr.MaxMessages {
			n := q.add(message{priority, text})
			q.mu.Unlock()
			if e != nil {
				q.queue.EventUnregister(e)
			}
			q.queue.Notify(waiter.EventIn | waiter.EventRdNorm)
			if n != nil {
				n.Notify(ctx)
			}
			return nil
		}
		q.mu.Unlock()
		if nonblock {
			return unix.EAGAIN
		}
		if e == nil {
			e = &waiter.Entry{Mask: waiter.EventOut, Listener: ctx.Waker()}
			q.queue.EventRegister(e)
			continue
		}
		if err := block(ctx, deadline); err != nil {
			q.queue.EventUnregister(e)
			return err
		}
	}
}

// add stores m and returns the Notifier that must hear of it; mu is held.
func (q *Queue) add(m message) Notifier {
	i, _ := slices.BinarySearchFunc(q.messages, m, func(a, b message) int {
		// Equal priorities: the new one goes in front, so that the oldest is last.
		if a.priority < b.priority {
			return -1
		}
		return 1
	})
	q.messages = slices.Insert(q.messages, i, m)
	q.bytes += len(m.text)
	if len(q.messages) > 1 || q.receivers > 0 {
		return nil
	}
	n := q.notifier
	q.notifier, q.notified = nil, nil
	return n
}

// Receive is mq_timedreceive(2) for a buffer of size bytes. EMSGSIZE: it is shorter than a
// message can be.
func (f *File) Receive(ctx context.Context, size int, nonblock bool, deadline int64) (text []byte, priority uint32, err error) {
	q := f.q
	if !f.readable {
		return nil, 0, unix.EBADF
	}
	if int64(size) < q.attr.MessageSize {
		return nil, 0, unix.EMSGSIZE
	}
	var e *waiter.Entry
	for {
		q.mu.Lock()
		if n := len(q.messages); n > 0 {
			m := q.messages[n-1]
			q.messages[n-1] = message{}
			q.messages = q.messages[:n-1]
			q.bytes -= len(m.text)
			q.stopReceiving(e)
			q.mu.Unlock()
			q.queue.Notify(waiter.EventOut | waiter.EventWrNorm)
			return m.text, m.priority, nil
		}
		if nonblock {
			q.mu.Unlock()
			return nil, 0, unix.EAGAIN
		}
		if e == nil {
			e = &waiter.Entry{Mask: waiter.EventIn, Listener: ctx.Waker()}
			q.receivers++
			q.queue.EventRegister(e)
		}
		q.mu.Unlock()
		if err := block(ctx, deadline); err != nil {
			q.mu.Lock()
			q.stopReceiving(e)
			q.mu.Unlock()
			return nil, 0, err
		}
	}
}

func (q *Queue) stopReceiving(e *waiter.Entry) {
	if e != nil {
		q.receivers--
		q.queue.EventUnregister(e)
	}
}

func block(ctx context.Context, deadline int64) error {
	if deadline == NoDeadline {
		return ctx.Block()
	}
	return ctx.BlockUntil(deadline)
}

// SetNotifier is mq_notify(2). EBUSY: somebody is registered.
func (f *File) SetNotifier(n Notifier) error {
	q := f.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.notifier != nil {
		return unix.EBUSY
	}
	q.notifier, q.notified = n, f
	return nil
}

// RemoveNotifier is mq_notify(2) without an event: it removes the registration of process
// pid.
func (f *File) RemoveNotifier(ctx context.Context, pid int32) {
	f.q.removeNotifier(ctx, func(n Notifier, _ *File) bool {
		_, _, p := n.Status()
		return p == pid
	})
}

func (q *Queue) removeNotifier(ctx context.Context, pick func(Notifier, *File) bool) {
	q.mu.Lock()
	n := q.notifier
	if n != nil && pick(n, q.notified) {
		q.notifier, q.notified = nil, nil
	} else {
		n = nil
	}
	q.mu.Unlock()
	if n != nil {
		n.Released(ctx)
	}
}

// Release implements vfs.File.
func (f *File) Release(ctx context.Context) {
	f.q.removeNotifier(ctx, func(_ Notifier, by *File) bool { return by == f })
}

// textSize is the st_size of a queue (FILENT_SIZE of Linux).
const textSize = 80

// Read implements vfs.File: the state of the queue as text.
func (f *File) Read(_ context.Context, dst usermem.Sequence, offset int64) (int, error) {
	q := f.q
	q.mu.Lock()
	var notify, signo, pid int32
	if q.notifier != nil {
		notify, signo, pid = q.notifier.Status()
	}
	text := fmt.Sprintf("QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", q.bytes, notify, signo, pid)
	q.mu.Unlock()
	if offset >= int64(len(text)) {
		return 0, nil
	}
	return dst.CopyOut([]byte(text[offset:]))
}

// CanPoll says to epoll that a queue can be waited for, though it is a regular file.
func (*File) CanPoll() bool { return true }

// Readiness implements waiter.Waitable.
func (f *File) Readiness(mask waiter.EventMask) waiter.EventMask {
	q := f.q
	q.mu.Lock()
	defer q.mu.Unlock()
	var r waiter.EventMask
	if len(q.messages) > 0 {
		r |= waiter.EventIn | waiter.EventRdNorm
	}
	if int64(len(q.messages)) < q.attr.MaxMessages {
		r |= waiter.EventOut | waiter.EventWrNorm
	}
	return r & mask
}

// EventRegister implements waiter.Waitable.
func (f *File) EventRegister(e *waiter.Entry) error { return f.q.queue.EventRegister(e) }

// EventUnregister implements waiter.Waitable.
func (f *File) EventUnregister(e *waiter.Entry) { f.q.queue.EventUnregister(e) }
