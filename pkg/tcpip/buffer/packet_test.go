package buffer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"runsc/pkg/tcpip"
)

// model is what a Packet is meant to be: bytes, of which some are consumed.
type model struct {
	p        *Packet
	all      []byte
	consumed int
	header   []byte // what NetworkHeader is to have; nil: not set
}

func (m *model) left() []byte { return m.all[m.consumed:] }

func (m *model) check(t *testing.T, what string) {
	t.Helper()
	left := m.left()
	if m.p.Len() != len(left) || m.p.Consumed() != m.consumed {
		t.Fatalf("%s: Len %d, Consumed %d, want %d, %d", what, m.p.Len(), m.p.Consumed(), len(left), m.consumed)
	}
	got := make([]byte, len(left)+10)
	if n := m.p.CopyTo(got, 0); n != len(left) || !bytes.Equal(got[:n], left) {
		t.Fatalf("%s: the bytes are %x, want %x", what, got[:n], left)
	}
	if got := bytes.Join(m.p.Slices(nil), nil); !bytes.Equal(got, left) {
		t.Fatalf("%s: Slices are %x, want %x", what, got, left)
	}
	if m.header != nil && !bytes.Equal(m.p.NetworkHeader, m.header) {
		t.Fatalf("%s: the header slice is %x, want %x", what, m.p.NetworkHeader, m.header)
	}
	if m.p.Memory() < len(left)-MaxHeader {
		t.Fatalf("%s: Memory is %d with %d bytes", what, m.p.Memory(), len(left))
	}
}

// source gives out bytes, and fails after some of them.
type source struct {
	b    []byte
	fail int
}

var errFault = errors.New("fault")

func (s *source) Len() int { return len(s.b) }
func (s *source) Read(b []byte) (int, error) {
	n := copy(b, s.b[:min(len(s.b), s.fail)])
	s.b, s.fail = s.b[n:], s.fail-n
	if n < len(b) && s.fail == 0 {
		return n, errFault
	}
	return n, nil
}

// sink takes room bytes, and fails after some of them.
type sink struct {
	b    []byte
	room int
	fail int
}

func (s *sink) Len() int { return s.room }
func (s *sink) Write(b []byte) (int, error) {
	n := min(len(b), s.room, s.fail)
	s.b = append(s.b, b[:n]...)
	s.room -= n
	s.fail -= n
	if n < len(b) && s.fail == 0 {
		return n, errFault
	}
	return n, nil
}

var (
	_ tcpip.Source = (*source)(nil)
	_ tcpip.Sink   = (*sink)(nil)
)

// choices is where the random test and the fuzzer take their decisions from.
type choices interface{ n(limit int) int }

type randomChoices struct{ r *rand.Rand }

func (c randomChoices) n(limit int) int { return c.r.IntN(limit) }

type givenChoices struct{ b []byte }

func (c *givenChoices) n(limit int) int {
	if len(c.b) == 0 {
		return 0
	}
	v := int(c.b[0])
	c.b = c.b[1:]
	if limit > 256 && len(c.b) > 0 {
		v = v<<8 | int(c.b[0])
		c.b = c.b[1:]
	}
	return v % limit
}

// run does steps random operations on up to four packets, some of them clones of each other,
// and compares each of them with its model after each.
func run(t *testing.T, c choices, steps int) {
	t.Helper()
	next := byte(0)
	fill := func(b []byte) {
		for i := range b {
			next++
			b[i] = next
		}
	}
	live := []*model{{p: New()}}
	defer func() {
		for _, m := range live {
			m.p.Release()
		}
	}()
	for range steps {
		m := live[c.n(len(live))]
		what := ""
		switch op := c.n(14); op {
		case 0:
			if m.consumed != 0 || m.p.PushRoom() == 0 {
				continue
			}
			what = "Push"
			h := m.p.Push(c.n(min(m.p.PushRoom(), 60) + 1))
			fill(h)
			m.all = append(bytes.Clone(h), m.all...)
		case 1:
			what = "Append"
			b := make([]byte, c.n(300))
			fill(b)
			m.p.Append(b)
			m.all = append(bytes.Clone(m.all), b...)
		case 2:
			what = "AppendView"
			v := NewView(1 + c.n(3000))
			fill(v.Bytes())
			from := c.n(v.Len())
			w := v.Slice(from, from+c.n(v.Len()-from)+1)
			m.all = append(bytes.Clone(m.all), w.Bytes()...)
			m.p.AppendView(w)
			if c.n(2) == 0 {
				m.all = append(m.all, v.Bytes()...)
				m.p.AppendView(v)
			} else {
				v.Release()
			}
		case 3, 4:
			what = "Consume"
			n := c.n(len(m.left()) + 5)
			b, ok := m.p.Consume(n)
			if ok != (n <= len(m.left())) || ok && !bytes.Equal(b, m.left()[:n]) {
				t.Fatalf("Consume(%d of %d) = %x, %v", n, len(m.left()), b, ok)
			}
			if ok {
				m.consumed += n
				m.p.NetworkHeader, m.header = b, bytes.Clone(b)
			}
		case 5:
			what = "Peek"
			n := c.n(len(m.left()) + 5)
			b, ok := m.p.Peek(n)
			if ok != (n <= len(m.left())) || ok && !bytes.Equal(b, m.left()[:n]) {
				t.Fatalf("Peek(%d of %d) = %x, %v", n, len(m.left()), b, ok)
			}
		case 6:
			what = "Unconsume"
			n := c.n(m.consumed + 1)
			m.p.Unconsume(n)
			m.consumed -= n
			m.p.NetworkHeader, m.header = nil, nil
		case 7:
			what = "Truncate"
			n := c.n(len(m.left()) + 1)
			m.p.Truncate(n)
			m.all = m.all[:m.consumed+n]
		case 8:
			what = "Clone"
			if len(live) == 4 {
				continue
			}
			live = append(live, &model{m.p.Clone(), bytes.Clone(m.all), m.consumed, m.header})
		case 9:
			what = "Own"
			n := c.n(len(m.left()) + 1)
			b, ok := m.p.Own(n)
			if !ok || !bytes.Equal(b, m.left()[:n]) {
				t.Fatalf("Own(%d of %d) = %x, %v", n, len(m.left()), b, ok)
			}
			fill(b)
			m.all = append(bytes.Clone(m.all[:m.consumed]), append(bytes.Clone(b), m.left()[n:]...)...)
		case 10:
			what = "AppendFrom"
			q := live[c.n(len(live))]
			if q == m {
				continue
			}
			from := c.n(len(q.left()) + 1)
			n := c.n(len(q.left()) - from + 1)
			m.p.AppendFrom(q.p, from, n)
			m.all = append(bytes.Clone(m.all), q.left()[from:from+n]...)
		case 11:
			what = "Compact"
			m.p.Compact()
		case 12:
			what = "TakeViews"
			var got []byte
			views := m.p.TakeViews(nil)
			for i := range views {
				got = append(got, views[i].Bytes()...)
				views[i].Release()
			}
			if !bytes.Equal(got, m.left()) {
				t.Fatalf("TakeViews = %x, want %x", got, m.left())
			}
			m.all = m.all[:m.consumed]
		case 13:
			what = "Release"
			if len(live) == 1 {
				continue
			}
			for i, x := range live {
				if x == m {
					live = append(live[:i], live[i+1:]...)
					break
				}
			}
			m.p.Release()
		}
		if len(m.all) > 20000 {
			m.p.Release()
			*m = model{p: New()}
		}
		for _, x := range live {
			x.check(t, what)
		}
	}
}

func TestPacketIsItsModel(t *testing.T) {
	for seed := range uint64(300) {
		run(t, randomChoices{rand.New(rand.NewPCG(seed, 1))}, 150)
	}
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{0, 20, 2, 1, 200, 3, 10, 8, 9, 40, 12})
	f.Add([]byte{0, 0, 40, 0, 1, 0, 30, 0, 3, 0, 50, 0, 5, 0, 10, 0, 9, 0, 10})
	f.Fuzz(func(t *testing.T, b []byte) { run(t, &givenChoices{b}, min(len(b), 200)) })
}

func TestPacketOfNothing(t *testing.T) {
	p := NewFrom(make([]byte, 30))
	defer p.Release()
	p.Consume(30)
	if b, ok := p.Peek(0); len(b) != 0 || !ok {
		t.Errorf("Peek(0) at the end = %x, %v", b, ok)
	}
	if b, ok := p.Peek(1); ok {
		t.Errorf("Peek(1) at the end = %x", b)
	}
}

func TestCloneHasItsOwnPushedHeaders(t *testing.T) {
	p := NewFrom([]byte("payload"))
	h := p.Push(4)
	copy(h, "head")
	p.NetworkHeader = h[:2:2] // a slice that ends early
	c := p.Clone()
	copy(h, "HEAD")
	if string(c.NetworkHeader) != "he" {
		t.Errorf("the clone's header is %q", c.NetworkHeader)
	}
	b, _ := c.Peek(4)
	if string(b) != "head" || &b[0] != &c.NetworkHeader[0] {
		t.Errorf("the clone begins with %q", b)
	}
	p.Release()
	c.Release()
}

func TestFill(t *testing.T) {
	for _, c := range []struct {
		have, fail, n, want int
		err                 error
	}{
		{100, 1000, 60, 60, nil},
		{100, 1000, 100, 100, nil},
		{100, 1000, 200, 100, nil},
		{100, 30, 60, 30, errFault},
		{200000, 1 << 20, 150000, 150000, nil},
	} {
		b := make([]byte, c.have)
		for i := range b {
			b[i] = byte(i)
		}
		p := New()
		err := p.Fill(&source{b, c.fail}, c.n)
		got := make([]byte, p.Len())
		p.CopyTo(got, 0)
		if err != c.err || !bytes.Equal(got, b[:c.want]) {
			t.Errorf("%+v: %d bytes, %v", c, len(got), err)
		}
		p.Release()
	}
}

func TestWriteTo(t *testing.T) {
	p := NewFrom([]byte("45678"))
	copy(p.Push(4), "0123")
	p.Append([]byte("9abc"))
	p.Consume(1)
	defer p.Release()
	for _, c := range []struct {
		offset, limit, room, fail int
		want                      string
		err                       error
	}{
		{0, 100, 100, 100, "123456789abc", nil},
		{2, 100, 100, 100, "3456789abc", nil},
		{2, 5, 100, 100, "34567", nil},
		{3, 100, 7, 100, "456789a", nil},
		{3, 0, 7, 100, "", nil},
		{12, 100, 100, 100, "", nil},
		{1, 100, 100, 4, "2345", errFault},
	} {
		s := &sink{room: c.room, fail: c.fail}
		n, err := p.WriteTo(s, c.offset, c.limit)
		if string(s.b) != c.want || n != len(c.want) || err != c.err {
			t.Errorf("%+v: %q, %d, %v", c, s.b, n, err)
		}
	}
}

func TestCopyPropertiesCopiesAllButBytes(t *testing.T) {
	p := NewFrom([]byte("x"))
	p.NIC, p.EtherType, p.Transport, p.TOS, p.Mark, p.Checksum = 3, 0x800, 17, 4, 5, ChecksumVerified
	p.Segmentation = Segmentation{SegmentUDP, 100}
	q := New()
	q.CopyProperties(p)
	if q.NIC != 3 || q.EtherType != 0x800 || q.Transport != 17 || q.TOS != 4 || q.Mark != 5 ||
		q.Checksum != ChecksumVerified || q.Segmentation != p.Segmentation || q.Len() != 0 {
		t.Errorf("%+v", q)
	}
	p.Release()
	q.Release()
}

func panics(f func()) (p bool) {
	defer func() { p = recover() != nil }()
	f()
	return false
}

func TestMistakesPanic(t *testing.T) {
	p := NewFrom([]byte("abc"))
	p.Consume(1)
	if !panics(func() { p.Push(1) }) {
		t.Error("Push in front of consumed bytes did not")
	}
	if !panics(func() { New().AppendFrom(p, 1, 2) }) {
		t.Error("AppendFrom beyond the end did not")
	}
	p.Release()
	q := New()
	q.Release()
	if !panics(q.Release) {
		t.Error("the second Release of a packet did not")
	}
	v := NewView(3)
	w := v
	v.Release()
	if !panics(w.Release) {
		t.Error("the second Release of a view did not")
	}
}

func TestViews(t *testing.T) {
	for _, n := range []int{0, 1, 256, 257, 2048, 8192, 32768, MaxPacket + MaxHeader, MaxPacket + MaxHeader + 1, 1 << 20} {
		v := NewView(n)
		if v.Len() != n || v.Memory() < n || v.Shared() {
			t.Errorf("NewView(%d): Len %d, Memory %d, Shared %v", n, v.Len(), v.Memory(), v.Shared())
		}
		v.Release()
		if v.Len() != 0 || v.Memory() != 0 || v.Shared() || v.Room() != 0 {
			t.Errorf("a released view of %d bytes: Len %d, Memory %d", n, v.Len(), v.Memory())
		}
		v.Release() // of an empty one: nothing
	}
	v := NewView(4)
	copy(v.Bytes(), "abcd")
	if v.Room() < 100 {
		t.Fatalf("Room is %d", v.Room())
	}
	copy(v.Grow(3), "efg")
	s := v.Slice(1, 6)
	if string(v.Bytes()) != "abcdefg" || string(s.Bytes()) != "bcdef" || s.Room() != 0 || !v.Shared() || !s.Shared() {
		t.Errorf("%q, slice %q with room %d", v.Bytes(), s.Bytes(), s.Room())
	}
	v.Release()
	if s.Shared() {
		t.Error("the slice is shared with nobody")
	}
	s.TrimFront(1)
	s.Truncate(2)
	if string(s.Bytes()) != "cd" {
		t.Errorf("trimmed: %q", s.Bytes())
	}
	s.Release()
}

func TestNothingAllocatesOnThePathOfAPacket(t *testing.T) {
	payload := NewView(1400)
	defer payload.Release()
	var store [8][]byte
	if n := testing.AllocsPerRun(100, func() {
		p := NewWith(payload.Clone())
		p.NetworkHeader = p.Push(20)
		p.Push(14)
		p.Slices(store[:0])
		c := p.Clone()
		p.Release()
		c.Consume(14)
		c.Consume(20)
		var views [4]View
		for _, v := range c.TakeViews(views[:0]) {
			v.Release()
		}
		c.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPacketOut(b *testing.B) {
	payload := NewView(1400)
	b.ReportAllocs()
	for b.Loop() {
		p := NewWith(payload.Clone())
		p.Push(32)
		p.Push(20)
		p.Push(14)
		p.Release()
	}
}

func BenchmarkPacketIn(b *testing.B) {
	frame := NewView(1514)
	b.ReportAllocs()
	for b.Loop() {
		p := NewWith(frame.Clone())
		p.Consume(14)
		p.Consume(20)
		p.Consume(32)
		var views [4]View
		for _, v := range p.TakeViews(views[:0]) {
			v.Release()
		}
		p.Release()
	}
}
