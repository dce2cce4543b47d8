// Package futex implements futex(2): queues of tasks that sleep until another task says
// that a 32-bit word of memory changed.
//
// A word is identified by Key: for private memory (address space, address), for shared
// memory (mapped object, offset), so that two processes that map one file at different
// addresses meet. A Table hashes keys to buckets; a Waiter is on at most one bucket's list.
// The package never sleeps: Wait and its siblings queue the waiter and return, the caller
// parks its task until the waiter's Waker was called and Waiter.Done says that it counts,
// and then calls Finish, which takes the waiter off its queue if nobody woke it.
//
//	if err := tab.Wait(w, mem, addr, shared, val, mask); err != nil { return err }
//	for !w.Done() && err == nil { err = task.Block() }
//	if tab.Finish(w) { err = nil }
//
// Priority inheritance (pi.go) is Linux's protocol without the priorities: the sentry hands
// the lock to the waiter that came first. Robust lists are in robust.go.
//
// Lock order: bucket locks, two by rising index. Memory is read and changed through Memory
// with bucket locks held, so that a value and a queue agree; Memory may take its address
// space's locks and make pages present, therefore nobody may call this package with those
// locks held. Callers probe the word first, so that the access under the lock is short. A
// Waker is called with a bucket lock held and must not block.
//
// Source: futex(2), get_robust_list(2), Documentation/locking/{robust-futexes,
// futex-requeue-pi}.rst.
package futex

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Key identifies a futex word.
type Key struct {
	// Owner is the address space, or the mappable of shared memory: something
	// comparable, usually a pointer.
	Owner any
	// Offset is the address, or the offset in the mappable.
	Offset uint64
}

// Memory is the address space in which a futex call names its words. *mm.MemoryManager is
// one.
type Memory interface {
	// FutexKey identifies the word at addr, which is aligned. shared is false for
	// FUTEX_PRIVATE_FLAG.
	FutexKey(addr uintptr, shared bool) (Key, error)
	LoadUint32(addr uintptr) (uint32, error)
	CompareAndSwapUint32(addr uintptr, old, new uint32) (uint32, error)
}

// Waker makes a waiting task runnable. Implementations are pointers.
type Waker interface{ Wake() }

// MatchAny is FUTEX_BITSET_MATCH_ANY.
const MatchAny = ^uint32(0)

// Waiter is one place in a queue. A task may use the same Waiter for one wait after the
// other.
type Waiter struct {
	// Waker is called when the wait ends; set by the owner before the first wait.
	Waker Waker

	// bucket is the queue that holds the waiter, nil if none does. It changes with the
	// bucket's lock held and is read without.
	bucket atomic.Pointer[bucket]

	// Guarded by the bucket's lock.
	prev, next *Waiter
	key        Key
	mask       uint32
	pi         *piWait // waits for, or is to be moved to, a priority inheritance lock
}

// Done says whether the waiter was woken (or was never queued).
func (w *Waiter) Done() bool { return w.bucket.Load() == nil }

type bucket struct {
	mu         sync.Mutex
	head, tail *Waiter
	index      int
}

func (b *bucket) push(w *Waiter) {
	w.prev, w.next = b.tail, nil
	if b.tail != nil {
		b.tail.next = w
	} else {
		b.head = w
	}
	b.tail = w
	w.bucket.Store(b)
}

// unlink takes w off the list; w.bucket is the caller's business.
func (b *bucket) unlink(w *Waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		b.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		b.tail = w.prev
	}
	w.prev, w.next = nil, nil
}

// wake ends w's wait.
func (b *bucket) wake(w *Waiter) {
	b.unlink(w)
	waker := w.Waker
	w.bucket.Store(nil) // from here on w may be used for another wait
	waker.Wake()
}

const numBuckets = 512

// Table holds every waiter of a kernel.
type Table struct {
	buckets   [numBuckets]bucket
	seed      maphash.Seed `state:"nosave"`
	piWaiters atomic.Int64 // how many waiters are on a PI lock's queue
}

// NewTable makes an empty table.
func NewTable() *Table {
	t := &Table{seed: maphash.MakeSeed()}
	for i := range t.buckets {
		t.buckets[i].index = i
	}
	return t
}

// AfterLoad makes a restored table usable.
func (t *Table) AfterLoad() { t.seed = maphash.MakeSeed() }

func (t *Table) bucketOf(k Key) *bucket {
	return &t.buckets[maphash.Comparable(t.seed, k)%numBuckets]
}

func lockTwo(a, b *bucket) {
	switch {
	case a == b:
		a.mu.Lock()
	case a.index < b.index:
		a.mu.Lock()
		b.mu.Lock()
	default:
		b.mu.Lock()
		a.mu.Lock()
	}
}

func unlockTwo(a, b *bucket) {
	a.mu.Unlock()
	if a != b {
		b.mu.Unlock()
	}
}

// keyOf checks and identifies the word at addr.
func keyOf(mem Memory, addr uintptr, shared bool) (Key, error) {
	if addr%4 != 0 {
		return Key{}, unix.EINVAL
	}
	return mem.FutexKey(addr, shared)
}

// Wait queues w for the word at addr if it holds val. mask is FUTEX_WAIT_BITSET's.
// EAGAIN: it holds something else; EINVAL: bad alignment or mask; EFAULT.
func (t *Table) Wait(w *Waiter, mem Memory, addr uintptr, shared bool, val, mask uint32) error {
	if mask == 0 {
		return unix.EINVAL
	}
	k, err := keyOf(mem, addr, shared)
	if err != nil {
		return err
	}
	return t.queueIf(w, mem, addr, val, k, mask, nil)
}

// queueIf queues w on k if the word at addr is val.
func (t *Table) queueIf(w *Waiter, mem Memory, addr uintptr, val uint32, k Key, mask uint32, pi *piWait) error {
	// The probe: most failures, and the making present of the page, happen here.
	if v, err := mem.LoadUint32(addr); err != nil {
		return err
	} else if v != val {
		return unix.EAGAIN
	}
	b := t.bucketOf(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, err := mem.LoadUint32(addr); err != nil {
		return err
	} else if v != val {
		return unix.EAGAIN
	}
	w.key, w.mask, w.pi = k, mask, pi
	b.push(w)
	return nil
}

// Finish ends w's wait. It says whether w had been woken; if not, w is taken off its queue.
func (t *Table) Finish(w *Waiter) bool {
	for {
		b := w.bucket.Load()
		if b == nil {
			return true
		}
		b.mu.Lock()
		if w.bucket.Load() != b { // woken or requeued meanwhile
			b.mu.Unlock()
			continue
		}
		b.unlink(w)
		if w.pi != nil && w.pi.queued {
			t.piWaiters.Add(-1)
		}
		w.bucket.Store(nil)
		b.mu.Unlock()
		return false
	}
}

// WaitSpec is one word of futex_waitv(2).
type WaitSpec struct {
	Addr   uintptr
	Val    uint32
	Shared bool
}

// WaitMultiple queues ws[i] for specs[i], all or none. If one of those queued is woken
// before all are, its index is returned with done set. ws have a common Waker.
func (t *Table) WaitMultiple(ws []*Waiter, mem Memory, specs []WaitSpec) (index int, done bool, err error) {
	for i, s := range specs {
		if err = t.Wait(ws[i], mem, s.Addr, s.Shared, s.Val, MatchAny); err != nil {
			if j := t.FinishMultiple(ws[:i]); j >= 0 {
				return j, true, nil
			}
			return 0, false, err
		}
	}
	return 0, false, nil
}

// FinishMultiple ends the waits of all ws and returns the index of the last one that was
// woken, or -1.
func (t *Table) FinishMultiple(ws []*Waiter) int {
	index := -1
	for i, w := range ws {
		if t.Finish(w) {
			index = i
		}
	}
	return index
}

// Wake wakes at most n waiters of the word at addr whose mask meets mask, in the order in
// which they began to wait, and returns how many it woke. EINVAL: bad alignment or mask, or
// a waiter for a PI lock is among them; EFAULT: there is no memory at addr.
func (t *Table) Wake(mem Memory, addr uintptr, shared bool, mask uint32, n int) (int, error) {
	if mask == 0 {
		return 0, unix.EINVAL
	}
	k, err := keyOf(mem, addr, shared)
	if err != nil {
		return 0, err
	}
	b := t.bucketOf(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wakeKey(k, mask, n)
}

// wakeKey is Wake for a locked bucket.
func (b *bucket) wakeKey(k Key, mask uint32, n int) (int, error) {
	woken := 0
	for w := b.head; w != nil && woken < n; {
		next := w.next // w leaves the list below
		if w.key == k && w.mask&mask != 0 {
			if w.pi != nil {
				if woken == 0 {
					return 0, unix.EINVAL
				}
				break
			}
			b.wake(w)
			woken++
		}
		w = next
	}
	return woken, nil
}

// Requeue wakes at most nWake waiters of the word at from and makes at most nRequeue more
// wait for the word at to instead. With cmp set, only if the word at from is *cmp (EAGAIN).
// It returns how many were woken or, with cmp, moved.
func (t *Table) Requeue(mem Memory, from, to uintptr, shared bool, nWake, nRequeue int, cmp *uint32) (int, error) {
	if nWake < 0 || nRequeue < 0 {
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
	b1, b2 := t.bucketOf(k1), t.bucketOf(k2)
	if cmp != nil {
		if _, err := mem.LoadUint32(from); err != nil {
			return 0, err
		}
	}
	lockTwo(b1, b2)
	defer unlockTwo(b1, b2)
	if cmp != nil {
		if v, err := mem.LoadUint32(from); err != nil {
			return 0, err
		} else if v != *cmp {
			return 0, unix.EAGAIN
		}
	}
	n, err := b1.wakeKey(k1, MatchAny, nWake)
	if err != nil || k1 == k2 {
		return n, err
	}
	moved := 0
	for w := b1.head; w != nil && moved < nRequeue; {
		next := w.next
		if w.key == k1 {
			if w.pi != nil {
				if n+moved == 0 {
					return 0, unix.EINVAL
				}
				break
			}
			b1.unlink(w)
			w.key = k2
			b2.push(w)
			moved++
			if next == nil && b1 == b2 {
				break
			}
		}
		w = next
	}
	return n + moved, nil
}

// The parts of FUTEX_WAKE_OP's operation word.
const (
	opSet, opAdd, opOr, opAndn, opXor = 0, 1, 2, 3, 4
	opArgShift                        = 8

	cmpEq, cmpNe, cmpLt, cmpLe, cmpGt, cmpGe = 0, 1, 2, 3, 4, 5
)

// decodeOp splits FUTEX_WAKE_OP's val3 into a function of the old value and a test of it.
func decodeOp(op uint32, old uint32) (new uint32, wake bool, err error) {
	oparg := int32(op<<8) >> 20
	cmparg := int32(op<<20) >> 20
	o := op >> 28 & 15
	if o&opArgShift != 0 {
		o &^= opArgShift
		oparg = 1 << (uint32(oparg) & 31)
	}
	switch o {
	case opSet:
		new = uint32(oparg)
	case opAdd:
		new = old + uint32(oparg)
	case opOr:
		new = old | uint32(oparg)
	case opAndn:
		new = old &^ uint32(oparg)
	case opXor:
		new = old ^ uint32(oparg)
	default:
		return 0, false, unix.ENOSYS
	}
	switch a := int32(old); op >> 24 & 15 {
	case cmpEq:
		wake = a == cmparg
	case cmpNe:
		wake = a != cmparg
	case cmpLt:
		wake = a < cmparg
	case cmpLe:
		wake = a <= cmparg
	case cmpGt:
		wake = a > cmparg
	case cmpGe:
		wake = a >= cmparg
	default:
		return 0, false, unix.ENOSYS
	}
	return new, wake, nil
}

// WakeOp changes the word at addr2 by op, wakes at most n1 waiters of addr1, and at most n2
// of addr2 if the old value passes op's test.
func (t *Table) WakeOp(mem Memory, addr1, addr2 uintptr, shared bool, n1, n2 int, op uint32) (int, error) {
	k1, err := keyOf(mem, addr1, shared)
	if err != nil {
		return 0, err
	}
	k2, err := keyOf(mem, addr2, shared)
	if err != nil {
		return 0, err
	}
	old, err := mem.LoadUint32(addr2)
	if err != nil {
		return 0, err
	}
	if _, _, err := decodeOp(op, old); err != nil {
		return 0, err
	}
	b1, b2 := t.bucketOf(k1), t.bucketOf(k2)
	lockTwo(b1, b2)
	defer unlockTwo(b1, b2)
	var wake bool
	for {
		var new uint32
		new, wake, _ = decodeOp(op, old)
		v, err := mem.CompareAndSwapUint32(addr2, old, new)
		if err != nil {
			return 0, err
		}
		if v == old {
			break
		}
		old = v
	}
	n, err := b1.wakeKey(k1, MatchAny, n1)
	if err == nil && wake {
		var m int
		m, err = b2.wakeKey(k2, MatchAny, n2)
		n += m
	}
	return n, err
}
