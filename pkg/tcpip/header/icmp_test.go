package header

import (
	"testing"

	"runsc/pkg/tcpip/checksum"
)

func TestICMPv4RoundTrip(t *testing.T) {
	h := ICMPv4(dirty(ICMPv4Size + 5))
	h.Encode(ICMPv4Fields{Type: ICMPv4Echo, Code: 3, Rest: [4]byte{1, 2, 3, 4}})
	if !h.Valid() || h.Type() != ICMPv4Echo || h.Code() != 3 || h.Ident() != 0x102 || h.Sequence() != 0x304 ||
		h.Checksum() != 0 || h.IsError() || len(h.Payload()) != 5 {
		t.Errorf("%x", []byte(h))
	}
	h.SetIdent(9)
	h.SetSequence(10)
	if h.Ident() != 9 || h.Sequence() != 10 || h.MTU() != 10 {
		t.Errorf("%x", []byte(h))
	}
	h.SetGateway(addr4a)
	if h.Gateway() != addr4a || h.Pointer() != 192 {
		t.Errorf("gateway %v", h.Gateway())
	}
	h.SetType(ICMPv4Redirect)
	if h.SetChecksum(0); !h.ChecksumOK(0) || !h.IsError() {
		t.Errorf("%x", []byte(h))
	}
	// The same with the payload elsewhere.
	if front := h[:ICMPv4Size]; !front.ChecksumOK(checksum.Sum(h.Payload(), 0)) {
		t.Error("the checksum depends on where the payload lies")
	}
	h[9]++
	if h.ChecksumOK(0) {
		t.Error("an error is not found")
	}
}

func TestICMPv4TimestampRoundTrip(t *testing.T) {
	h := ICMPv4Timestamp(dirty(20))
	h.SetTimes(1, 2, 3)
	if !h.Valid() || h[:19].Valid() || h.Originate() != 1 || h.Receive() != 2 || h.Transmit() != 3 {
		t.Errorf("%x", []byte(h))
	}
}

func TestICMPv6RoundTrip(t *testing.T) {
	h := ICMPv6(dirty(ICMPv6Size + 4))
	h.Encode(ICMPv6Fields{Type: ICMPv6PacketTooBig, Code: 1, Rest: [4]byte{0, 0, 5, 0}})
	if !h.Valid() || h.Type() != 2 || h.Code() != 1 || h.MTU() != 1280 || h.Pointer() != 1280 || !h.IsError() || len(h.Payload()) != 4 {
		t.Errorf("%x", []byte(h))
	}
	h.SetType(ICMPv6EchoRequest)
	h.SetIdent(1)
	h.SetSequence(2)
	if h.Ident() != 1 || h.Sequence() != 2 || h.IsError() {
		t.Errorf("%x", []byte(h))
	}
	pseudo := checksum.PseudoHeader(ProtocolICMPv6, addr6a, addr6b, uint32(len(h)))
	if h.SetChecksum(pseudo); !h.ChecksumOK(pseudo) || h.ChecksumOK(pseudo+1) {
		t.Error("the checksum is wrong")
	}
}

func FuzzICMPv4(f *testing.F) {
	f.Add(dirty(8))
	f.Add(append([]byte{13, 0}, dirty(18)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h := ICMPv4(b); h.Valid() {
			getters(t, h)
		}
		if h := ICMPv4Timestamp(b); h.Valid() {
			getters(t, h)
		}
	})
}

func FuzzICMPv6(f *testing.F) {
	f.Add(dirty(8))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h := ICMPv6(b); h.Valid() {
			getters(t, h)
		}
	})
}
