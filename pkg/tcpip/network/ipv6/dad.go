package ipv6

import (
	"net/netip"
	"time"

	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

const (
	// defaultRetransmit is RETRANS_TIMER (RFC 4861 section 10).
	defaultRetransmit = time.Second
	// maxSolicitDelay is MAX_RTR_SOLICITATION_DELAY (RFC 4861 section 10).
	maxSolicitDelay = time.Second
)

// addressState is an address of the NIC and how far the detection of duplicates is.
type addressState struct {
	addr netip.Addr
	// joined: the NIC is a member of the address's solicited-node group.
	joined, noDAD bool
	// probes is how many solicitations are to be sent, the next at due; with none left, the
	// address is ours at due.
	probes int
	due    time.Duration
	// nonce is that of our last solicitation, by which we know it if the link sends it back
	// to us (RFC 7527 section 4.1).
	nonce    [6]byte
	hasNonce bool
}

// startDelay is how long to wait with the first probe of addr: only addresses that a multicast
// advertisement made need it, when many hosts begin at once (RFC 4862 section 5.4.2).
func (e *endpoint) startDelay(addr netip.Addr) time.Duration {
	for i := range e.auto {
		if e.auto[i].addr == addr {
			return e.random(maxSolicitDelay)
		}
	}
	return 0
}

// startDAD begins the detection of duplicates of s, or makes it an address at once where none is
// done. e.mu is held.
func (e *endpoint) startDAD(s *addressState, delay time.Duration) {
	settings := e.stack.Settings()
	probes := int(settings.DADTransmits.Load())
	addr := s.addr
	if s.noDAD || probes <= 0 || !settings.AcceptDAD.Load() || !e.hasNeighbours() {
		e.joinSolicited(s)
		e.later(func() { e.detected(addr) })
		return
	}
	s.probes = min(probes, 255)
	s.due = e.now() + delay
	e.later(func() { e.setTentative(addr, true, false) })
	if delay == 0 {
		e.probe(s, e.now())
	}
}

// hasNeighbours says whether the link has nodes that are asked for their link addresses: without
// such a question two nodes with one address cannot be told apart anyway.
func (e *endpoint) hasNeighbours() bool {
	return e.nic.Link().Capabilities()&stack.CapResolution != 0
}

// setTentative changes the flags of an address.
func (e *endpoint) setTentative(addr netip.Addr, tentative, duplicate bool) {
	a, ok := e.nic.Address(addr)
	if !ok || a.Tentative == tentative && a.Duplicate == duplicate {
		return
	}
	e.nic.UpdateAddress(addr, func(a *stack.Address) { a.Tentative, a.Duplicate = tentative, duplicate })
}

// joinSolicited makes the NIC hear solicitations for the address (RFC 4291 section 2.7.1). e.mu is
// held.
func (e *endpoint) joinSolicited(s *addressState) {
	if s.joined {
		return
	}
	s.joined = true
	g := header.SolicitedNode(s.addr)
	e.later(func() { e.nic.JoinGroup(g) })
}

// nextDAD is when tickDAD has something to do. e.mu is held.
func (e *endpoint) nextDAD() time.Duration {
	due := never
	for i := range e.addresses {
		due = min(due, e.addresses[i].due)
	}
	return due
}

// tickDAD sends probes and ends detections that are due. e.mu is held.
func (e *endpoint) tickDAD(now time.Duration) {
	for i := range e.addresses {
		s := &e.addresses[i]
		if s.due > now {
			continue
		}
		if s.probes > 0 {
			e.probe(s, now)
			continue
		}
		// Nobody objected (RFC 4862 section 5.4).
		s.due, s.hasNonce = never, false
		addr := s.addr
		e.later(func() { e.detected(addr) })
	}
}

// detected makes addr an address of the host for good.
func (e *endpoint) detected(addr netip.Addr) {
	e.setTentative(addr, false, false)
	if addr.IsLinkLocalUnicast() {
		e.change(e.beginSoliciting)
	}
}

// probe sends one solicitation. The group is joined before, so that another node's probe, or its
// defence, is heard (RFC 4862 section 5.4.2). e.mu is held.
func (e *endpoint) probe(s *addressState, now time.Duration) {
	e.joinSolicited(s)
	v := e.stack.Random()
	for i := range s.nonce {
		s.nonce[i] = byte(v >> (8 * i))
	}
	s.hasNonce = true
	s.probes--
	s.due = now + e.retransmit
	addr, nonce := s.addr, s.nonce
	e.later(func() { e.sendProbe(addr, nonce) })
}

// conflict handles a sign that another node uses addr, or wants to (RFC 4862 sections 5.4.3 and
// 5.4.4). It says whether addr is an address that is not ours yet; nothing else is done with a
// message about such a one. nonce is that of a probe, if hasNonce.
func (e *endpoint) conflict(addr netip.Addr, nonce [6]byte, hasNonce bool) bool {
	a, ok := e.nic.Address(addr)
	if !ok || !a.Tentative && !a.Duplicate {
		return false
	}
	e.change(func() {
		s := e.addressState(addr)
		if s == nil || s.due == never {
			return // it has failed, or the NIC is down
		}
		if hasNonce && s.hasNonce && nonce == s.nonce {
			return // our own probe came back
		}
		s.due, s.probes, s.hasNonce = never, 0, false
		if e.autoFailed(addr) {
			// As Linux does, an address that nobody set is taken away again.
			e.later(func() { e.removeAddress(addr) })
			return
		}
		e.later(func() { e.setTentative(addr, true, true) })
	})
	return true
}

// removeAddress takes an address from the NIC, whatever its prefix.
func (e *endpoint) removeAddress(addr netip.Addr) {
	if a, ok := e.nic.Address(addr); ok {
		e.nic.RemoveAddress(a.Prefix)
	}
}
