package tcp

import (
	"encoding/binary"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// fuzzHarness is a harness without a script.
func fuzzHarness(t *testing.T) *harness {
	h := newHarness(t, false, 1500)
	h.line = "fuzz"
	return h
}

// feed makes segments out of fuzz's bytes and sends them from the peer: each is a flag byte, what to
// add to the expected sequence number and to our last, a window, a length, and options.
func (h *harness) feed(b []byte, e *Endpoint) {
	for n := 0; len(b) >= 12 && n < 200; n++ {
		f := header.TCPFields{
			SourcePort: h.peerPort, DestinationPort: h.ourPort, Flags: header.TCPFlags(b[0]),
			Window: binary.BigEndian.Uint16(b[1:]), UrgentPointer: uint16(b[3]),
		}
		seq, ack := int32(int16(binary.BigEndian.Uint16(b[4:]))), int32(int16(binary.BigEndian.Uint16(b[6:])))
		size, options, wait := int(b[8])*8, int(b[9])&^3, b[10]
		if b[11]&1 != 0 {
			seq <<= 12 // far away
		}
		if b[11]&2 != 0 {
			ack <<= 12
		}
		if b[11]&4 != 0 {
			f.SourcePort += uint16(n)
		}
		nxt, una := uint32(peerISS), h.iss
		if e != nil {
			e.mu.Lock()
			nxt, una = e.rcv.nxt, e.snd.nxt
			e.mu.Unlock()
		}
		f.Sequence, f.Acknowledgment = nxt+uint32(seq), una+uint32(ack)
		b = b[12:]
		options = min(options, len(b)&^3, header.TCPOptionsMaximum)
		f.HeaderLength = header.TCPMinimumSize + options
		raw := make([]byte, f.HeaderLength+size)
		header.TCP(raw).Encode(f)
		copy(raw[header.TCPMinimumSize:], b[:options])
		b = b[options:]
		pkt := buffer.NewFrom(raw)
		pkt.Source, pkt.Destination, pkt.Local = h.peer, h.ours, h.ours
		pkt.EtherType, pkt.Transport, pkt.NIC = header.EtherTypeIPv4, header.ProtocolTCP, 1
		pkt.Checksum = buffer.ChecksumVerified
		h.stack.DeliverTransport(h.stack.NIC(1), pkt)
		if wait&0x80 != 0 {
			h.clock.Advance(time.Duration(wait&0x7f) * 10 * time.Millisecond)
		}
		h.check(e)
		h.wire.out = h.wire.out[:0]
	}
}

// check looks at what must hold whatever comes.
func (h *harness) check(e *Endpoint) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	q := &e.sent
	sacked, lost, again, pending, at := 0, 0, 0, 0, e.snd.una
	for i := range q.list.len() {
		s := q.list.at(i)
		if s.seq != at || !after(s.end, s.seq) {
			h.t.Fatalf("segment %d in flight is [%d, %d), after %d", i, s.seq, s.end, at)
		}
		at = s.end
		if s.flags&sentSacked != 0 {
			sacked += s.size()
		}
		if s.flags&sentLost != 0 {
			lost += s.size()
			if s.flags&sentAgain == 0 {
				pending += s.size()
			}
		}
		if s.flags&sentAgain != 0 {
			again += s.size()
		}
	}
	if e.state != StateClosed && at != e.snd.nxt {
		h.t.Fatalf("in flight up to %d, SND.NXT is %d", at, e.snd.nxt)
	}
	if sacked != q.sacked || lost != q.lost || again != q.again || pending != q.pending {
		h.t.Fatalf("sums are %d %d %d %d, not %d %d %d %d", q.sacked, q.lost, q.again, q.pending, sacked, lost, again, pending)
	}
	memory := 0
	for i := range e.ooo.pieces.len() {
		p := e.ooo.pieces.at(i)
		memory += p.v.Memory() + viewOverhead
		if i > 0 && after(e.ooo.pieces.at(i-1).end(), p.seq) {
			h.t.Fatal("pieces behind the gap overlap")
		}
		if !after(p.end(), e.rcv.nxt) {
			h.t.Fatal("a piece behind the gap is before it")
		}
	}
	if memory != e.ooo.memory {
		h.t.Fatalf("out of order: %d bytes, counted %d", memory, e.ooo.memory)
	}
	if limit := 2*e.receiveBuffer() + 65536; e.receiveMemory() > limit {
		h.t.Fatalf("%d bytes are kept, the buffer has %d", e.receiveMemory(), e.receiveBuffer())
	}
	if e.state.synchronized() && e.cong.window < 1 {
		h.t.Fatalf("the window is %d", e.cong.window)
	}
	if n := q.list.len(); n > 100_000 {
		h.t.Fatalf("%d segments in flight", n)
	}
}

var fuzzSeeds = [][]byte{
	{0x10, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	{0x18, 0xff, 0xff, 0, 0, 100, 0, 0, 20, 12, 0x90, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 0x11, 0xff, 0xff, 0, 0, 0, 0, 0, 3, 0, 0, 0},
	{0x02, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0x10, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0x8f, 4},
	{0x10, 0xff, 0xff, 0, 0, 0, 0xff, 0x00, 0, 12, 0, 0, 1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 0},
	{0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
}

// FuzzSegment sends anything into a connection that sends and receives.
func FuzzSegment(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(uint8(0), s)
		f.Add(uint8(0xff), s)
	}
	f.Fuzz(func(t *testing.T, how uint8, b []byte) {
		h := fuzzHarness(t)
		options := "mss 1000"
		if how&1 != 0 {
			options += ",sackOK"
		}
		if how&2 != 0 {
			options += ",ws 4"
		}
		if how&4 != 0 {
			h.stack.Settings().TCPTimestamps.Store(false)
		}
		h.established(options)
		e := h.e
		if how&8 != 0 {
			_, _ = e.Send(&patternSource{h, 20000}, tcpip.SendOptions{})
		}
		if how&16 != 0 {
			_ = e.Shutdown(tcpip.ShutdownWrite)
		}
		if how&32 != 0 {
			_ = e.SetCongestionControl("reno")
		}
		if how&64 != 0 {
			e.Close()
		}
		h.wire.out = nil
		h.feed(b, e)
		h.clock.Advance(time.Minute)
		h.check(e)
		if how&64 == 0 {
			if how&128 != 0 {
				_, _ = e.Receive(&byteSink{room: 100000}, tcpip.ReceiveOptions{})
			}
			_, _ = e.Send(&patternSource{h, 1000}, tcpip.SendOptions{})
			h.check(e)
			e.Close()
		}
		h.clock.Advance(20 * time.Minute)
	})
}

// FuzzListener sends anything to a listener.
func FuzzListener(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(uint8(0), s)
		f.Add(uint8(7), s)
	}
	f.Fuzz(func(t *testing.T, how uint8, b []byte) {
		h := fuzzHarness(t)
		h.stack.Settings().TCPSynCookies.Store(int32(how & 3))
		h.command([]string{"listen", "3"})
		if how&4 != 0 {
			h.listener.SetDeferAccept(time.Second)
		}
		h.feed(b, nil)
		l := h.listener.listener
		if len(l.requests) > 3 || l.accepted.len() > 4 {
			t.Fatalf("%d requests, %d connections", len(l.requests), l.accepted.len())
		}
		for {
			e, _, err := h.listener.AcceptEndpoint()
			if err != nil {
				break
			}
			h.feed(b, e)
			e.Close()
		}
		h.listener.Close()
		h.clock.Advance(20 * time.Minute)
	})
}

// FuzzSynSent sends anything to a connection that is being opened.
func FuzzSynSent(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	f.Add([]byte{0x12, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 20, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := fuzzHarness(t)
		h.command([]string{"connect", "EINPROGRESS"})
		s := h.next()
		h.iss, h.haveISS = s.tcp.Sequence(), true
		h.ourPort, h.peerPort = s.tcp.SourcePort(), s.tcp.DestinationPort()
		h.feed(b, h.e)
		_, _ = h.e.Send(&patternSource{h, 1000}, tcpip.SendOptions{})
		h.check(h.e)
		h.e.Close()
		h.clock.Advance(20 * time.Minute)
	})
}
