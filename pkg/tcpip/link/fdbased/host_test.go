package fdbased

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/hostnet"
)

// inNamespace runs f in a new network namespace of the host.
func inNamespace(t testing.TB, f func() error) {
	t.Helper()
	hostnet.In(t, func() error {
		hostnet.NoIPv6()
		return f()
	})
}

// running returns an interface when it works: until the carrier is noticed, Linux drops everything.
func running(name string) (*net.Interface, error) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return nil, err
		}
		if ifi.Flags&net.FlagRunning != 0 {
			return ifi, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("interface %s does not come up", name)
		}
	}
}

// veth makes a pair of interfaces and a packet socket on each.
func veth(t testing.TB, mtu int) (fds [2]int) {
	t.Helper()
	return vethIn(t, mtu, func() error { return nil })
}

// vethIn calls f in the namespace before.
func vethIn(t testing.TB, mtu int, f func() error) (fds [2]int) {
	t.Helper()
	inNamespace(t, func() error {
		if err := f(); err != nil {
			return err
		}
		for _, c := range []string{
			"ip link add name v0 type veth peer name v1",
			fmt.Sprintf("ip link set v0 mtu %d up", mtu), fmt.Sprintf("ip link set v1 mtu %d up", mtu),
		} {
			if _, err := hostnet.Run(strings.Fields(c)...); err != nil {
				return err
			}
		}
		for i, name := range []string{"v0", "v1"} {
			ifi, err := running(name)
			if err != nil {
				return err
			}
			if fds[i], err = OpenPacketSocket(ifi.Index); err != nil {
				return err
			}
		}
		return nil
	})
	return fds
}

var linkA, linkB = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}, tcpip.LinkAddress{2, 0, 0, 0, 0, 2}

func pair(t testing.TB, mtu int) (a, b *Endpoint) {
	t.Helper()
	fds := veth(t, mtu)
	return link(t, Options{FD: fds[0], MTU: uint32(mtu), LinkAddress: linkA, VNetHeader: true}),
		link(t, Options{FD: fds[1], MTU: uint32(mtu), LinkAddress: linkB, VNetHeader: true})
}

func link(t testing.TB, o Options) *Endpoint {
	t.Helper()
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// queue is a dispatcher that keeps what comes.
type queue struct {
	mu   sync.Mutex
	more sync.Cond
	pkts []*buffer.Packet
}

func newQueue(t testing.TB, e *Endpoint) *queue {
	q := &queue{}
	q.more.L = &q.mu
	e.Attach(q)
	t.Cleanup(func() {
		e.Attach(nil)
		for _, p := range q.pkts {
			p.Release()
		}
	})
	return q
}

func (q *queue) DeliverPackets(pkts []*buffer.Packet) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pkts = append(q.pkts, pkts...)
	q.more.Broadcast()
}

// next returns the oldest packet of ours; those of the host, which says hello, are skipped.
func (q *queue) next(t testing.TB) *buffer.Packet {
	t.Helper()
	for {
		p := q.any(t)
		if !p.HasLink || p.LinkSource == linkA || p.LinkSource == linkB {
			return p
		}
		p.Release()
	}
}

// any returns the oldest packet.
func (q *queue) any(t testing.TB) *buffer.Packet {
	t.Helper()
	timer := time.AfterFunc(20*time.Second, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.pkts = append(q.pkts, nil)
		q.more.Broadcast()
	})
	defer timer.Stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.pkts) == 0 {
		q.more.Wait()
	}
	p := q.pkts[0]
	q.pkts = q.pkts[1:]
	if p == nil {
		t.Fatal("nothing arrives")
	}
	return p
}

const testType = 0x88b5 // for local experiments (IEEE 802)

// raw is a frame with data of a private EtherType.
func raw(src, dst tcpip.LinkAddress, data []byte) *buffer.Packet {
	p := buffer.NewFrom(data)
	p.LinkHeader = p.Push(header.EthernetSize)
	header.Ethernet(p.LinkHeader).Encode(header.EthernetFields{Source: src, Destination: dst, Type: testType})
	return p
}

func bytesOf(p *buffer.Packet) string {
	b := make([]byte, p.Len())
	p.CopyTo(b, 0)
	return string(b)
}
