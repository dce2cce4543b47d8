package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"runsc/pkg/tcpip/header"
)

const (
	// pathMTULifetime is how long a path MTU is believed (RFC 1191 section 6.3, RFC 8201
	// section 4).
	pathMTULifetime = 10 * time.Minute
	// pathMTULimit bounds the table, which routers on the way, or who pretends to be one,
	// fill.
	pathMTULimit = 1024
	// minimumPathMTU is the least path MTU that is believed over IPv4 (net.ipv4.route.min_pmtu):
	// attackers would like us to send tiny packets (RFC 5927 section 7.3).
	minimumPathMTU = 552
)

// pathMTUs are the path MTUs that are less than the interface's.
type pathMTUs struct {
	n  atomic.Int32 // entries, so that nothing is locked as long as there are none
	mu sync.RWMutex // guards m
	m  map[netip.Addr]pathMTUEntry
}

type pathMTUEntry struct {
	mtu   uint32
	until time.Duration // monotonic
}

// get returns the path MTU to dst, 0 if none is known.
func (p *pathMTUs) get(s *Stack, dst netip.Addr) uint32 {
	if p.n.Load() == 0 {
		return 0
	}
	p.mu.RLock()
	e, ok := p.m[dst]
	p.mu.RUnlock()
	if !ok {
		return 0
	}
	if s.clock.Monotonic() < e.until {
		return e.mtu
	}
	p.mu.Lock()
	if p.m[dst] == e {
		delete(p.m, dst)
		p.n.Store(int32(len(p.m)))
	}
	p.mu.Unlock()
	return 0
}

// SetPathMTU records that packets to dst may not be longer than mtu, for 10 minutes; values
// under the protocol's minimum are raised to it. A value that is not less than what is known is
// of no interest: only time raises a path MTU.
func (s *Stack) SetPathMTU(dst netip.Addr, mtu uint32) {
	if dst.Is6() {
		mtu = max(mtu, header.IPv6MinimumMTU)
	} else {
		mtu = max(mtu, minimumPathMTU)
	}
	p := &s.pathMTU
	now := s.clock.Monotonic()
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.m[dst]
	if ok && old.until > now && mtu > old.mtu {
		return
	}
	if p.m == nil {
		p.m = map[netip.Addr]pathMTUEntry{}
	}
	if !ok && len(p.m) >= pathMTULimit {
		p.evict(now)
	}
	p.m[dst] = pathMTUEntry{mtu, now + pathMTULifetime}
	p.n.Store(int32(len(p.m)))
}

// evict makes room: what is over, or else what is over soonest of some. p.mu is held.
func (p *pathMTUs) evict(now time.Duration) {
	var victim netip.Addr
	var until time.Duration
	looked := 0
	for a, e := range p.m {
		if e.until <= now {
			delete(p.m, a)
			continue
		}
		if !victim.IsValid() || e.until < until {
			victim, until = a, e.until
		}
		if looked++; looked == 16 && len(p.m) >= pathMTULimit {
			break
		}
	}
	if len(p.m) >= pathMTULimit {
		delete(p.m, victim)
	}
}
