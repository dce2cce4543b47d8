package udp

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/internal/datagram"
)

// HandlePacket implements stack.TransportEndpoint.
func (e *Endpoint) HandlePacket(id stack.TransportID, pkt *buffer.Packet) {
	v6 := pkt.Destination.Is6()
	stats := statsOf(e.Stack(), v6)
	size := pkt.Len()
	b, ok := pkt.Peek(header.UDPSize)
	h := header.UDP(b)
	if !ok || !h.Valid(size, v6) {
		stats.InErrors.Inc()
		pkt.Release()
		return
	}
	if !e.Takes(pkt) {
		pkt.Release()
		return
	}
	n := h.DatagramLength(size)
	noChecksum := h.Checksum() == 0 && pkt.Checksum == buffer.ChecksumUnknown
	if noChecksum && v6 && !e.noCheckRX.Load() || !checksumOK(h, pkt, n) {
		stats.InCsumErrors.Inc()
		stats.InErrors.Inc()
		e.Rx.CountDrop()
		pkt.Release()
		return
	}
	if n < pkt.Len() {
		pkt.Truncate(n) // what a link put behind it (RFC 894)
	}
	if f := e.Options().Filter.Load(); f != nil && !datagram.Filter(f, pkt, header.UDPSize) {
		stats.InErrors.Inc()
		e.Rx.CountDrop()
		pkt.Release()
		return
	}
	it := datagram.Item{SourcePort: id.RemotePort, DestinationPort: id.LocalPort}
	pkt.TransportHeader, _ = pkt.Consume(header.UDPSize)
	s := pkt.Segmentation
	if s.Type == buffer.SegmentUDP && s.Size != 0 && pkt.Len() > int(s.Size) {
		if !e.gro.Load() {
			e.cutUp(it, pkt, int(s.Size), stats)
			return
		}
		it.SegmentSize = s.Size
	}
	it.Packet = pkt
	e.enqueue(it, stats)
}

func (e *Endpoint) enqueue(it datagram.Item, stats *stack.UDPStats) {
	if !e.Push(it) {
		stats.RcvbufErrors.Inc()
		stats.InErrors.Inc()
	}
}

// cutUp queues the datagrams that pkt, which it takes, was put together from.
func (e *Endpoint) cutUp(it datagram.Item, pkt *buffer.Packet, size int, stats *stack.UDPStats) {
	n := pkt.Len()
	for at := 0; at < n; at += size {
		p := buffer.New()
		p.CopyProperties(pkt)
		p.Segmentation = buffer.Segmentation{}
		p.AppendFrom(pkt, at, min(size, n-at))
		// Each has memory of its own, or the last one would keep all of it.
		p.Compact()
		it.Packet = p
		e.enqueue(it, stats)
	}
	pkt.Release()
}

// HandleError implements stack.TransportEndpoint.
func (e *Endpoint) HandleError(id stack.TransportID, err stack.TransportError, quoted []byte) {
	e.Deliver(id, err, quoted[min(header.UDPSize, len(quoted)):])
}

// Receive implements tcpip.Endpoint. See datagram.Socket.
func (e *Endpoint) Receive(dst tcpip.Sink, o tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	r, err := e.Socket.Receive(dst, o)
	if o.Peek || o.ErrorQueue {
		return r, err
	}
	switch {
	case err == nil && r.From.Addr.IsValid():
		statsOf(e.Stack(), r.From.Addr.Is6()).InDatagrams.Inc()
	case err == unix.EFAULT:
		e.Rx.CountDrop()
	}
	return r, err
}
