package epoll

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Event is one result of epoll_wait(2), or one argument of epoll_ctl(2).
type Event struct {
	Events uint32 // EPOLL*
	Data   uint64
}

const (
	// inputFlags are the bits of Event.Events that are no events.
	inputFlags = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	// alwaysEvents are reported whether wanted or not.
	alwaysEvents = unix.EPOLLERR | unix.EPOLLHUP
	// exclusiveAllowed are the bits that may go with EPOLLEXCLUSIVE.
	exclusiveAllowed = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLERR | unix.EPOLLHUP |
		unix.EPOLLWAKEUP | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	// minSweep is how many items there are before closed ones are looked for.
	minSweep = 64
	// passedOn tells one in epoll_wait(2) of what another left on the list. No file
	// reports this event, and nobody polls an instance for it.
	passedOn = waiter.EventMsg
)

// EventPoll is an epoll instance.
type EventPoll struct {
	vfs.FileDefaults
	waiter.Queue // those who wait in epoll_wait, or poll the instance

	mu      sync.Mutex // guards the fields below; held while items are looked at
	items   map[key]*item
	sweepAt int // number of items at which closed ones are swept

	readyMu sync.Mutex // guards the ready list and the fields of items that say so
	ready   list

	// inner and outer are the instances that this one has as items, and that have
	// this one, with the number of items. nestMu guards them.
	inner, outer map[*EventPoll]int
}

type key struct {
	fd   int32
	file *vfs.FileDescription
}

// item is a file that an EventPoll looks after.
type item struct {
	ep    *EventPoll
	key   key
	entry waiter.Entry

	// Guarded by ep.mu.
	data uint64

	// Guarded by ep.readyMu.
	events     uint32 // wanted, with inputFlags; 0: disabled by EPOLLONESHOT
	queued     bool
	prev, next *item
}

// list is a list of items by their own links.
type list struct{ head, tail *item }

func (l *list) pushBack(i *item) {
	i.prev, i.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = i
	} else {
		l.head = i
	}
	l.tail = i
	i.queued = true
}

func (l *list) remove(i *item) {
	if i.prev != nil {
		i.prev.next = i.next
	} else {
		l.head = i.next
	}
	if i.next != nil {
		i.next.prev = i.prev
	} else {
		l.tail = i.prev
	}
	i.prev, i.next, i.queued = nil, nil, false
}

// New makes an instance without items.
func New() *EventPoll { return &EventPoll{items: make(map[key]*item), sweepAt: minSweep} }

// nobody is the context in which a file is closed whose last reference happened to be that
// of a look at it.
var nobody = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// NotifyEvent implements waiter.Listener: the item's file has news.
func (i *item) NotifyEvent(mask waiter.EventMask) {
	ep := i.ep
	ep.readyMu.Lock()
	if i.queued || uint32(mask)&i.events == 0 {
		ep.readyMu.Unlock()
		return
	}
	ep.ready.pushBack(i)
	ep.readyMu.Unlock()
	ep.Notify(waiter.EventIn | waiter.EventRdNorm)
}

// canPoll is implemented by regular files that can be waited for all the same (some of
// /proc's).
type canPoll interface{ CanPoll() bool }

func pollable(f *vfs.FileDescription) bool {
	switch f.FileType() {
	case unix.S_IFREG, unix.S_IFDIR:
		p, ok := f.File().(canPoll)
		return ok && p.CanPoll()
	}
	return !f.PathOnly()
}

// Add is EPOLL_CTL_ADD of file, which the caller knows as fd.
func (ep *EventPoll) Add(fd int32, file *vfs.FileDescription, ev Event) error {
	if !pollable(file) {
		return unix.EPERM
	}
	other, nested := file.File().(*EventPoll)
	if nested && other == ep {
		return unix.EINVAL
	}
	exclusive := ev.Events&unix.EPOLLEXCLUSIVE != 0
	if exclusive && (nested || ev.Events&^exclusiveAllowed != 0) {
		return unix.EINVAL
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	k := key{fd, file}
	if ep.items[k] != nil {
		return unix.EEXIST
	}
	if nested {
		if err := link(ep, other); err != nil {
			return err
		}
	}
	if len(ep.items) >= ep.sweepAt {
		ep.sweep()
	}
	i := &item{ep: ep, key: k, data: ev.Data, events: ev.Events | alwaysEvents}
	i.entry = waiter.Entry{Mask: waiterMask(i.events), Listener: i, Exclusive: exclusive}
	if err := file.EventRegister(&i.entry); err != nil {
		if nested {
			unlink(ep, other)
		}
		return err
	}
	ep.items[k] = i
	ep.look(i)
	return nil
}

func waiterMask(events uint32) waiter.EventMask {
	return waiter.EventMask(events) & waiter.AllEvents
}

// look puts i on the ready list if its file is ready. mu is held.
func (ep *EventPoll) look(i *item) {
	r := i.key.file.Readiness(waiterMask(i.events))
	if r == 0 {
		return
	}
	ep.readyMu.Lock()
	if i.queued {
		ep.readyMu.Unlock()
		return
	}
	ep.ready.pushBack(i)
	ep.readyMu.Unlock()
	ep.Notify(waiter.EventIn | waiter.EventRdNorm)
}

// Modify is EPOLL_CTL_MOD.
func (ep *EventPoll) Modify(fd int32, file *vfs.FileDescription, ev Event) error {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	i := ep.items[key{fd, file}]
	if i == nil {
		return unix.ENOENT
	}
	if ev.Events&unix.EPOLLEXCLUSIVE != 0 || i.entry.Exclusive {
		return unix.EINVAL
	}
	file.EventUnregister(&i.entry)
	i.data = ev.Data
	ep.readyMu.Lock()
	i.events = ev.Events | alwaysEvents
	ep.readyMu.Unlock()
	i.entry.Mask = waiterMask(i.events)
	if err := file.EventRegister(&i.entry); err != nil {
		ep.remove(i)
		return err
	}
	ep.look(i)
	return nil
}

// Delete is EPOLL_CTL_DEL.
func (ep *EventPoll) Delete(fd int32, file *vfs.FileDescription) error {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	i := ep.items[key{fd, file}]
	if i == nil {
		return unix.ENOENT
	}
	ep.remove(i)
	return nil
}

// remove forgets i. mu is held.
func (ep *EventPoll) remove(i *item) {
	i.key.file.EventUnregister(&i.entry)
	ep.readyMu.Lock()
	if i.queued {
		ep.ready.remove(i)
	}
	i.events = 0
	ep.readyMu.Unlock()
	delete(ep.items, i.key)
	if other, ok := i.key.file.File().(*EventPoll); ok {
		unlink(ep, other)
	}
}

// sweep forgets the items whose files were closed. mu is held.
func (ep *EventPoll) sweep() {
	for _, i := range ep.items {
		if !i.alive() {
			ep.remove(i)
		}
	}
	ep.sweepAt = max(2*len(ep.items), minSweep)
}

func (i *item) alive() bool {
	if !i.key.file.TryIncRef() {
		return false
	}
	i.key.file.DecRef(nobody)
	return true
}

// Release implements vfs.File.
func (ep *EventPoll) Release(context.Context) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for _, i := range ep.items {
		ep.remove(i)
	}
}

// Seekable implements vfs.File.
func (ep *EventPoll) Seekable() bool { return false }

// Seek implements vfs.File: lseek(2) has no effect and no error, as in Linux.
func (*EventPoll) Seek(context.Context, int64, int32, int64) (int64, error) { return 0, nil }

// Collect fills dst with events of items that are ready and returns how many. It does not
// wait.
func (ep *EventPoll) Collect(dst []Event) int {
	ep.readyMu.Lock()
	idle := ep.ready.head == nil
	ep.readyMu.Unlock()
	if idle {
		return 0
	}
	ep.mu.Lock()
	n := ep.collect(dst)
	ep.readyMu.Lock()
	more := ep.ready.head != nil
	ep.readyMu.Unlock()
	ep.mu.Unlock()
	if more {
		// Others who wait were perhaps not told, because this caller was. To those who poll
		// the instance it is no news.
		ep.Notify(passedOn)
	}
	return n
}

func (ep *EventPoll) collect(dst []Event) int {
	n := 0
	// Items from the one that was last when the look began are for the next call:
	// level-triggered ones come back at the end.
	ep.readyMu.Lock()
	last := ep.ready.tail
	ep.readyMu.Unlock()
	for n < len(dst) {
		ep.readyMu.Lock()
		i := ep.ready.head
		if i == nil {
			ep.readyMu.Unlock()
			break
		}
		ep.ready.remove(i)
		events := i.events
		ep.readyMu.Unlock()

		if r := ep.ask(i, events); r != 0 {
			dst[n] = Event{Events: r, Data: i.data}
			n++
			ep.readyMu.Lock()
			switch {
			case events&unix.EPOLLONESHOT != 0:
				i.events = 0
				if i.queued {
					ep.ready.remove(i)
				}
			case events&unix.EPOLLET == 0 && !i.queued:
				ep.ready.pushBack(i)
			}
			ep.readyMu.Unlock()
		}
		if i == last {
			break
		}
	}
	return n
}

// ask returns which wanted events are true of i, which is off the ready list, and forgets i
// if its file was closed. mu is held.
func (ep *EventPoll) ask(i *item, events uint32) uint32 {
	if !i.key.file.TryIncRef() {
		ep.remove(i)
		return 0
	}
	r := uint32(i.key.file.Readiness(waiterMask(events)))
	i.key.file.DecRef(nobody)
	return r
}

// Readiness implements waiter.Waitable.
func (ep *EventPoll) Readiness(mask waiter.EventMask) waiter.EventMask {
	mask &= waiter.EventIn | waiter.EventRdNorm
	if mask == 0 {
		return 0
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for {
		ep.readyMu.Lock()
		i := ep.ready.head
		if i == nil {
			ep.readyMu.Unlock()
			return 0
		}
		ep.ready.remove(i)
		events := i.events
		ep.readyMu.Unlock()
		if ep.ask(i, events) != 0 {
			ep.readyMu.Lock()
			if !i.queued {
				ep.ready.pushBack(i)
			}
			ep.readyMu.Unlock()
			return mask
		}
	}
}

// NoDeadline makes Wait wait for ever.
const NoDeadline = int64(1<<63 - 1)

// Wait fills dst with events. If there is none it waits until deadline (CLOCK_MONOTONIC in
// nanoseconds) and then returns 0; a deadline in the past only looks. An interruption by a
// signal is EINTR whatever the handler's flags (signal(7)).
func (ep *EventPoll) Wait(ctx context.Context, dst []Event, deadline int64) (int, error) {
	if n := ep.Collect(dst); n > 0 || deadline <= 0 {
		return n, nil
	}
	e := waiter.Entry{Mask: waiter.EventIn | passedOn, Listener: ctx.Waker(), Exclusive: true}
	for {
		ep.EventRegister(&e)
		// Collect tells the next one in line if it leaves something; it must not tell
		// this task instead.
		if ep.isReady() {
			ep.EventUnregister(&e)
			if n := ep.Collect(dst); n > 0 {
				return n, nil
			}
			continue
		}
		var err error
		if deadline == NoDeadline {
			err = ctx.Block()
		} else {
			err = ctx.BlockUntil(deadline)
		}
		ep.EventUnregister(&e)
		if n := ep.Collect(dst); n > 0 {
			return n, nil
		}
		switch err {
		case nil:
		case unix.ETIMEDOUT:
			return 0, nil
		default:
			return 0, unix.EINTR
		}
	}
}

// Len is the number of files that the instance looks after.
func (ep *EventPoll) Len() int {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return len(ep.items)
}

func (ep *EventPoll) isReady() bool {
	ep.readyMu.Lock()
	defer ep.readyMu.Unlock()
	return ep.ready.head != nil
}

// FDInfo is the instance's part of /proc/PID/fdinfo.
func (ep *EventPoll) FDInfo() string {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	lines := make([]string, 0, len(ep.items))
	for k, i := range ep.items {
		if !i.alive() {
			continue
		}
		ep.readyMu.Lock()
		events := i.events
		ep.readyMu.Unlock()
		lines = append(lines, fmt.Sprintf("tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n",
			k.fd, events, i.data, 0, k.file.InodeID(), k.file.DeviceID()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
