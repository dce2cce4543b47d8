// Package dummy is the link that takes everything and gives nothing: an interface to hang
// addresses and routes on. What is sent is dropped, as if the cable led nowhere.
//
// Its only lock guards the hardware address, and is a leaf.
package dummy

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/stack"
)

// Kind is what ip-link(8) calls such a link.
const Kind = "dummy"

// DefaultMTU in bytes.
const DefaultMTU = 1500

// Endpoint is a link to nowhere. It implements stack.LinkEndpoint.
type Endpoint struct {
	mtu atomic.Uint32

	mu      sync.Mutex // guards the field below
	address tcpip.LinkAddress
}

var _ stack.LinkEndpoint = (*Endpoint)(nil)

// New makes a link with a hardware address.
func New(address tcpip.LinkAddress) *Endpoint {
	e := &Endpoint{address: address}
	e.mtu.Store(DefaultMTU)
	return e
}

// Kind is the constant Kind; rtnetlink shows it.
func (*Endpoint) Kind() string { return Kind }

// MTU implements stack.LinkEndpoint.
func (e *Endpoint) MTU() uint32 { return e.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (e *Endpoint) SetMTU(mtu uint32) { e.mtu.Store(mtu) }

// LinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address
}

// SetLinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) SetLinkAddress(a tcpip.LinkAddress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address = a
}

// Capabilities implements stack.LinkEndpoint: nothing has to be found out or computed for
// packets that nobody gets.
func (*Endpoint) Capabilities() stack.Capabilities {
	return stack.CapTXChecksum | stack.CapSegmentation | stack.CapUDPSegmentation
}

// MaxSegmentation implements stack.LinkEndpoint.
func (*Endpoint) MaxSegmentation() uint32 { return buffer.MaxPacket }

// HardwareType is ARPHRD_ETHER.
func (*Endpoint) HardwareType() uint16 { return unix.ARPHRD_ETHER }

// Attach implements stack.LinkEndpoint: nothing is ever delivered.
func (*Endpoint) Attach(stack.LinkDispatcher) {}

// WritePackets implements stack.LinkEndpoint.
func (*Endpoint) WritePackets(pkts []*buffer.Packet) error {
	for _, p := range pkts {
		p.Release()
	}
	return nil
}

// Close implements stack.LinkEndpoint.
func (*Endpoint) Close() {}
