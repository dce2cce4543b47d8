// Package errorlimit limits the rate of messages that anybody can make a host send: ICMP errors
// (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f) and redirects.
//
// A Limiter has a token bucket for each destination and one for all together, with the numbers
// of Linux (icmp_ratelimit, icmp_msgs_per_sec, icmp_msgs_burst). Its size is fixed: destinations
// share buckets, by a hash that nobody can foretell.
//
// Locks: Limiter.mu is a leaf.
package errorlimit

import (
	"net/netip"
	"sync"
	"time"

	"runsc/pkg/tcpip/stack"
)

// The rates: one message in an interval, after a burst of so many.
const (
	Interval      = time.Second
	Burst         = 6
	TotalInterval = time.Millisecond
	TotalBurst    = 50
	buckets       = 256
)

// Limiter is the limits of one protocol of a stack. Call Init.
type Limiter struct {
	stack   *stack.Stack
	purpose uint64

	mu    sync.Mutex // guards the fields below
	total bucket
	each  [buckets]bucket
}

// Init makes l ready, with all buckets full. purpose is that of Stack.Hash.
func (l *Limiter) Init(s *stack.Stack, purpose uint64) { l.stack, l.purpose = s, purpose }

// bucket is a token bucket, kept as the monotonic time at which it will be full again.
type bucket struct{ full time.Duration }

// has says whether there is a token, of burst which come back one in an interval.
func (b *bucket) has(now, interval time.Duration, burst int) bool {
	return b.full-now <= time.Duration(burst-1)*interval
}

// take takes a token that is there.
func (b *bucket) take(now, interval time.Duration) { b.full = max(b.full, now) + interval }

// Allow says whether a message to dst may be sent now, and counts it if so.
func (l *Limiter) Allow(dst netip.Addr) bool {
	a := dst.As16()
	each := &l.each[l.stack.Hash(l.purpose, a[:])%buckets]
	now := l.stack.Clock().Monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	// Who floods us uses up nobody else's tokens: those of the total are taken only for what
	// is sent.
	if !each.has(now, Interval, Burst) || !l.total.has(now, TotalInterval, TotalBurst) {
		return false
	}
	each.take(now, Interval)
	l.total.take(now, TotalInterval)
	return true
}

// AllowAny is Allow of a message that only the total limits: senders must hear of a path MTU for
// each of their paths.
func (l *Limiter) AllowAny() bool {
	now := l.stack.Clock().Monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.total.has(now, TotalInterval, TotalBurst) {
		return false
	}
	l.total.take(now, TotalInterval)
	return true
}
