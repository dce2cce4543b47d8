package ipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"runsc/pkg/tcpip/header"
)

// options makes a hop-by-hop or destination options header.
func options(next uint8, opts ...byte) []byte {
	b := make([]byte, header.IPv6OptionsLength(len(opts)))
	header.IPv6Options(b).Encode(next, opts)
	return b
}

func routing(next, t, segmentsLeft uint8, addresses ...netip.Addr) []byte {
	data := make([]byte, 4)
	for _, a := range addresses {
		v := a.As16()
		data = append(data, v[:]...)
	}
	b := make([]byte, 4+len(data))
	header.IPv6Routing(b).Encode(next, t, segmentsLeft, data)
	return b
}

func fragmentHeader(next uint8, offset int, more bool, id uint32) []byte {
	b := make([]byte, header.IPv6FragmentSize)
	header.IPv6Fragment(b).Encode(header.IPv6FragmentFields{NextHeader: next, Offset: uint16(offset), MoreFragments: more, ID: id})
	return b
}

func TestExtensionHeaders(t *testing.T) {
	const (
		hbh  = header.ProtocolHopByHop
		dst  = header.ProtocolDestination
		rt   = header.ProtocolRouting
		frag = header.ProtocolFragment
		none = header.ProtocolNoNext
		u    = header.ProtocolUDP
	)
	data := udp(1, 2, 12)
	type result struct {
		deliver     bool
		problem     bool // a parameter problem is sent, with these
		code        uint8
		pointer     uint32
		toMulticast bool // instead of a unicast address
	}
	deliver := result{deliver: true}
	drop := result{}
	problem := func(code uint8, pointer uint32) result { return result{problem: true, code: code, pointer: pointer} }
	unknown := func(pointer uint32) result { return problem(header.ICMPv6UnknownOption, pointer) }
	for _, test := range []struct {
		name  string
		first uint8
		parts [][]byte
		want  result
	}{
		{"RFC 8200 section 4.1: all of them in the recommended order", hbh, [][]byte{
			options(dst), options(rt), routing(frag, 0, 0), fragmentHeader(dst, 0, false, 1), options(u), data}, deliver},
		{"any order and number of times", dst, [][]byte{options(rt), routing(dst, 0, 0), options(dst), options(u), data}, deliver},
		{"hop-by-hop not behind the fixed header", dst, [][]byte{options(hbh), options(u), data}, problem(header.ICMPv6UnknownNextHeader, 40)},
		{"more headers than anybody needs", dst, [][]byte{options(dst), options(dst), options(dst), options(dst),
			options(dst), options(dst), options(dst), options(dst), options(u), data}, drop},
		{"section 4.7: no next header", none, nil, drop},
		{"no next header behind another one, with bytes behind", dst, [][]byte{options(none), data}, drop},
		{"unknown next header", 199, [][]byte{data}, problem(header.ICMPv6UnknownNextHeader, 6)},
		{"unknown next header behind others", hbh, [][]byte{options(dst), options(199), data}, problem(header.ICMPv6UnknownNextHeader, 48)},
		{"no IPsec here", header.ProtocolAH, [][]byte{make([]byte, 24)}, problem(header.ICMPv6UnknownNextHeader, 6)},

		{"section 4.2: Pad1 and PadN", hbh, [][]byte{options(u, 0, 0, 1, 3, 0, 0, 0, 0, 0), data}, deliver},
		{"unknown option, action 00: skip", hbh, [][]byte{options(u, 0x1e, 2, 9, 9), data}, deliver},
		{"unknown option, action 01: discard", hbh, [][]byte{options(u, 0x5e, 2, 9, 9), data}, drop},
		{"unknown option, action 10: report", hbh, [][]byte{options(u, 1, 0, 0x9e, 0), data}, unknown(44)},
		{"unknown option, action 11: report", hbh, [][]byte{options(u, 0xde, 2, 9, 9), data}, unknown(42)},
		{"action 10 to a group: report", hbh, [][]byte{options(u, 0x9e, 2, 9, 9), data},
			result{toMulticast: true, problem: true, code: header.ICMPv6UnknownOption, pointer: 42}},
		{"action 11 to a group: discard", hbh, [][]byte{options(u, 0xde, 2, 9, 9), data}, result{toMulticast: true}},
		{"action 00 to a group: skip", dst, [][]byte{options(u, 0x1e, 2, 9, 9), data}, result{toMulticast: true, deliver: true}},
		{"destination option, action 00", dst, [][]byte{options(u, 0x1e, 0), data}, deliver},
		{"destination option, action 01", dst, [][]byte{options(u, 0x5e, 0), data}, drop},
		{"destination option, action 10", dst, [][]byte{options(u, 0x9e, 0), data}, unknown(42)},
		{"destination option, action 11, behind another header", dst, [][]byte{options(dst), options(u, 0xde, 0), data}, unknown(50)},
		{"RFC 2675: a jumbogram, which is not known here", hbh, [][]byte{options(u, 0xc2, 4, 0, 1, 0, 0), data}, unknown(42)},
		{"RFC 2711: router alert", hbh, [][]byte{options(u, 5, 2, 0, 0), data}, deliver},
		{"router alert of a wrong length", hbh, [][]byte{options(u, 5, 3, 0, 0, 0), data}, problem(header.ICMPv6ErroneousField, 43)},
		{"router alert as a destination option is unknown", dst, [][]byte{options(u, 5, 3, 0, 0, 0), data}, deliver},
		{"more options than anybody needs", hbh, [][]byte{options(u, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0), data}, drop},
		{"eight options", hbh, [][]byte{options(u, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0), data}, deliver},
		{"an option that is longer than its header", hbh, [][]byte{{u, 0, 0x1e, 9, 0, 0, 0, 0}, data}, problem(header.ICMPv6ErroneousField, 42)},
		{"an option without a length", hbh, [][]byte{{u, 0, 0, 0, 0, 0, 0, 0x1e}, data}, problem(header.ICMPv6ErroneousField, 47)},
		{"a header that is longer than the packet", dst, [][]byte{{u, 9, 1, 4, 0, 0, 0, 0}, data}, problem(header.ICMPv6ErroneousField, 41)},
		{"a header that is cut off", dst, [][]byte{{u, 0, 1}}, problem(header.ICMPv6ErroneousField, 41)},

		{"RFC 5095 section 3: routing type 0 is not obeyed", rt, [][]byte{routing(u, 0, 1, remote), data}, problem(header.ICMPv6ErroneousField, 42)},
		{"routing type 0 with nothing left to do", rt, [][]byte{routing(u, 0, 0, remote), data}, deliver},
		{"RFC 8200 section 4.4: unknown routing type", rt, [][]byte{routing(u, 77, 1), data}, problem(header.ICMPv6ErroneousField, 42)},
		{"unknown routing type behind another header", dst, [][]byte{options(rt), routing(u, 4, 3, remote), data}, problem(header.ICMPv6ErroneousField, 50)},
		{"unknown routing type with nothing left to do", rt, [][]byte{routing(u, 77, 0), data}, deliver},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			to := ourGlobal
			if test.want.toMulticast {
				to = header.IPv6AllNodes
			}
			b := ip(peerGlobal, to, test.first, 64, test.parts...)
			h.receive(b)
			got := h.udp.takeUnknown()
			if (len(got) == 1) != test.want.deliver {
				t.Errorf("%d packets were delivered", len(got))
			}
			if len(got) == 1 {
				if !slices.Equal(got[0].b, data) {
					t.Errorf("delivered %x", got[0].b)
				}
				if !slices.Equal(got[0].net, b[:len(b)-len(data)]) {
					t.Errorf("network headers %x", got[0].net)
				}
			}
			if !test.want.problem {
				h.none(test.name)
				return
			}
			f := h.one()
			f.expectError(header.ICMPv6ParameterProblem, test.want.code, test.want.pointer, b)
			if f.ip().Source() != ourGlobal || f.ip().Destination() != peerGlobal {
				t.Errorf("sent %v", f)
			}
		})
	}
}

func TestUnknownNextHeaderIsNoErrorForARawSocket(t *testing.T) {
	h := onLink(t, hostOptions{})
	var r raw
	h.stack.RegisterRaw(true, 199, &r)
	h.receive(ip(peerGlobal, ourGlobal, header.ProtocolDestination, 64, options(199), []byte("hello")))
	if len(r.got) != 1 || string(r.got[0]) != "hello" {
		t.Errorf("the raw socket got %q", r.got)
	}
	h.none("a raw socket has the packet")
}

// RFC 8200 section 4.5, RFC 5722, RFC 6946, RFC 7112.
func TestReassembly(t *testing.T) {
	const u = header.ProtocolUDP
	data := udp(1000, 2000, 60)
	// piece is a fragment of data with other fields that can be set.
	type piece struct {
		from, to int
		last     bool
		id       uint32
		before   []byte // extension headers in front, with the first one's type
		first    uint8
		next     uint8
		tos      uint8
		dst      netip.Addr
		length   int // instead of the data's
	}
	make1 := func(p piece) []byte {
		if p.next == 0 {
			p.next = u
		}
		d := data[min(p.from, len(data)):min(max(p.from, p.to), len(data))]
		f := fragmentHeader(p.next, p.from, !p.last, p.id)
		first := uint8(header.ProtocolFragment)
		if p.before != nil {
			first = p.first
		}
		to := ourGlobal
		if p.dst.IsValid() {
			to = p.dst
		}
		if p.length != 0 {
			d = make([]byte, p.length)
		}
		b := ip(peerGlobal, to, first, 64, p.before, f, d)
		header.IPv6(b).SetTrafficClass(p.tos)
		return b
	}
	hop := options(header.ProtocolFragment)
	type want struct {
		deliver int
		tos     uint8
		problem bool
		code    uint8
		pointer uint32
		about   int // which fragment is quoted
	}
	for _, test := range []struct {
		name   string
		pieces []piece
		want   want
	}{
		{"in order", []piece{{from: 0, to: 24}, {from: 24, to: 48}, {from: 48, to: 68, last: true}}, want{deliver: 1}},
		{"the other way round", []piece{{from: 48, to: 68, last: true}, {from: 24, to: 48}, {from: 0, to: 24}}, want{deliver: 1}},
		{"one is missing", []piece{{from: 0, to: 24}, {from: 48, to: 68, last: true}}, want{}},
		{"RFC 8200 section 4.5: an exact duplicate is ignored", []piece{{from: 0, to: 24}, {from: 0, to: 24}, {from: 24, to: 68, last: true}}, want{deliver: 1}},
		{"RFC 5722 section 4: overlap", []piece{{from: 0, to: 32}, {from: 24, to: 48}, {from: 48, to: 68, last: true}, {from: 32, to: 48}}, want{}},
		{"RFC 5722: overlap that contains another", []piece{{from: 8, to: 16}, {from: 0, to: 24}, {from: 24, to: 68, last: true}}, want{}},
		{"a last fragment before what is there", []piece{{from: 24, to: 48}, {from: 8, to: 24, last: true}, {from: 0, to: 8}}, want{}},
		{"two different ends", []piece{{from: 24, to: 48, last: true}, {from: 48, to: 68, last: true}, {from: 0, to: 24}}, want{}},
		{"other identifications are other packets", []piece{{from: 0, to: 24, id: 1}, {from: 24, to: 68, last: true, id: 2}}, want{}},
		{"other destinations are other packets", []piece{{from: 0, to: 24, dst: ourLL}, {from: 24, to: 68, last: true}}, want{}},
		{"RFC 6946: an atomic fragment", []piece{{from: 0, to: 68, last: true}}, want{deliver: 1}},
		{"RFC 6946 section 4: an atomic fragment leaves others alone", []piece{{from: 0, to: 24}, {from: 0, to: 68, last: true}, {from: 24, to: 68, last: true}}, want{deliver: 2}},
		{"a length that is no multiple of 8", []piece{{from: 0, to: 25}}, want{problem: true, code: header.ICMPv6ErroneousField, pointer: 4}},
		{"longer than a packet can be", []piece{{from: 65528, last: true, length: 16}}, want{problem: true, code: header.ICMPv6ErroneousField, pointer: 42}},
		{"longer than a packet can be, with its headers", []piece{{from: 65520, last: true, length: 8, before: hop, first: header.ProtocolHopByHop}},
			want{problem: true, code: header.ICMPv6ErroneousField, pointer: 50}},
		{"RFC 7112 section 5: transport header not in the first", []piece{{from: 0, to: 8, next: header.ProtocolTCP}},
			want{problem: true, code: header.ICMPv6IncompleteFirstFrag}},
		{"RFC 7112 section 5: extension header cut off", []piece{{from: 0, to: 8, next: header.ProtocolDestination}},
			want{problem: true, code: header.ICMPv6IncompleteFirstFrag}},
		{"RFC 7112: the whole transport header is enough", []piece{{from: 0, to: 8}, {from: 8, to: 68, last: true}}, want{deliver: 1}},
		{"extension headers in front", []piece{
			{from: 0, to: 24, before: hop, first: header.ProtocolHopByHop},
			{from: 24, to: 68, last: true, before: hop, first: header.ProtocolHopByHop}}, want{deliver: 1}},
		{"headers in front of the first count", []piece{
			{from: 24, to: 68, last: true},
			{from: 0, to: 24, before: hop, first: header.ProtocolHopByHop}}, want{deliver: 1}},
		{"next header of the first counts", []piece{{from: 24, to: 68, last: true, next: header.ProtocolTCP}, {from: 0, to: 24}}, want{deliver: 1}},
		{"RFC 3168 section 5.3: congestion of one is the whole's", []piece{{from: 0, to: 24, tos: 2}, {from: 24, to: 68, last: true, tos: 3}}, want{deliver: 1, tos: 3}},
		{"RFC 3168 section 5.3: congestion without ECN", []piece{{from: 0, to: 24, tos: 0}, {from: 24, to: 68, last: true, tos: 3}}, want{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			var sent [][]byte
			for _, p := range test.pieces {
				b := make1(p)
				sent = append(sent, b)
				h.receive(b)
			}
			got := h.udp.takeUnknown()
			if len(got) != test.want.deliver {
				t.Fatalf("%d packets were delivered, want %d", len(got), test.want.deliver)
			}
			for _, d := range got {
				if !slices.Equal(d.b, data) || d.tos != test.want.tos || d.id.LocalPort != 2000 {
					t.Errorf("delivered %x of class %#x to port %d", d.b, d.tos, d.id.LocalPort)
				}
				if c := header.IPv6(d.net).TrafficClass(); c != test.want.tos {
					t.Errorf("the header's traffic class is %#x", c)
				}
				if n := header.IPv6(d.net).PayloadLength(); int(n) != len(d.net)-header.IPv6Size+len(d.b) {
					t.Errorf("the payload length is %d, with %d bytes of headers", n, len(d.net))
				}
			}
			if !test.want.problem {
				h.none(test.name)
				return
			}
			h.one().expectError(header.ICMPv6ParameterProblem, test.want.code, test.want.pointer, sent[test.want.about])
		})
	}
}

// RFC 8200 section 4.5: 60 seconds, and an error if the first fragment came.
func TestReassemblyTimeout(t *testing.T) {
	for _, test := range []struct {
		name  string
		first bool
	}{{"with the first fragment", true}, {"without", false}} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			b := ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 0, true, 5), udp(1, 2, 8))
			if !test.first {
				b = ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 16, true, 5), udp(1, 2, 8))
			}
			h.receive(b)
			h.clock.Advance(60*time.Second - 1)
			h.none("it is not late yet")
			h.clock.Advance(1)
			if n := h.stack.Stats().IP6.ReasmTimeout.Load(); n != 1 {
				t.Errorf("%d time-outs", n)
			}
			if !test.first {
				h.none("nobody knows what packet it was")
				return
			}
			h.one().expectError(header.ICMPv6TimeExceeded, header.ICMPv6ReassemblyTimeout, 0, b)
			// What comes late starts anew.
			h.receive(ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 16, false, 5), make([]byte, 8)))
			if len(h.udp.takeUnknown()) != 0 {
				t.Error("a late fragment completed the packet")
			}
		})
	}
}

func TestReassemblyMemoryIsBounded(t *testing.T) {
	h := onLink(t, hostOptions{})
	for id := range uint32(5000) {
		b := ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 8, true, id), make([]byte, 1400))
		h.receive(b)
	}
	if n := h.ep.protocol.fragment.packets.Memory(); n > reassemblyMemory || n < reassemblyMemory/2 {
		t.Errorf("%d bytes of fragments are kept, the limit is %d", n, reassemblyMemory)
	}
}

// An error about a reassembled packet quotes it whole.
func TestErrorAboutAReassembledPacket(t *testing.T) {
	h := onLink(t, hostOptions{})
	h.udp.refuse = true
	data := udp(1000, 2000, 40)
	h.receive(ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 0, true, 5), data[:24]))
	h.receive(ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 24, false, 5), data[24:]))
	h.one().expectError(header.ICMPv6Unreachable, header.ICMPv6PortUnreachable, 0, ip(peerGlobal, ourGlobal, header.ProtocolUDP, 64, data))
	if n := h.stack.Stats().IP6.ReasmOKs.Load(); n != 1 {
		t.Errorf("%d reassembled", n)
	}
}
