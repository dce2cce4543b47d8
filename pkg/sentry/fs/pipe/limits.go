package pipe

import (
	"sync"
	"sync/atomic"

	"runsc/pkg/sentry/kernel/auth"
)

const (
	defaultMaxSize = 1 << 20 // /proc/sys/fs/pipe-max-size
	hardMaxSize    = 1 << 26 // nobody gets more
	// defaultUserPages is /proc/sys/fs/pipe-user-pages-soft: whose pipes have so many
	// pages in all gets pipes of minSlots from then on.
	defaultUserPages = 16384
	minSlots         = 2
)

// Limits are what /proc/sys/fs/pipe-* say, and who uses how much. A kernel has one; the
// zero value has Linux's defaults.
type Limits struct {
	// MaxSize is pipe-max-size in bytes, UserPagesSoft is pipe-user-pages-soft; 0 stands
	// for the default.
	MaxSize       atomic.Int64
	UserPagesSoft atomic.Int64

	mu   sync.Mutex // guards used
	used map[auth.KUID]int
}

func (l *Limits) maxSize() int {
	if n := l.MaxSize.Load(); n > 0 {
		return int(n)
	}
	return defaultMaxSize
}

func (l *Limits) userPages() int {
	if n := l.UserPagesSoft.Load(); n > 0 {
		return int(n)
	}
	return defaultUserPages
}

func (l *Limits) initialSlots() int { return min(DefaultSlots, l.maxSize()/pageSize) }

// charge counts slots pages for uid and returns how many were granted: all, or minSlots.
func (l *Limits) charge(uid auth.KUID, slots int) int {
	slots = min(slots, max(l.initialSlots(), 1))
	if !l.allows(uid, slots) {
		slots = min(slots, minSlots)
	}
	l.adjust(uid, slots)
	return slots
}

func (l *Limits) allows(uid auth.KUID, more int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used[uid]+more <= l.userPages()
}

func (l *Limits) adjust(uid auth.KUID, by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == nil {
		l.used = make(map[auth.KUID]int)
	}
	if l.used[uid] += by; l.used[uid] <= 0 {
		delete(l.used, uid)
	}
}
