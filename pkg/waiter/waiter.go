// Package waiter tells those who wait for an object (a pipe, a socket, a terminal, a
// process) that its readiness changed.
//
// The object embeds a Queue and calls Notify with the events that became true; a waiter
// registers an Entry with the events that it cares about. Nothing is remembered: a waiter
// registers first, then looks at the object's readiness, then sleeps. What a notification
// does is the Listener's business: a task is woken, an epoll item is put on its ready list.
//
// A Listener runs with the queue's lock held and usually with the object's lock held too.
// It must be quick and must not touch the queue or the object.
//
// Lock order: object's lock → Queue's lock → what Listeners take.
package waiter

import "sync"

// EventMask is a set of poll(2) events, with their Linux numbers.
type EventMask uint32

// The events of poll(2) and epoll_ctl(2).
const (
	EventIn     EventMask = 0x01 // POLLIN
	EventPri    EventMask = 0x02
	EventOut    EventMask = 0x04
	EventErr    EventMask = 0x08
	EventHUp    EventMask = 0x10
	EventNVal   EventMask = 0x20
	EventRdNorm EventMask = 0x0040
	EventRdBand EventMask = 0x0080
	EventWrNorm EventMask = 0x0100
	EventWrBand EventMask = 0x0200
	EventMsg    EventMask = 0x0400
	EventRdHUp  EventMask = 0x2000

	// ReadableEvents and WritableEvents are what a blocked read and write wait for.
	ReadableEvents = EventIn | EventRdNorm | EventHUp | EventErr | EventRdHUp
	WritableEvents = EventOut | EventWrNorm | EventHUp | EventErr
	AllEvents      = EventMask(0x27ff)
)

// Listener hears of events. Implementations are pointers.
type Listener interface {
	// NotifyEvent is called with those of the entry's events that happened.
	NotifyEvent(mask EventMask)
}

// Waitable is an object that can be waited for.
type Waitable interface {
	// Readiness returns which events of mask are true now.
	Readiness(mask EventMask) EventMask
	// EventRegister adds e, whose Mask and Listener are set, to the object's waiters.
	EventRegister(e *Entry) error
	// EventUnregister removes e; harmless if e is not registered.
	EventUnregister(e *Entry)
}

// Entry is one registration. It belongs to at most one Queue at a time; Mask and Listener
// do not change while it is registered.
type Entry struct {
	Mask     EventMask
	Listener Listener
	// Exclusive: at most one exclusive entry is woken by a notification
	// (EPOLLEXCLUSIVE, accept(2)).
	Exclusive bool

	prev, next *Entry
	q          *Queue
}

// Queue is a list of entries; the zero value is empty and ready.
type Queue struct {
	mu         sync.RWMutex
	head, tail *Entry
}

// EventRegister implements part of Waitable.
func (q *Queue) EventRegister(e *Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.q != nil {
		panic("waiter: entry is already registered")
	}
	e.q, e.prev, e.next = q, q.tail, nil
	if q.tail != nil {
		q.tail.next = e
	} else {
		q.head = e
	}
	q.tail = e
	return nil
}

// EventUnregister implements part of Waitable.
func (q *Queue) EventUnregister(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.q != q {
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.tail = e.prev
	}
	e.q, e.prev, e.next = nil, nil, nil
}

// Notify tells every entry that waits for one of mask's events.
func (q *Queue) Notify(mask EventMask) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	exclusive := false
	for e := q.head; e != nil; e = e.next {
		m := e.Mask & mask
		if m == 0 || e.Exclusive && exclusive {
			continue
		}
		exclusive = exclusive || e.Exclusive
		e.Listener.NotifyEvent(m)
	}
}

// IsEmpty says whether nobody waits; used to skip work.
func (q *Queue) IsEmpty() bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.head == nil
}

// AlwaysReady is the Waitable part of objects that never block: regular files,
// directories.
type AlwaysReady struct{}

// Readiness implements Waitable.
func (AlwaysReady) Readiness(mask EventMask) EventMask {
	return mask & (EventIn | EventRdNorm | EventOut | EventWrNorm)
}

// EventRegister implements Waitable.
func (AlwaysReady) EventRegister(*Entry) error { return nil }

// EventUnregister implements Waitable.
func (AlwaysReady) EventUnregister(*Entry) {}
