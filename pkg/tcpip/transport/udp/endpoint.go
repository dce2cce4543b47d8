package udp

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/internal/datagram"
)

// maxSegments is how many datagrams one send may be cut into (UDP_MAX_SEGMENTS).
const maxSegments = 128

// Endpoint is a UDP socket. It implements tcpip.MulticastEndpoint and stack.TransportEndpoint.
type Endpoint struct {
	datagram.Socket

	segmentSize          atomic.Int32 // UDP_SEGMENT
	gro                  atomic.Bool  // UDP_GRO
	noCheckTX, noCheckRX atomic.Bool  // UDP_NO_CHECK6_TX, _RX
	corked               atomic.Bool  // UDP_CORK
	// pending says, without the lock, whether there is a datagram in cork; and how long it is.
	pending atomic.Int32

	sendMu sync.Mutex // guards the field below
	cork   datagram.Cork
}

var (
	_ tcpip.MulticastEndpoint = (*Endpoint)(nil)
	_ stack.TransportEndpoint = (*Endpoint)(nil)
)

// NewEndpoint makes a socket, of AF_INET6 if v6.
func NewEndpoint(s *stack.Stack, v6 bool) *Endpoint {
	e := &Endpoint{}
	e.Init(s, datagram.Kind{Transport: header.ProtocolUDP, V6: v6, V4Mapped: v6, Ports: true, Groups: true}, e)
	return e
}

// Close implements tcpip.Endpoint. A datagram that was begun is not sent.
func (e *Endpoint) Close() {
	e.sendMu.Lock()
	e.drop()
	e.sendMu.Unlock()
	e.Socket.Close()
}

// SetSegmentSize is UDP_SEGMENT: sends are cut into datagrams of n bytes; 0: they are not. EINVAL.
func (e *Endpoint) SetSegmentSize(n int) error {
	if n < 0 || n > 0xffff {
		return unix.EINVAL
	}
	e.segmentSize.Store(int32(n))
	return nil
}

// SegmentSize is what SetSegmentSize set.
func (e *Endpoint) SegmentSize() int { return int(e.segmentSize.Load()) }

// SetGRO is UDP_GRO: datagrams that came in one piece are received in one.
func (e *Endpoint) SetGRO(on bool) { e.gro.Store(on) }

// GRO is what SetGRO set.
func (e *Endpoint) GRO() bool { return e.gro.Load() }

// SetNoChecksumTX is UDP_NO_CHECK6_TX: datagrams over IPv6 have no checksum. RX: such are taken
// (RFC 6935 section 5).
func (e *Endpoint) SetNoChecksumTX(on bool) { e.noCheckTX.Store(on) }

// SetNoChecksumRX is UDP_NO_CHECK6_RX: see SetNoChecksumTX.
func (e *Endpoint) SetNoChecksumRX(on bool) { e.noCheckRX.Store(on) }

// NoChecksumTX is what SetNoChecksumTX set.
func (e *Endpoint) NoChecksumTX() bool { return e.noCheckTX.Load() }

// NoChecksumRX is what SetNoChecksumRX set.
func (e *Endpoint) NoChecksumRX() bool { return e.noCheckRX.Load() }

// SetCork is UDP_CORK: sends are put together to one datagram, which goes when the option is turned
// off, or is off already and the datagram was begun by MSG_MORE.
func (e *Endpoint) SetCork(on bool) error {
	if e.corked.Store(on); on {
		return nil
	}
	e.sendMu.Lock()
	if !e.cork.Active() {
		e.sendMu.Unlock()
		return nil
	}
	pkt, f, segment := e.take()
	e.sendMu.Unlock()
	return e.transmit(&f, pkt, segment)
}

// Cork is what SetCork set.
func (e *Endpoint) Cork() bool { return e.corked.Load() }

// SendQueued implements tcpip.Endpoint: what was sent is the link's, but for a datagram that is not
// complete.
func (e *Endpoint) SendQueued() int { return int(e.pending.Load()) }
