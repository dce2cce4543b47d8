package epoll

import (
	"sync"

	"golang.org/x/sys/unix"
)

// maxDepth is how many instances may lie in each other.
const maxDepth = 5

// nestMu guards EventPoll.inner and EventPoll.outer of all instances. Only EPOLL_CTL_ADD and
// its undoing of an instance in an instance take it.
var nestMu sync.Mutex

// link records that outer has inner as an item. ELOOP: that would be a circle, or too deep.
func link(outer, inner *EventPoll) error {
	nestMu.Lock()
	defer nestMu.Unlock()
	if outer.inner[inner] == 0 {
		up, ok := height(outer, nil, func(e *EventPoll) map[*EventPoll]int { return e.outer }, maxDepth)
		if !ok {
			return unix.ELOOP
		}
		down, ok := height(inner, outer, func(e *EventPoll) map[*EventPoll]int { return e.inner }, maxDepth)
		if !ok || up+down > maxDepth {
			return unix.ELOOP
		}
	}
	if outer.inner == nil {
		outer.inner = make(map[*EventPoll]int)
	}
	if inner.outer == nil {
		inner.outer = make(map[*EventPoll]int)
	}
	outer.inner[inner]++
	inner.outer[outer]++
	return nil
}

// unlink undoes link.
func unlink(outer, inner *EventPoll) {
	nestMu.Lock()
	defer nestMu.Unlock()
	if outer.inner[inner]--; outer.inner[inner] == 0 {
		delete(outer.inner, inner)
		delete(inner.outer, outer)
		return
	}
	inner.outer[outer]--
}

// height is the number of instances on the longest way from e by next; not ok: it meets
// forbidden or is longer than limit.
func height(e, forbidden *EventPoll, next func(*EventPoll) map[*EventPoll]int, limit int) (int, bool) {
	if e == forbidden || limit == 0 {
		return 0, false
	}
	h := 0
	for n := range next(e) {
		m, ok := height(n, forbidden, next, limit-1)
		if !ok {
			return 0, false
		}
		h = max(h, m)
	}
	return h + 1, true
}
