package futex

import (
	"golang.org/x/sys/unix"
)

// Bits of a PI or robust futex word.
const (
	TIDMask   = 0x3fffffff // FUTEX_TID_MASK
	OwnerDied = 0x40000000 // FUTEX_OWNER_DIED
	Waiters   = 0x80000000 // FUTEX_WAITERS
)

// Tasks finds the task that a lock word names.
type Tasks interface {
	// FutexOwner is the task with that thread id as the caller's pid namespace has it,
	// in the form that it uses as its Waker; nil if there is none, or it has begun to
	// exit: whoever is returned must still be going to call OwnerDied.
	FutexOwner(tid uint32) Waker
}

// piWait is a waiter's interest in a PI lock. It is guarded by the lock of the bucket that
// holds the waiter.
type piWait struct {
	mem    Memory // where the waiter sees the word
	addr   uintptr
	tid    uint32
	key    Key
	owner  Waker // who held the lock when the waiter was queued on it
	queued bool  // on the lock's queue; otherwise still waiting to be requeued there
	got    bool  // the lock is the waiter's
}

// Acquired says whether the wait that just finished ended with the PI lock taken.
func (w *Waiter) Acquired() bool { return w.pi != nil && w.pi.got }

// LockPI takes the lock at addr for the task tid, or queues w for it. taken says which. With
// try set, a lock that is held is EAGAIN. EDEADLK: tid holds it; ESRCH: the holder does not
// exist; EINVAL: a plain waiter is on the same word.
//
// When a queued wait is over, Finish and then Acquired tell whether the lock is w's.
func (t *Table) LockPI(w *Waiter, mem Memory, addr uintptr, shared bool, tid uint32, try bool, tasks Tasks) (taken bool, err error) {
	k, err := keyOf(mem, addr, shared)
	if err != nil {
		return false, err
	}
	if _, err := mem.LoadUint32(addr); err != nil {
		return false, err
	}
	b := t.bucketOf(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	return t.lockPILocked(b, w, &piWait{mem: mem, addr: addr, tid: tid, key: k}, mem, addr, try, tasks)
}

// lockPILocked is LockPI with the bucket of p.key locked and w on no queue; the word is
// changed through mem at addr, which may be another task's view than p's.
func (t *Table) lockPILocked(b *bucket, w *Waiter, p *piWait, mem Memory, addr uintptr, try bool, tasks Tasks) (bool, error) {
	top := b.first(p.key)
	if top != nil && (top.pi == nil || !top.pi.queued) {
		return false, unix.EINVAL
	}
	// Counted before anyone asks who the owner is: either the owner is seen to have gone, or
	// its OwnerDied sees the count and waits for this bucket.
	t.piWaiters.Add(1)
	defer func() {
		if !p.queued {
			t.piWaiters.Add(-1)
		}
	}()
	for {
		v, err := mem.LoadUint32(addr)
		if err != nil {
			return false, err
		}
		holder := v & TIDMask
		if holder == p.tid {
			return false, unix.EDEADLK
		}
		if holder == 0 {
			nv := p.tid | v&OwnerDied
			if top != nil {
				nv |= Waiters
			}
			got, err := mem.CompareAndSwapUint32(addr, v, nv)
			if err != nil {
				return false, err
			}
			if got == v {
				b.setOwner(p.key, w.Waker)
				w.pi = p
				p.got = true
				return true, nil
			}
			continue
		}
		if try {
			return false, unix.EAGAIN
		}
		owner := tasks.FutexOwner(holder)
		if owner == nil {
			// It may have died after the word was read, and its robust list have
			// changed the word.
			if again, err := mem.LoadUint32(addr); err != nil {
				return false, err
			} else if again != v {
				continue
			}
			return false, unix.ESRCH
		}
		if v&Waiters == 0 {
			got, err := mem.CompareAndSwapUint32(addr, v, v|Waiters)
			if err != nil {
				return false, err
			}
			if got != v {
				continue
			}
		}
		p.owner, p.queued = owner, true
		w.key, w.mask, w.pi = p.key, MatchAny, p
		b.push(w)
		return false, nil
	}
}

// setOwner records who holds the PI lock k now.
func (b *bucket) setOwner(k Key, owner Waker) {
	for w := b.head; w != nil; w = w.next {
		if w.key == k && w.pi != nil {
			w.pi.owner = owner
		}
	}
}

// first is the longest waiter of k.
func (b *bucket) first(k Key) *Waiter {
	for w := b.head; w != nil; w = w.next {
		if w.key == k {
			return w
		}
	}
	return nil
}

// handOver gives the lock k, whose word in mem at addr is v, to its first waiter, or frees
// it if there is none. extra is added to the new word. It says whether the word still was v.
func (t *Table) handOver(b *bucket, k Key, mem Memory, addr uintptr, v, extra uint32) (bool, error) {
	w := b.first(k)
	if w == nil {
		got, err := mem.CompareAndSwapUint32(addr, v, extra)
		return got == v, err
	}
	if w.pi == nil || !w.pi.queued {
		return true, unix.EINVAL
	}
	nv := w.pi.tid | extra
	for x := w.next; x != nil; x = x.next {
		if x.key == k {
			nv |= Waiters
			break
		}
	}
	got, err := mem.CompareAndSwapUint32(addr, v, nv)
	if err != nil || got != v {
		return false, err
	}
	b.setOwner(k, w.Waker)
	w.pi.got = true
	w.pi.queued = false
	t.piWaiters.Add(-1)
	b.wake(w)
	return true, nil
}

// UnlockPI gives the lock at addr, which tid holds (else EPERM), to the next waiter.
func (t *Table) UnlockPI(mem Memory, addr uintptr, shared bool, tid uint32) error {
	k, err := keyOf(mem, addr, shared)
	if err != nil {
		return err
	}
	if v, err := mem.LoadUint32(addr); err != nil {
		return err
	} else if v&TIDMask != tid {
		return unix.EPERM
	}
	b := t.bucketOf(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		v, err := mem.LoadUint32(addr)
		if err != nil {
			return err
		}
		if v&TIDMask != tid {
			return unix.EPERM
		}
		if ok, err := t.handOver(b, k, mem, addr, v, 0); ok || err != nil {
			return err
		}
	}
}

// OwnerDied hands every lock that others wait for and owner holds to the next waiter, with
// FUTEX_OWNER_DIED set. It is called once, when FutexOwner no longer returns owner.
func (t *Table) OwnerDied(owner Waker, tid uint32) {
	if t.piWaiters.Load() == 0 {
		return
	}
	for i := range t.buckets {
		b := &t.buckets[i]
		b.mu.Lock()
		for again := true; again; {
			again = false
			for w := b.head; w != nil; w = w.next {
				p := w.pi
				if p == nil || !p.queued || p.owner != owner {
					continue
				}
				v, err := p.mem.LoadUint32(p.addr)
				if err == nil && v&TIDMask != tid && v&TIDMask != 0 {
					p.owner = nil // the word was written over by the application
					continue
				}
				if err == nil {
					_, err = t.handOver(b, w.key, p.mem, p.addr, v, OwnerDied)
				}
				if err != nil {
					// The word is gone; the waiter finds that out itself.
					p.queued = false
					t.piWaiters.Add(-1)
					b.wake(w)
				}
				again = true // the list has changed
				break
			}
		}
		b.mu.Unlock()
	}
}

// WaitRequeuePI queues w for the word at addr if it holds val, to be moved by RequeuePI to
// the PI lock at piAddr. When the wait is over, Acquired tells whether the lock was taken.
func (t *Table) WaitRequeuePI(w *Waiter, mem Memory, addr uintptr, shared bool, val, mask uint32, piAddr uintptr, tid uint32) error {
	if mask == 0 || addr == piAddr {
		return unix.EINVAL
	}
	k, err := keyOf(mem, addr, shared)
	if err != nil {
		return err
	}
	k2, err := keyOf(mem, piAddr, shared)
	if err != nil {
		return err
	}
	if k == k2 {
		return unix.EINVAL
	}
	return t.queueIf(w, mem, addr, val, k, mask, &piWait{mem: mem, addr: piAddr, tid: tid, key: k2})
}

// RequeuePI is FUTEX_CMP_REQUEUE_PI: if the word at from is cmp (else EAGAIN), the first
// waiter gets the PI lock at to if it is free, and the others, up to nRequeue of them, wait
// for it. It returns how many were woken or moved.
func (t *Table) RequeuePI(mem Memory, from, to uintptr, shared bool, nWake, nRequeue int, cmp uint32, tasks Tasks) (int, error) {
	if nWake != 1 || nRequeue < 0 {
		return 0, unix.EINVAL
	}
	k1, err := keyOf(mem, from, shared)
	if err != nil {
		return 0, err
	}
	k2, err := keyOf(mem, to, shared)
	if err != nil {
		return 0, err
	}
	if k1 == k2 {
		return 0, unix.EINVAL
	}
	for _, a := range []uintptr{from, to} {
		if _, err := mem.LoadUint32(a); err != nil {
			return 0, err
		}
	}
	b1, b2 := t.bucketOf(k1), t.bucketOf(k2)
	lockTwo(b1, b2)
	defer unlockTwo(b1, b2)
	if v, err := mem.LoadUint32(from); err != nil {
		return 0, err
	} else if v != cmp {
		return 0, unix.EAGAIN
	}
	n := 0
	for n < nWake+nRequeue {
		w := b1.first(k1)
		if w == nil {
			break
		}
		if w.pi == nil || w.pi.key != k2 {
			return n, unix.EINVAL
		}
		b1.unlink(w)
		taken, err := t.lockPILocked(b2, w, w.pi, mem, to, false, tasks)
		if err != nil {
			// Back to the head of its queue.
			w.next = b1.head
			if b1.head != nil {
				b1.head.prev = w
			} else {
				b1.tail = w
			}
			b1.head = w
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if taken {
			w.bucket.Store(nil)
			w.Waker.Wake()
		}
		n++
	}
	return n, nil
}
