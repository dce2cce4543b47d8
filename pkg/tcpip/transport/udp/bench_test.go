package udp_test

import (
	"net/netip"
	"testing"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/udp"
)

// source and sink are those of an application that does not look at its data.
type source struct{ n int }

func (s *source) Len() int { return s.n }
func (s *source) Read(b []byte) (int, error) {
	n := min(len(b), s.n)
	s.n -= n
	return n, nil
}

type sink struct{ n int }

func (s *sink) Len() int { return s.n }
func (s *sink) Write(b []byte) (int, error) {
	n := min(len(b), s.n)
	s.n -= n
	return n, nil
}

// pair is two sockets on lo, the first connected to the second.
type pair struct {
	a, b *udp.Endpoint
	to   tcpip.FullAddress
	src  source
	dst  sink
}

func newPair(t testing.TB, v family) *pair {
	h := host(t)
	p := &pair{a: endpoint(t, h, v.v6), b: bound(t, h, v.v6, v.lo, 5000), to: To(v.lo, 5000)}
	OK(t, p.a.Connect(p.to))
	return p
}

func (p *pair) transfer(t testing.TB, n int, o tcpip.SendOptions) {
	p.src.n, p.dst.n = n, n
	if _, err := p.a.Send(&p.src, o); err != nil {
		t.Fatal(err)
	}
	if r, err := p.b.Receive(&p.dst, tcpip.ReceiveOptions{}); err != nil || r.N != n {
		t.Fatal(r.N, err)
	}
}

func TestDatagramsCostNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop things at random under the race detector")
	}
	both(t, func(t *testing.T, v family) {
		p := newPair(t, v)
		for _, c := range []struct {
			name string
			o    tcpip.SendOptions
		}{{"connected", tcpip.SendOptions{}}, {"not connected", tcpip.SendOptions{To: &p.to}}} {
			if n := testing.AllocsPerRun(500, func() { p.transfer(t, 1400, c.o) }); n >= 1 {
				t.Errorf("%s: %v allocations a datagram", c.name, n)
			}
		}
	})
}

func BenchmarkLo(b *testing.B) {
	for _, v := range families {
		for _, c := range []struct {
			name string
			n    int
			to   bool
		}{{"64", 64, false}, {"1472", 1472, false}, {"1472/unconnected", 1472, true}, {"64K", 65000, false}} {
			b.Run(v.name+"/"+c.name, func(b *testing.B) {
				p := newPair(b, v)
				o := tcpip.SendOptions{}
				if c.to {
					o.To = &p.to
				}
				b.ReportAllocs()
				b.SetBytes(int64(c.n))
				for b.Loop() {
					p.transfer(b, c.n, o)
				}
			})
		}
	}
}

// BenchmarkSend is what a datagram costs down to the link.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct {
		name    string
		offload stack.Capabilities
		n       int
		segment uint16
	}{
		{"1472/software checksum", 0, 1472, 0}, {"1472/offload", stack.CapTXChecksum, 1472, 0},
		{"64K segments/software", 0, 64000, 1472}, {"64K segments/offload", stack.CapTXChecksum | stack.CapUDPSegmentation, 64000, 1472},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := NewHost(b, capture.Options{Offload: c.offload, Discard: true}, udp.New)
			e := endpoint(b, h, false)
			OK(b, e.Connect(To(Addr4(2), 5000)))
			o := tcpip.SendOptions{Control: tcpip.SendControl{SegmentSize: c.segment}}
			var src source
			b.ReportAllocs()
			b.SetBytes(int64(c.n))
			for b.Loop() {
				src.n = c.n
				if _, err := e.Send(&src, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReceive is what a datagram costs from the link to the application.
func BenchmarkReceive(b *testing.B) {
	h := host(b)
	e := bound(b, h, false, Addr4(1), 5000)
	p := IP(Addr4(2), Addr4(1), header.ProtocolUDP,
		UDP(netip.AddrPortFrom(Addr4(2), 1234), netip.AddrPortFrom(Addr4(1), 5000), true, make([]byte, 1472)))
	var dst sink
	b.ReportAllocs()
	b.SetBytes(1472)
	for b.Loop() {
		h.Inject(p)
		dst.n = 1472
		if _, err := e.Receive(&dst, tcpip.ReceiveOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
