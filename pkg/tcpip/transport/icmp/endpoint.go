package icmp

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/internal/datagram"
)

// Endpoint is a ping socket. It implements tcpip.MulticastEndpoint and stack.TransportEndpoint.
type Endpoint struct {
	datagram.Socket
	protocol Protocol
}

var (
	_ tcpip.MulticastEndpoint = (*Endpoint)(nil)
	_ stack.TransportEndpoint = (*Endpoint)(nil)
)

// NewEndpoint makes a ping socket, of ICMPv6 if v6.
func NewEndpoint(s *stack.Stack, v6 bool) *Endpoint {
	e := &Endpoint{protocol: Protocol{header.ProtocolICMPv4}}
	if v6 {
		e.protocol.number = header.ProtocolICMPv6
	}
	e.Init(s, datagram.Kind{Transport: e.protocol.number, V6: v6, Ports: true, AnyPeer: true}, e)
	// As in Linux, identifiers may be shared unless somebody minds.
	e.Options().ReuseAddress.Store(true)
	return e
}

// Receive implements tcpip.Endpoint. EOPNOTSUPP: MSG_OOB.
func (e *Endpoint) Receive(dst tcpip.Sink, o tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	if o.OutOfBand {
		return tcpip.ReceiveResult{}, unix.EOPNOTSUPP
	}
	return e.Socket.Receive(dst, o)
}

// Send implements tcpip.Endpoint. The message is an echo request with its header, whose identifier
// and checksum are filled in. EINVAL: it is something else; otherwise as UDP's.
func (e *Endpoint) Send(src tcpip.Source, o tcpip.SendOptions) (int, error) {
	n := src.Len()
	switch {
	case n > buffer.MaxPacket:
		return 0, unix.EMSGSIZE
	case n < header.ICMPv4Size:
		return 0, unix.EINVAL
	case o.OutOfBand:
		return 0, unix.EOPNOTSUPP
	}
	pkt := buffer.New()
	if err := pkt.Fill(src, n); err != nil {
		pkt.Release()
		return 0, err
	}
	var f datagram.Flow
	h, err := e.prepare(&f, pkt, &o)
	if err != nil {
		pkt.Release()
		return 0, err
	}
	n = pkt.Len()
	h.SetIdent(f.LocalPort)
	h.SetChecksumField(0)
	sum := uint32(0)
	if f.V6() {
		sum = checksum.PseudoHeader(header.ProtocolICMPv6, f.Route.Source, f.Route.Destination, uint32(n))
	}
	h.SetChecksumField(checksum.Finish(datagram.Sum(pkt, sum)))
	pkt.TransportHeader = h
	if stats := &e.Stack().Stats().ICMP6; f.V6() {
		// Package ipv4 counts all that go by it, package ipv6 its own only.
		stats.OutMsgs.Inc()
		stats.OutType[h.Type()].Inc()
	}
	err = e.Write(&f, pkt)
	f.Route.Flush()
	if err != nil && err != datagram.Dropped {
		return 0, err
	}
	return n, nil
}

// prepare checks the message, which stays the caller's, and finds out how to send it.
func (e *Endpoint) prepare(f *datagram.Flow, pkt *buffer.Packet, o *tcpip.SendOptions) (header.ICMPv4, error) {
	b, ok := pkt.Own(header.ICMPv4Size)
	h := header.ICMPv4(b)
	if !ok || h.Code() != 0 {
		return nil, unix.EINVAL
	}
	if request, _ := e.protocol.echo(h.Type()); !request {
		return nil, unix.EINVAL
	}
	if o.To != nil && o.To.Addr.Is4() && e.protocol.number == header.ProtocolICMPv6 {
		return nil, unix.EINVAL
	}
	if err := e.Prepare(f, o, false); err != nil {
		return nil, err
	}
	f.Port = 0
	if _, err := e.Fits(f, pkt.Len()); err != nil {
		return nil, err
	}
	return h, e.Ready()
}

// HandlePacket implements stack.TransportEndpoint. The network protocol has checked the checksum.
func (e *Endpoint) HandlePacket(id stack.TransportID, pkt *buffer.Packet) {
	b, ok := pkt.Peek(header.ICMPv4Size)
	if ok {
		_, ok = e.protocol.echo(b[0])
	}
	if !ok || !e.Takes(pkt) {
		pkt.Release()
		return
	}
	if f := e.Options().Filter.Load(); f != nil && !datagram.Filter(f, pkt, header.ICMPv4Size) {
		e.Rx.CountDrop()
		pkt.Release()
		return
	}
	e.Push(datagram.Item{Packet: pkt, DestinationPort: id.LocalPort})
}

// HandleError implements stack.TransportEndpoint.
func (e *Endpoint) HandleError(id stack.TransportID, err stack.TransportError, quoted []byte) {
	id.RemotePort = 0
	e.Deliver(id, err, quoted)
}

// SendQueued implements tcpip.Endpoint: what was sent is the link's.
func (e *Endpoint) SendQueued() int { return 0 }
