package buffer

import (
	"bytes"
	"testing"
)

func TestCompactKeepsBytesAndHeaders(t *testing.T) {
	v := NewView(60000)
	for i := range v.Bytes() {
		v.Bytes()[i] = byte(i)
	}
	whole := NewWith(v.Slice(7, 207))
	whole.AppendView(v.Slice(1000, 1100))
	want := make([]byte, 300)
	whole.CopyTo(want, 0)
	v.Release()
	whole.NetworkHeader, _ = whole.Consume(20)
	whole.TransportHeader, _ = whole.Consume(8)
	before := whole.Memory()
	whole.Compact()
	if got := whole.Memory(); got != packetMemory+2048 || got >= before {
		t.Errorf("%d bytes of memory, %d before", got, before)
	}
	if whole.Len() != 272 || whole.Consumed() != 28 {
		t.Fatalf("%d bytes left, %d consumed", whole.Len(), whole.Consumed())
	}
	if !bytes.Equal(whole.NetworkHeader, want[:20]) || !bytes.Equal(whole.TransportHeader, want[20:28]) {
		t.Error("the header slices have other bytes")
	}
	// They have to be in memory that is the packet's own still.
	whole.Unconsume(28)
	front, _ := whole.Peek(28)
	if &front[0] != &whole.NetworkHeader[0] || &front[20] != &whole.TransportHeader[0] {
		t.Error("the header slices are elsewhere")
	}
	got := make([]byte, 300)
	whole.CopyTo(got, 0)
	if !bytes.Equal(got, want) {
		t.Error("the bytes changed")
	}
	whole.Release()
}

func TestCompactLeavesWhatIsSmallEnough(t *testing.T) {
	p := NewFrom(make([]byte, 300))
	b, _ := p.Peek(1)
	p.Compact()
	if a, _ := p.Peek(1); &a[0] != &b[0] {
		t.Error("the bytes were moved")
	}
	p.Release()
	p = New()
	p.Push(20)
	p.Compact()
	if p.Len() != 20 {
		t.Error("a packet without views changed")
	}
	p.Release()
}
