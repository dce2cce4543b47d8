package datagram

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

// writeBytes hands b to dst, as much as fits.
func writeBytes(dst tcpip.Sink, b []byte) (int, error) {
	if b = b[:min(len(b), dst.Len())]; len(b) == 0 {
		return 0, nil
	}
	return dst.Write(b)
}

// Receive implements tcpip.Endpoint. A datagram that the application's memory does not take (EFAULT)
// is lost, as in Linux.
func (s *Socket) Receive(dst tcpip.Sink, o tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	var r tcpip.ReceiveResult
	if o.ErrorQueue {
		return s.receiveError(dst)
	}
	if err := s.Rx.TakePending(); err != nil {
		return r, err
	}
	it, offset, ok := s.Rx.Next(&o)
	if !ok {
		if s.isShut(tcpip.ShutdownRead) && !o.DontWait {
			return r, nil
		}
		return r, unix.EAGAIN
	}
	pkt := it.Packet
	r.MessageLen = pkt.Len()
	n, err := pkt.WriteTo(dst, offset, r.MessageLen)
	if err == nil {
		r.N = n
		it.Describe(&r)
	}
	pkt.Release()
	return r, err
}

// Next takes the next item, or a copy of it, as o says, and where in it to begin.
func (q *Queue) Next(o *tcpip.ReceiveOptions) (Item, int, bool) {
	if o.Peek {
		return q.Peek(o.PeekOffset)
	}
	it, ok := q.Pop()
	return it, 0, ok
}

// Describe fills in the sender and the ancillary data.
func (it *Item) Describe(r *tcpip.ReceiveResult) {
	p, c := it.Packet, &r.Control
	r.From.Addr, r.From.Port = p.Source, it.SourcePort
	if needsScope(p.Source) {
		r.From.NIC = p.NIC
	}
	c.Timestamp = p.Time
	c.HasPacketInfo, c.NIC, c.LocalAddr, c.Destination = true, p.NIC, p.Local, p.Destination
	c.DestinationPort = it.DestinationPort
	c.TTL, c.TOS, c.FlowLabel = p.TTL, p.TOS, p.FlowLabel
	c.SegmentSize, c.Dropped = it.SegmentSize, it.dropped
	if h := p.NetworkHeader; p.Source.Is4() && len(h) > ipv4Fixed {
		c.IPOptions = append([]byte(nil), h[ipv4Fixed:]...)
	}
}

// ipv4Fixed is the size of an IPv4 header without options.
const ipv4Fixed = 20

func (s *Socket) receiveError(dst tcpip.Sink) (tcpip.ReceiveResult, error) {
	var r tcpip.ReceiveResult
	e, data, ok := s.Rx.PopError()
	if !ok {
		return r, unix.EAGAIN
	}
	if s.Rx.Failed() {
		s.Notify(waiterError)
	}
	n, err := writeBytes(dst, data)
	if err != nil {
		return r, err
	}
	r.N, r.MessageLen = n, len(data)
	r.Error, r.From = e, e.Destination
	return r, nil
}

// ReceiveQueued implements tcpip.Endpoint.
func (s *Socket) ReceiveQueued() int { return s.Rx.NextLen() }
