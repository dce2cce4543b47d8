package header

import (
	"testing"

	"runsc/pkg/tcpip/checksum"
)

func TestUDPRoundTrip(t *testing.T) {
	f := UDPFields{SourcePort: 0x1234, DestinationPort: 0xfedc, Length: 11}
	h := UDP(dirty(UDPSize + 5))
	h.Encode(f)
	if got := (UDPFields{h.SourcePort(), h.DestinationPort(), h.Length()}); !h.Valid(13, false) || got != f || h.Checksum() != 0 {
		t.Errorf("got %+v", got)
	}
	if len(h.Payload()) != 3 || len(h[:9].Payload()) != 1 || len(h[:8].Payload()) != 0 {
		t.Error("the payload is wrong")
	}
}

func TestUDPLengthsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name              string
		length, len, size int
		v4, v6            bool
	}{
		{"empty", 8, 8, 8, true, true},
		{"padding", 8, 20, 20, true, true},
		{"payload elsewhere", 1000, 8, 1000, true, true},
		{"less than the header", 7, 8, 8, false, false},
		{"cut", 9, 8, 8, false, false},
		{"0 is a jumbogram", 0, 8, 70000, false, true},
		{"short", 8, 7, 8, false, false},
		{"small", 0, 8, 7, false, false},
	} {
		h := UDP(make([]byte, max(c.len, 8)))
		h.SetLength(uint16(c.length))
		h = h[:c.len]
		if v4, v6 := h.Valid(c.size, false), h.Valid(c.size, true); v4 != c.v4 || v6 != c.v6 {
			t.Errorf("%s: Valid = %v over IPv4, %v over IPv6", c.name, v4, v6)
		}
	}
	h := UDP(make([]byte, 10))
	if h.DatagramLength(70000) != 70000 || len(h.Payload()) != 2 {
		t.Error("a length of 0 is not all there is")
	}
}

func TestUDPChecksum(t *testing.T) {
	payload := []byte("odd")
	h := UDP(dirty(UDPSize))
	h.Encode(UDPFields{SourcePort: 1, DestinationPort: 2, Length: 11})
	pseudo := checksum.PseudoHeader(ProtocolUDP, addr4a, addr4b, 11)
	partial := checksum.Sum(payload, pseudo)
	if h.SetChecksum(partial); !h.ChecksumOK(partial) || !UDP(append(h[:8:8], payload...)).ChecksumOK(pseudo) {
		t.Error("the checksum is wrong")
	}
	// A computed sum of 0 would say that there is none.
	old := uint32(h.Checksum())
	if h.SetChecksum(partial + old); h.Checksum() != 0xffff || !h.ChecksumOK(partial+old) {
		t.Errorf("checksum %#x, want 0xffff", h.Checksum())
	}
}

func FuzzUDP(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 9, 0, 0, 7}, 0, false)
	f.Add(make([]byte, 9), 0, true)
	f.Fuzz(func(t *testing.T, b []byte, more int, v6 bool) {
		size := len(b) + more&0xffff
		if h := UDP(b); h.Valid(size, v6) {
			getters(t, h)
			if n := h.DatagramLength(size); n < UDPSize || n > size || UDPSize+len(h.Payload()) > n {
				t.Fatalf("datagram of %d in %d bytes", n, size)
			}
		}
	})
}
