package datagram

import "runsc/pkg/tcpip/buffer"

// Cork is a datagram that several sends put together (MSG_MORE, UDP_CORK). The zero Cork is empty.
// It has no lock.
type Cork struct {
	active  bool
	flow    Flow
	segment uint16
	views   []buffer.View
	n       int
}

// Active says whether a datagram was begun.
func (c *Cork) Active() bool { return c.active }

// Len is the number of bytes so far.
func (c *Cork) Len() int { return c.n }

// Flow is how the datagram will be sent, and Segment how it will be cut up.
func (c *Cork) Flow() *Flow     { return &c.flow }
func (c *Cork) Segment() uint16 { return c.segment }

// Begin begins a datagram, which is sent as f says.
func (c *Cork) Begin(f Flow, segment uint16) { c.active, c.flow, c.segment = true, f, segment }

// Add appends the data of a packet, which it takes.
func (c *Cork) Add(pkt *buffer.Packet) {
	c.n += pkt.Len()
	c.views = pkt.TakeViews(c.views)
	pkt.Release()
}

// Take ends the datagram and returns it, with how it is to be sent.
func (c *Cork) Take() (*buffer.Packet, Flow, uint16) {
	pkt := buffer.New()
	for _, v := range c.views {
		pkt.AppendView(v)
	}
	f, segment := c.flow, c.segment
	clear(c.views)
	*c = Cork{views: c.views[:0]}
	return pkt, f, segment
}

// Drop ends the datagram without sending it.
func (c *Cork) Drop() {
	pkt, _, _ := c.Take()
	pkt.Release()
}
