package ipv6

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/network/internal/errorlimit"
	"runsc/pkg/tcpip/stack"
)

const (
	// maxWork is how many consequences of messages may wait in an endpoint's queue. It is
	// longer only if the host itself asks for more.
	maxWork = 128
	// never is a deadline that does not come.
	never = time.Duration(1<<63 - 1)

	// Purposes of keyed hashes.
	purposeFlowLabel  = 0x69707636_0001
	purposeFragmentID = 0x69707636_0002
	purposeRateLimit  = 0x69707636_0003
)

// protocol is IPv6 of one stack.
type protocol struct {
	stack    *stack.Stack
	limiter  errorlimit.Limiter
	ids      [1024]atomic.Uint32 // of fragmented packets, see fragmentID
	fragment reassembler
}

// New makes the protocol for s.
func New(s *stack.Stack) stack.NetworkProtocol {
	p := &protocol{stack: s}
	p.fragment.init(p)
	p.limiter.Init(s, purposeRateLimit)
	s.AddObserver(p)
	return p
}

// StackChanged implements stack.Observer: routers that do not answer are avoided.
func (p *protocol) StackChanged(c stack.Change) {
	if c.Neighbour == nil || c.On == nil || c.Removed || !c.Neighbour.Addr.Is6() {
		return
	}
	answers := c.Neighbour.State == stack.NeighbourReachable
	if e, ok := c.On.Endpoint(header.EtherTypeIPv6).(*endpoint); ok && (answers || c.Neighbour.State == stack.NeighbourFailed) {
		e.neighbourChanged(c.Neighbour.Addr, answers)
	}
}

// EtherType implements stack.NetworkProtocol.
func (p *protocol) EtherType() uint16 { return header.EtherTypeIPv6 }

// NewEndpoint implements stack.NetworkProtocol.
func (p *protocol) NewEndpoint(nic *stack.NIC) stack.NetworkEndpoint {
	e := &endpoint{protocol: p, stack: p.stack, nic: nic, loopback: nic.IsLoopback()}
	e.reset()
	e.mld.reset()
	return e
}

// Close implements stack.NetworkProtocol. The endpoints' timers end with Disable.
func (p *protocol) Close() {
	p.stack.RemoveObserver(p)
	p.fragment.close()
}

// endpoint is IPv6 on one NIC.
type endpoint struct {
	protocol *protocol
	stack    *stack.Stack
	nic      *stack.NIC
	loopback bool

	up atomic.Bool
	// hopLimit and linkMTU are what router advertisements say for this link; 0: nothing.
	hopLimit, linkMTU atomic.Uint32

	mu sync.Mutex // guards the fields below

	// work is what is to be done without the lock, in this order; working says that a
	// goroutine is at it.
	work    []func() `state:"nosave"` // empty whenever nothing runs
	working bool
	// timer calls tick at due.
	timer tcpip.Timer `state:"nosave"` // set again by change
	due   time.Duration

	// reachable and retransmit are BaseReachableTime, 0 for the default, and RetransTimer of
	// RFC 4861 section 6.3.2.
	reachable, retransmit time.Duration
	addresses             []addressState
	solicit               solicitation
	routers               []defaultRouter
	defaults              []stack.RouteEntry // the routes by them, as they are in the table
	prefixes              []onLinkPrefix
	auto                  []autoAddress
	redirects             []redirect
	mld                   listener
	// linkLocal is the link-local address that was made when the NIC came up.
	linkLocal netip.Addr
	// inNodes and inRouters say that the NIC is in the groups of all nodes and of routers.
	inNodes, inRouters bool
}

var _ stack.InternetEndpoint = (*endpoint)(nil)

// reset forgets everything that was learned from the link. e.mu is held, or e is new.
func (e *endpoint) reset() {
	e.hopLimit.Store(0)
	e.linkMTU.Store(0)
	e.reachable, e.retransmit = 0, defaultRetransmit
	e.nic.SetNeighbourTimes6(0, 0)
	e.solicit.due = never
	e.routers, e.prefixes, e.auto, e.redirects = nil, nil, nil, nil
}

// now is the time that deadlines are compared with.
func (e *endpoint) now() time.Duration { return e.stack.Clock().Monotonic() }

// random returns a time in [0, d) that nobody can foretell.
func (e *endpoint) random(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(e.stack.Random() % uint64(d))
}

// change calls f with the state locked, and afterwards, without the lock, what f left with later.
// If another goroutine, or a caller of this one, is carrying out such consequences already, it
// does these too, and change returns before.
func (e *endpoint) change(f func()) {
	e.mu.Lock()
	f()
	e.schedule()
	if e.working {
		e.mu.Unlock()
		return
	}
	e.working = true
	for len(e.work) > 0 {
		w := e.work
		e.work = nil
		e.mu.Unlock()
		for _, g := range w {
			g()
		}
		e.mu.Lock()
	}
	e.working = false
	e.mu.Unlock()
}

// later leaves f to be called without the lock. e.mu is held.
func (e *endpoint) later(f func()) { e.work = append(e.work, f) }

// busy says that so much waits to be done that messages from outside must not add to it. e.mu is
// held.
func (e *endpoint) busy() bool { return len(e.work) >= maxWork }

// schedule sets the timer to the earliest deadline. e.mu is held.
func (e *endpoint) schedule() {
	due := never
	if e.up.Load() {
		due = min(e.nextDAD(), e.solicit.due, e.nextRouter(), e.nextPrefix(), e.nextRedirect(), e.mld.next())
	}
	if due == e.due && e.timer != nil {
		return
	}
	e.due = due
	if due == never {
		if e.timer != nil {
			e.timer.Stop()
		}
		return
	}
	d := max(due-e.now(), 0)
	if e.timer == nil {
		e.timer = e.stack.Clock().AfterFunc(d, e.tick)
	} else {
		e.timer.Reset(d)
	}
}

// tick does what is due.
func (e *endpoint) tick() {
	e.change(func() {
		e.due = 0 // the timer is not set any more
		if !e.up.Load() {
			return
		}
		now := e.now()
		e.tickDAD(now)
		e.tickSolicit(now)
		e.tickRouters(now)
		e.tickPrefixes(now)
		e.tickRedirects(now)
		e.tickListener(now)
	})
}

// Enable implements stack.NetworkEndpoint.
func (e *endpoint) Enable() {
	if e.up.Swap(true) || e.stack.Settings().IPv6Disabled.Load() {
		return
	}
	e.start()
}

// Disable implements stack.NetworkEndpoint.
func (e *endpoint) Disable() {
	if e.up.Swap(false) {
		e.stop()
	}
}

// SettingsChanged makes changes of IPv6Disabled, IPv6Forwarding and AcceptRA take effect on an
// interface that is up: what depends on a message or a new address only follows them by itself.
func (e *endpoint) SettingsChanged() {
	if !e.up.Load() {
		return
	}
	if e.stack.Settings().IPv6Disabled.Load() {
		e.stop()
	} else {
		e.start()
	}
}

// start makes the NIC a node of its link, as far as it is not one: it is in the groups of all nodes
// (RFC 4291 section 2.8), has a link-local address, and probes the addresses that it was given
// while it was down.
func (e *endpoint) start() {
	if e.loopback {
		return
	}
	e.change(func() {
		e.startListener()
		e.member(&e.inNodes, true, header.IPv6AllNodes)
		e.member(&e.inRouters, e.stack.Settings().IPv6Forwarding.Load(), routerGroups[:]...)
		for i := range e.addresses {
			e.startDAD(&e.addresses[i], e.random(maxSolicitDelay))
		}
	})
	if !e.acceptsAdvertisements() {
		e.change(e.forgetRouters)
	}
	e.makeLinkLocal()
	e.change(e.beginSoliciting)
}

// stop takes away what start and the link's messages made. Addresses that were set by hand stay.
func (e *endpoint) stop() {
	if e.loopback {
		return
	}
	e.change(func() {
		e.member(&e.inRouters, false, routerGroups[:]...)
		e.member(&e.inNodes, false, header.IPv6AllNodes)
		e.forgetRouters()
		e.forgetPrefixes()
		e.reset()
		if ll := e.linkLocal; ll.IsValid() {
			e.linkLocal = netip.Addr{}
			e.later(func() { e.nic.RemoveAddress(netip.PrefixFrom(ll, 64)) })
		}
		for i := range e.addresses {
			e.addresses[i].due = never
		}
		e.stopListener()
	})
}

// routerGroups are those of all routers (RFC 4291 section 2.7.1): of the interface's own scope
// there is nothing to hear.
var routerGroups = [...]netip.Addr{
	header.IPv6AllRouters,
	netip.AddrFrom16([16]byte{0: 0xff, 1: 5, 15: 2}),
}

// member makes the NIC a member of groups, or not; is remembers which. e.mu is held.
func (e *endpoint) member(is *bool, on bool, groups ...netip.Addr) {
	if *is == on {
		return
	}
	*is = on
	for _, g := range groups {
		e.later(func() {
			if on {
				e.nic.JoinGroup(g)
			} else {
				e.nic.LeaveGroup(g)
			}
		})
	}
}

// makeLinkLocal gives the NIC a link-local address, formed from its link address (RFC 4862 section
// 5.3), unless it has one.
func (e *endpoint) makeLinkLocal() {
	link := e.nic.Link().LinkAddress()
	if link == (tcpip.LinkAddress{}) || link.IsMulticast() {
		return
	}
	for _, a := range e.nic.Addresses() {
		if addr := a.Prefix.Addr(); addr.Is6() && addr.IsLinkLocalUnicast() {
			return
		}
	}
	addr := header.LinkLocal(link)
	// Without AcceptDAD and with DADTransmits 0 nothing is probed, see startDAD.
	if e.nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(addr, 64), Scope: scopeLink}) == nil {
		e.change(func() { e.linkLocal = addr })
	}
}

// RT_SCOPE_* of rtnetlink(7).
const (
	scopeUniverse = 0
	scopeLink     = 253
)

// AddressAdded implements stack.InternetEndpoint.
func (e *endpoint) AddressAdded(a stack.Address) {
	addr := a.Prefix.Addr()
	if e.loopback || !addr.Is6() {
		return
	}
	e.change(func() {
		if e.addressState(addr) != nil {
			return
		}
		e.addresses = append(e.addresses, addressState{addr: addr, noDAD: a.NoDAD, due: never})
		if e.up.Load() && !e.stack.Settings().IPv6Disabled.Load() {
			e.startDAD(&e.addresses[len(e.addresses)-1], e.startDelay(addr))
		}
	})
}

// AddressRemoved implements stack.InternetEndpoint.
func (e *endpoint) AddressRemoved(a stack.Address) {
	addr := a.Prefix.Addr()
	e.change(func() {
		for i := range e.addresses {
			if s := e.addresses[i]; s.addr == addr {
				e.addresses = append(e.addresses[:i], e.addresses[i+1:]...)
				if s.joined {
					e.later(func() { e.nic.LeaveGroup(header.SolicitedNode(addr)) })
				}
				break
			}
		}
		if e.linkLocal == addr {
			e.linkLocal = netip.Addr{}
		}
		e.addressGone(addr)
	})
}

// addressState returns what is known of an address of the NIC, or nil. e.mu is held.
func (e *endpoint) addressState(addr netip.Addr) *addressState {
	for i := range e.addresses {
		if e.addresses[i].addr == addr {
			return &e.addresses[i]
		}
	}
	return nil
}
