package datagram

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// model is what a Queue does, in the plainest way.
type model struct {
	items   []string
	charges []int
	errs    []uint32
	network []bool
	memory  int
	drops   int
	pending uint32
}

func (m *model) push(data string, charge, limit int) bool {
	if m.memory > 0 && m.memory+charge > limit {
		m.drops++
		return false
	}
	m.items, m.charges = append(m.items, data), append(m.charges, charge)
	m.memory += charge
	return true
}

// TestQueueIsLikeItsModel does random things to a Queue and to a model of it.
func TestQueueIsLikeItsModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		limit := 1000 << r.IntN(10)
		q, m := &Queue{}, &model{}
		for step := range 3000 {
			switch r.IntN(10) {
			case 0, 1, 2, 3:
				n := r.IntN(3000)
				data := fmt.Sprintf("%d:%d", step, n)
				p := buffer.New()
				if r.IntN(4) == 0 {
					// A little in a lot of memory, as links with large buffers have it.
					v := buffer.NewView(60000)
					copy(v.Bytes()[100:], data)
					p.AppendView(v.Slice(100, 100+len(data)))
					v.Release()
				} else {
					p.Append([]byte(data))
					if n > 0 {
						p.Append(make([]byte, n))
					}
				}
				charge := p.Memory()
				if m.memory > limit/2 {
					charge = min(charge, buffer.NewFrom(make([]byte, p.Len())).Memory())
				}
				if got, want := q.Push(Item{Packet: p}, int64(limit)), m.push(data, charge, limit); got != want {
					t.Fatalf("seed %d step %d: push is %v, want %v", seed, step, got, want)
				}
			case 4, 5, 6:
				it, ok := q.Pop()
				if ok != (len(m.items) > 0) {
					t.Fatalf("seed %d step %d: pop is %v", seed, step, ok)
				}
				if ok {
					check(t, it.Packet, m.items[0])
					it.Packet.Release()
					m.memory -= m.charges[0]
					m.items, m.charges = m.items[1:], m.charges[1:]
				}
			case 7:
				it, at, ok := q.Peek(0)
				if ok != (len(m.items) > 0) || at != 0 {
					t.Fatalf("seed %d step %d: peek is %v at %d", seed, step, ok, at)
				}
				if ok {
					check(t, it.Packet, m.items[0])
					it.Packet.Release()
				}
			case 8:
				e := tcpip.QueuedError{Errno: uint32(r.IntN(100) + 1), Origin: uint8(1 + r.IntN(3))}
				data := make([]byte, r.IntN(600))
				want := m.memory+errorMemory+len(data) < limit
				if got := q.PushError(e, data, int64(limit)); got != want {
					t.Fatalf("seed %d step %d: an error is queued: %v, want %v", seed, step, got, want)
				}
				if want {
					m.errs, m.network = append(m.errs, e.Errno), append(m.network, e.Origin > 1)
					m.memory += errorMemory + len(data)
				}
				q.SetPending(unix.Errno(e.Errno))
				m.pending = e.Errno
			case 9:
				e, data, ok := q.PopError()
				if ok != (len(m.errs) > 0) {
					t.Fatalf("seed %d step %d: popping an error is %v", seed, step, ok)
				}
				if !ok {
					break
				}
				if e.Errno != m.errs[0] {
					t.Fatalf("seed %d step %d: error %d, want %d", seed, step, e.Errno, m.errs[0])
				}
				m.memory -= errorMemory + len(data)
				if len(m.errs) > 1 && m.network[1] {
					m.pending = m.errs[1]
				} else if m.network[0] {
					m.pending = 0
				}
				m.errs, m.network = m.errs[1:], m.network[1:]
			}
			if q.Len() != len(m.items) || q.Memory() != int64(m.memory) || int(q.Drops()) != m.drops || q.pending.Load() != m.pending {
				t.Fatalf("seed %d step %d: %d items, %d bytes, %d drops, error %d; want %d, %d, %d, %d", seed, step,
					q.Len(), q.Memory(), q.Drops(), q.pending.Load(), len(m.items), m.memory, m.drops, m.pending)
			}
			if failed := m.pending != 0 || len(m.errs) > 0; q.Failed() != failed {
				t.Fatalf("seed %d step %d: failed is %v", seed, step, q.Failed())
			}
			// One packet may be more than the limit, never two.
			if q.Memory() > int64(limit) && q.Len() > 1 {
				t.Fatalf("seed %d step %d: %d bytes in %d items", seed, step, q.Memory(), q.Len())
			}
		}
		q.Close()
		if q.Len() != 0 || q.Memory() != 0 || q.errors.Load() != 0 {
			t.Fatalf("closed: %d items, %d bytes", q.Len(), q.Memory())
		}
		if !q.Push(Item{Packet: buffer.NewFrom([]byte("x"))}, 1<<20) || q.Len() != 0 || q.PushError(tcpip.QueuedError{}, nil, 1<<20) {
			t.Fatal("a closed queue keeps something")
		}
	}
}

func check(t *testing.T, p *buffer.Packet, want string) {
	t.Helper()
	b := make([]byte, len(want))
	p.CopyTo(b, 0)
	if string(b) != want {
		t.Fatalf("got %q, want %q", b, want)
	}
}

func TestQueueGivesBackALargeRing(t *testing.T) {
	q := &Queue{}
	for range 2 * maxIdleRing {
		q.Push(Item{Packet: buffer.NewFrom([]byte("x"))}, 1<<30)
	}
	for {
		it, ok := q.Pop()
		if !ok {
			break
		}
		it.Packet.Release()
	}
	if len(q.ring) != 0 {
		t.Errorf("%d items are kept", len(q.ring))
	}
	q.Push(Item{Packet: buffer.NewFrom([]byte("x"))}, 1<<30)
	if it, ok := q.Pop(); !ok {
		t.Error("nothing is there")
	} else {
		it.Packet.Release()
	}
	if len(q.ring) != minRing {
		t.Errorf("%d items are kept", len(q.ring))
	}
}

func TestPeekOffset(t *testing.T) {
	q := &Queue{}
	for _, s := range []string{"", "ab", "", "cde"} {
		q.Push(Item{Packet: buffer.NewFrom([]byte(s))}, 1<<20)
	}
	for _, c := range []struct {
		offset int
		want   string
	}{{0, ""}, {0, ""}, {1, "b"}, {2, ""}, {2, "cde"}, {3, "de"}, {4, "e"}, {0, ""}} {
		offset, want := c.offset, c.want
		it, at, ok := q.Peek(offset)
		if !ok {
			t.Fatalf("offset %d: nothing", offset)
		}
		b := make([]byte, it.Packet.Len())
		it.Packet.CopyTo(b, 0)
		if string(b[at:]) != want {
			t.Errorf("offset %d: %q, want %q", offset, b[at:], want)
		}
		it.Packet.Release()
	}
	if _, _, ok := q.Peek(5); ok {
		t.Error("there is something beyond the end")
	}
	q.Close()
}

func TestPeekKeepsWhatIsConsumed(t *testing.T) {
	q := &Queue{}
	p := buffer.NewFrom([]byte("headerdata"))
	p.Consume(6)
	q.Push(Item{Packet: p}, 1<<20)
	for range 2 {
		it, _, _ := q.Peek(0)
		check(t, it.Packet, "data")
		it.Packet.Release()
	}
	if q.NextLen() != 4 {
		t.Errorf("%d bytes", q.NextLen())
	}
	q.Close()
	if q.NextLen() != 0 {
		t.Error("there is something in a closed queue")
	}
}

func TestPendingErrorIsTakenOnce(t *testing.T) {
	q := &Queue{}
	if q.TakePending() != nil {
		t.Error("there is an error")
	}
	q.SetPending(unix.EPROTO)
	if q.TakePending() != unix.EPROTO || q.TakePending() != nil {
		t.Error("it is not taken once")
	}
}

func TestSeverity(t *testing.T) {
	for _, c := range []struct {
		e          stack.TransportError
		mode       int32
		told, hard bool
	}{
		{stack.TransportError{Origin: OriginICMP, Type: header.ICMPv4SourceQuench}, 0, false, false},
		{stack.TransportError{Origin: OriginICMP, Type: header.ICMPv4Redirect}, 0, false, false},
		{stack.TransportError{Origin: OriginICMP, Type: header.ICMPv4Unreachable, Code: header.ICMPv4FragmentationNeeded}, tcpip.MTUDiscoveryDont, false, false},
		{stack.TransportError{Origin: OriginICMP, Type: header.ICMPv4Unreachable, Code: 200}, 0, true, false},
		{stack.TransportError{Origin: OriginICMP6, Type: header.ICMPv6PacketTooBig}, tcpip.MTUDiscoveryDont, true, false},
		{stack.TransportError{Origin: OriginICMP6, Type: header.ICMPv6PacketTooBig}, tcpip.MTUDiscoveryOmit, false, false},
		{stack.TransportError{Origin: OriginICMP6, Type: header.ICMPv6PacketTooBig}, tcpip.MTUDiscoveryInterface, false, false},
		{stack.TransportError{Origin: OriginICMP6, Type: header.ICMPv6Unreachable, Code: 200}, 0, true, false},
		{stack.TransportError{Origin: OriginLocal, Hard: true}, 0, true, true},
		{stack.TransportError{Origin: OriginLocal}, 0, true, false},
	} {
		if told, hard := severity(&c.e, c.mode); told != c.told || hard != c.hard {
			t.Errorf("%+v with mode %d: %v, %v", c.e, c.mode, told, hard)
		}
	}
	if Dropped.Error() == "" {
		t.Error("Dropped has no name")
	}
}
