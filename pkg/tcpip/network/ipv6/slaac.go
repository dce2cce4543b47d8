package ipv6

import (
	"net/netip"
	"slices"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

const (
	// maxPrefixes is how many on-link prefixes an interface learns, maxAuto how many
	// addresses it makes of prefixes (Linux: max_addresses).
	maxPrefixes = 16
	maxAuto     = 16
	// metricPrefix is what Linux gives to routes of prefixes.
	metricPrefix = 256
	// shortestLife is the time that an advertisement, which anybody may have sent, cannot
	// take from an address (RFC 4862 section 5.5.3 e).
	shortestLife = 2 * time.Hour
)

// onLinkPrefix is an entry of the prefix list (RFC 4861 section 5.1).
type onLinkPrefix struct {
	prefix netip.Prefix
	until  time.Duration // never: for ever
	route  stack.RouteEntry
}

// autoAddress is an address that was made of a prefix (RFC 4862 section 5.5).
type autoAddress struct {
	addr             netip.Addr
	prefix           netip.Prefix
	preferred, valid time.Duration // until when; never: for ever
	// deprecated: the preferred lifetime is over. gone: another node has the address, or
	// somebody removed it, so that it is not made again.
	deprecated, gone bool
}

// after is the moment d from now, which is never for an infinite d.
func after(now, d time.Duration) time.Duration {
	if d == header.NDPInfinite {
		return never
	}
	return now + d
}

// lifetime is the time from now to a moment as stack.Address has it: 0 is for ever.
func lifetime(now, until time.Duration) time.Duration {
	if until == never {
		return 0
	}
	return max(until-now, time.Nanosecond)
}

// advertisedPrefix takes over a prefix option (RFC 4861 section 6.3.4). e.mu is held.
func (e *endpoint) advertisedPrefix(o header.NDPPrefix, now time.Duration) {
	p := o.Prefix()
	if p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Bits() == 0 {
		return
	}
	if o.OnLink() {
		e.advertisedOnLink(p, o.ValidLifetime(), now)
	}
	if o.Autonomous() && e.stack.Settings().Autoconf.Load() {
		e.advertisedAuto(p, o.PreferredLifetime(), o.ValidLifetime(), now)
	}
}

func (e *endpoint) advertisedOnLink(p netip.Prefix, valid, now time.Duration) {
	i := slices.IndexFunc(e.prefixes, func(q onLinkPrefix) bool { return q.prefix == p })
	switch {
	case valid == 0 && i >= 0:
		e.dropPrefix(i)
	case valid != 0 && i >= 0:
		e.prefixes[i].until = after(now, valid)
	case valid != 0 && len(e.prefixes) < maxPrefixes:
		route := stack.RouteEntry{
			Destination: p,
			NIC:         e.nic.ID(),
			Metric:      metricPrefix,
			MTU:         e.linkMTU.Load(),
			Table:       stack.TableMain,
			Protocol:    protocolRA,
			Type:        stack.RouteUnicast,
		}
		e.prefixes = append(e.prefixes, onLinkPrefix{prefix: p, until: after(now, valid), route: route})
		e.install(route)
	}
}

func (e *endpoint) dropPrefix(i int) {
	e.withdraw(e.prefixes[i].route)
	e.prefixes = slices.Delete(e.prefixes, i, i+1)
}

// renewPrefixRoutes gives the routes of prefixes the link's MTU. e.mu is held.
func (e *endpoint) renewPrefixRoutes() {
	for i := range e.prefixes {
		p := &e.prefixes[i]
		if mtu := e.linkMTU.Load(); p.route.MTU != mtu {
			e.withdraw(p.route)
			p.route.MTU = mtu
			e.install(p.route)
		}
	}
}

// advertisedAuto makes an address of a prefix, or renews its lifetimes (RFC 4862 section 5.5.3).
// e.mu is held.
func (e *endpoint) advertisedAuto(p netip.Prefix, preferred, valid, now time.Duration) {
	if preferred > valid {
		return
	}
	i := slices.IndexFunc(e.auto, func(a autoAddress) bool { return a.prefix == p })
	if i < 0 {
		if valid == 0 || len(e.auto) >= maxAuto {
			return
		}
		link := e.nic.Link().LinkAddress()
		// Together with the identifier of 64 bits it must be an address (section 5.5.3 d).
		if p.Bits() != 64 || link == (tcpip.LinkAddress{}) {
			return
		}
		v := p.Addr().As16()
		id := header.InterfaceID(link)
		copy(v[8:], id[:])
		e.auto = append(e.auto, autoAddress{
			addr: netip.AddrFrom16(v), prefix: p,
			preferred: after(now, preferred), valid: after(now, valid), deprecated: preferred == 0,
		})
		e.addAuto(e.auto[len(e.auto)-1], now)
		return
	}
	a := &e.auto[i]
	a.renew(preferred, valid, now)
	if !a.gone {
		e.renewAuto(*a, now)
	}
}

// renew sets the lifetimes to advertised ones, as far as those are believed (RFC 4862 section 5.5.3
// e): nobody can take away an address by a forged message at once.
func (a *autoAddress) renew(preferred, valid, now time.Duration) {
	left := a.valid - now
	switch until := after(now, valid); {
	case valid > shortestLife || until > a.valid:
		a.valid = until
	case left > shortestLife:
		a.valid = now + shortestLife
	}
	a.preferred = min(after(now, preferred), a.valid)
	a.deprecated = a.preferred <= now
}

// addAuto gives the NIC an address. Its prefix is on the link only if that was advertised, too
// (RFC 5942 section 4). e.mu is held.
func (e *endpoint) addAuto(a autoAddress, now time.Duration) {
	settings := e.stack.Settings()
	address := stack.Address{
		Prefix:        netip.PrefixFrom(a.addr, a.prefix.Bits()),
		Scope:         scopeUniverse,
		Tentative:     settings.AcceptDAD.Load() && settings.DADTransmits.Load() > 0 && e.hasNeighbours(),
		Deprecated:    a.deprecated,
		Temporary:     true,
		NoPrefixRoute: true,
		Preferred:     lifetime(now, a.preferred),
		Valid:         lifetime(now, a.valid),
	}
	e.later(func() {
		if !e.up.Load() {
			return
		}
		if e.nic.AddAddress(address) != nil {
			e.adopt(a)
		}
	})
}

// adopt handles that the NIC has the address a already. If it lasts for some time only, it was made
// of this prefix before, by another stack from which this one took it over, and is renewed from now
// on. Otherwise somebody set it by hand, and it is theirs.
func (e *endpoint) adopt(a autoAddress) {
	x, ok := e.nic.Address(a.addr)
	e.change(func() {
		i := slices.IndexFunc(e.auto, func(b autoAddress) bool { return b.addr == a.addr })
		if i < 0 {
			return
		}
		if !ok || !x.Temporary || x.Valid == 0 {
			e.auto[i].gone = true
			return
		}
		now := e.now()
		b := &e.auto[i]
		preferred, valid := b.preferred-now, b.valid-now
		if b.preferred == never {
			preferred = header.NDPInfinite
		}
		if b.valid == never {
			valid = header.NDPInfinite
		}
		b.valid = now + x.Valid
		b.renew(preferred, valid, now)
		e.renewAuto(*b, now)
	})
}

// renewAuto tells the NIC of an address's new lifetimes. e.mu is held.
func (e *endpoint) renewAuto(a autoAddress, now time.Duration) {
	preferred, valid := lifetime(now, a.preferred), lifetime(now, a.valid)
	e.later(func() {
		e.nic.UpdateAddress(a.addr, func(x *stack.Address) {
			x.Preferred, x.Valid, x.Deprecated = preferred, valid, a.deprecated
		})
	})
}

// nextPrefix is when a prefix's or an address's lifetime ends. e.mu is held.
func (e *endpoint) nextPrefix() time.Duration {
	due := never
	for i := range e.prefixes {
		due = min(due, e.prefixes[i].until)
	}
	for i := range e.auto {
		a := &e.auto[i]
		due = min(due, a.valid)
		if !a.deprecated {
			due = min(due, a.preferred)
		}
	}
	return due
}

// tickPrefixes ends lifetimes (RFC 4861 section 6.3.5, RFC 4862 section 5.5.4). e.mu is held.
func (e *endpoint) tickPrefixes(now time.Duration) {
	for i := len(e.prefixes) - 1; i >= 0; i-- {
		if e.prefixes[i].until <= now {
			e.dropPrefix(i)
		}
	}
	for i := len(e.auto) - 1; i >= 0; i-- {
		switch a := &e.auto[i]; {
		case a.valid <= now:
			e.dropAuto(i)
		case a.preferred <= now && !a.deprecated:
			a.deprecated = true
			if !a.gone {
				e.renewAuto(*a, now)
			}
		}
	}
}

func (e *endpoint) dropAuto(i int) {
	a := e.auto[i]
	e.auto = slices.Delete(e.auto, i, i+1)
	if !a.gone {
		e.later(func() { e.removeAddress(a.addr) })
	}
}

// autoFailed says whether addr was made here, and if so remembers not to make it again: another
// node has it. e.mu is held.
func (e *endpoint) autoFailed(addr netip.Addr) bool {
	i := slices.IndexFunc(e.auto, func(a autoAddress) bool { return a.addr == addr && !a.gone })
	if i < 0 {
		return false
	}
	e.auto[i].gone = true
	return true
}

// addressGone hears that an address is not on the NIC any more, or is not ours to remove. e.mu is
// held.
func (e *endpoint) addressGone(addr netip.Addr) { e.autoFailed(addr) }

// forgetPrefixes removes all prefixes and the addresses that were made of them. e.mu is held.
func (e *endpoint) forgetPrefixes() {
	for len(e.prefixes) > 0 {
		e.dropPrefix(len(e.prefixes) - 1)
	}
	for len(e.auto) > 0 {
		e.dropAuto(len(e.auto) - 1)
	}
}
