package fdbased

import (
	"sync/atomic"
	"testing"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// counter releases what comes and counts it.
type counter struct {
	packets, bytes atomic.Int64
}

func (c *counter) DeliverPackets(pkts []*buffer.Packet) {
	n := 0
	for _, p := range pkts {
		n += p.Len()
		p.Release()
	}
	c.packets.Add(int64(len(pkts)))
	c.bytes.Add(int64(n))
}

func benchSend(b *testing.B, size, batch int) {
	e, f := pair(b, 1500)
	c := &counter{}
	f.Attach(c)
	data := buffer.NewView(size)
	clear(data.Bytes())
	pkts := make([]*buffer.Packet, batch)
	b.SetBytes(int64(size * batch))
	b.ReportAllocs()
	for b.Loop() {
		for i := range pkts {
			p := buffer.NewWith(data.Clone())
			tcp4(p, segmentFields{mss: 1448})
			pkts[i] = p
		}
		if err := e.WritePackets(pkts); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	f.Attach(nil)
	b.ReportMetric(float64(c.packets.Load())/float64(b.N*batch), "received/sent")
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "pkts/s")
}

func BenchmarkVeth64(b *testing.B)      { benchSend(b, 64, 1) }
func BenchmarkVeth1448(b *testing.B)    { benchSend(b, 1448, 1) }
func BenchmarkVeth1448x32(b *testing.B) { benchSend(b, 1448, 32) }
func BenchmarkVeth64K(b *testing.B)     { benchSend(b, 60000, 1) }
func BenchmarkVeth64Kx4(b *testing.B)   { benchSend(b, 60000, 4) }

// echo sends back what comes, count times.
type echo struct {
	e        *Endpoint
	src, dst tcpip.LinkAddress
	count    int
	done     chan struct{}
	one      [1]*buffer.Packet
}

func (d *echo) DeliverPackets(pkts []*buffer.Packet) {
	for _, p := range pkts {
		if p.EtherType == testType && d.count > 0 {
			if d.count--; d.count == 0 {
				close(d.done)
			} else {
				d.one[0] = raw(d.src, d.dst, []byte("ping"))
				d.e.WritePackets(d.one[:])
			}
		}
		p.Release()
	}
}

// BenchmarkPingPong is the time that a frame takes there and back, without anything above.
func BenchmarkPingPong(b *testing.B) {
	e, f := pair(b, 1500)
	there := &echo{e: f, src: linkB, dst: linkA, count: b.N + 1, done: make(chan struct{})}
	back := &echo{e: e, src: linkA, dst: linkB, count: b.N, done: make(chan struct{})}
	f.Attach(there)
	e.Attach(back)
	b.ReportAllocs()
	b.ResetTimer()
	e.WritePackets([]*buffer.Packet{raw(linkA, linkB, []byte("ping"))})
	<-back.done
	b.StopTimer()
	e.Attach(nil)
	f.Attach(nil)
}
