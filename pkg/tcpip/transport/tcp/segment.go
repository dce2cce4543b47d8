package tcp

import (
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
)

// Shorter names for the control bits.
const (
	flagFin = header.TCPFlagFin
	flagSyn = header.TCPFlagSyn
	flagRst = header.TCPFlagRst
	flagPsh = header.TCPFlagPsh
	flagAck = header.TCPFlagAck
	flagUrg = header.TCPFlagUrg
	flagEce = header.TCPFlagEce
	flagCwr = header.TCPFlagCwr
)

// segment is a segment that came in. It lives on the stack of the goroutine that handles it, and
// refers to a packet, of which it has consumed the TCP header.
type segment struct {
	pkt      *buffer.Packet
	seq, ack uint32
	flags    header.TCPFlags
	window   uint32 // as in the header, not scaled
	urgent   uint16
	size     int // bytes of payload
	opts     header.TCPOptions
	// ce: the packet was marked by a router (RFC 3168 section 5).
	ce bool
}

// length is the segment's length in sequence numbers: SYN and FIN have one each.
func (s *segment) length() uint32 {
	n := uint32(s.size)
	if s.flags&flagSyn != 0 {
		n++
	}
	if s.flags&flagFin != 0 {
		n++
	}
	return n
}

// end is the sequence number behind the segment.
func (s *segment) end() uint32 { return s.seq + s.length() }

// parse reads the header of pkt and consumes it. false: it is malformed.
func (s *segment) parse(pkt *buffer.Packet) bool {
	b, ok := pkt.Peek(header.TCPMinimumSize)
	if !ok {
		return false
	}
	n := header.TCP(b).HeaderLength()
	if n < header.TCPMinimumSize {
		return false
	}
	if b, ok = pkt.Consume(n); !ok {
		return false
	}
	h := header.TCP(b)
	pkt.TransportHeader = b
	s.pkt = pkt
	s.seq, s.ack, s.flags = h.Sequence(), h.Acknowledgment(), h.Flags()
	s.window, s.urgent, s.size = uint32(h.Window()), h.UrgentPointer(), pkt.Len()
	s.ce = pkt.TOS&header.ECNMask == header.ECNCongestion
	// What precedes a malformed option is taken, as every stack does.
	h.ParseOptions(&s.opts)
	return true
}

// checksumOK says whether the checksum of a packet from the TCP header on is right or need not be
// checked.
func checksumOK(pkt *buffer.Packet) bool {
	if pkt.Checksum != buffer.ChecksumUnknown {
		return true
	}
	sum := checksum.PseudoHeader(header.ProtocolTCP, pkt.Source, pkt.Destination, uint32(pkt.Len()))
	var store [8][]byte
	odd := false
	for _, b := range pkt.Slices(store[:0]) {
		sum, odd = checksum.Add(sum, b, odd)
	}
	return checksum.OK(sum)
}
