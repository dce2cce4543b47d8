package ipv6

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// packet makes a packet that a transport would send, of its bytes.
func packet(b []byte) *buffer.Packet {
	pkt := buffer.NewFrom(b)
	pkt.TransportHeader, _ = pkt.Peek(min(len(b), header.UDPSize))
	return pkt
}

// partial makes a datagram whose checksum is left to the link.
func partial(src, dst netip.Addr, b []byte) *buffer.Packet {
	pkt := packet(slices.Clone(b))
	h := header.UDP(pkt.TransportHeader)
	h.SetChecksumField(checksum.Fold(checksum.PseudoHeader(header.ProtocolUDP, src, dst, uint32(len(b)))))
	pkt.Checksum, pkt.ChecksumOffset = buffer.ChecksumPartial, 6
	return pkt
}

func (h *host) findRoute(dst netip.Addr) *stack.Route {
	h.t.Helper()
	r, err := h.stack.FindRoute(stack.RouteQuery{Destination: dst, NIC: h.nic.ID()})
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// onLink is a host whose neighbour's link address is known.
func onLink(t testing.TB, o hostOptions) *host {
	o.addresses = append(o.addresses, "2001:db8::1/64")
	h := newHost(t, o)
	h.neighbour(peerGlobal, peerLink)
	h.neighbour(peerLL, peerLink)
	return h
}

func TestSentHeader(t *testing.T) {
	for _, test := range []struct {
		name   string
		params stack.NetworkParams
		check  func(t *testing.T, h *host, ip header.IPv6)
	}{
		{"defaults", stack.NetworkParams{}, func(t *testing.T, h *host, ip header.IPv6) {
			if ip.HopLimit() != 64 || ip.TrafficClass() != 0 {
				t.Errorf("hop limit %d, traffic class %#x", ip.HopLimit(), ip.TrafficClass())
			}
		}},
		{"chosen fields", stack.NetworkParams{TTL: 3, TOS: 0xab, FlowLabel: 0xfedcb}, func(t *testing.T, h *host, ip header.IPv6) {
			if ip.HopLimit() != 3 || ip.TrafficClass() != 0xab || ip.FlowLabel() != 0xfedcb {
				t.Errorf("hop limit %d, traffic class %#x, flow label %#x", ip.HopLimit(), ip.TrafficClass(), ip.FlowLabel())
			}
		}},
		{"RFC 2711: router alert", stack.NetworkParams{RouterAlert: true}, func(t *testing.T, h *host, ip header.IPv6) {
			want := header.IPv6RouterAlert(header.ProtocolUDP)
			if ip.NextHeader() != header.ProtocolHopByHop || !slices.Equal(ip.Payload()[:8], want[:]) {
				t.Errorf("next header %d, then %x", ip.NextHeader(), ip.Payload()[:8])
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			test.params.Transport = header.ProtocolUDP
			if err := h.findRoute(peerGlobal).WritePacket(test.params, packet(udp(1, 2, 9))); err != nil {
				t.Fatal(err)
			}
			f := h.one()
			if f.to != peerLink || f.ip().Source() != ourGlobal || f.ip().Destination() != peerGlobal || !f.ip().Valid(len(f.b)) {
				t.Errorf("sent %v", f)
			}
			if next, b := f.payload(); next != header.ProtocolUDP || !slices.Equal(b, udp(1, 2, 9)) {
				t.Errorf("payload of protocol %d: %x", next, b)
			}
			test.check(t, h, f.ip())
		})
	}
}

func TestDefaultHopLimitIsASetting(t *testing.T) {
	h := onLink(t, hostOptions{})
	h.stack.Settings().IPv6HopLimit.Store(99)
	h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17}, packet(udp(1, 2, 9)))
	if f := h.one(); f.ip().HopLimit() != 99 {
		t.Errorf("hop limit %d", f.ip().HopLimit())
	}
}

// RFC 6437 sections 2 and 3.
func TestFlowLabelsTellFlowsApart(t *testing.T) {
	h := onLink(t, hostOptions{})
	label := func(src, dst uint16) uint32 {
		h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, packet(udp(src, dst, 9)))
		return h.one().ip().FlowLabel()
	}
	a, b := label(1000, 53), label(1001, 53)
	if a != label(1000, 53) {
		t.Error("packets of one flow have different labels")
	}
	if a == b || a == 0 || b == 0 {
		t.Errorf("labels of two flows: %#x, %#x", a, b)
	}
}

// RFC 8200 section 4.5.
func TestFragmentsOfASentPacket(t *testing.T) {
	for _, test := range []struct {
		name        string
		mtu         uint32
		size        int
		routerAlert bool
		want        []int // sizes of fragments
	}{
		{"exactly one packet", 1500, 1500 - 40 - 8, false, nil},
		{"one byte more", 1500, 1500 - 40 - 8 + 1, false, []int{1448, 13}},
		{"minimum MTU", 1280, 3000, false, []int{1232, 1232, 544}},
		{"an MTU that is no multiple of 8", 1285, 2500, false, []int{1232, 1232, 44}},
		{"router alert", 1280, 1300, true, []int{1224, 84}},
		{"the largest datagram", 1500, 65527, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{mtu: test.mtu})
			want := udp(1000, 2000, test.size)
			r := h.findRoute(peerGlobal)
			err := r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP, RouterAlert: test.routerAlert, TOS: 4}, partial(r.Source, r.Destination, want))
			if err != nil {
				t.Fatal(err)
			}
			header.UDP(want).SetChecksum(checksum.PseudoHeader(header.ProtocolUDP, ourGlobal, peerGlobal, uint32(len(want))))
			var sizes []int
			var got []byte
			var id uint32
			frames := h.take()
			for i, f := range frames {
				if len(f.b) > int(test.mtu) || !f.ip().Valid(len(f.b)) || f.ip().TrafficClass() != 4 {
					t.Errorf("fragment %d: %v of %d bytes", i, f, len(f.b))
				}
				w := header.WalkIPv6Extensions(f.ip().NextHeader(), f.ip().Payload())
				fragmented := false
				for w.Next() {
					if w.Type == header.ProtocolHopByHop && fragmented {
						t.Error("the router alert is fragmented")
					}
					if w.Type != header.ProtocolFragment {
						continue
					}
					fragmented = true
					fh := header.IPv6Fragment(w.Header)
					if i == 0 {
						id = fh.ID()
					}
					if int(fh.Offset()) != len(got) || fh.MoreFragments() != (i < len(frames)-1) || fh.ID() != id || fh.NextHeader() != header.ProtocolUDP {
						t.Errorf("fragment %d: offset %d, more %v, ID %#x", i, fh.Offset(), fh.MoreFragments(), fh.ID())
					}
				}
				data := f.ip().Payload()[w.Offset():]
				if fragmented {
					sizes = append(sizes, len(data))
				}
				got = append(got, data...)
			}
			if test.want != nil && !slices.Equal(sizes, test.want) {
				t.Errorf("fragments of %v bytes, want %v", sizes, test.want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("the fragments together are not the packet (%d bytes, want %d)", len(got), len(want))
			}
		})
	}
}

func TestFragmentIDsDiffer(t *testing.T) {
	h := onLink(t, hostOptions{mtu: 1280})
	seen := map[uint32]bool{}
	for range 20 {
		h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17}, packet(udp(1, 2, 2000)))
		for _, f := range h.take() {
			seen[header.IPv6Fragment(f.ip().Payload()).ID()] = true
		}
	}
	if len(seen) != 20 {
		t.Errorf("20 packets had %d identifications", len(seen))
	}
}

func TestTooBig(t *testing.T) {
	big := udp(1, 2, 1500)
	for _, test := range []struct {
		name    string
		params  stack.NetworkParams
		pathMTU uint32
		size    int
		err     error
		packets int
	}{
		{"fragmented", stack.NetworkParams{}, 0, 1500, nil, 2},
		{"not to be fragmented", stack.NetworkParams{DontFragment: true}, 0, 1500, unix.EMSGSIZE, 0},
		{"to be fragmented here only", stack.NetworkParams{DontFragment: true, FragmentHere: true}, 0, 1500, nil, 2},
		{"RFC 8201 section 4: more than the path takes", stack.NetworkParams{DontFragment: true}, 1400, 1390, unix.EMSGSIZE, 0},
		{"the path does not count", stack.NetworkParams{DontFragment: true, IgnorePathMTU: true}, 1400, 1390, nil, 1},
		{"fragmented for the path", stack.NetworkParams{}, 1300, 1390, nil, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			if test.pathMTU != 0 {
				h.stack.SetPathMTU(peerGlobal, test.pathMTU)
			}
			test.params.Transport = header.ProtocolUDP
			err := h.findRoute(peerGlobal).WritePacket(test.params, packet(big[:test.size]))
			if f := h.take(); err != test.err || len(f) != test.packets {
				t.Errorf("error %v and %d packets, want %v and %d", err, len(f), test.err, test.packets)
			}
		})
	}
}

func TestLongerThanAPacketCanBe(t *testing.T) {
	h := onLink(t, hostOptions{})
	pkt := packet(make([]byte, 65536))
	if err := h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17}, pkt); err != unix.EMSGSIZE {
		t.Errorf("error %v, want EMSGSIZE", err)
	}
	pkt = packet(make([]byte, 65530))
	if err := h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17, RouterAlert: true}, pkt); err != unix.EMSGSIZE {
		t.Errorf("with a hop-by-hop header: error %v, want EMSGSIZE", err)
	}
	h.none("too long")
}

func TestOffloadedPacketsAreNotFragmented(t *testing.T) {
	h := onLink(t, hostOptions{})
	h.wire.caps |= stack.CapSegmentation | stack.CapTXChecksum
	pkt := packet(make([]byte, 20000))
	pkt.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP6, Size: 1428}
	pkt.Checksum = buffer.ChecksumPartial
	pkt.ChecksumOffset = 16
	b, _ := pkt.Peek(20)
	b[12] = 5 << 4
	pkt.TransportHeader = b
	if err := h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: header.ProtocolTCP, DontFragment: true}, pkt); err != nil {
		t.Fatal(err)
	}
	if n := len(h.take()); n != 14 { // 19980 bytes in pieces of 1428, by the NIC
		t.Errorf("%d packets", n)
	}
}

func TestHeaderIncluded(t *testing.T) {
	full := ip(addr("2001:db8::77"), peerGlobal, header.ProtocolUDP, 9, udp(1, 2, 3))
	header.IPv6(full).SetPayloadLength(999) // raw(7): not even this is put right
	for _, test := range []struct {
		name string
		b    []byte
		err  error
	}{
		{"as it is", full, nil},
		{"no header", full[:39], unix.EINVAL},
		{"of another version", append([]byte{0x40}, full[1:]...), unix.EINVAL},
		{"more than the link takes", append(slices.Clone(full), make([]byte, 1500)...), unix.EMSGSIZE},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			r := h.findRoute(peerGlobal)
			if err := r.Endpoint.WriteHeaderIncluded(r, buffer.NewFrom(test.b)); err != test.err {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if test.err != nil {
				h.none(test.name)
			} else if f := h.one(); !slices.Equal(f.b, test.b) || f.to != peerLink {
				t.Errorf("sent %x", f.b)
			}
		})
	}
}

func TestMulticastIsLoopedToOurOwnMembers(t *testing.T) {
	group := addr("ff02::77")
	for _, test := range []struct {
		name           string
		member, noLoop bool
		want           int
	}{
		{"member", true, false, 1},
		{"not a member", false, false, 0},
		{"IPV6_MULTICAST_LOOP is off", true, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			h.udp.bind(t, stack.TransportID{LocalPort: 53})
			if test.member {
				if err := h.nic.JoinGroup(group); err != nil {
					t.Fatal(err)
				}
			}
			h.take()
			r := h.findRoute(group)
			params := stack.NetworkParams{Transport: header.ProtocolUDP, TTL: 1, NoMulticastLoop: test.noLoop}
			if err := r.WritePacket(params, partial(r.Source, group, udp(9, 53, 4))); err != nil {
				t.Fatal(err)
			}
			if f := h.one(); f.to != header.MulticastLink(group) || f.ip().HopLimit() != 1 {
				t.Errorf("sent %v", f)
			}
			// Something else goes the same way behind it, and is waited for.
			self := h.findRoute(ourGlobal)
			if err := self.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, packet(udp(9, 53, 5))); err != nil {
				t.Fatal(err)
			}
			var got []delivery
			last := func() bool { return len(got) > 0 && len(got[len(got)-1].b) == header.UDPSize+5 }
			h.eventually("both are delivered", func() bool { got = append(got, h.udp.takeGot()...); return last() })
			if len(got)-1 != test.want {
				t.Errorf("%d copies came back, want %d", len(got)-1, test.want)
			}
			if test.want == 1 && (got[0].nic != h.nic.ID() || got[0].id.LocalAddr != group) {
				t.Errorf("the copy came by interface %d for %v", got[0].nic, got[0].id.LocalAddr)
			}
		})
	}
}

func BenchmarkWritePacket(b *testing.B) {
	h := onLink(b, hostOptions{})
	r := h.findRoute(peerGlobal)
	v := buffer.NewFrom(udp(1, 2, 1000))
	h.wire.discard = true
	b.ReportAllocs()
	for b.Loop() {
		pkt := v.Clone()
		pkt.TransportHeader, _ = pkt.Peek(header.UDPSize)
		r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, pkt)
	}
}

func BenchmarkHandlePacket(b *testing.B) {
	h := onLink(b, hostOptions{})
	h.udp.discard = true
	data := ip(peerGlobal, ourGlobal, header.ProtocolUDP, 64, udp(1, 2, 1000))
	b.ReportAllocs()
	for b.Loop() {
		pkt := buffer.NewFrom(data)
		pkt.EtherType = header.EtherTypeIPv6
		h.ep.HandlePacket(pkt)
	}
}
