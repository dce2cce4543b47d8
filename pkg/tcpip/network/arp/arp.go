// Package arp is the Address Resolution Protocol (RFC 826, RFC 5227): it finds the Ethernet
// addresses of IPv4 neighbours and answers those who look for this host's.
//
// The state of neighbours is the stack's (stack.NIC.ConfirmNeighbour, LearnNeighbour); here are
// the packets. ipv4 asks by Request when the stack wants an address (InternetEndpoint.Solicit).
//
// As Linux's defaults have it (ip-sysctl, net.ipv4.conf.*): requests for any address of this
// host are answered on any interface (arp_ignore 0), but for loopback addresses; who asks for us
// is learned; others are only updated if they are known (arp_accept 0), and not within a second
// after a change, so that the first of several answers counts.
//
// There is no lock and no state.
package arp

import (
	"net/netip"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// lockTime is how long a link address is kept after it was set, whoever says otherwise
// (net.ipv4.neigh.default.locktime).
const lockTime = time.Second

// packetHost is PACKET_HOST (packet(7)).
const packetHost = 0

type protocol struct{ stack *stack.Stack }

// New makes the protocol for a stack.
func New(s *stack.Stack) stack.NetworkProtocol { return &protocol{s} }

// EtherType implements stack.NetworkProtocol.
func (*protocol) EtherType() uint16 { return header.EtherTypeARP }

// Close implements stack.NetworkProtocol.
func (*protocol) Close() {}

// NewEndpoint implements stack.NetworkProtocol.
func (p *protocol) NewEndpoint(nic *stack.NIC) stack.NetworkEndpoint {
	return &endpoint{stack: p.stack, nic: nic}
}

// endpoint is ARP on one interface.
type endpoint struct {
	stack *stack.Stack
	nic   *stack.NIC
}

// Enable and Disable implement stack.NetworkEndpoint.
func (*endpoint) Enable()  {}
func (*endpoint) Disable() {}

// HandlePacket implements stack.NetworkEndpoint (RFC 826, "Packet Reception").
func (e *endpoint) HandlePacket(pkt *buffer.Packet) {
	defer pkt.Release()
	b, ok := pkt.Consume(header.ARPSize)
	h := header.ARP(b)
	if !ok || !h.Valid() {
		e.nic.Stats().RXErrors.Inc()
		return
	}
	sender, target, link := h.SenderIP(), h.TargetIP(), h.SenderLink()
	if target.IsMulticast() || target.IsLoopback() || sender.IsMulticast() || sender.IsLoopback() ||
		link.IsMulticast() || link == (tcpip.LinkAddress{}) || e.nic.IsBroadcast(sender) {
		return
	}
	ours := e.stack.IsLocal(0, target)
	if h.Operation() == header.ARPRequest && ours {
		if !sender.IsUnspecified() && !e.stack.IsLocal(0, sender) {
			e.nic.LearnNeighbour(sender, link)
		}
		// A probe (RFC 5227 section 2.1.1) is answered too: the address is in use.
		e.send(header.ARPFields{Operation: header.ARPReply, SenderLink: e.nic.Link().LinkAddress(), SenderIP: target,
			TargetLink: link, TargetIP: sender}, link)
		return
	}
	if sender.IsUnspecified() || e.stack.IsLocal(0, sender) {
		return
	}
	old, known := e.nic.Neighbour(sender)
	if !known {
		return
	}
	// An announcement names the same address as sender and target (RFC 5227 section 2.3).
	announced := sender == target
	override := announced || e.stack.Clock().Monotonic() >= old.Updated+lockTime
	solicited := h.Operation() == header.ARPReply && pkt.PacketType == packetHost && !announced
	e.nic.ConfirmNeighbour(sender, link, solicited, override, false)
}

// send sends a packet to a station.
func (e *endpoint) send(f header.ARPFields, to tcpip.LinkAddress) {
	pkt := buffer.New()
	h := header.ARP(pkt.Push(header.ARPSize))
	h.Encode(f)
	pkt.NetworkHeader = h
	e.nic.WriteTo(to, header.EtherTypeARP, pkt)
}

// Request asks the link of nic for the address of target; to of zero is everybody. source is who
// wants to know.
func Request(nic *stack.NIC, target, source netip.Addr, to tcpip.LinkAddress) {
	e, ok := nic.Endpoint(header.EtherTypeARP).(*endpoint)
	if !ok {
		return
	}
	f := header.ARPFields{Operation: header.ARPRequest, SenderLink: nic.Link().LinkAddress(), SenderIP: source,
		TargetIP: target, TargetLink: to}
	if to == (tcpip.LinkAddress{}) {
		to = tcpip.Broadcast
	}
	e.send(f, to)
}

// Announce tells the link of nic that addr is here (RFC 5227 section 2.3), for those who remember
// another station.
func Announce(nic *stack.NIC, addr netip.Addr) { Request(nic, addr, addr, tcpip.LinkAddress{}) }
