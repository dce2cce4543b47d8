package pipe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/stack"
)

// receiver notes what arrives, and when.
type receiver struct {
	clock tcpip.Clock
	got   []string
	at    []time.Duration
	each  func(*buffer.Packet)
}

func (r *receiver) DeliverPackets(pkts []*buffer.Packet) {
	for _, p := range pkts {
		b := make([]byte, p.Len())
		p.CopyTo(b, 0)
		r.got = append(r.got, string(b))
		if r.clock != nil {
			r.at = append(r.at, r.clock.Monotonic())
		}
		if r.each != nil {
			r.each(p)
		}
		p.Release()
	}
}

func write(e *Endpoint, data ...string) {
	pkts := make([]*buffer.Packet, len(data))
	for i, d := range data {
		pkts[i] = buffer.NewFrom([]byte(d))
		pkts[i].EtherType = header.EtherTypeIPv4
	}
	if err := e.WritePackets(pkts); err != nil {
		panic(err)
	}
}

func setup(t *testing.T, o Options) (*faketime.Clock, *Endpoint, *receiver) {
	c := faketime.New()
	o.Clock = c
	a, b := New(o)
	r := &receiver{clock: c}
	b.Attach(r)
	t.Cleanup(func() {
		a.Close()
		b.Close()
		if n := c.Pending(); n != 0 {
			t.Errorf("%d timers are left after Close", n)
		}
	})
	return c, a, r
}

func TestPerfectWire(t *testing.T) {
	c, a, r := setup(t, Options{})
	write(a, "E1", "E2")
	write(a, "E3")
	if len(r.got) != 0 {
		t.Fatal("delivered within WritePackets")
	}
	c.Advance(0)
	if got := strings.Join(r.got, " "); got != "E1 E2 E3" {
		t.Errorf("got %q", got)
	}
	if s := a.Stats(); s.Written != 3 || s.Delivered != 3 || s.WrittenBytes != 6 || s.DeliveredBytes != 6 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
}

func TestBothDirections(t *testing.T) {
	c := faketime.New()
	a, b := New(Options{Clock: c, Forth: Impairment{Delay: time.Second}, Back: Impairment{Delay: 2 * time.Second}})
	ra, rb := &receiver{clock: c}, &receiver{clock: c}
	a.Attach(ra)
	b.Attach(rb)
	write(a, "to b")
	write(b, "to a")
	c.Advance(time.Minute)
	if !slices.Equal(ra.got, []string{"to a"}) || !slices.Equal(rb.got, []string{"to b"}) || ra.at[0] != 2*time.Second || rb.at[0] != time.Second {
		t.Errorf("a: %q %v, b: %q %v", ra.got, ra.at, rb.got, rb.at)
	}
	a.Close()
	b.Close()
}

func TestEthernetHeaders(t *testing.T) {
	c := faketime.New()
	a, b := New(Options{Clock: c, Ethernet: true, MTU: 9000})
	if a.HardwareType() != 1 || a.Capabilities() != stack.CapResolution || a.LinkAddress() == b.LinkAddress() || a.MTU() != 9000 || a.MaxSegmentation() != buffer.MaxPacket {
		t.Error("properties")
	}
	a.SetMTU(1280)
	a.SetLinkAddress(tcpip.LinkAddress{2, 9})
	if a.MTU() != 1280 || b.MTU() != 9000 || a.LinkAddress() != (tcpip.LinkAddress{2, 9}) {
		t.Error("changed properties")
	}
	n := 0
	b.Attach(&receiver{each: func(p *buffer.Packet) {
		n++
		if !p.HasLink || p.EtherType != header.EtherTypeIPv6 || p.LinkSource != a.LinkAddress() || p.LinkDestination != b.LinkAddress() || p.Len() != 3 || len(p.LinkHeader) != 14 {
			t.Errorf("%+v", p)
		}
	}})
	p := buffer.NewFrom([]byte("abc"))
	p.LinkHeader = p.Push(14)
	header.Ethernet(p.LinkHeader).Encode(header.EthernetFields{Source: a.LinkAddress(), Destination: b.LinkAddress(), Type: header.EtherTypeIPv6})
	a.WritePackets([]*buffer.Packet{p})
	write(a, "short")
	c.Advance(0)
	if s := a.Stats(); n != 1 || s.Undeliverable != 1 {
		t.Errorf("%d delivered, %+v", n, s)
	}
	a.Close()
	b.Close()
}

func TestEtherTypeWithoutEthernet(t *testing.T) {
	c, a, r := setup(t, Options{})
	if a.HardwareType() != 0xfffe || a.Capabilities() != 0 || a.LinkAddress() != (tcpip.LinkAddress{}) || a.MTU() != 1500 {
		t.Error("properties")
	}
	var types []uint16
	r.each = func(p *buffer.Packet) { types = append(types, p.EtherType) }
	for _, d := range []string{"\x45", "\x60", "\x00", ""} {
		a.WritePackets([]*buffer.Packet{buffer.NewFrom([]byte(d))})
	}
	c.Advance(0)
	if !slices.Equal(types, []uint16{header.EtherTypeIPv4, header.EtherTypeIPv6, header.EtherTypeIPv4, header.EtherTypeIPv4}) {
		t.Errorf("types %#x", types)
	}
}

func TestDelayAndRate(t *testing.T) {
	// 8000 bit/s: a millisecond a byte.
	c, a, r := setup(t, Options{Forth: Impairment{Delay: 50 * time.Millisecond, Rate: 8000}})
	write(a, strings.Repeat("x", 10), strings.Repeat("x", 20))
	c.Advance(time.Second)
	write(a, strings.Repeat("x", 30))
	c.Advance(time.Second)
	want := []time.Duration{60 * time.Millisecond, 80 * time.Millisecond, 1080 * time.Millisecond}
	if !slices.Equal(r.at, want) {
		t.Errorf("arrivals %v, want %v", r.at, want)
	}
}

func TestQueueOfTheWireIsBounded(t *testing.T) {
	c, a, r := setup(t, Options{Forth: Impairment{Rate: 8000, Queue: 100}})
	for range 5 {
		write(a, strings.Repeat("x", 40)) // two fit
	}
	c.Advance(40 * time.Millisecond) // the first is through
	write(a, strings.Repeat("x", 40))
	c.Advance(time.Second)
	if s := a.Stats(); len(r.got) != 3 || s.Overflowed != 3 || s.Delivered != 3 {
		t.Errorf("%d arrived, %+v", len(r.got), s)
	}
}

func TestFlightIsBounded(t *testing.T) {
	c, a, r := setup(t, Options{Forth: Impairment{Delay: time.Second}})
	for range maxFlight + 10 {
		write(a, "x")
	}
	if s := a.Stats(); s.Overflowed != 10 || s.Queued != maxFlight {
		t.Errorf("%+v", s)
	}
	c.Advance(time.Minute)
	if len(r.got) != maxFlight {
		t.Errorf("%d arrived", len(r.got))
	}
}

func TestJitterKeepsTheOrder(t *testing.T) {
	c, a, r := setup(t, Options{Forth: Impairment{Delay: time.Second, Jitter: time.Second}})
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprint(i))
		write(a, want[i])
		c.Advance(10 * time.Millisecond)
	}
	c.Advance(time.Minute)
	if !slices.Equal(r.got, want) {
		t.Error("order was not kept")
	}
	early, late := 0, 0
	for i, at := range r.at {
		switch d := at - time.Duration(i)*10*time.Millisecond; {
		case d < time.Second || d > 2*time.Second:
			t.Errorf("packet %d was %v on its way", i, d)
		case d < 1500*time.Millisecond:
			early++
		default:
			late++
		}
	}
	if early == 0 || late == 0 {
		t.Errorf("%d early, %d late", early, late)
	}
}

func TestReorder(t *testing.T) {
	for hold, want := range map[time.Duration]time.Duration{0: 26 * time.Millisecond, 70 * time.Millisecond: 70 * time.Millisecond} {
		c, a, r := setup(t, Options{Seed: 3, Forth: Impairment{Delay: 100 * time.Millisecond, Reorder: 0.1, ReorderDelay: hold}})
		const n = 1000
		sent := map[string]time.Duration{}
		for i := range n {
			k := fmt.Sprint(i)
			sent[k] = c.Monotonic()
			write(a, k)
			c.Advance(time.Millisecond)
		}
		c.Advance(time.Second)
		late := uint64(0)
		for i, k := range r.got {
			switch d := r.at[i] - sent[k]; d {
			case 100 * time.Millisecond:
			case 100*time.Millisecond + want:
				late++
			default:
				t.Fatalf("packet %s was %v on its way", k, d)
			}
		}
		if s := a.Stats(); len(r.got) != n || s.Reordered != late || late < 70 || late > 130 {
			t.Errorf("%d arrived, %d late, %+v", len(r.got), late, s)
		}
	}
}

func TestLossDuplicationAndCorruption(t *testing.T) {
	const n = 10000
	c, a, r := setup(t, Options{Seed: 42, Forth: Impairment{Loss: 0.05, Duplicate: 0.02, Corrupt: 0.01}})
	sent := map[string]bool{}
	for i := range n {
		b := make([]byte, 64)
		// Twice, so that no packet becomes another by one bit.
		binary.BigEndian.PutUint64(b, uint64(i))
		binary.BigEndian.PutUint64(b[30:], uint64(i))
		sent[string(b)] = true
		write(a, string(b))
	}
	c.Advance(0)
	s := a.Stats()
	near := func(what string, got uint64, p float64) {
		// Five standard deviations at most.
		if d := float64(got) - n*p; d*d > 25*n*p*(1-p) {
			t.Errorf("%s: %d of %d", what, got, n)
		}
	}
	near("lost", s.Lost, 0.05)
	near("duplicated", s.Duplicated, 0.02*0.95)
	near("corrupted", s.Corrupted, 0.01*0.95)
	damaged := uint64(0)
	for _, g := range r.got {
		if sent[g] {
			continue
		}
		damaged++
		oneBit := false
		for w := range sent {
			diff := 0
			for i := range w {
				diff += bits.OnesCount8(w[i] ^ g[i])
			}
			oneBit = oneBit || diff == 1
		}
		if !oneBit {
			t.Errorf("%x differs from all by more than a bit", g)
		}
	}
	if damaged != s.Corrupted || uint64(len(r.got)) != n-s.Lost+s.Duplicated {
		t.Errorf("%d arrived, %d damaged, %+v", len(r.got), damaged, s)
	}
}

func TestSeedRepeatsARun(t *testing.T) {
	run := func(seed uint64) string {
		c := faketime.New()
		imp := Impairment{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.2, Duplicate: 0.2, Corrupt: 0.2, Reorder: 0.2}
		a, b := New(Options{Clock: c, Seed: seed, Forth: imp})
		defer a.Close()
		defer b.Close()
		r := &receiver{clock: c}
		b.Attach(r)
		for i := range 200 {
			write(a, fmt.Sprintf("packet %d", i))
			c.Advance(100 * time.Microsecond)
		}
		c.Advance(time.Second)
		return fmt.Sprint(r.got, r.at)
	}
	if run(1) != run(1) {
		t.Error("one seed, two outcomes")
	}
	if run(1) == run(2) {
		t.Error("two seeds, one outcome")
	}
}

func TestSetImpairment(t *testing.T) {
	c, a, r := setup(t, Options{})
	a.SetImpairment(Impairment{Loss: 1})
	write(a, "lost")
	a.SetImpairment(Impairment{})
	write(a, "x")
	c.Advance(0)
	if !slices.Equal(r.got, []string{"x"}) {
		t.Errorf("got %q", r.got)
	}
}

// partial is a packet with an Ethernet header, a network header of 20 bytes and a UDP datagram
// whose checksum is left to the link.
func partial() (*buffer.Packet, uint32) {
	p := buffer.NewFrom([]byte("some data of a datagram"))
	p.TransportHeader = p.Push(header.UDPSize)
	pseudo := uint32(0x1234)
	header.UDP(p.TransportHeader).Encode(header.UDPFields{SourcePort: 1, DestinationPort: 2, Length: uint16(p.Len())})
	header.UDP(p.TransportHeader).SetChecksumField(uint16(pseudo))
	p.NetworkHeader = p.Push(20)
	clear(p.NetworkHeader)
	p.LinkHeader = p.Push(14)
	clear(p.LinkHeader)
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 6
	p.Segmentation = buffer.Segmentation{Type: buffer.SegmentUDP, Size: 8}
	return p, pseudo
}

func TestOffloadsCross(t *testing.T) {
	caps := stack.CapTXChecksum | stack.CapRXChecksum | stack.CapSegmentation
	c, a, r := setup(t, Options{Ethernet: true, Offload: caps})
	if a.Capabilities() != caps|stack.CapResolution {
		t.Error("capabilities")
	}
	p, _ := partial()
	want := make([]byte, p.Len())
	p.CopyTo(want, 0)
	r.each = func(p *buffer.Packet) {
		if p.Checksum != buffer.ChecksumPartial || p.ChecksumOffset != 6 || p.NetworkHeader != nil || p.Segmentation != (buffer.Segmentation{Type: buffer.SegmentUDP, Size: 8}) {
			t.Errorf("%+v", p)
		}
	}
	a.WritePackets([]*buffer.Packet{p})
	c.Advance(0)
	if len(r.got) != 1 || r.got[0] != string(want[14:]) {
		t.Errorf("got %x", r.got)
	}
}

func TestCorruptionShowsInAPartialChecksum(t *testing.T) {
	c, a, r := setup(t, Options{Ethernet: true, Forth: Impairment{Corrupt: 1}})
	good, bad := 0, 0
	r.each = func(p *buffer.Packet) {
		if p.Checksum != buffer.ChecksumUnknown {
			t.Error("a damaged packet claims that its checksum is right")
		}
		p.Consume(20)
		b, _ := p.Peek(p.Len())
		if checksum.OK(checksum.Sum(b, 0x1234)) {
			good++ // the bit was in the other headers
		} else {
			bad++
		}
	}
	for range 200 {
		p, _ := partial()
		a.WritePackets([]*buffer.Packet{p})
	}
	c.Advance(0)
	if bad < 50 || good < 20 {
		t.Errorf("%d show their damage, %d are damaged elsewhere", bad, good)
	}
}

// A datagram whose checksum comes out as 0 is sent with 0xffff (RFC 768).
func TestPartialChecksumOfZero(t *testing.T) {
	p := buffer.NewFrom([]byte{0xff, 0xff, 0, 0})
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 2
	c := transfer(p)
	corrupt(c, 0) // the first bit of the first byte
	b, _ := c.Peek(4)
	if !bytes.Equal(b, []byte{0xfe, 0xff, 0xff, 0xff}) {
		t.Errorf("%x", b)
	}
	p.Release()
	c.Release()
}

func TestAttachAndClose(t *testing.T) {
	c := faketime.New()
	a, b := New(Options{Clock: c, Forth: Impairment{Delay: time.Second}})
	r := &receiver{}
	b.Attach(r)
	write(a, "1")
	b.Attach(nil)
	c.Advance(time.Second)
	b.Attach(r)
	write(a, "2")
	a.Close() // what was written before arrives
	write(a, "3")
	c.Advance(time.Second)
	if !slices.Equal(r.got, []string{"2"}) || a.Stats().Undeliverable != 1 {
		t.Errorf("got %q, %+v", r.got, a.Stats())
	}
	write(b, "nobody is there")
	a, b = New(Options{Clock: c, Forth: Impairment{Delay: time.Second}})
	b.Attach(r)
	write(a, "4")
	b.Close()
	write(a, "5")
	b.Attach(r)
	b.deliver() // a timer that could not be stopped any more
	c.Advance(time.Minute)
	if len(r.got) != 1 || c.Pending() != 0 {
		t.Errorf("got %q, %d timers", r.got, c.Pending())
	}
}

// With the host's clock packets are delivered by other goroutines, one at a time, and Attach waits
// for them.
func TestHostClock(t *testing.T) {
	a, b := New(Options{Forth: Impairment{Delay: 100 * time.Microsecond, Jitter: 100 * time.Microsecond}})
	const senders, each = 4, 500
	done := make(chan struct{})
	r := &receiver{}
	r.each = func(*buffer.Packet) {
		if len(r.got) == senders*each {
			close(done)
		}
	}
	b.Attach(r)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				write(a, "x")
			}
		})
	}
	wg.Wait()
	<-done
	a.Close()
	b.Close()
}

func TestAttachWaitsForADelivery(t *testing.T) {
	a, b := New(Options{})
	entered, leave := make(chan struct{}), make(chan struct{})
	left := false
	b.Attach(&receiver{each: func(*buffer.Packet) {
		close(entered)
		<-leave
		left = true
	}})
	write(a, "x")
	<-entered
	go func() {
		for {
			b.mu.Lock()
			waits := b.dispatcher == nil
			b.mu.Unlock()
			if waits {
				break
			}
		}
		b.deliver() // another timer: it leaves the delivery to the first
		close(leave)
	}()
	b.Attach(nil)
	if !left {
		t.Error("Attach(nil) returned while a packet was being delivered")
	}
	a.Close()
	b.Close()
}

func BenchmarkPipe(b *testing.B) {
	c := faketime.New()
	e, f := New(Options{Clock: c, Forth: Impairment{Delay: time.Millisecond, Loss: 0.01, Reorder: 0.01}})
	f.Attach(discard{})
	data := make([]byte, 1400)
	pkts := make([]*buffer.Packet, 1)
	b.ReportAllocs()
	b.SetBytes(1400)
	for b.Loop() {
		pkts[0] = buffer.NewFrom(data)
		e.WritePackets(pkts)
		c.Advance(time.Microsecond)
	}
	e.Close()
	f.Close()
}

type discard struct{}

func (discard) DeliverPackets(pkts []*buffer.Packet) {
	for _, p := range pkts {
		p.Release()
	}
}
