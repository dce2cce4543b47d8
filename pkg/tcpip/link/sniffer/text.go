package sniffer

import (
	"net/netip"
	"strconv"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// headSize is how much of a packet is looked at for its description.
const headSize = 256

// line is a description that is being written.
type line []byte

func (l *line) str(s ...string) {
	for _, s := range s {
		*l = append(*l, s...)
	}
}

func (l *line) num(n int) { *l = strconv.AppendInt(*l, int64(n), 10) }

func (l *line) hex(n uint16) { *l = strconv.AppendUint(append(*l, "0x"...), uint64(n), 16) }

// addr writes an address and its port, if there is one.
func (l *line) addr(a netip.Addr, port int) {
	*l = a.AppendTo(*l)
	if port >= 0 {
		*l = append(*l, '.')
		l.num(port)
	}
}

// describe appends a line about a packet to dst: b is its front from the network header on, size
// the length of all of that.
//
//	IP 10.0.0.1.1000 > 10.0.0.2.80: TCP SA seq 1 ack 2 win 500, length 0
//	IP6 fe80::1.53 > fe80::2.9: UDP, length 100 (segments of 25)
//	ARP request who-has 10.0.0.1 tell 10.0.0.2
func describe(dst []byte, p *buffer.Packet, b []byte, size int) []byte {
	l := line(dst)
	switch p.EtherType {
	case header.EtherTypeIPv4:
		l.ipv4(b, size)
	case header.EtherTypeIPv6:
		l.ipv6(b, size)
	case header.EtherTypeARP:
		l.arp(b)
	default:
		l.str("type ")
		l.hex(p.EtherType)
		l.str(", length ")
		l.num(size)
	}
	if s := p.Segmentation; s.Type != buffer.SegmentNone {
		l.str(" (segments of ")
		l.num(int(s.Size))
		l.str(")")
	}
	return l
}

// malformed ends a line.
func (l *line) malformed(what string, size int) {
	l.str("malformed ", what, ", length ")
	l.num(size)
}

func (l *line) arp(b []byte) {
	h := header.ARP(b)
	if !h.Valid() {
		l.malformed("ARP", len(b))
		return
	}
	switch h.Operation() {
	case header.ARPRequest:
		l.str("ARP request who-has ")
		l.addr(h.TargetIP(), -1)
		l.str(" tell ")
		l.addr(h.SenderIP(), -1)
	case header.ARPReply:
		l.str("ARP reply ")
		l.addr(h.SenderIP(), -1)
		l.str(" is-at ", h.SenderLink().String())
	default:
		l.str("ARP operation ")
		l.num(int(h.Operation()))
	}
}

func (l *line) ipv4(b []byte, size int) {
	h := header.IPv4(b)
	if !h.Valid(size) {
		l.malformed("IP", size)
		return
	}
	n := h.HeaderLength()
	f := flow{l: l, name: "IP ", src: h.Source(), dst: h.Destination()}
	payload := h.PayloadLength()
	if h.FragmentOffset() == 0 {
		f.transport(h.Protocol(), b[n:min(len(b), n+payload)], payload)
	} else {
		f.other(h.Protocol(), payload)
	}
	if h.IsFragment() {
		l.fragment(uint32(h.ID()), h.FragmentOffset(), h.MoreFragments())
	}
}

func (l *line) ipv6(b []byte, size int) {
	h := header.IPv6(b)
	if !h.Valid(size) {
		l.malformed("IP6", size)
		return
	}
	f := flow{l: l, name: "IP6 ", src: h.Source(), dst: h.Destination()}
	payload := int(h.PayloadLength())
	rest := b[header.IPv6Size:min(len(b), header.IPv6Size+payload)]
	var fragment header.IPv6Fragment
	w := header.WalkIPv6Extensions(h.NextHeader(), rest)
	for w.Next() {
		if w.Type == header.ProtocolFragment {
			fragment = w.Header
		}
	}
	payload -= w.Offset()
	if fragment == nil || fragment.Offset() == 0 {
		f.transport(w.Protocol(), rest[w.Offset():], payload)
	} else {
		f.other(w.Protocol(), payload)
	}
	if fragment != nil {
		l.fragment(fragment.ID(), fragment.Offset(), fragment.MoreFragments())
	}
}

func (l *line) fragment(id uint32, offset uint16, more bool) {
	l.str(" (fragment ")
	*l = strconv.AppendUint(*l, uint64(id), 10)
	l.str(" at ")
	l.num(int(offset))
	if more {
		l.str("+")
	}
	l.str(")")
}

// flow is the beginning of a line about an IP packet.
type flow struct {
	l        *line
	name     string
	src, dst netip.Addr
}

// ends writes who sends to whom; ports of -1 are none.
func (f *flow) ends(src, dst int, what string) {
	f.l.str(f.name)
	f.l.addr(f.src, src)
	f.l.str(" > ")
	f.l.addr(f.dst, dst)
	f.l.str(": ", what)
}

func (f *flow) length(n int) {
	f.l.str(", length ")
	f.l.num(n)
}

// other is a packet of which only the protocol is known.
func (f *flow) other(protocol uint8, size int) {
	f.ends(-1, -1, "protocol ")
	f.l.num(int(protocol))
	f.length(size)
}

// transport describes a packet by its transport header, which b begins with; size is the length of
// header and data.
func (f *flow) transport(protocol uint8, b []byte, size int) {
	switch {
	case protocol == header.ProtocolTCP && header.TCP(b).Valid():
		f.tcp(b, size)
	case protocol == header.ProtocolUDP && len(b) >= header.UDPSize:
		h := header.UDP(b)
		f.ends(int(h.SourcePort()), int(h.DestinationPort()), "UDP")
		f.length(size - header.UDPSize)
	case protocol == header.ProtocolICMPv4 && header.ICMPv4(b).Valid():
		h := header.ICMPv4(b)
		f.icmp("ICMP ", h.Type(), h.Code(), h.Type() == header.ICMPv4Echo, h.Type() == header.ICMPv4EchoReply, h.Ident(), h.Sequence(), size)
	case protocol == header.ProtocolICMPv6 && header.ICMPv6(b).Valid():
		h := header.ICMPv6(b)
		f.icmp("ICMP6 ", h.Type(), h.Code(), h.Type() == header.ICMPv6EchoRequest, h.Type() == header.ICMPv6EchoReply, h.Ident(), h.Sequence(), size)
	default:
		f.other(protocol, size)
	}
}

func (f *flow) tcp(h header.TCP, size int) {
	f.ends(int(h.SourcePort()), int(h.DestinationPort()), "TCP ")
	f.l.str(h.Flags().String(), " seq ")
	*f.l = strconv.AppendUint(*f.l, uint64(h.Sequence()), 10)
	if h.Flags().Has(header.TCPFlagAck) {
		f.l.str(" ack ")
		*f.l = strconv.AppendUint(*f.l, uint64(h.Acknowledgment()), 10)
	}
	f.l.str(" win ")
	f.l.num(int(h.Window()))
	if h.Flags().Has(header.TCPFlagUrg) {
		f.l.str(" urg ")
		f.l.num(int(h.UrgentPointer()))
	}
	f.length(size - h.HeaderLength())
}

func (f *flow) icmp(name string, typ, code uint8, echo, reply bool, id, seq uint16, size int) {
	f.ends(-1, -1, name)
	switch {
	case echo, reply:
		if echo {
			f.l.str("echo request")
		} else {
			f.l.str("echo reply")
		}
		f.l.str(" id ")
		f.l.num(int(id))
		f.l.str(" seq ")
		f.l.num(int(seq))
	default:
		f.l.str("type ")
		f.l.num(int(typ))
		f.l.str(" code ")
		f.l.num(int(code))
	}
	f.length(size)
}
