package header

import (
	"bytes"
	"slices"
	"testing"

	"runsc/pkg/tcpip/checksum"
)

var ipv4Fields = IPv4Fields{
	TOS: DSCPExpedited<<DSCPShift | ECNCapable0, TotalLength: 31, ID: 0x1234,
	Flags: IPv4FlagMoreFragments, FragmentOffset: 65528, TTL: 64, Protocol: ProtocolUDP,
	Source: addr4a, Destination: addr4b, Options: []byte{IPv4OptionRouterAlert, 4, 0, 0, IPv4OptionNop},
}

func TestIPv4RoundTrip(t *testing.T) {
	f := ipv4Fields
	h := IPv4(dirty(40))
	h.Encode(f)
	got := IPv4Fields{
		h.TOS(), h.TotalLength(), h.ID(), h.Flags(), h.FragmentOffset(), h.TTL(), h.Protocol(),
		h.Source(), h.Destination(), nil,
	}
	f.Options = nil
	if got.Options = nil; !h.Valid(40) || !equal4(got, f) {
		t.Errorf("got %+v, want %+v", got, f)
	}
	if h.HeaderLength() != 28 || !bytes.Equal(h.Options(), []byte{148, 4, 0, 0, 1, 0, 0, 0}) {
		t.Errorf("header of %d bytes, options %x", h.HeaderLength(), h.Options())
	}
	if h.PayloadLength() != 3 || len(h.Payload()) != 3 || len(h[:29].Payload()) != 1 || len(h[:28].Payload()) != 0 {
		t.Error("the payload is wrong")
	}
	if !h.MoreFragments() || h.DontFragment() || !h.IsFragment() || h.ECN() != ECNCapable0 || !h.ChecksumOK() {
		t.Errorf("%x", []byte(h))
	}
	if h.SetFragment(IPv4FlagDontFragment, 0); h.IsFragment() || !h.DontFragment() || h.ChecksumOK() {
		t.Errorf("%x", []byte(h))
	}
}

func equal4(a, b IPv4Fields) bool {
	ok := slices.Equal(a.Options, b.Options)
	a.Options, b.Options = nil, nil
	return ok && a.TOS == b.TOS && a.TotalLength == b.TotalLength && a.ID == b.ID && a.Flags == b.Flags &&
		a.FragmentOffset == b.FragmentOffset && a.TTL == b.TTL && a.Protocol == b.Protocol &&
		a.Source == b.Source && a.Destination == b.Destination
}

func TestIPv4LengthsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name             string
		first            byte
		total, len, size int
		want             bool
	}{
		{"plain", 0x45, 20, 20, 20, true},
		{"payload elsewhere", 0x45, 1500, 20, 1500, true},
		{"padding", 0x45, 20, 46, 46, true},
		{"version 5", 0x55, 20, 20, 20, false},
		{"header too short", 0x44, 20, 20, 20, false},
		{"no header length", 0x40, 20, 20, 20, false},
		{"options not in the view", 0x46, 24, 20, 24, false},
		{"longest header", 0x4f, 60, 60, 60, true},
		{"total less than the header", 0x46, 23, 24, 24, false},
		{"total 0", 0x45, 0, 20, 20, false},
		{"cut", 0x45, 21, 20, 20, false},
		{"short", 0x45, 20, 19, 20, false},
	} {
		h := IPv4(make([]byte, c.len))
		h[0] = c.first
		h.SetTotalLength(uint16(c.total))
		if got := h.Valid(c.size); got != c.want {
			t.Errorf("%s: Valid = %v", c.name, got)
		}
	}
}

func TestIPv4ChecksumOfAKnownHeader(t *testing.T) {
	h := IPv4{0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7}
	h.UpdateChecksum()
	if h.Checksum() != 0xb861 {
		t.Errorf("checksum %#x, want 0xb861", h.Checksum())
	}
	for h.TTL() > 0 {
		if h.DecrementTTL(); !h.ChecksumOK() {
			t.Fatalf("the checksum is wrong at a TTL of %d", h.TTL())
		}
	}
	if got, want := h.PseudoHeader(17, 95), checksum.PseudoHeader(17, h.Source(), h.Destination(), 95); got != want {
		t.Errorf("PseudoHeader = %#x, want %#x", got, want)
	}
}

func TestIPv4SetECNKeepsDSCP(t *testing.T) {
	h := IPv4(make([]byte, 20))
	h.SetTOS(0xfd)
	if h.SetECN(ECNCongestion); h.TOS() != 0xff {
		t.Errorf("TOS %#x", h.TOS())
	}
}

func TestIPv4OptionWalk(t *testing.T) {
	type option struct {
		kind   uint8
		offset int
		n      int
	}
	for _, c := range []struct {
		name      string
		in        []byte
		want      []option
		malformed bool
	}{
		{"none", nil, nil, false},
		{"no-operations", []byte{1, 1, 1, 1}, nil, false},
		{"end hides the rest", []byte{0, 7, 3, 4}, nil, false},
		{"record route and alert", []byte{1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0}, []option{{7, 1, 7}, {148, 8, 4}}, false},
		{"length 0", []byte{148, 0, 0, 0}, nil, true},
		{"length 1", []byte{148, 1, 0, 0}, nil, true},
		{"length 2", []byte{148, 2, 0, 0}, []option{{148, 0, 2}}, false},
		{"no length", []byte{1, 1, 1, 148}, nil, true},
		{"too long", []byte{148, 4, 0, 0, 7, 5, 4, 0}, []option{{148, 0, 4}}, true},
	} {
		var got []option
		w := WalkIPv4Options(c.in)
		for w.Next() {
			got = append(got, option{w.Type, w.Offset, len(w.Option)})
		}
		if !slices.Equal(got, c.want) || w.Malformed() != c.malformed {
			t.Errorf("%s: got %v, malformed %v", c.name, got, w.Malformed())
		}
	}
	alert := IPv4RouterAlert()
	if w := WalkIPv4Options(alert[:]); !w.Next() || w.Type != IPv4OptionRouterAlert {
		t.Error("the router alert is not found")
	}
}

func FuzzIPv4(f *testing.F) {
	h := IPv4(dirty(40))
	h.Encode(ipv4Fields)
	f.Add([]byte(h), 0)
	f.Add([]byte(h[:28]), 12)
	f.Fuzz(func(t *testing.T, b []byte, more int) {
		h := IPv4(b)
		if !h.Valid(len(b) + more&0xffff) {
			return
		}
		getters(t, h)
		h.PseudoHeader(1, 2)
		n := 0
		for w := WalkIPv4Options(h.Options()); w.Next(); n++ {
			if len(w.Option) < 2 || w.Option[0] != w.Type || h.Options()[w.Offset] != w.Type {
				t.Fatalf("option %x at %d", w.Option, w.Offset)
			}
		}
		if n > IPv4OptionsMaximum/2 {
			t.Fatalf("%d options", n)
		}
		// What the getters say, written, is the same header.
		again := IPv4(dirty(h.HeaderLength()))
		again.Encode(IPv4Fields{
			h.TOS(), h.TotalLength(), h.ID(), h.Flags(), h.FragmentOffset(), h.TTL(), h.Protocol(),
			h.Source(), h.Destination(), h.Options(),
		})
		again.SetChecksumField(h.Checksum())
		if !bytes.Equal(again, h[:h.HeaderLength()]) {
			t.Fatalf("%x became %x", []byte(h), []byte(again))
		}
	})
}
