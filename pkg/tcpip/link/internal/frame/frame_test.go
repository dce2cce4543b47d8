package frame

import (
	"bytes"
	"testing"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

func TestOpen(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd, 0x60, 0}
	p := buffer.NewFrom(b)
	if !Open(p) || p.EtherType != header.EtherTypeIPv6 || !p.HasLink || !bytes.Equal(p.LinkHeader, b[:14]) ||
		p.LinkDestination != (tcpip.LinkAddress{1, 2, 3, 4, 5, 6}) || p.LinkSource != (tcpip.LinkAddress{7, 8, 9, 10, 11, 12}) || p.Len() != 2 {
		t.Errorf("%+v", p)
	}
	p.Release()

	b[12], b[13] = 0, 100 // a length
	p = buffer.NewFrom(b)
	if !Open(p) || p.EtherType != 4 {
		t.Errorf("EtherType of an 802.3 frame: %#x", p.EtherType)
	}
	p.Release()

	p = buffer.NewFrom(b[:13])
	if Open(p) || p.Len() != 13 {
		t.Error("a frame of 13 bytes was opened")
	}
	p.Release()
}

func TestOpenIP(t *testing.T) {
	for _, c := range []struct {
		data string
		ok   bool
		want uint16
	}{
		{"\x45abc", true, header.EtherTypeIPv4}, {"\x60abc", true, header.EtherTypeIPv6}, {"\x50", false, 0}, {"", false, 0},
	} {
		p := buffer.NewFrom([]byte(c.data))
		if OpenIP(p) != c.ok || p.EtherType != c.want || p.Len() != len(c.data) {
			t.Errorf("%q: EtherType %#x", c.data, p.EtherType)
		}
		p.Release()
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd, 0x60, 0})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := buffer.NewFrom(b)
		defer p.Release()
		OpenIP(p)
		if ok := Open(p); ok != (len(b) >= 14) || ok && p.Len() != len(b)-14 {
			t.Errorf("%d bytes: %v, %d left", len(b), ok, p.Len())
		}
	})
}
