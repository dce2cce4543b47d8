package ipv6

import (
	"net/netip"
	"slices"
	"time"

	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

const (
	// maxRedirects is how many destinations an interface knows another first hop for.
	maxRedirects = 64
	// redirectLifetime is how long it is believed: a router that is still of that opinion
	// says so again.
	redirectLifetime = 10 * time.Minute
)

// redirect is a destination that is reached by another first hop than the routes say.
type redirect struct {
	destination netip.Addr
	by          netip.Addr // the first hop
	until       time.Duration
	route       stack.RouteEntry
}

// handleRedirect says whether the message was valid (RFC 4861 sections 8.1 and 8.3).
func (e *endpoint) handleRedirect(m ndpMessage) bool {
	h := header.NDPRedirect(m.b)
	if !h.Valid() || !m.src.IsLinkLocalUnicast() || h.Destination().IsMulticast() || h.Destination().IsUnspecified() {
		return false
	}
	target, destination := h.Target(), h.Destination()
	if target != destination && !target.IsLinkLocalUnicast() {
		return false
	}
	settings := e.stack.Settings()
	if settings.IPv6Forwarding.Load() || settings.IPv6Disabled.Load() || !settings.IPv6AcceptRedirects.Load() {
		return true
	}
	if destination.IsLinkLocalUnicast() || destination.IsLoopback() || destination.Is4In6() ||
		e.nic.HasAddress(target) || target.IsLoopback() || target.IsMulticast() {
		return true // nothing that a router could know better
	}
	// Only the router that we would send to may send us elsewhere.
	r, err := e.stack.FindRoute(stack.RouteQuery{Destination: destination, NIC: e.nic.ID()})
	if err != nil || r.Local || r.NIC != e.nic || r.NextHop != m.src || !e.nic.HasAddress(m.dst) {
		return false
	}
	if link, ok := linkOption(h.Options(), header.NDPOptionTargetLink); ok {
		e.nic.LearnNeighbour(target, link)
		if target != destination {
			e.nic.SetRouter(target, true)
		}
	}
	mtu := r.Entry.MTU
	e.change(func() {
		if !e.busy() && e.up.Load() {
			e.redirected(destination, target, mtu)
		}
	})
	return true
}

// redirected makes packets to destination go by target. e.mu is held.
func (e *endpoint) redirected(destination, target netip.Addr, mtu uint32) {
	route := stack.RouteEntry{
		Destination: netip.PrefixFrom(destination, 128),
		NIC:         e.nic.ID(),
		Metric:      metricRouter,
		MTU:         mtu,
		Table:       stack.TableMain,
		Protocol:    protocolRedirect,
		Type:        stack.RouteUnicast,
		OnLink:      true,
	}
	if target != destination {
		route.Gateway = target
	}
	until := e.now() + redirectLifetime
	i := slices.IndexFunc(e.redirects, func(r redirect) bool { return r.destination == destination })
	if i >= 0 && e.redirects[i].route == route {
		e.redirects[i].until = until
		return
	}
	if i < 0 && len(e.redirects) >= maxRedirects {
		i = 0 // the one that is over first
	}
	if i >= 0 {
		e.withdraw(e.redirects[i].route)
		e.redirects = slices.Delete(e.redirects, i, i+1)
	}
	e.redirects = append(e.redirects, redirect{destination: destination, by: target, until: until, route: route})
	e.install(route)
}

// nextRedirect is when a redirect is over. e.mu is held.
func (e *endpoint) nextRedirect() time.Duration {
	due := never
	for i := range e.redirects {
		due = min(due, e.redirects[i].until)
	}
	return due
}

// tickRedirects removes redirects that are over. e.mu is held.
func (e *endpoint) tickRedirects(now time.Duration) {
	e.dropRedirects(func(r *redirect) bool { return r.until <= now })
}

// forgetRedirectsBy removes the redirects to a first hop that is none. e.mu is held.
func (e *endpoint) forgetRedirectsBy(addr netip.Addr) {
	e.dropRedirects(func(r *redirect) bool { return r.by == addr && r.destination != addr })
}

func (e *endpoint) dropRedirects(f func(*redirect) bool) {
	e.redirects = slices.DeleteFunc(e.redirects, func(r redirect) bool {
		drop := f(&r)
		if drop {
			e.withdraw(r.route)
		}
		return drop
	})
}
