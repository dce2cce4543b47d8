package ipv4

import (
	"net/netip"
	"sync"
	"time"

	"runsc/pkg/tcpip/stack"
)

// Limits of ICMP errors (RFC 1812 section 4.3.2.8), with the numbers of Linux: icmp_ratelimit for
// one destination, icmp_msgs_per_sec and icmp_msgs_burst for all.
const (
	errorInterval  = time.Second
	errorBurst     = 6
	globalInterval = time.Millisecond
	globalBurst    = 50
)

// limiter is token buckets, one for all errors and one for each hash of a destination.
type limiter struct {
	stack  *stack.Stack
	mu     sync.Mutex // guards the fields below
	global bucket
	slots  [256]bucket
}

// bucket has credit as time: an error costs an interval.
type bucket struct {
	last   time.Duration // monotonic
	credit time.Duration
}

func (l *limiter) init(s *stack.Stack) {
	l.stack = s
	now := s.Clock().Monotonic()
	l.global = bucket{now, globalBurst * globalInterval}
	for i := range l.slots {
		l.slots[i] = bucket{now, errorBurst * errorInterval}
	}
}

// fill adds what time has brought and says whether there is enough for one.
func (b *bucket) fill(now, interval time.Duration, burst int) bool {
	b.credit = min(b.credit+now-b.last, time.Duration(burst)*interval)
	b.last = now
	return b.credit >= interval
}

// hashLimit is the purpose of Stack.Hash for slots.
const hashLimit = 0x697076342d6c696d

// allow says whether an error may be sent to dst now, and counts it if so.
func (l *limiter) allow(dst netip.Addr) bool {
	a := dst.As4()
	slot := &l.slots[l.stack.Hash(hashLimit, a[:])%uint64(len(l.slots))]
	now := l.stack.Clock().Monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	global := l.global.fill(now, globalInterval, globalBurst)
	if !slot.fill(now, errorInterval, errorBurst) || !global {
		return false
	}
	slot.credit -= errorInterval
	l.global.credit -= globalInterval
	return true
}
