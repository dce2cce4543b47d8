package raw

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/transport/internal/datagram"
)

// Send implements tcpip.Endpoint. Over IPv6 the port of the destination is a protocol number: 0 or
// the socket's, any of a socket of IPPROTO_RAW (RFC 3542 section 3). EINVAL: it is another one, or
// there is no room for the header or the checksum; otherwise as UDP's.
func (e *Endpoint) Send(src tcpip.Source, o tcpip.SendOptions) (int, error) {
	n := src.Len()
	if n > buffer.MaxPacket {
		return 0, unix.EMSGSIZE
	}
	if o.OutOfBand {
		return 0, unix.EOPNOTSUPP
	}
	protocol := e.protocol
	if e.v6 && o.To != nil && o.To.Port != 0 && o.To.Port != uint16(protocol) {
		if e.protocol != header.ProtocolRaw || o.To.Port > 255 {
			return 0, unix.EINVAL
		}
		protocol = uint8(o.To.Port)
	}
	pkt := buffer.New()
	if err := pkt.Fill(src, n); err != nil {
		pkt.Release()
		return 0, err
	}
	n = pkt.Len()
	if e.Options().HeaderIncluded.Load() {
		if err := e.sendIncluded(pkt, &o); err != nil {
			return 0, err
		}
		return n, nil
	}
	if o.More || e.pending.Load() != 0 {
		return e.sendCorked(pkt, protocol, &o)
	}
	var f datagram.Flow
	if err := e.prepare(&f, protocol, n, &o); err != nil {
		pkt.Release()
		return 0, err
	}
	if err := e.transmit(&f, pkt); err != nil {
		return 0, err
	}
	return n, nil
}

// prepare finds out how to send n bytes. As in Linux, neither a pending error nor shutdown(2) keeps a
// raw socket from sending, unless it makes IP headers itself.
func (e *Endpoint) prepare(f *datagram.Flow, protocol uint8, n int, o *tcpip.SendOptions) error {
	if err := e.Prepare(f, o, false); err != nil {
		return err
	}
	f.Params.Transport, f.Port = protocol, 0
	_, err := e.Fits(f, n)
	return err
}

// sendCorked is Send for packets that take several sends (MSG_MORE). It takes data.
func (e *Endpoint) sendCorked(data *buffer.Packet, protocol uint8, o *tcpip.SendOptions) (int, error) {
	n := data.Len()
	e.sendMu.Lock()
	if !e.cork.Active() {
		var f datagram.Flow
		if err := e.prepare(&f, protocol, n, o); err != nil {
			e.sendMu.Unlock()
			data.Release()
			return 0, err
		}
		e.cork.Begin(f, 0)
	}
	if _, err := e.Fits(e.cork.Flow(), e.cork.Len()+n); err != nil {
		e.drop()
		e.sendMu.Unlock()
		data.Release()
		return 0, err
	}
	e.cork.Add(data)
	// An empty packet that was begun counts too.
	e.pending.Store(int32(max(e.cork.Len(), 1)))
	if o.More {
		e.sendMu.Unlock()
		return n, nil
	}
	e.pending.Store(0)
	pkt, f, _ := e.cork.Take()
	e.sendMu.Unlock()
	if err := e.transmit(&f, pkt); err != nil {
		return 0, err
	}
	return n, nil
}

// drop gives up the packet that was begun. e.sendMu is held.
func (e *Endpoint) drop() {
	e.pending.Store(0)
	if e.cork.Active() {
		e.cork.Drop()
	}
}

// transmit sends a packet that begins with its transport header, which it takes.
func (e *Endpoint) transmit(f *datagram.Flow, pkt *buffer.Packet) error {
	n := pkt.Len()
	if err := e.complete(f, pkt); err != nil {
		pkt.Release()
		return err
	}
	if pkt.TransportHeader, _ = pkt.Peek(min(n, header.UDPSize)); n > 0 {
		e.count(f.Params.Transport, pkt.TransportHeader[0])
	}
	return finish(f, e.Write(f, pkt))
}

func finish(f *datagram.Flow, err error) error {
	f.Route.Flush()
	if err == datagram.Dropped {
		return nil
	}
	return err
}

// complete computes the checksum if the socket wants that.
func (e *Endpoint) complete(f *datagram.Flow, pkt *buffer.Packet) error {
	at := int(e.checksumAt.Load())
	if at < 0 {
		return nil
	}
	n := pkt.Len()
	b, ok := pkt.Own(at + 2)
	if !ok {
		return unix.EINVAL
	}
	binary.BigEndian.PutUint16(b[at:], 0)
	sum := checksum.PseudoHeader(f.Params.Transport, f.Route.Source, f.Route.Destination, uint32(n))
	v := checksum.Finish(datagram.Sum(pkt, sum))
	if v == 0 && f.Params.Transport == header.ProtocolUDP {
		v = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(b[at:], v)
	return nil
}

// count counts an ICMPv6 message that is sent; package ipv4 does it for its own.
func (e *Endpoint) count(protocol, icmpType uint8) {
	if e.v6 && protocol == header.ProtocolICMPv6 {
		s := &e.Stack().Stats().ICMP6
		s.OutMsgs.Inc()
		s.OutType[icmpType].Inc()
	}
}

// sendIncluded sends a packet that begins with its IP header, which it takes (raw(7), IP_HDRINCL).
func (e *Endpoint) sendIncluded(pkt *buffer.Packet, o *tcpip.SendOptions) error {
	least := header.IPv4MinimumSize
	if e.v6 {
		least = header.IPv6Size
	}
	var f datagram.Flow
	err := e.Prepare(&f, o, false)
	switch n := pkt.Len(); {
	case err != nil:
	case n > int(f.Route.LinkMTU()):
		err = e.TooLong(&f, f.Route.LinkMTU())
	case n < least:
		err = unix.EINVAL
	default:
		err = e.Ready()
	}
	if err != nil {
		pkt.Release()
		return err
	}
	return finish(&f, e.WriteHeaderIncluded(&f, pkt))
}
