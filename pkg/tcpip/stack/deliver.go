package stack

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// DeliverTransport takes a packet for this host, whose network header is consumed and whose
// fields the network layer has set. Raw sockets see it, and then the binding that it is for; if
// there is none, its protocol answers, and if there is no such protocol, an ICMP error does.
func (s *Stack) DeliverTransport(nic *NIC, pkt *buffer.Packet) {
	raw := s.DeliverRaw(pkt)
	p := s.transports[pkt.Transport]
	if p == nil {
		if !raw {
			s.ipStats(pkt).InUnknownProtos.Inc()
			if ep := nic.internet(pkt.Destination); ep != nil {
				ep.SendError(ICMPError{Kind: ErrorProtocolUnreachable}, pkt)
			}
		}
		pkt.Release()
		return
	}
	src, dst, ok := p.ParsePorts(pkt)
	if !ok {
		s.ipStats(pkt).InDiscards.Inc()
		pkt.Release()
		return
	}
	id := TransportID{LocalAddr: pkt.Destination, RemoteAddr: pkt.Source, LocalPort: dst, RemotePort: src}
	v6 := pkt.Destination.Is6()
	if pkt.Local != pkt.Destination && (pkt.Transport == header.ProtocolUDP || pkt.Transport == header.ProtocolUDPLite) {
		s.deliverAll(nic, p, id, pkt)
		return
	}
	if b := s.find(nic.id, v6, pkt.Transport, &id); b != nil {
		b.Endpoint.HandlePacket(id, pkt)
		return
	}
	p.HandleUnknown(id, pkt)
}

func (s *Stack) ipStats(pkt *buffer.Packet) *IPStats {
	if pkt.Destination.Is6() {
		return &s.stats.IP6
	}
	return &s.stats.IP
}

// deliverAll gives a multicast or broadcast datagram to all that it is for (RFC 1122 section
// 4.1.3.3).
func (s *Stack) deliverAll(nic *NIC, p TransportProtocol, id TransportID, pkt *buffer.Packet) {
	var store [16]*Binding
	list := s.findAll(nic.id, id.LocalAddr.Is6(), pkt.Transport, &id, store[:0])
	if len(list) == 0 {
		p.HandleUnknown(id, pkt)
		return
	}
	for _, b := range list[1:] {
		b.Endpoint.HandlePacket(id, pkt.Clone())
	}
	list[0].Endpoint.HandlePacket(id, pkt)
}

// DeliverError tells the endpoint that sent a packet of an ICMP error. v6, transport and id are
// of the quoted packet, seen from here.
func (s *Stack) DeliverError(nic *NIC, v6 bool, transport uint8, id TransportID, e TransportError, quoted []byte) {
	if t := s.raw.load(); t != nil {
		for _, r := range t[rawKey{v6, transport}] {
			if h, ok := r.(RawErrorHandler); ok {
				h.HandleError(id, e, quoted)
			}
		}
	}
	// The error may come in by another interface than the socket is bound to; that all four
	// numbers are right says enough.
	if b := s.find(0, v6, transport, &id); b != nil {
		b.Endpoint.HandleError(id, e, quoted)
	}
}

// RawErrorHandler is a RawEndpoint that wants to know of ICMP errors about packets of its
// protocol.
type RawErrorHandler interface {
	// HandleError is as that of TransportEndpoint. The ports of id are of the quoted packet
	// if its protocol has ports.
	HandleError(id TransportID, e TransportError, quoted []byte)
}

type rawKey struct {
	v6        bool
	transport uint8
}

// rawTable is who sees packets of a protocol, copied when it is changed.
type rawTable struct {
	mu sync.Mutex
	m  atomic.Pointer[map[rawKey][]RawEndpoint]
}

// load returns the map, nil if it is empty.
func (t *rawTable) load() map[rawKey][]RawEndpoint {
	if m := t.m.Load(); m != nil {
		return *m
	}
	return nil
}

func (t *rawTable) change(k rawKey, f func([]RawEndpoint) []RawEndpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := map[rawKey][]RawEndpoint{}
	for x, list := range t.load() {
		m[x] = list
	}
	if m[k] = f(slices.Clone(m[k])); len(m[k]) == 0 {
		delete(m, k)
	}
	if len(m) == 0 {
		t.m.Store(nil)
		return
	}
	t.m.Store(&m)
}

// RegisterRaw makes e see a copy of every packet of that IP version and transport protocol
// (0: all) that is for this host; RegisterPacket of every frame of nic (0: all) and etherType
// (ETH_P_ALL, 3: all, outgoing ones too).
func (s *Stack) RegisterRaw(v6 bool, transport uint8, e RawEndpoint) {
	s.raw.change(rawKey{v6, transport}, func(l []RawEndpoint) []RawEndpoint { return append(l, e) })
}

// UnregisterRaw ends it: see RegisterRaw.
func (s *Stack) UnregisterRaw(v6 bool, transport uint8, e RawEndpoint) {
	s.raw.change(rawKey{v6, transport}, func(l []RawEndpoint) []RawEndpoint {
		if i := slices.Index(l, e); i >= 0 {
			l = slices.Delete(l, i, i+1)
		}
		return l
	})
}

// DeliverRaw gives copies of a packet, which it only looks at, to the raw endpoints that want it,
// and says whether there are any. DeliverTransport does it by itself; a network protocol calls
// it for what it handles alone (ICMP, IGMP).
func (s *Stack) DeliverRaw(pkt *buffer.Packet) bool {
	t := s.raw.load()
	if t == nil {
		return false
	}
	found := false
	v6 := pkt.Destination.Is6()
	for _, k := range [...]rawKey{{v6, pkt.Transport}, {v6, 0}} {
		for _, e := range t[k] {
			found = true
			e.HandleRaw(pkt.Clone())
		}
		if pkt.Transport == 0 {
			break
		}
	}
	return found
}

// etherTypeAll is ETH_P_ALL.
const etherTypeAll = 3

type packetTap struct {
	nic       tcpip.NICID
	etherType uint16
	endpoint  PacketEndpoint
}

// packetTable is who sees frames, copied when it is changed.
type packetTable struct {
	mu sync.Mutex
	// all are those that see outgoing frames too, some those of one EtherType.
	all, some atomic.Pointer[[]packetTap]
}

// RegisterPacket: see RegisterRaw.
func (s *Stack) RegisterPacket(nic tcpip.NICID, etherType uint16, e PacketEndpoint) {
	s.packets.change(etherType, func(l []packetTap) []packetTap { return append(l, packetTap{nic, etherType, e}) })
}

// UnregisterPacket ends it: see RegisterRaw.
func (s *Stack) UnregisterPacket(nic tcpip.NICID, etherType uint16, e PacketEndpoint) {
	s.packets.change(etherType, func(l []packetTap) []packetTap {
		if i := slices.Index(l, packetTap{nic, etherType, e}); i >= 0 {
			l = slices.Delete(l, i, i+1)
		}
		return l
	})
}

func (t *packetTable) change(etherType uint16, f func([]packetTap) []packetTap) {
	p := &t.some
	if etherType == etherTypeAll {
		p = &t.all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []packetTap
	if old := p.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = f(list); len(list) == 0 {
		p.Store(nil)
		return
	}
	p.Store(&list)
}

// tap shows a packet that came in to packet endpoints.
func (s *Stack) tap(nic tcpip.NICID, pkt *buffer.Packet) {
	for _, p := range [...]*atomic.Pointer[[]packetTap]{&s.packets.all, &s.packets.some} {
		list := p.Load()
		if list == nil {
			continue
		}
		for _, t := range *list {
			if (t.nic == 0 || t.nic == nic) && (t.etherType == etherTypeAll || t.etherType == pkt.EtherType) {
				t.endpoint.HandleFrame(nic, pkt.Clone())
			}
		}
	}
}

// tapsOutgoing says whether somebody wants to see what goes out.
func (s *Stack) tapsOutgoing() bool { return s.packets.all.Load() != nil }

// tapOutgoing shows a packet that is about to go out, with its link header pushed.
func (s *Stack) tapOutgoing(nic tcpip.NICID, pkt *buffer.Packet) {
	list := s.packets.all.Load()
	if list == nil {
		return
	}
	for _, t := range *list {
		if t.nic != 0 && t.nic != nic {
			continue
		}
		c := pkt.Clone()
		c.NIC, c.PacketType = nic, packetOutgoing
		c.Consume(len(c.LinkHeader))
		t.endpoint.HandleFrame(nic, c)
	}
}

// LocalFor is the address of this host that a packet to dst, which came in by nic, is taken to be
// for: dst itself, or an address of the interface for a broadcast or multicast one.
func (n *NIC) LocalFor(dst, src netip.Addr) netip.Addr {
	if !dst.IsMulticast() && !n.IsBroadcast(dst) {
		return dst
	}
	return n.SourceFor(src)
}
