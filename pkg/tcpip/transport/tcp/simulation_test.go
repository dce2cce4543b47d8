package tcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// simulation is two hosts with a bad cable between them, and a clock that runs as fast as it can.
type simulation struct {
	clock *faketime.Clock
	hosts [2]*stack.Stack
	addrs [2]netip.Addr
}

func newSimulation(t testing.TB, o pipe.Options) *simulation {
	s := &simulation{clock: faketime.New()}
	s.clock.Advance(time.Hour)
	o.Clock = s.clock
	a, b := pipe.New(o)
	for i, link := range []stack.LinkEndpoint{a, b} {
		h := stack.New(stack.Config{
			Clock:      s.clock,
			Networks:   []func(*stack.Stack) stack.NetworkProtocol{ipv4.New, ipv6.New},
			Transports: []func(*stack.Stack) stack.TransportProtocol{New},
			Seed:       fmt.Appendf(nil, "host %d %d", i, o.Seed),
		})
		t.Cleanup(h.Close)
		nic, err := h.CreateNIC(1, "eth0", link)
		if err != nil {
			t.Fatal(err)
		}
		s.addrs[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		if err := nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(s.addrs[i], 24)}); err != nil {
			t.Fatal(err)
		}
		nic.SetUp(true)
		s.hosts[i] = h
	}
	return s
}

// peer is an application at one end: it sends bytes of its pattern, checks those that come, and closes
// when it has sent everything.
type peer struct {
	e              *Endpoint
	rng            *rand.Rand
	seed           uint64
	sent, got      int
	total, want    int
	dirty, closing bool
	failed         error
}

func patternAt(seed uint64, i int) byte {
	x := (uint64(i)>>3 + seed) * 0x9e3779b97f4a7c15
	return byte(x >> (8 * (i & 7)))
}

// NotifyEvent implements waiter.Listener.
func (p *peer) NotifyEvent(waiter.EventMask) { p.dirty = true }

type seededSource struct {
	p *peer
	n int
}

func (s *seededSource) Len() int { return s.n }
func (s *seededSource) Read(b []byte) (int, error) {
	n := min(len(b), s.n)
	for i := range n {
		b[i] = patternAt(s.p.seed, s.p.sent)
		s.p.sent++
	}
	s.n -= n
	return n, nil
}

type checkingSink struct {
	p    *peer
	room int
}

func (s *checkingSink) Len() int { return s.room }
func (s *checkingSink) Write(b []byte) (int, error) {
	n := min(len(b), s.room)
	for i := range n {
		if want := patternAt(^s.p.seed, s.p.got); b[i] != want && s.p.failed == nil {
			s.p.failed = fmt.Errorf("byte %d is %#x, not %#x", s.p.got, b[i], want)
		}
		s.p.got++
	}
	s.room -= n
	return n, nil
}

// run does what can be done.
func (p *peer) run() {
	p.dirty = false
	for p.sent < p.total {
		n := min(p.total-p.sent, 1+p.rng.IntN(100_000))
		if _, err := p.e.Send(&seededSource{p, n}, tcpip.SendOptions{}); err != nil {
			if err != unix.EAGAIN && p.failed == nil {
				p.failed = err
			}
			break
		}
	}
	if p.sent == p.total && !p.closing {
		p.closing = true
		if err := p.e.Shutdown(tcpip.ShutdownWrite); err != nil {
			p.failed = err
		}
	}
	for {
		r, err := p.e.Receive(&checkingSink{p, 1 + p.rng.IntN(200_000)}, tcpip.ReceiveOptions{})
		if err == unix.EAGAIN {
			return
		}
		if err != nil && p.failed == nil {
			p.failed = err
		}
		if r.N == 0 {
			return
		}
	}
}

func (p *peer) done() bool {
	return p.failed != nil || p.got == p.want && p.sent == p.total && p.e.State().in(StateClosed, StateFinWait2, StateTimeWait)
}

// transfer connects the hosts, and lets both send; it returns how long that took.
func (s *simulation) transfer(t testing.TB, seed uint64, forth, back int, prepare func(client, server *Endpoint)) time.Duration {
	t.Helper()
	l := NewEndpoint(s.hosts[1], false)
	if err := l.Bind(tcpip.FullAddress{Port: 80}); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(1); err != nil {
		t.Fatal(err)
	}
	c := NewEndpoint(s.hosts[0], false)
	if err := c.Connect(tcpip.FullAddress{Addr: s.addrs[1], Port: 80}); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	start := s.clock.Monotonic()
	var server *Endpoint
	for {
		if d, _, err := l.AcceptEndpoint(); err == nil {
			server = d
		}
		if server != nil && c.State() == StateEstablished {
			break
		}
		if !s.step(start) {
			t.Fatalf("no connection: %v", c.State())
		}
	}
	l.Close()
	if prepare != nil {
		prepare(c, server)
	}
	peers := []*peer{
		{e: c, seed: seed, total: forth, want: back},
		{e: server, seed: ^seed, total: back, want: forth},
	}
	for i, p := range peers {
		p.rng = rand.New(rand.NewPCG(seed, uint64(i)))
		entry := &waiter.Entry{Mask: waiter.AllEvents, Listener: p}
		_ = p.e.EventRegister(entry)
		p.run()
	}
	for !peers[0].done() || !peers[1].done() {
		for i, p := range peers {
			if p.dirty {
				p.run()
			}
			if p.failed != nil {
				t.Fatalf("peer %d: %v, after %d of %d bytes", i, p.failed, p.got, p.want)
			}
		}
		if !s.step(start) {
			t.Fatalf("stuck: %v sent %d of %d, got %d of %d; %v sent %d of %d, got %d of %d\n%+v\n%+v",
				c.State(), peers[0].sent, forth, peers[0].got, back, server.State(), peers[1].sent, back, peers[1].got, forth,
				c.Info(), server.Info())
		}
	}
	took := s.clock.Monotonic() - start
	c.Close()
	server.Close()
	return took
}

// step lets time pass until the next thing happens. false: nothing will, or it takes too long.
func (s *simulation) step(start time.Duration) bool {
	d, ok := s.clock.Next()
	if !ok || s.clock.Monotonic()-start > 2*time.Hour {
		return false
	}
	s.clock.Advance(d)
	return true
}

// TestSimulation transfers over cables that lose, reorder, duplicate and damage packets.
func TestSimulation(t *testing.T) {
	seeds, size := 100, 10<<20
	if testing.Short() {
		seeds, size = 5, 1<<20
	}
	for i := range seeds {
		seed := uint64(i)
		rng := rand.New(rand.NewPCG(seed, 7))
		impair := func() pipe.Impairment {
			m := pipe.Impairment{Delay: time.Duration(rng.IntN(30_000)) * time.Microsecond}
			if rng.IntN(4) != 0 {
				m.Loss = rng.Float64() * 0.03
			}
			if rng.IntN(2) == 0 {
				m.Reorder, m.ReorderDelay = rng.Float64()*0.05, time.Duration(1+rng.IntN(10))*time.Millisecond
			}
			if rng.IntN(2) == 0 {
				m.Duplicate = rng.Float64() * 0.05
			}
			if rng.IntN(4) == 0 {
				m.Corrupt = rng.Float64() * 0.01
			}
			if rng.IntN(2) == 0 {
				m.Rate, m.Queue = int64(1+rng.IntN(100))*10_000_000, 16<<10+rng.IntN(1<<20)
			}
			if rng.IntN(4) == 0 {
				m.Jitter = time.Duration(rng.IntN(5)) * time.Millisecond
			}
			return m
		}
		o := pipe.Options{Seed: seed, Forth: impair(), Back: impair(), MTU: []uint32{1280, 1500, 9000}[rng.IntN(3)]}
		if rng.IntN(2) == 0 {
			o.Offload = stack.CapSegmentation | stack.CapTXChecksum | stack.CapRXChecksum
		}
		sack, timestamps, cubic, both := rng.IntN(4) != 0, rng.IntN(4) != 0, rng.IntN(2) == 0, rng.IntN(3) == 0
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := newSimulation(t, o)
			for _, h := range s.hosts {
				h.Settings().TCPSACK.Store(sack)
				h.Settings().TCPTimestamps.Store(timestamps)
			}
			back := 0
			if both {
				back = size / 4
			}
			took := s.transfer(t, seed, size, back, func(a, b *Endpoint) {
				if !cubic {
					_ = a.SetCongestionControl("reno")
				}
			})
			t.Logf("%v, sack %v, timestamps %v, cubic %v, %+v", took, sack, timestamps, cubic, o)
		})
	}
}
