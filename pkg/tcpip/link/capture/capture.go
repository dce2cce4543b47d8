// Package capture is a link for tests of what is above it: it keeps what the stack sends, and the
// test plays the rest of the network.
//
// Everything happens on the goroutine of the caller: Inject returns when the stack has dealt with
// the packet, and what the stack sent in answer is in Sent. Packets are kept as bytes, from the
// Ethernet header on if the link has one (Options.Ethernet), with what offloads asked for beside
// them.
//
// Endpoint.mu is a leaf; it is not held during delivery.
package capture

import (
	"sync"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Options is how to make a link. The zero value is one with IP packets, an MTU of 1500 and no
// offloads.
type Options struct {
	MTU uint32
	// Ethernet: frames have Ethernet headers, and neighbours are to be resolved.
	Ethernet bool
	Address  tcpip.LinkAddress
	// Offload is which of CapTXChecksum, CapRXChecksum, CapSegmentation and
	// CapUDPSegmentation the link has.
	Offload stack.Capabilities
	// Loopback makes it a link with CapLoopback, of which nothing comes back.
	Loopback bool
	// Discard: nothing is kept.
	Discard bool
}

// Sent is a packet that the stack sent.
type Sent struct {
	// Bytes begin with the link header, if there is one.
	Bytes        []byte
	EtherType    uint16
	Checksum     buffer.Checksum
	Segmentation buffer.Segmentation
}

// Payload is the bytes behind the link header.
func (s Sent) Payload(ethernet bool) []byte {
	if ethernet {
		return s.Bytes[header.EthernetSize:]
	}
	return s.Bytes
}

// Endpoint is the link. It implements stack.LinkEndpoint.
type Endpoint struct {
	options Options

	mu         sync.Mutex // guards the fields below
	dispatcher stack.LinkDispatcher
	sent       []Sent
	err        error
	closed     bool
	mtu        uint32
	addr       tcpip.LinkAddress
}

var _ stack.LinkEndpoint = (*Endpoint)(nil)

// New makes a link.
func New(o Options) *Endpoint {
	e := &Endpoint{options: o, mtu: o.MTU, addr: o.Address}
	if e.mtu == 0 {
		e.mtu = 1500
	}
	return e
}

// MTU implements stack.LinkEndpoint.
func (e *Endpoint) MTU() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mtu
}

// SetMTU implements stack.LinkEndpoint.
func (e *Endpoint) SetMTU(mtu uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mtu = mtu
}

// LinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.addr
}

// SetLinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) SetLinkAddress(a tcpip.LinkAddress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addr = a
}

// Capabilities implements stack.LinkEndpoint.
func (e *Endpoint) Capabilities() stack.Capabilities {
	c := e.options.Offload
	if e.options.Ethernet {
		c |= stack.CapResolution
	}
	if e.options.Loopback {
		c |= stack.CapLoopback
	}
	return c
}

// MaxSegmentation implements stack.LinkEndpoint.
func (e *Endpoint) MaxSegmentation() uint32 { return buffer.MaxPacket }

// HardwareType implements stack.LinkEndpoint: ARPHRD_ETHER, ARPHRD_LOOPBACK or ARPHRD_NONE.
func (e *Endpoint) HardwareType() uint16 {
	switch {
	case e.options.Ethernet:
		return 1
	case e.options.Loopback:
		return 772
	}
	return 0xfffe
}

// Attach implements stack.LinkEndpoint.
func (e *Endpoint) Attach(d stack.LinkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatcher = d
}

// SetError is what WritePackets returns from now on, having dropped the packets; nil: they are
// kept again.
func (e *Endpoint) SetError(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

// WritePackets implements stack.LinkEndpoint.
func (e *Endpoint) WritePackets(pkts []*buffer.Packet) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range pkts {
		if e.err == nil && !e.options.Discard {
			b := make([]byte, p.Len())
			p.CopyTo(b, 0)
			e.sent = append(e.sent, Sent{b, p.EtherType, p.Checksum, p.Segmentation})
		}
		p.Release()
	}
	return e.err
}

// Take returns what was sent since the last call.
func (e *Endpoint) Take() []Sent {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sent
	e.sent = nil
	return s
}

// Inject gives the stack a frame, or a packet of etherType if the link has no frames.
func (e *Endpoint) Inject(etherType uint16, b []byte) {
	e.InjectPacket(etherType, buffer.NewFrom(b))
}

// InjectPacket is Inject for a packet, which it takes.
func (e *Endpoint) InjectPacket(etherType uint16, pkt *buffer.Packet) {
	e.mu.Lock()
	d := e.dispatcher
	e.mu.Unlock()
	pkt.EtherType = etherType
	if e.options.Ethernet {
		b, ok := pkt.Consume(header.EthernetSize)
		if !ok {
			pkt.Release()
			return
		}
		h := header.Ethernet(b)
		pkt.LinkHeader, pkt.HasLink = b, true
		pkt.LinkSource, pkt.LinkDestination, pkt.EtherType = h.Source(), h.Destination(), h.Type()
	}
	if d == nil {
		pkt.Release()
		return
	}
	d.DeliverPackets([]*buffer.Packet{pkt})
}

// Closed says whether Close was called.
func (e *Endpoint) Closed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// Close implements stack.LinkEndpoint.
func (e *Endpoint) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
}
