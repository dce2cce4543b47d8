// Package sem implements System V semaphores (semget(2), semop(2), semctl(2)).
//
// A Registry holds the sets of an IPC namespace. An operation on a set is tried under the
// registry's lock: all of it happens or nothing does. Who must wait registers with the
// set's queue and tries again each time a value changed.
//
// SEM_UNDO is remembered for each process (the threads of a process share it, as pthreads
// do by CLONE_SYSVSEM) and carried out by Exit.
//
// Lock order: Registry.mu → waiter queues. Registry.mu is not held while a task waits.
package sem

import (
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/ipc"
	"runsc/pkg/waiter"
)

// Limits (/proc/sys/kernel/sem, semctl(2)).
const (
	MaxSets   = 32000   // SEMMNI
	MaxPerSet = 32000   // SEMMSL
	MaxInAll  = 4096000 // SEMMNS
	MaxOps    = 500     // SEMOPM
	MaxValue  = 32767   // SEMVMX
	maxAdjust = 32767   // SEMAEM
	nsPerSec  = 1_000_000_000
)

// Registry holds the semaphore sets of an IPC namespace.
type Registry struct {
	mu    sync.Mutex // guards the fields below and all Sets
	table ipc.Table[*Set]
	total int // semaphores
	undo  map[any]map[*Set][]int32
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry {
	return &Registry{table: ipc.NewTable[*Set](MaxSets), undo: make(map[any]map[*Set][]int32)}
}

// Set is a set of semaphores.
type Set struct {
	ipc.Perm
	queue        waiter.Queue // who waits for a value to change
	sems         []semaphore
	otime, ctime int64 // seconds
	removed      bool
}

type semaphore struct {
	value          int32
	pid            int32 // who changed it last, in the sandbox's root namespace
	ncount, zcount int32 // who waits for more, and for zero
}

// Op is struct sembuf.
type Op struct {
	Num   uint16
	Op    int16
	Flags int16
}

const semUndo = 0x1000 // SEM_UNDO

// Get is semget(2).
func (r *Registry) Get(c ipc.Caller, now int64, key int32, n int32, flags uint32) (int32, error) {
	if n < 0 || n > MaxPerSet {
		return 0, unix.EINVAL
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, found, err := r.table.Find(c, key, flags)
	if err != nil {
		return 0, err
	}
	if found {
		if int(n) > len(s.sems) {
			return 0, unix.EINVAL
		}
		return s.ID, nil
	}
	if n == 0 {
		return 0, unix.EINVAL
	}
	if r.total+int(n) > MaxInAll {
		return 0, unix.ENOSPC
	}
	s = &Set{sems: make([]semaphore, n), ctime: now / nsPerSec}
	if err := r.table.Add(c, key, flags, s); err != nil {
		return 0, err
	}
	r.total += int(n)
	return s.ID, nil
}

// find returns the set if c has access to it; mu is held.
func (r *Registry) find(c ipc.Caller, id int32, access uint32) (*Set, error) {
	s, err := r.table.Get(id)
	if err != nil {
		return nil, err
	}
	if !s.Allowed(c, access) {
		return nil, unix.EACCES
	}
	return s, nil
}

// Operate is semtimedop(2). owner is the process that SEM_UNDO counts for. It waits until
// deadline (CLOCK_MONOTONIC; negative: for ever), then fails with EAGAIN. EINTR: a signal
// came; EIDRM: the set was removed.
func (r *Registry) Operate(ctx context.Context, c ipc.Caller, owner any, id int32, ops []Op, deadline int64) error {
	access := uint32(ipc.Read)
	for _, o := range ops {
		if o.Op != 0 {
			access = ipc.Write
		}
	}
	r.mu.Lock()
	s, err := r.table.Get(id)
	if err == nil {
		for _, o := range ops {
			if int(o.Num) >= len(s.sems) {
				err = unix.EFBIG
				break
			}
		}
	}
	if err == nil && !s.Allowed(c, access) {
		err = unix.EACCES
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	blocked, changed, err := r.try(s, c, owner, ops)
	if err == nil && blocked == nil && changed {
		s.otime = ctx.RealTime() / nsPerSec
	}
	r.mu.Unlock()
	if changed {
		s.queue.Notify(waiter.EventOut)
	}
	if err != nil || blocked == nil {
		return err
	}
	return r.wait(ctx, s, c, owner, ops, deadline)
}

// wait is the slow half of Operate.
func (r *Registry) wait(ctx context.Context, s *Set, c ipc.Caller, owner any, ops []Op, deadline int64) error {
	e := waiter.Entry{Mask: waiter.EventOut, Listener: ctx.Waker()}
	s.queue.EventRegister(&e)
	defer s.queue.EventUnregister(&e)
	for {
		r.mu.Lock()
		if s.removed {
			r.mu.Unlock()
			return unix.EIDRM
		}
		blocked, changed, err := r.try(s, c, owner, ops)
		if blocked != nil {
			s.waits(blocked, 1)
		} else if err == nil {
			s.otime = ctx.RealTime() / nsPerSec
		}
		r.mu.Unlock()
		if changed {
			s.queue.Notify(waiter.EventOut)
		}
		if err != nil || blocked == nil {
			return err
		}
		if deadline < 0 {
			err = ctx.Block()
		} else {
			err = ctx.BlockUntil(deadline)
		}
		r.mu.Lock()
		s.waits(blocked, -1)
		removed := s.removed
		r.mu.Unlock()
		switch {
		case removed:
			return unix.EIDRM
		case err == unix.ETIMEDOUT:
			return unix.EAGAIN
		case err != nil:
			return unix.EINTR
		}
	}
}

// waits counts one who waits because of o, or one less.
func (s *Set) waits(o *Op, by int32) {
	if o.Op == 0 {
		s.sems[o.Num].zcount += by
	} else {
		s.sems[o.Num].ncount += by
	}
}

// try carries out all ops or none. blocked is the one that has to wait; mu is held.
func (r *Registry) try(s *Set, c ipc.Caller, owner any, ops []Op) (blocked *Op, changed bool, err error) {
	i := 0
	var adjust []int32
	for ; i < len(ops); i++ {
		o := &ops[i]
		m := &s.sems[o.Num]
		v := m.value + int32(o.Op)
		switch {
		case o.Op == 0 && m.value != 0, v < 0:
			if o.Flags&unix.IPC_NOWAIT != 0 {
				err = unix.EAGAIN
			}
			blocked = o
		case v > MaxValue:
			err = unix.ERANGE
		case o.Flags&semUndo != 0:
			if adjust == nil {
				adjust = r.adjustments(owner, s)
			}
			a := adjust[o.Num] - int32(o.Op)
			if a < -maxAdjust-1 || a > maxAdjust {
				err = unix.ERANGE
			} else {
				adjust[o.Num] = a
			}
		}
		if blocked != nil || err != nil {
			break
		}
		m.value = v
	}
	if blocked != nil || err != nil {
		for i--; i >= 0; i-- {
			o := &ops[i]
			s.sems[o.Num].value -= int32(o.Op)
			if o.Flags&semUndo != 0 {
				adjust[o.Num] += int32(o.Op)
			}
		}
		return blocked, false, err
	}
	for _, o := range ops {
		s.sems[o.Num].pid = c.PID
		changed = changed || o.Op != 0
	}
	return nil, changed, nil
}

// adjustments is what owner's end will add to the values of s; mu is held.
func (r *Registry) adjustments(owner any, s *Set) []int32 {
	sets := r.undo[owner]
	if sets == nil {
		sets = make(map[*Set][]int32)
		r.undo[owner] = sets
	}
	a := sets[s]
	if a == nil {
		a = make([]int32, len(s.sems))
		sets[s] = a
	}
	return a
}

// Exit undoes what owner, which ends, asked for by SEM_UNDO. pid is its process id.
func (r *Registry) Exit(owner any, pid int32, now int64) {
	r.mu.Lock()
	sets := r.undo[owner]
	delete(r.undo, owner)
	for s, adjust := range sets {
		for i, a := range adjust {
			if a != 0 {
				m := &s.sems[i]
				m.value = min(max(m.value+a, 0), MaxValue)
				m.pid = pid
			}
		}
		s.otime = now / nsPerSec
	}
	r.mu.Unlock()
	for s := range sets {
		s.queue.Notify(waiter.EventOut)
	}
}

// Remove is IPC_RMID.
func (r *Registry) Remove(c ipc.Caller, id int32) error {
	r.mu.Lock()
	s, err := r.table.Get(id)
	if err == nil && !s.MayControl(c) {
		err = unix.EPERM
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	s.removed = true
	r.table.Remove(s)
	r.total -= len(s.sems)
	for _, sets := range r.undo {
		delete(sets, s)
	}
	r.mu.Unlock()
	s.queue.Notify(waiter.EventOut)
	return nil
}

// Change is IPC_SET.
func (r *Registry) Change(c ipc.Caller, id int32, uid auth.KUID, gid auth.KGID, mode uint32, now int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.table.Get(id)
	if err != nil {
		return err
	}
	if !s.MayControl(c) {
		return unix.EPERM
	}
	s.UID, s.GID, s.Mode = uid, gid, mode&0o777
	s.ctime = now / nsPerSec
	return nil
}

// Status is what IPC_STAT reports.
type Status struct {
	ipc.Perm
	Otime, Ctime int64 // seconds
	Sems         int
}

// Stat is IPC_STAT; with bySlot, id is a slot (SEM_STAT), and with anyone no permission is
// needed (SEM_STAT_ANY).
func (r *Registry) Stat(c ipc.Caller, id int32, bySlot, anyone bool) (Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.table.Stat(c, id, bySlot, anyone)
	if err != nil {
		return Status{}, err
	}
	return Status{s.Perm, s.otime, s.ctime, len(s.sems)}, nil
}

// Totals are the numbers of sets and semaphores and the highest slot in use.
func (r *Registry) Totals() (sets, sems, highest int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.Len(), r.total, r.table.Highest()
}

// Semaphore is the state of one semaphore.
type Semaphore struct {
	Value, PID, NCount, ZCount int32
}

// Semaphore returns the state of number n of a set (GETVAL, GETPID, GETNCNT, GETZCNT).
func (r *Registry) Semaphore(c ipc.Caller, id, n int32) (Semaphore, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(c, id, ipc.Read)
	if err != nil {
		return Semaphore{}, err
	}
	if n < 0 || int(n) >= len(s.sems) {
		return Semaphore{}, unix.EINVAL
	}
	m := s.sems[n]
	return Semaphore{m.value, m.pid, m.ncount, m.zcount}, nil
}

// Values is GETALL.
func (r *Registry) Values(c ipc.Caller, id int32) ([]uint16, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(c, id, ipc.Read)
	if err != nil {
		return nil, err
	}
	v := make([]uint16, len(s.sems))
	for i := range v {
		v[i] = uint16(s.sems[i].value)
	}
	return v, nil
}

// Size is the number of semaphores, for SETALL; c must be able to change them.
func (r *Registry) Size(c ipc.Caller, id int32) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(c, id, ipc.Write)
	if err != nil {
		return 0, err
	}
	return len(s.sems), nil
}

// SetValue is SETVAL. What processes would undo is forgotten.
func (r *Registry) SetValue(c ipc.Caller, id, n, v int32, now int64) error {
	if v < 0 || v > MaxValue {
		return unix.ERANGE
	}
	r.mu.Lock()
	s, err := r.find(c, id, ipc.Write)
	if err == nil && (n < 0 || int(n) >= len(s.sems)) {
		err = unix.EINVAL
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	s.sems[n].value, s.sems[n].pid = v, c.PID
	for _, sets := range r.undo {
		if a := sets[s]; a != nil {
			a[n] = 0
		}
	}
	s.ctime = now / nsPerSec
	r.mu.Unlock()
	s.queue.Notify(waiter.EventOut)
	return nil
}

// SetValues is SETALL. EINVAL: the set has another size (it was replaced meanwhile).
func (r *Registry) SetValues(c ipc.Caller, id int32, v []uint16, now int64) error {
	for _, x := range v {
		if x > MaxValue {
			return unix.ERANGE
		}
	}
	r.mu.Lock()
	s, err := r.find(c, id, ipc.Write)
	if err == nil && len(v) != len(s.sems) {
		err = unix.EINVAL
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	for i, x := range v {
		s.sems[i].value, s.sems[i].pid = int32(x), c.PID
	}
	for _, sets := range r.undo {
		delete(sets, s)
	}
	s.ctime = now / nsPerSec
	r.mu.Unlock()
	s.queue.Notify(waiter.EventOut)
	return nil
}

// ProcText is the content of /proc/sysvipc/sem.
func (r *Registry) ProcText(uid func(auth.KUID) uint32, gid func(auth.KGID) uint32) string {
	var b strings.Builder
	b.WriteString("       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table.Each(func(s *Set) {
		fmt.Fprintf(&b, "%10d %10d  %4o %10d %5d %5d %5d %5d %10d %10d\n", s.Key, s.ID, s.Mode, len(s.sems),
			uid(s.UID), gid(s.GID), uid(s.CUID), gid(s.CGID), s.otime, s.ctime)
	})
	return b.String()
}
