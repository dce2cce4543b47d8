package header

import (
	"bytes"
	"testing"

	"runsc/pkg/tcpip/checksum"
)

func TestTCPRoundTrip(t *testing.T) {
	f := TCPFields{
		SourcePort: 1, DestinationPort: 65535, Sequence: 0xdeadbeef, Acknowledgment: 0xcafebabe,
		HeaderLength: 32, Flags: TCPFlagSyn | TCPFlagAck | TCPFlagCwr, Window: 0x4321, UrgentPointer: 7,
	}
	h := TCP(dirty(40))
	h.Encode(f)
	got := TCPFields{
		h.SourcePort(), h.DestinationPort(), h.Sequence(), h.Acknowledgment(), h.HeaderLength(),
		h.Flags(), h.Window(), h.UrgentPointer(),
	}
	if !h.Valid() || got != f || len(h.Options()) != 12 || len(h.Payload()) != 8 || h[12]&0xf != 0 {
		t.Errorf("got %+v", got)
	}
	if h.Encode(TCPFields{}); h.HeaderLength() != TCPMinimumSize {
		t.Errorf("header of %d bytes by default", h.HeaderLength())
	}
}

func TestTCPDataOffsetIsChecked(t *testing.T) {
	for offset := range 16 {
		for n := range 62 {
			h := TCP(make([]byte, max(n, 13)))
			h[12] = byte(offset << 4)
			h = h[:n]
			if got, want := h.Valid(), offset >= 5 && offset*4 <= n; got != want {
				t.Errorf("offset %d in %d bytes: Valid = %v", offset, n, got)
			}
		}
	}
}

func TestTCPChecksum(t *testing.T) {
	h := TCP(dirty(23))
	h.Encode(TCPFields{SourcePort: 80})
	pseudo := checksum.PseudoHeader(ProtocolTCP, addr6a, addr6b, 23)
	h.SetChecksum(pseudo)
	if !h.ChecksumOK(pseudo) || !h[:20].ChecksumOK(checksum.Sum(h.Payload(), pseudo)) {
		t.Error("the checksum is wrong")
	}
	if h.SetWindow(1); h.ChecksumOK(pseudo) {
		t.Error("an error is not found")
	}
}

func TestTCPFlagsString(t *testing.T) {
	for f, want := range map[TCPFlags]string{0: ".", TCPFlagSyn | TCPFlagAck: "SA", 0xff: "FSRPAUEC"} {
		if got := f.String(); got != want {
			t.Errorf("%#x: %s, want %s", uint8(f), got, want)
		}
	}
	if !TCPFlags(0x12).Has(TCPFlagSyn|TCPFlagAck) || TCPFlags(0x02).Has(TCPFlagSyn|TCPFlagAck) {
		t.Error("Has is wrong")
	}
}

func FuzzTCP(f *testing.F) {
	h := TCP(dirty(60))
	o := TCPOptions{MSS: 1460, HasTimestamp: true, SACKPermitted: true, HasWindowScale: true, WindowScale: 7}
	h.Encode(TCPFields{Flags: TCPFlagSyn, HeaderLength: 20 + o.Encode(h[20:])})
	f.Add([]byte(h))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := TCP(b)
		if !h.Valid() {
			return
		}
		getters(t, h)
		var o TCPOptions
		h.ParseOptions(&o)
		again := TCP(dirty(h.HeaderLength()))
		copy(again[20:], h.Options())
		again.Encode(TCPFields{
			h.SourcePort(), h.DestinationPort(), h.Sequence(), h.Acknowledgment(), h.HeaderLength(),
			h.Flags(), h.Window(), h.UrgentPointer(),
		})
		again.SetChecksumField(h.Checksum())
		again[12] |= h[12] & 0xf // reserved
		if !bytes.Equal(again, h[:h.HeaderLength()]) {
			t.Fatalf("%x became %x", []byte(h), []byte(again))
		}
	})
}
