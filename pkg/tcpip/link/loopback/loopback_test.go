package loopback

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// dispatcher calls f for each packet, which f releases.
type dispatcher func(*buffer.Packet)

func (d dispatcher) DeliverPackets(pkts []*buffer.Packet) {
	for _, p := range pkts {
		d(p)
	}
}

// packet is one as a transport writes it: a pushed header of 20 bytes and data behind it.
func packet(deferred bool, data ...byte) *buffer.Packet {
	p := buffer.NewFrom(data)
	p.NetworkHeader = p.Push(20)
	clear(p.NetworkHeader)
	p.NetworkHeader[0] = 0x45
	p.EtherType = header.EtherTypeIPv4
	p.Deferred = deferred
	return p
}

func write(t testing.TB, e *Endpoint, p ...*buffer.Packet) {
	t.Helper()
	if err := e.WritePackets(p); err != nil {
		t.Fatalf("WritePackets: %v", err)
	}
}

func TestWhatIsWrittenComesBackWithoutACopy(t *testing.T) {
	e := New()
	defer e.Close()
	var got *buffer.Packet
	e.Attach(dispatcher(func(p *buffer.Packet) { got = p }))

	p := packet(true, 'a', 'b', 'c')
	p.LinkHeader, p.TransportHeader = p.NetworkHeader[:4], p.NetworkHeader[10:]
	p.HasLink = true
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 16
	p.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP4, Size: 1}
	p.Mark, p.Priority = 7, 3
	write(t, e, p)
	if got != nil {
		t.Fatal("a deferred packet was delivered before Flush")
	}
	e.Flush()
	if got != p {
		t.Fatalf("got packet %p, wrote %p", got, p)
	}
	if got.LinkHeader != nil || got.NetworkHeader != nil || got.TransportHeader != nil || got.HasLink || got.Deferred {
		t.Error("traces of the way out were left")
	}
	if got.Checksum != buffer.ChecksumPartial || got.ChecksumOffset != 16 ||
		got.Segmentation != (buffer.Segmentation{Type: buffer.SegmentTCP4, Size: 1}) || got.Mark != 7 || got.Priority != 3 {
		t.Error("properties were lost")
	}
	h, ok := got.Consume(20)
	if !ok || h[0] != 0x45 {
		t.Fatalf("network header: %v %x", ok, h)
	}
	if d, ok := got.Consume(3); !ok || string(d) != "abc" || got.Len() != 0 {
		t.Fatalf("data: %v %q, %d left", ok, d, got.Len())
	}
	got.Release()
}

func TestEtherTypeIsFoundIfTheSenderDidNotSay(t *testing.T) {
	for first, want := range map[byte]uint16{0x45: header.EtherTypeIPv4, 0x60: header.EtherTypeIPv6} {
		e := New()
		var got uint16
		e.Attach(dispatcher(func(p *buffer.Packet) { got = p.EtherType; p.Release() }))
		p := buffer.NewFrom([]byte{first, 0, 0, 0})
		p.Deferred = true
		write(t, e, p)
		e.Flush()
		if got != want {
			t.Errorf("first byte %#x: EtherType %#x, want %#x", first, got, want)
		}
		e.Close()
	}
}

func TestProperties(t *testing.T) {
	e := New()
	defer e.Close()
	if e.MTU() != DefaultMTU || e.HardwareType() != 772 || e.MaxSegmentation() != buffer.MaxPacket {
		t.Errorf("MTU %d, hardware type %d, MaxSegmentation %d", e.MTU(), e.HardwareType(), e.MaxSegmentation())
	}
	e.SetMTU(1500)
	e.SetLinkAddress(tcpip.Broadcast)
	if e.MTU() != 1500 || e.LinkAddress() != (tcpip.LinkAddress{}) {
		t.Errorf("MTU %d, link address %v", e.MTU(), e.LinkAddress())
	}
	if c := e.Capabilities(); c&stack.CapLoopback == 0 || c&stack.CapResolution != 0 {
		t.Errorf("capabilities %b", c)
	}
}

// A conversation of a million packets, each of which is written while the one before is being
// delivered, with Flush called there too: the depth of the goroutine's stack does not grow.
func TestAnswersDoNotNest(t *testing.T) {
	e := New()
	defer e.Close()
	depth, deepest, left := 0, 0, 100000
	e.Attach(dispatcher(func(p *buffer.Packet) {
		depth++
		deepest = max(deepest, depth)
		if left--; left > 0 {
			if err := e.WritePackets([]*buffer.Packet{packet(true)}); err != nil {
				t.Error(err)
			}
			e.Flush()
		}
		p.Release()
		depth--
	}))
	write(t, e, packet(true))
	for e.Flush(); !e.quiet(); {
		runtime.Gosched() // the budget was used up, a goroutine goes on
	}
	if left != 0 || deepest != 1 {
		t.Errorf("%d packets left, depth %d", left, deepest)
	}
}

// quiet says whether nobody drains and nothing is queued.
func (e *Endpoint) quiet() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.draining && e.head == len(e.queue)
}

func waitQuiet(t *testing.T, e *Endpoint) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !e.quiet(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the queue does not become empty")
		}
	}
}

func TestPacketsOfTimersAreDeliveredByThemselves(t *testing.T) {
	e := New()
	defer e.Close()
	var got []byte
	done := make(chan struct{})
	e.Attach(dispatcher(func(p *buffer.Packet) {
		p.Consume(20)
		b, _ := p.Consume(1)
		got = append(got, b[0])
		p.Release()
		if len(got) == 3 {
			close(done)
		}
	}))
	// The deferred ones go with the first that is not.
	write(t, e, packet(true, 1), packet(true, 2), packet(false, 3))
	<-done
	if string(got) != "\x01\x02\x03" {
		t.Errorf("order %v", got)
	}
}

// The order of the packets of each sender is kept, whoever drains.
func TestOrderWithManySenders(t *testing.T) {
	const senders, each = 8, 2000
	e := New()
	defer e.Close()
	var next [senders]uint32
	var total atomic.Int64
	var inside atomic.Int32
	e.Attach(dispatcher(func(p *buffer.Packet) {
		if inside.Add(1) != 1 {
			t.Error("two goroutines deliver at once")
		}
		p.Consume(20)
		b, _ := p.Consume(5)
		if n := uint32(b[1])<<24 | uint32(b[2])<<16 | uint32(b[3])<<8 | uint32(b[4]); next[b[0]] != n {
			t.Errorf("sender %d: packet %d, want %d", b[0], n, next[b[0]])
		}
		next[b[0]]++
		p.Release()
		inside.Add(-1)
		total.Add(1)
	}))
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if e.WritePackets([]*buffer.Packet{packet(i%7 != 0, byte(s), byte(i>>24), byte(i>>16), byte(i>>8), byte(i))}) != nil {
					t.Error("queue full")
				}
				e.Flush()
			}
		})
	}
	wg.Wait()
	waitQuiet(t, e)
	if total.Load() != senders*each {
		t.Errorf("%d packets came of %d", total.Load(), senders*each)
	}
}

func TestFlushLeavesWhatIsOverItsBudget(t *testing.T) {
	e := New()
	defer e.Close()
	first := make(chan struct{})
	var n atomic.Int64
	e.Attach(dispatcher(func(p *buffer.Packet) {
		if n.Add(1) > budget+batchSize {
			<-first // closed after Flush has returned: it cannot be Flush that is here
		}
		p.Release()
	}))
	for range budget + 2*batchSize {
		write(t, e, packet(true))
	}
	e.Flush()
	close(first)
	waitQuiet(t, e)
	if n.Load() != budget+2*batchSize {
		t.Errorf("%d delivered", n.Load())
	}
}

func TestQueueIsBounded(t *testing.T) {
	e := New()
	defer e.Close()
	n := 0
	e.Attach(dispatcher(func(p *buffer.Packet) { n++; p.Release() }))
	for range maxPackets {
		write(t, e, packet(true))
	}
	if err := e.WritePackets([]*buffer.Packet{packet(true), packet(true)}); err != unix.ENOBUFS {
		t.Fatalf("WritePackets to a full queue: %v", err)
	}
	e.Flush()
	waitQuiet(t, e)
	if n != maxPackets {
		t.Fatalf("%d delivered", n)
	}
	n = 0
	big := make([]byte, 1<<20)
	for range maxBytes>>20 - 1 {
		write(t, e, packet(true, big...))
	}
	if err := e.WritePackets([]*buffer.Packet{packet(true, big...)}); err != unix.ENOBUFS {
		t.Fatalf("WritePackets over the limit of bytes: %v", err)
	}
	e.Flush()
	waitQuiet(t, e)
	if n != maxBytes>>20-1 || e.bytes != 0 {
		t.Fatalf("%d delivered, %d bytes left", n, e.bytes)
	}
}

// A queue that never gets empty does not grow for ever.
func TestMemoryOfAStandingQueue(t *testing.T) {
	e := New()
	defer e.Close()
	left := 100000
	e.Attach(dispatcher(func(p *buffer.Packet) {
		p.Release()
		if left--; left >= 100 {
			write(t, e, packet(true))
		}
	}))
	for range 100 {
		write(t, e, packet(true))
	}
	e.Flush()
	waitQuiet(t, e)
	if left != 0 || cap(e.queue) > 1000 {
		t.Errorf("%d packets left, room for %d in the queue", left, cap(e.queue))
	}
}

func TestNothingIsDeliveredAfterDetach(t *testing.T) {
	e := New()
	var live atomic.Bool
	for round := range 200 {
		live.Store(true)
		e.Attach(dispatcher(func(p *buffer.Packet) {
			if !live.Load() {
				t.Error("delivered after Attach(nil)")
			}
			p.Release()
		}))
		for range 20 {
			write(t, e, packet(round%2 == 0))
		}
		e.Attach(nil)
		live.Store(false)
		write(t, e, packet(false)) // dropped
		e.Flush()
		if !e.quiet() {
			t.Fatal("something is left")
		}
	}
	e.Close()
	e.Attach(dispatcher(func(p *buffer.Packet) { t.Error("delivered after Close") }))
	write(t, e, packet(false))
	e.Flush()
	e.Close()
}

func TestDetachWaitsForADelivery(t *testing.T) {
	e := New()
	entered, leave := make(chan struct{}), make(chan struct{})
	var left atomic.Bool
	e.Attach(dispatcher(func(p *buffer.Packet) {
		p.Release()
		close(entered)
		<-leave
		left.Store(true)
	}))
	write(t, e, packet(false))
	<-entered
	write(t, e, packet(false)) // dropped by the detach
	go func() {
		for e.detaching() {
			runtime.Gosched()
		}
		close(leave)
	}()
	e.Attach(nil)
	if !left.Load() {
		t.Error("Attach(nil) returned while a packet was being delivered")
	}
	e.Close()
}

// detaching says whether detach has not begun yet.
func (e *Endpoint) detaching() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dispatcher != nil
}

func BenchmarkFlush(b *testing.B) {
	e := New()
	defer e.Close()
	e.Attach(dispatcher(func(p *buffer.Packet) { p.Release() }))
	v := buffer.NewView(1000)
	defer v.Release()
	one := make([]*buffer.Packet, 1)
	b.ReportAllocs()
	for b.Loop() {
		p := buffer.NewWith(v.Clone())
		p.Push(40)
		p.EtherType, p.Deferred = header.EtherTypeIPv4, true
		one[0] = p
		e.WritePackets(one)
		e.Flush()
	}
}

func BenchmarkGoroutine(b *testing.B) {
	e := New()
	defer e.Close()
	done := make(chan struct{}, 1)
	e.Attach(dispatcher(func(p *buffer.Packet) { p.Release(); done <- struct{}{} }))
	v := buffer.NewView(1000)
	defer v.Release()
	one := make([]*buffer.Packet, 1)
	b.ReportAllocs()
	for b.Loop() {
		p := buffer.NewWith(v.Clone())
		p.Push(40)
		p.EtherType = header.EtherTypeIPv4
		one[0] = p
		e.WritePackets(one)
		<-done
	}
}
