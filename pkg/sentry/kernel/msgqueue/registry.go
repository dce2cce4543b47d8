// Package msgqueue implements System V message queues (msgget(2), msgop(2), msgctl(2)).
//
// A Registry holds the queues of an IPC namespace. A queue is a list of messages in the
// order of arrival, bounded by bytes; receivers pick by type. Who must wait registers with
// the queue and tries again each time something came or went.
//
// Lock order: Registry.mu → waiter queues. Registry.mu is not held while a task waits or
// while a message is copied from or to the application.
package msgqueue

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/ipc"
	"runsc/pkg/waiter"
)

// Limits (/proc/sys/kernel/msg*).
const (
	MaxQueues  = 32000 // MSGMNI
	MaxMessage = 8192  // MSGMAX, bytes
	MaxBytes   = 16384 // MSGMNB, of a queue; more with CAP_SYS_RESOURCE

	nsPerSec = 1_000_000_000
	// hardMaxBytes bounds what a privileged caller may set: it is the sentry's memory.
	hardMaxBytes = 1 << 20
)

// Flags of Receive beside IPC_NOWAIT.
const (
	NoError = 0o10000 // MSG_NOERROR
	Except  = 0o20000 // MSG_EXCEPT
	Copy    = 0o40000 // MSG_COPY
)

// Registry holds the message queues of an IPC namespace.
type Registry struct {
	mu    sync.Mutex // guards the fields below and all Queues
	table ipc.Table[*Queue]
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{table: ipc.NewTable[*Queue](MaxQueues)} }

// Queue is a message queue.
type Queue struct {
	ipc.Perm
	queue               waiter.Queue // EventIn: a message came; EventOut: there is room
	messages            []Message
	bytes, limit        int
	stime, rtime, ctime int64 // seconds
	lspid, lrpid        int32 // in the sandbox's root namespace
	removed             bool
}

// Message is a message; its text is never modified.
type Message struct {
	Type int64
	Text []byte
}

// Get is msgget(2).
func (r *Registry) Get(c ipc.Caller, now int64, key int32, flags uint32) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, found, err := r.table.Find(c, key, flags)
	if err != nil {
		return 0, err
	}
	if !found {
		q = &Queue{limit: MaxBytes, ctime: now / nsPerSec}
		if err := r.table.Add(c, key, flags, q); err != nil {
			return 0, err
		}
	}
	return q.ID, nil
}

func (r *Registry) find(c ipc.Caller, id int32, access uint32) (*Queue, error) {
	q, err := r.table.Get(id)
	if err != nil {
		return nil, err
	}
	if !q.Allowed(c, access) {
		return nil, unix.EACCES
	}
	return q, nil
}

// block is one turn of waiting for q.
func block(ctx context.Context) error {
	if ctx.Block() != nil {
		return unix.EINTR // never restarted (signal(7))
	}
	return nil
}

// Send is msgsnd(2); the registry keeps m. With IPC_NOWAIT a full queue is EAGAIN.
func (r *Registry) Send(ctx context.Context, c ipc.Caller, id int32, m Message, flags int32) error {
	if m.Type < 1 || len(m.Text) > MaxMessage {
		return unix.EINVAL
	}
	var e *waiter.Entry
	var q *Queue
	defer func() {
		if e != nil {
			q.queue.EventUnregister(e)
		}
	}()
	for {
		r.mu.Lock()
		if e == nil {
			var err error
			if q, err = r.find(c, id, ipc.Write); err != nil {
				r.mu.Unlock()
				return err
			}
		} else if q.removed {
			r.mu.Unlock()
			return unix.EIDRM
		} else if !q.Allowed(c, ipc.Write) {
			r.mu.Unlock()
			return unix.EACCES
		}
		if q.bytes+len(m.Text) <= q.limit && len(q.messages)+1 <= q.limit {
			q.messages = append(q.messages, m)
			q.bytes += len(m.Text)
			q.stime, q.lspid = ctx.RealTime()/nsPerSec, c.PID
			r.mu.Unlock()
			q.queue.Notify(waiter.EventIn)
			return nil
		}
		r.mu.Unlock()
		if flags&unix.IPC_NOWAIT != 0 {
			return unix.EAGAIN
		}
		if e == nil {
			e = &waiter.Entry{Mask: waiter.EventOut, Listener: ctx.Waker()}
			q.queue.EventRegister(e)
			continue
		}
		if err := block(ctx); err != nil {
			return err
		}
	}
}

// Receive is msgrcv(2) for a buffer of size bytes: it removes the message that typ and
// flags choose; the caller cuts its text. E2BIG: it is longer than size and NoError is not
// set; ENOMSG: there is none.
func (r *Registry) Receive(ctx context.Context, c ipc.Caller, id int32, size int, typ int64, flags int32) (Message, error) {
	if flags&Copy != 0 && (flags&Except != 0 || flags&unix.IPC_NOWAIT == 0) {
		return Message{}, unix.EINVAL
	}
	var e *waiter.Entry
	var q *Queue
	defer func() {
		if e != nil {
			q.queue.EventUnregister(e)
		}
	}()
	for {
		r.mu.Lock()
		if e == nil {
			var err error
			if q, err = r.find(c, id, ipc.Read); err != nil {
				r.mu.Unlock()
				return Message{}, err
			}
		} else if q.removed {
			r.mu.Unlock()
			return Message{}, unix.EIDRM
		} else if !q.Allowed(c, ipc.Read) {
			r.mu.Unlock()
			return Message{}, unix.EACCES
		}
		if i := q.choose(typ, flags); i >= 0 {
			m := q.messages[i]
			if len(m.Text) > size && flags&NoError == 0 {
				r.mu.Unlock()
				return Message{}, unix.E2BIG
			}
			if flags&Copy != 0 {
				r.mu.Unlock()
				return m, nil
			}
			q.messages = slices.Delete(q.messages, i, i+1)
			q.bytes -= len(m.Text)
			q.rtime, q.lrpid = ctx.RealTime()/nsPerSec, c.PID
			r.mu.Unlock()
			q.queue.Notify(waiter.EventOut)
			return m, nil
		}
		r.mu.Unlock()
		if flags&unix.IPC_NOWAIT != 0 {
			return Message{}, unix.ENOMSG
		}
		if e == nil {
			e = &waiter.Entry{Mask: waiter.EventIn, Listener: ctx.Waker()}
			q.queue.EventRegister(e)
			continue
		}
		if err := block(ctx); err != nil {
			return Message{}, err
		}
	}
}

// choose finds the message that msgrcv(2) is about, or -1.
func (q *Queue) choose(typ int64, flags int32) int {
	best := -1
	for i, m := range q.messages {
		switch {
		case flags&Copy != 0:
			if int64(i) == typ {
				return i
			}
		case typ == 0, typ > 0 && (m.Type == typ) == (flags&Except == 0):
			return i
		case typ < 0 && m.Type <= -typ && (best < 0 || m.Type < q.messages[best].Type):
			best = i
		}
	}
	return best
}

// Remove is IPC_RMID.
func (r *Registry) Remove(c ipc.Caller, id int32) error {
	r.mu.Lock()
	q, err := r.table.Get(id)
	if err == nil && !q.MayControl(c) {
		err = unix.EPERM
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	q.removed, q.messages = true, nil
	r.table.Remove(q)
	r.mu.Unlock()
	q.queue.Notify(waiter.EventIn | waiter.EventOut)
	return nil
}

// Change is IPC_SET.
func (r *Registry) Change(c ipc.Caller, id int32, uid auth.KUID, gid auth.KGID, mode uint32, limit uint64, now int64) error {
	r.mu.Lock()
	q, err := r.table.Get(id)
	if err == nil && !q.MayControl(c) {
		err = unix.EPERM
	}
	if err == nil && limit > MaxBytes && !c.Creds.HasCapabilityIn(unix.CAP_SYS_RESOURCE, c.NS) {
		err = unix.EPERM
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	q.UID, q.GID, q.Mode = uid, gid, mode&0o777
	q.limit = int(min(limit, hardMaxBytes))
	q.ctime = now / nsPerSec
	r.mu.Unlock()
	// Permissions and room may have changed for those who wait.
	q.queue.Notify(waiter.EventIn | waiter.EventOut)
	return nil
}

// Status is what IPC_STAT reports.
type Status struct {
	ipc.Perm
	Stime, Rtime, Ctime int64 // seconds
	Bytes, Limit, Count int
	LastSend, LastRecv  int32
}

// Stat is IPC_STAT; with bySlot, id is a slot (MSG_STAT), and with anyone no permission is
// needed (MSG_STAT_ANY).
func (r *Registry) Stat(c ipc.Caller, id int32, bySlot, anyone bool) (Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, err := r.table.Stat(c, id, bySlot, anyone)
	if err != nil {
		return Status{}, err
	}
	return Status{q.Perm, q.stime, q.rtime, q.ctime, q.bytes, q.limit, len(q.messages), q.lspid, q.lrpid}, nil
}

// Totals are the numbers of queues, messages and bytes and the highest slot in use.
func (r *Registry) Totals() (queues, messages, bytes, highest int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table.Each(func(q *Queue) {
		messages += len(q.messages)
		bytes += q.bytes
	})
	return r.table.Len(), messages, bytes, r.table.Highest()
}

// ProcText is the content of /proc/sysvipc/msg.
func (r *Registry) ProcText(uid func(auth.KUID) uint32, gid func(auth.KGID) uint32) string {
	var b strings.Builder
	b.WriteString("       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table.Each(func(q *Queue) {
		fmt.Fprintf(&b, "%10d %10d  %4o  %10d %10d %5d %5d %5d %5d %5d %5d %10d %10d %10d\n", q.Key, q.ID, q.Mode,
			q.bytes, len(q.messages), q.lspid, q.lrpid, uid(q.UID), gid(q.GID), uid(q.CUID), gid(q.CGID), q.stime, q.rtime, q.ctime)
	})
	return b.String()
}
