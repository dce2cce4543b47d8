package raw

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/internal/datagram"
)

// Endpoint is a raw socket. It implements tcpip.MulticastEndpoint, stack.RawEndpoint and
// stack.RawErrorHandler.
type Endpoint struct {
	datagram.Socket

	protocol uint8
	v6       bool
	// icmpFilter has a bit for each ICMP type below 32 that is not wanted, icmp6Filter one for
	// each ICMPv6 type; nil: all are wanted.
	icmpFilter  atomic.Uint32
	icmp6Filter atomic.Pointer[ICMP6Filter]
	// checksumAt is where in a packet the checksum is (IPV6_CHECKSUM), -1: nowhere.
	checksumAt atomic.Int32
	// pending is the length of what is in cork.
	pending atomic.Int32

	sendMu sync.Mutex // guards the fields below
	cork   datagram.Cork
	closed bool
}

// ICMP6Filter is struct icmp6_filter (RFC 3542 section 3.2): a bit for each type that is not wanted,
// type t being bit t%32 of word t/32.
type ICMP6Filter [8]uint32

var (
	_ tcpip.MulticastEndpoint = (*Endpoint)(nil)
	_ stack.RawEndpoint       = (*Endpoint)(nil)
	_ stack.RawErrorHandler   = (*Endpoint)(nil)
)

// NewEndpoint makes a raw socket of a protocol, of AF_INET6 if v6.
func NewEndpoint(s *stack.Stack, v6 bool, protocol uint8) *Endpoint {
	e := &Endpoint{protocol: protocol, v6: v6}
	e.Init(s, datagram.Kind{Transport: protocol, V6: v6, Groups: true}, nil)
	e.checksumAt.Store(-1)
	if v6 && protocol == header.ProtocolICMPv6 {
		e.checksumAt.Store(2) // RFC 3542 section 3.1
	}
	e.Options().ReuseAddress.Store(true) // what getsockopt(2) says in Linux
	if protocol == header.ProtocolRaw {
		e.Options().HeaderIncluded.Store(true)
	}
	s.RegisterRaw(v6, protocol, e)
	return e
}

// Close implements tcpip.Endpoint.
func (e *Endpoint) Close() {
	e.sendMu.Lock()
	closed := e.closed
	e.closed = true
	e.drop()
	e.sendMu.Unlock()
	if !closed {
		e.Stack().UnregisterRaw(e.v6, e.protocol, e)
	}
	e.Socket.Close()
}

// SetICMPFilter is ICMP_FILTER: packets whose ICMP type's bit is set are not received.
func (e *Endpoint) SetICMPFilter(mask uint32) { e.icmpFilter.Store(mask) }

// ICMPFilter is what SetICMPFilter set.
func (e *Endpoint) ICMPFilter() uint32 { return e.icmpFilter.Load() }

// SetICMP6Filter is ICMPV6_FILTER.
func (e *Endpoint) SetICMP6Filter(f ICMP6Filter) { e.icmp6Filter.Store(&f) }

// ICMP6Filter is what SetICMP6Filter set.
func (e *Endpoint) ICMP6Filter() ICMP6Filter {
	if f := e.icmp6Filter.Load(); f != nil {
		return *f
	}
	return ICMP6Filter{}
}

// SetChecksumOffset is IPV6_CHECKSUM: the checksum at that offset is computed when sending and checked
// when receiving; negative: there is none. ENOPROTOOPT: not IPv6; EINVAL: odd, or ICMPv6, whose
// checksum is where it is (RFC 3542 section 3.1).
func (e *Endpoint) SetChecksumOffset(n int) error {
	switch {
	case !e.v6:
		return unix.ENOPROTOOPT
	case e.protocol == header.ProtocolICMPv6, n > 0 && n&1 != 0, n >= buffer.MaxPacket:
		return unix.EINVAL
	}
	e.checksumAt.Store(int32(max(n, -1)))
	return nil
}

// ChecksumOffset is what SetChecksumOffset set, -1 for none.
func (e *Endpoint) ChecksumOffset() int { return int(e.checksumAt.Load()) }

// SendQueued implements tcpip.Endpoint: what was sent is the link's, but for a packet that is not
// complete.
func (e *Endpoint) SendQueued() int { return int(e.pending.Load()) }

// Receive implements tcpip.Endpoint. EOPNOTSUPP: MSG_OOB.
func (e *Endpoint) Receive(dst tcpip.Sink, o tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	if o.OutOfBand {
		return tcpip.ReceiveResult{}, unix.EOPNOTSUPP
	}
	return e.Socket.Receive(dst, o)
}

// HandleRaw implements stack.RawEndpoint.
func (e *Endpoint) HandleRaw(pkt *buffer.Packet) {
	if !e.Matches(pkt) || !e.Takes(pkt) || !e.wantsType(pkt) {
		pkt.Release()
		return
	}
	if !e.checksumOK(pkt) {
		e.Rx.CountDrop()
		pkt.Release()
		return
	}
	least := 0
	if !e.v6 {
		least = len(pkt.NetworkHeader)
		pkt = withHeader(pkt)
	}
	if f := e.Options().Filter.Load(); f != nil && !datagram.Filter(f, pkt, least) {
		e.Rx.CountDrop()
		pkt.Release()
		return
	}
	e.Push(datagram.Item{Packet: pkt})
}

// withHeader returns the packet pkt, which it takes, beginning with its network header.
func withHeader(pkt *buffer.Packet) *buffer.Packet {
	n := len(pkt.NetworkHeader)
	if n == 0 {
		return pkt
	}
	if pkt.Consumed() >= n {
		pkt.Unconsume(n)
		if b, ok := pkt.Peek(n); ok && &b[0] == &pkt.NetworkHeader[0] {
			return pkt
		}
		pkt.Consume(n)
	}
	// Of a packet put together from fragments the header is elsewhere, or it is a copy in
	// which options were filled in.
	p := buffer.New()
	p.CopyProperties(pkt)
	v := buffer.NewView(n)
	copy(v.Bytes(), pkt.NetworkHeader)
	p.NetworkHeader = v.Bytes()
	p.AppendView(v)
	p.AppendFrom(pkt, 0, pkt.Len())
	pkt.Release()
	return p
}

// wantsType looks at the filters of ICMP types.
func (e *Endpoint) wantsType(pkt *buffer.Packet) bool {
	switch {
	case !e.v6 && e.protocol == header.ProtocolICMPv4:
		mask := e.icmpFilter.Load()
		if mask == 0 {
			return true
		}
		b, ok := pkt.Peek(1)
		return !ok || b[0] >= 32 || mask>>b[0]&1 == 0
	case e.v6 && e.protocol == header.ProtocolICMPv6:
		f := e.icmp6Filter.Load()
		if f == nil {
			return true
		}
		b, ok := pkt.Peek(1)
		return ok && f[b[0]/32]>>(b[0]%32)&1 == 0
	}
	return true
}

// checksumOK checks the checksum of packets that have one at a known place.
func (e *Endpoint) checksumOK(pkt *buffer.Packet) bool {
	if e.checksumAt.Load() < 0 || pkt.Checksum != buffer.ChecksumUnknown {
		return true
	}
	sum := checksum.PseudoHeader(e.protocol, pkt.Source, pkt.Destination, uint32(pkt.Len()))
	return checksum.OK(datagram.Sum(pkt, sum))
}

// HandleError implements stack.RawErrorHandler.
func (e *Endpoint) HandleError(id stack.TransportID, err stack.TransportError, quoted []byte) {
	if !e.MatchesAddresses(id.LocalAddr, id.RemoteAddr) {
		return
	}
	id.RemotePort = 0
	e.Deliver(id, err, quoted)
}
