package udp

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/internal/datagram"
)

// Send implements tcpip.Endpoint. EOPNOTSUPP: MSG_OOB; EMSGSIZE: the datagram is too long;
// EDESTADDRREQ; EINVAL: port 0, or segments that make no sense; EACCES: broadcast without
// SO_BROADCAST; EPIPE: shut down; those of routes; and the pending error.
func (e *Endpoint) Send(src tcpip.Source, o tcpip.SendOptions) (int, error) {
	n := src.Len()
	if n > buffer.MaxPacket {
		return 0, unix.EMSGSIZE
	}
	if o.OutOfBand {
		return 0, unix.EOPNOTSUPP
	}
	if o.More || e.corked.Load() || e.pending.Load() != 0 {
		return e.sendCorked(src, n, &o)
	}
	var f datagram.Flow
	if err := e.Prepare(&f, &o, true); err != nil {
		return 0, err
	}
	segment := e.segmentFor(&o)
	if err := e.check(&f, n, segment, true); err != nil {
		return 0, err
	}
	pkt := buffer.New()
	if err := pkt.Fill(src, n); err != nil {
		pkt.Release()
		return 0, err
	}
	n = pkt.Len()
	if err := e.transmit(&f, pkt, segment); err != nil {
		return 0, err
	}
	return n, nil
}

func (e *Endpoint) segmentFor(o *tcpip.SendOptions) uint16 {
	if s := o.Control.SegmentSize; s != 0 {
		return s
	}
	return uint16(e.segmentSize.Load())
}

// sendCorked is Send for datagrams that take several sends. The first one says where to.
func (e *Endpoint) sendCorked(src tcpip.Source, n int, o *tcpip.SendOptions) (int, error) {
	// The application's bytes are read without a lock.
	data := buffer.New()
	if err := data.Fill(src, n); err != nil {
		data.Release()
		return 0, err
	}
	n = data.Len()
	e.sendMu.Lock()
	if !e.cork.Active() {
		var f datagram.Flow
		err := e.Prepare(&f, o, true)
		if err == nil {
			err = e.Ready()
		}
		if err != nil {
			e.sendMu.Unlock()
			data.Release()
			return 0, err
		}
		e.cork.Begin(f, e.segmentFor(o))
	}
	if err := e.check(e.cork.Flow(), e.cork.Len()+n, e.cork.Segment(), false); err != nil {
		e.drop()
		e.sendMu.Unlock()
		data.Release()
		return 0, err
	}
	e.cork.Add(data)
	e.pending.Store(int32(e.cork.Len() + header.UDPSize))
	if o.More || e.corked.Load() {
		e.sendMu.Unlock()
		return n, nil
	}
	pkt, f, segment := e.take()
	e.sendMu.Unlock()
	if err := e.transmit(&f, pkt, segment); err != nil {
		return 0, err
	}
	return n, nil
}

// take ends the datagram that was begun. e.sendMu is held.
func (e *Endpoint) take() (*buffer.Packet, datagram.Flow, uint16) {
	e.pending.Store(0)
	return e.cork.Take()
}

// drop gives up the datagram that was begun. e.sendMu is held.
func (e *Endpoint) drop() {
	e.pending.Store(0)
	if e.cork.Active() {
		e.cork.Drop()
	}
}

// check says whether n bytes can be sent as f says. first: it is the first of the datagram, and the
// socket is asked whether it is Ready at the same place as in Linux.
func (e *Endpoint) check(f *datagram.Flow, n int, segment uint16, first bool) error {
	whole := segment == 0 || n <= int(segment)
	if whole {
		if _, err := e.Fits(f, n+header.UDPSize); err != nil {
			return err
		}
	}
	if first {
		if err := e.Ready(); err != nil {
			return err
		}
	}
	if whole {
		return nil
	}
	if n > maxSegments*int(segment) || !e.checksums(f.V6()) {
		return unix.EINVAL
	}
	// Segments are whole packets: they are not cut up again.
	fits, err := e.Fits(f, int(segment)+header.UDPSize)
	if err == nil && !fits {
		err = unix.EMSGSIZE
	}
	if err == nil && n+header.UDPSize > buffer.MaxPacket-header.IPv6Size {
		err = unix.EMSGSIZE
	}
	return err
}

// checksums says whether datagrams are sent with a checksum (socket(7), SO_NO_CHECK; RFC 8200
// section 8.1).
func (e *Endpoint) checksums(v6 bool) bool {
	if v6 {
		return !e.noCheckTX.Load()
	}
	return !e.Options().NoChecksum.Load()
}

// transmit sends the payload pkt, which it takes, as one datagram or, if it is longer than segment
// and that is not 0, as several.
func (e *Endpoint) transmit(f *datagram.Flow, pkt *buffer.Packet, segment uint16) error {
	stats := statsOf(e.Stack(), f.V6())
	n := pkt.Len()
	var err error
	switch {
	case segment == 0 || n <= int(segment):
		err = e.write(f, pkt)
	case f.Route.NIC.Link().Capabilities()&(stack.CapUDPSegmentation|stack.CapTXChecksum) == stack.CapUDPSegmentation|stack.CapTXChecksum:
		pkt.Segmentation = buffer.Segmentation{Type: buffer.SegmentUDP, Size: segment}
		err = e.write(f, pkt)
	default:
		for at := 0; at < n; at += int(segment) {
			p := buffer.New()
			p.AppendFrom(pkt, at, min(int(segment), n-at))
			if werr := e.write(f, p); werr != nil {
				err = werr
			}
		}
		pkt.Release()
	}
	f.Route.Flush()
	switch err {
	case nil:
		stats.OutDatagrams.Inc()
	case datagram.Dropped:
		stats.SndbufErrors.Inc()
		err = nil
	case unix.ENOBUFS:
		stats.SndbufErrors.Inc()
	}
	return err
}

// write puts the header in front of the payload pkt, which it takes, and sends it. The sum of the
// payload is left to the link, or to the NIC if the link cannot.
func (e *Endpoint) write(f *datagram.Flow, pkt *buffer.Packet) error {
	n := pkt.Len() + header.UDPSize
	h := header.UDP(pkt.Push(header.UDPSize))
	h.Encode(header.UDPFields{SourcePort: f.LocalPort, DestinationPort: f.Port, Length: uint16(n)})
	pkt.TransportHeader = h
	if e.checksums(f.V6()) {
		sum := checksum.PseudoHeader(header.ProtocolUDP, f.Route.Source, f.Route.Destination, uint32(n))
		h.SetChecksumField(checksum.Fold(sum))
		pkt.Checksum, pkt.ChecksumOffset = buffer.ChecksumPartial, 6
	}
	return e.Write(f, pkt)
}
