package tcp

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

func viewOf(b []byte) buffer.View {
	v := buffer.NewView(len(b))
	copy(v.Bytes(), b)
	return v
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestSendQueueKeepsTheStream compares the queue with a plain slice: appended, filled in place,
// acknowledged and looked at in any order.
func TestSendQueueKeepsTheStream(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	q := sendQueue{start: 0xffffff00} // wraps
	var want []byte
	start := q.start
	var reserved buffer.View
	used := -1
	for range 20_000 {
		switch rng.IntN(5) {
		case 0:
			if used >= 0 {
				break // one writer at a time
			}
			b := randomBytes(rng, 1+rng.IntN(3000))
			v := buffer.NewView(max(len(b), 2048))
			copy(v.Bytes(), b)
			v.Truncate(len(b))
			q.append(v)
			want = append(want, b...)
		case 1: // a writer reserves room
			if used < 0 {
				if v, n := q.reserve(); n > 0 {
					reserved, used = v, n
				}
			}
		case 2: // and fills it later, when its chunk may be gone
			if used >= 0 {
				b := randomBytes(rng, rng.IntN(reserved.Room()+1))
				copy(reserved.Grow(len(b)), b)
				if len(b) == 0 {
					reserved.Release()
				} else {
					q.commit(reserved, used)
					want = append(want, b...)
				}
				used = -1
			}
		case 3:
			n := rng.IntN(len(want)/2 + 1)
			if rng.IntN(10) == 0 {
				n = len(want)
			}
			q.acknowledge(start + uint32(n))
			start += uint32(n)
			want = want[n:]
			q.acknowledge(start - 5) // an old one changes nothing
		case 4:
			if len(want) == 0 {
				break
			}
			from := rng.IntN(len(want))
			n := 1 + rng.IntN(min(len(want)-from, 10_000))
			p := buffer.New()
			q.fill(p, start+uint32(from), n)
			got := make([]byte, n)
			if p.Len() != n || p.CopyTo(got, 0) != n || !bytes.Equal(got, want[from:from+n]) {
				t.Fatalf("the %d bytes from %d on are wrong", n, from)
			}
			p.Release()
		}
		if q.len() != len(want) || q.start != start || q.end() != start+uint32(len(want)) {
			t.Fatalf("[%d, %d) of %d bytes, want %d of %d", q.start, q.end(), q.len(), start, len(want))
		}
	}
	q.purge()
	if q.len() != 0 || q.chunks.len() != 0 {
		t.Fatal("something is left")
	}
}

// TestSmallWritesShareMemory: bytes that are written one by one do not keep a chunk each.
func TestSmallWritesShareMemory(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("window 0\nestablished")
	for range 5000 {
		h.run("write 1")
		h.wire.out = nil
	}
	if n := h.e.sendQ.chunks.len(); n > 5000/sendChunkSmall+2 {
		t.Fatalf("%d chunks for 5000 bytes", n)
	}
}

// TestReceiveQueueKeepsTheStream does likewise for the receive queue.
func TestReceiveQueueKeepsTheStream(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var q receiveQueue
	var want []byte
	for range 20_000 {
		switch rng.IntN(3) {
		case 0:
			b := randomBytes(rng, rng.IntN(4000))
			if rng.IntN(2) == 0 {
				b = b[:min(len(b), 20)]
			}
			v := buffer.NewView(max(len(b), 1+rng.IntN(4000)))
			copy(v.Bytes(), b)
			w := v.Slice(0, len(b))
			v.Release()
			q.append(w)
			want = append(want, b...)
		case 1:
			n := rng.IntN(len(want) + 1)
			q.consume(n)
			want = want[n:]
		case 2:
			offset := 0
			if len(want) > 0 {
				offset = rng.IntN(len(want))
			}
			var store [5]buffer.View
			at := offset
			for _, v := range q.peek(store[:0], offset) {
				if !bytes.Equal(v.Bytes(), want[at:at+v.Len()]) {
					t.Fatalf("%d bytes from %d on are wrong", v.Len(), at)
				}
				at += v.Len()
			}
			if at == offset && len(want) > offset {
				t.Fatal("nothing to see")
			}
		}
		memory := 0
		for i := range q.views.len() {
			memory += q.views.at(i).Memory() + viewOverhead
		}
		if q.len() != len(want) || q.memory != memory {
			t.Fatalf("%d bytes in %d, want %d in %d", q.len(), q.memory, len(want), memory)
		}
	}
	q.purge()
	if q.len() != 0 || q.memory != 0 {
		t.Fatal("something is left")
	}
}

// TestReceiveQueueBoundsMemory: segments of any size keep at most about twice as much memory as they
// have bytes, which is what the window counts on.
func TestReceiveQueueBoundsMemory(t *testing.T) {
	for _, size := range []int{1, 10, 100, 500, 1000, 1460, 8948, 60_000} {
		for _, chunk := range []int{size, 2048, 65_536} {
			if chunk < size {
				continue
			}
			var q receiveQueue
			for q.len() < 200_000 {
				v := buffer.NewView(chunk)
				w := v.Slice(0, size)
				v.Release()
				q.append(w)
			}
			if q.memory > bufferPerWindow*q.len()+2*gatherLarge {
				t.Errorf("segments of %d bytes in chunks of %d: %d bytes keep %d", size, chunk, q.len(), q.memory)
			}
			q.purge()
		}
	}
}

// TestOutOfOrderQueueMatchesModel inserts overlapping ranges, and takes out what is in order.
func TestOutOfOrderQueueMatchesModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	const base = 0xfffff000
	stream := randomBytes(rng, 10_000)
	for range 300 {
		var q outOfOrderQueue
		var have [10_000]bool
		nxt := 0
		for range 1 + rng.IntN(40) {
			from := nxt + 1 + rng.IntN(len(stream)-nxt-1)
			to := from + 1 + rng.IntN(min(len(stream)-from, 1500))
			fresh := 0
			for i := from; i < to; i++ {
				if !have[i] {
					fresh++
				}
				have[i] = true
			}
			b := stream[from:to]
			v := buffer.NewView(max(len(b), rng.IntN(3000)))
			copy(v.Bytes(), b)
			w := v.Slice(0, len(b))
			v.Release()
			if got := q.insert(base+uint32(from), w); got != fresh {
				t.Fatalf("[%d, %d): %d bytes are new, not %d", from, to, got, fresh)
			}
			memory := 0
			for i := range q.pieces.len() {
				memory += q.pieces.at(i).v.Memory() + viewOverhead
			}
			if memory != q.memory {
				t.Fatalf("%d bytes are counted, not %d", q.memory, memory)
			}
			if rng.IntN(10) == 0 && !q.empty() {
				cut := int(q.dropLast() - base)
				for i := cut; i < len(have); i++ {
					have[i] = false
				}
			}
			if rng.IntN(5) == 0 {
				// The gap is filled up to somewhere, perhaps into the middle of a piece.
				nxt += rng.IntN(2000)
				nxt = min(nxt, len(stream)-2)
				for {
					v, ok := q.next(base + uint32(nxt))
					if !ok {
						break
					}
					if !bytes.Equal(v.Bytes(), stream[nxt:nxt+v.Len()]) {
						t.Fatalf("what is at %d is wrong", nxt)
					}
					nxt += v.Len()
					v.Release()
				}
				if nxt < len(have) && have[nxt] {
					t.Fatalf("%d is there but was not given out", nxt)
				}
				if nxt >= len(stream)-2 {
					break
				}
			}
		}
		q.purge()
	}
}

func TestFIFO(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	var f fifo[int]
	var want []int
	for i := range 50_000 {
		switch rng.IntN(5) {
		case 0, 1:
			f.push(i)
			want = append(want, i)
		case 2:
			if len(want) > 0 {
				f.pop()
				want = want[1:]
			}
		case 3:
			k := rng.IntN(len(want) + 1)
			f.insert(k, i)
			want = append(want[:k:k], append([]int{i}, want[k:]...)...)
		case 4:
			if len(want) > 0 {
				k := rng.IntN(len(want))
				n := 1 + rng.IntN(len(want)-k)
				if n > 3 {
					n = 1
				}
				f.remove(k, n)
				want = append(want[:k:k], want[k+n:]...)
			}
		}
		if f.len() != len(want) {
			t.Fatalf("%d elements, not %d", f.len(), len(want))
		}
		if len(want) > 0 {
			if k := rng.IntN(len(want)); *f.at(k) != want[k] {
				t.Fatalf("element %d is %d, not %d", k, *f.at(k), want[k])
			}
		}
	}
}

func TestSACKBlocks(t *testing.T) {
	var k sackState
	b := func(from, to uint32) header.SACKBlock { return header.SACKBlock{Start: from, End: to} }
	check := func(what string, want ...header.SACKBlock) {
		t.Helper()
		if k.n != len(want) {
			t.Fatalf("%s: %v", what, k.blocks[:k.n])
		}
		for i := range want {
			if k.blocks[i] != want[i] {
				t.Fatalf("%s: %v", what, k.blocks[:k.n])
			}
		}
	}
	k.add(100, 200)
	k.add(300, 400)
	k.add(500, 600)
	k.add(700, 800)
	check("four", b(700, 800), b(500, 600), b(300, 400), b(100, 200))
	k.add(900, 1000)
	check("the oldest is forgotten", b(900, 1000), b(700, 800), b(500, 600), b(300, 400))
	k.add(400, 500)
	check("two become one", b(300, 600), b(900, 1000), b(700, 800))
	k.add(350, 360)
	check("inside", b(300, 600), b(900, 1000), b(700, 800))
	k.cut(950)
	check("cut", b(300, 600), b(900, 950), b(700, 800))
	k.cut(900)
	check("cut at the beginning", b(300, 600), b(700, 800))
	k.trim(600)
	check("trim", b(700, 800))
	k.setDuplicate(1, 2)
	var o header.TCPOptions
	k.fill(&o)
	if o.SACKCount != 2 || o.SACKBlocks[0] != b(1, 2) || k.hasDuplicate {
		t.Fatalf("%+v", o)
	}
}

// TestHostileSACKMakesFewSegments: blocks of single bytes do not cut a large segment into as many.
func TestHostileSACKMakesFewSegments(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established mss 1000,sackOK,ws 7\nset sndbuf 1000000\ncwndsegs 60\nwrite 60000\ndropall")
	for i := 1; i < 60_000; i += 7 {
		h.inject("< A 1 ack 1 <sack " + strconv.Itoa(i) + ":" + strconv.Itoa(i+1) + ">")
		h.wire.out = nil
	}
	if n := h.e.sent.list.len(); n > 130 {
		t.Fatalf("60 segments became %d", n)
	}
	h.check(h.e)
}

func TestRTT(t *testing.T) {
	var r rttState
	r.init()
	if r.timeout() != time.Second || r.low() != 0 {
		t.Fatalf("at first: %v, %v", r.timeout(), r.low())
	}
	// RFC 6298 section 2.2 and 2.3.
	r.sample(100*time.Millisecond, 0, 1)
	if r.srtt != 100*time.Millisecond || r.rttvar != 50*time.Millisecond || r.rto != 300*time.Millisecond {
		t.Fatalf("%+v", r)
	}
	r.sample(180*time.Millisecond, 0, 1)
	if r.srtt != 110*time.Millisecond || r.rttvar != 57500*time.Microsecond || r.rto != 340*time.Millisecond {
		t.Fatalf("%+v", r)
	}
	for range 100 {
		r.sample(100*time.Millisecond, 0, 1)
	}
	if d := r.rto - r.srtt; d != minRTO {
		t.Fatalf("the least timeout is %v more than the round trip", d)
	}
	r.backoff = 3
	if r.timeout() != 8*r.rto {
		t.Fatalf("%v with backoff", r.timeout())
	}
	r.backoff = 30
	if r.timeout() != maxRTO {
		t.Fatalf("%v with much backoff", r.timeout())
	}
	// RFC 7323 appendix G: of many samples each weighs less.
	a, b := r, r
	a.sample(time.Second, 0, 1)
	b.sample(time.Second, 0, 10)
	if a.srtt-r.srtt < 9*(b.srtt-r.srtt) {
		t.Fatalf("%v, %v", a.srtt, b.srtt)
	}
	// The least one is forgotten after two windows.
	r.sample(time.Millisecond, time.Minute, 1)
	if r.low() != time.Millisecond {
		t.Fatalf("the least is %v", r.low())
	}
	r.sample(5*time.Millisecond, 6*time.Minute, 1)
	if r.low() != time.Millisecond {
		t.Fatalf("the least is %v", r.low())
	}
	r.sample(6*time.Millisecond, 12*time.Minute, 1)
	if r.low() != 5*time.Millisecond {
		t.Fatalf("the least is %v", r.low())
	}
}
