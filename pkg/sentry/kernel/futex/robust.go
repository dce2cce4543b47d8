package futex

import (
	"encoding/binary"
)

// robustListLimit is how many entries of a robust list are looked at (ROBUST_LIST_LIMIT).
const robustListLimit = 2048

// RobustMemory is what walking a robust list needs.
type RobustMemory interface {
	Memory
	CopyIn(addr uintptr, dst []byte) (int, error)
}

// ExitRobustList marks the locks in the list at head (struct robust_list_head) that the
// exiting task tid holds, and wakes a waiter of each. The list is the application's and may
// hold anything.
func (t *Table) ExitRobustList(mem RobustMemory, head uintptr, tid uint32) {
	var h [24]byte
	if _, err := mem.CopyIn(head, h[:]); err != nil {
		return
	}
	next := binary.LittleEndian.Uint64(h[0:])
	offset := binary.LittleEndian.Uint64(h[8:])
	pending := binary.LittleEndian.Uint64(h[16:])
	for n := 0; n < robustListLimit; n++ {
		entry, pi := uintptr(next&^1), next&1 != 0
		if entry == head {
			break
		}
		// The next pointer first: the entry is free for reuse once it is marked.
		var b [8]byte
		_, err := mem.CopyIn(entry, b[:])
		if next&^1 != pending&^1 {
			if !t.robustDeath(mem, entry+uintptr(offset), tid, pi, false) {
				return
			}
		}
		if err != nil {
			break
		}
		next = binary.LittleEndian.Uint64(b[:])
	}
	if pending&^1 != 0 {
		t.robustDeath(mem, uintptr(pending&^1)+uintptr(offset), tid, pending&1 != 0, true)
	}
}

// robustDeath marks one lock; false means that the word cannot be used.
func (t *Table) robustDeath(mem Memory, addr uintptr, tid uint32, pi, pending bool) bool {
	if addr%4 != 0 {
		return false
	}
	for {
		v, err := mem.LoadUint32(addr)
		if err != nil {
			return false
		}
		// Died between unlocking in user space and waking: wake on its behalf.
		if pending && !pi && v == 0 {
			t.Wake(mem, addr, true, MatchAny, 1)
			return true
		}
		if v&TIDMask != tid {
			return true
		}
		got, err := mem.CompareAndSwapUint32(addr, v, v&Waiters|OwnerDied)
		if err != nil {
			return false
		}
		if got != v {
			continue
		}
		if !pi && v&Waiters != 0 {
			t.Wake(mem, addr, true, MatchAny, 1)
		}
		return true
	}
}
