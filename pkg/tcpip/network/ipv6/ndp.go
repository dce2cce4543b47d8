package ipv6

import (
	"net/netip"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// ndpMessage are the parts of a received neighbour discovery message that all kinds share. The
// slice belongs to the packet.
type ndpMessage struct {
	src, dst netip.Addr
	b        []byte // the ICMPv6 message
}

// linkOption returns the address of the first link-layer address option of type t. Those of
// another length than Ethernet's are ignored, like unknown options (RFC 4861 section 4.6).
func linkOption(options []byte, t uint8) (tcpip.LinkAddress, bool) {
	for w := header.WalkNDPOptions(options); w.Next(); {
		if o := header.NDPLinkOption(w.Option); w.Type == t && o.Valid() {
			return o.Address(), !o.Address().IsMulticast()
		}
	}
	return tcpip.LinkAddress{}, false
}

// hasOption says whether an option of type t is there, of any length.
func hasOption(options []byte, t uint8) bool {
	for w := header.WalkNDPOptions(options); w.Next(); {
		if w.Type == t {
			return true
		}
	}
	return false
}

func nonceOption(options []byte) (nonce [6]byte, ok bool) {
	for w := header.WalkNDPOptions(options); w.Next(); {
		if o := header.NDPNonce(w.Option); w.Type == header.NDPOptionNonce && o.Valid() {
			return o.Nonce(), true
		}
	}
	return nonce, false
}

// handleNDP takes a neighbour discovery message whose checksum is right.
func (e *endpoint) handleNDP(pkt *buffer.Packet, fragmented bool) {
	// A router never lets a hop limit of 255 through: the sender is on this link (RFC 4861
	// section 6.1). Fragments are refused by RFC 6980 section 5.
	if pkt.TTL != header.NDPHopLimit || fragmented || e.loopback {
		e.stack.Stats().ICMP6.InErrors.Inc()
		return
	}
	b, ok := pkt.Peek(pkt.Len())
	if !ok {
		return
	}
	m := ndpMessage{src: pkt.Source, dst: pkt.Destination, b: b}
	valid := false
	switch b[0] {
	case header.ICMPv6NeighborSolicit:
		valid = e.handleNeighborSolicit(m)
	case header.ICMPv6NeighborAdvert:
		valid = e.handleNeighborAdvert(m)
	case header.ICMPv6RouterSolicit:
		valid = e.handleRouterSolicit(m)
	case header.ICMPv6RouterAdvert:
		valid = e.handleRouterAdvert(m)
	case header.ICMPv6Redirect:
		valid = e.handleRedirect(m)
	}
	if !valid {
		e.stack.Stats().ICMP6.InErrors.Inc()
	}
}

// isSolicitedNode says whether a is a solicited-node group (RFC 4291 section 2.7.1).
func isSolicitedNode(a netip.Addr) bool { return header.SolicitedNode(a) == a }

// handleNeighborSolicit says whether the message was valid (RFC 4861 sections 7.1.1 and 7.2.3, RFC
// 4862 section 5.4.3).
func (e *endpoint) handleNeighborSolicit(m ndpMessage) bool {
	h := header.NDPNeighborSolicit(m.b)
	if !h.Valid() || h.Target().IsMulticast() || h.Target().IsUnspecified() {
		return false
	}
	target, options := h.Target(), h.Options()
	probe := m.src.IsUnspecified()
	if probe && (!isSolicitedNode(m.dst) || hasOption(options, header.NDPOptionSourceLink)) {
		return false
	}
	if probe {
		nonce, ok := nonceOption(options)
		if e.conflict(target, nonce, ok) {
			return true
		}
	}
	// Solicitations from an address for one that is not ours yet are not answered, and say
	// nothing about a duplicate: the sender only wants to resolve it.
	if !e.nic.HasAddress(target) {
		return true
	}
	link, ok := linkOption(options, header.NDPOptionSourceLink)
	if ok {
		e.nic.LearnNeighbour(m.src, link)
	}
	to := m.src
	if probe {
		to = header.IPv6AllNodes
	}
	e.sendNeighborAdvert(target, to, !probe)
	return true
}

// handleNeighborAdvert says whether the message was valid (RFC 4861 sections 7.1.2 and 7.2.5, RFC
// 4862 section 5.4.4).
func (e *endpoint) handleNeighborAdvert(m ndpMessage) bool {
	h := header.NDPNeighborAdvert(m.b)
	if !h.Valid() || h.Target().IsMulticast() || h.Target().IsUnspecified() || m.dst.IsMulticast() && h.Solicited() {
		return false
	}
	target := h.Target()
	if e.conflict(target, [6]byte{}, false) {
		return true
	}
	link, ok := linkOption(h.Options(), header.NDPOptionTargetLink)
	if !ok && hasOption(h.Options(), header.NDPOptionTargetLink) {
		return true // of no use on this link
	}
	e.nic.ConfirmNeighbour(target, link, h.Solicited(), h.Override(), h.Router())
	if !h.Router() {
		e.change(func() { e.routerIsHost(target) })
	}
	return true
}

// handleRouterSolicit says whether the message was valid (RFC 4861 sections 6.1.1 and 6.2.6). This
// host never advertises itself as a router: a daemon may, through a raw socket.
func (e *endpoint) handleRouterSolicit(m ndpMessage) bool {
	h := header.NDPRouterSolicit(m.b)
	if !h.Valid() {
		return false
	}
	link, ok := linkOption(h.Options(), header.NDPOptionSourceLink)
	if m.src.IsUnspecified() {
		return !hasOption(h.Options(), header.NDPOptionSourceLink)
	}
	if ok && e.stack.Settings().IPv6Forwarding.Load() {
		e.nic.LearnNeighbour(m.src, link)
	}
	return true
}

// putLink appends our link address as an option of type t, if the link has addresses.
func (e *endpoint) putLink(b []byte, t uint8) []byte {
	link := e.nic.Link().LinkAddress()
	if link == (tcpip.LinkAddress{}) {
		return b
	}
	n := len(b)
	b = append(b, make([]byte, header.NDPLinkOptionSize)...)
	header.NDPLinkOption(b[n:]).Encode(t, link)
	return b
}

// sendNeighborAdvert tells to that target is our address (RFC 4861 section 7.2.4).
func (e *endpoint) sendNeighborAdvert(target, to netip.Addr, solicited bool) {
	var store [header.NDPNeighborAdvertSize + header.NDPLinkOptionSize]byte
	b := store[:header.NDPNeighborAdvertSize]
	header.NDPNeighborAdvert(b).Encode(header.NDPNeighborAdvertFields{
		Router:    e.stack.Settings().IPv6Forwarding.Load(),
		Solicited: solicited,
		Override:  true,
		Target:    target,
	})
	e.send(message{src: target, dst: to, hopLimit: header.NDPHopLimit, b: e.putLink(b, header.NDPOptionTargetLink)})
}

// sendProbe asks whether anyone has addr, which we want (RFC 4862 section 5.4.2).
func (e *endpoint) sendProbe(addr netip.Addr, nonce [6]byte) {
	var b [header.NDPNeighborSolicitSize + header.NDPNonceOptionSize]byte
	header.NDPNeighborSolicit(b[:]).Encode(addr)
	header.NDPNonce(b[header.NDPNeighborSolicitSize:]).Encode(nonce)
	e.send(message{src: header.IPv6Any, dst: header.SolicitedNode(addr), hopLimit: header.NDPHopLimit, b: b[:]})
}

// Solicit implements stack.InternetEndpoint (RFC 4861 section 7.2.2).
func (e *endpoint) Solicit(target, source netip.Addr, to tcpip.LinkAddress) {
	if !source.IsValid() || source.IsUnspecified() || !e.nic.HasAddress(source) {
		// One from the unspecified address would be a probe for a duplicate.
		if source = e.nic.SourceFor(target); !source.IsValid() {
			return
		}
	}
	var store [header.NDPNeighborSolicitSize + header.NDPLinkOptionSize]byte
	b := store[:header.NDPNeighborSolicitSize]
	header.NDPNeighborSolicit(b).Encode(target)
	m := message{src: source, dst: target, hopLimit: header.NDPHopLimit, link: to}
	if to == (tcpip.LinkAddress{}) {
		m.dst = header.SolicitedNode(target)
	}
	m.b = e.putLink(b, header.NDPOptionSourceLink)
	e.send(m)
}

// message is an ICMPv6 message to be sent on this NIC's link, without looking at routes.
type message struct {
	src, dst netip.Addr
	hopLimit uint8
	// routerAlert: put that option in front (RFC 2711).
	routerAlert bool
	// link is where to; zero: the NIC finds the link address of dst.
	link tcpip.LinkAddress
	// b is the message, whose checksum is filled in. It is copied.
	b []byte
}

// send sends m. That it could not be sent is no error to anybody: all such messages may be lost.
func (e *endpoint) send(m message) {
	if !e.up.Load() || !m.src.IsValid() {
		return
	}
	pkt := buffer.NewFrom(m.b)
	b, _ := pkt.Peek(len(m.b))
	setICMPChecksum(b, m.src, m.dst)
	pkt.TransportHeader = b
	stats := &e.stack.Stats().ICMP6
	stats.OutMsgs.Inc()
	stats.OutType[b[0]].Inc()
	e.pushHeader(pkt, m.src, m.dst, m.hopLimit, stack.NetworkParams{Transport: header.ProtocolICMPv6, RouterAlert: m.routerAlert})
	if m.link != (tcpip.LinkAddress{}) {
		e.countSent(pkt, m.dst)
		e.nic.WriteTo(m.link, header.EtherTypeIPv6, pkt)
		return
	}
	e.transmit(pkt, e.nic, m.dst, m.dst)
}
