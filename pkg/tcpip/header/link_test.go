package header

import "testing"

func TestEthernetRoundTrip(t *testing.T) {
	h := Ethernet(dirty(EthernetSize + 3))
	h.Encode(EthernetFields{Source: linkA, Destination: linkB, Type: EtherTypeIPv6})
	if !h.Valid() || h.Source() != linkA || h.Destination() != linkB || h.Type() != EtherTypeIPv6 || len(h.Payload()) != 3 {
		t.Errorf("%x", []byte(h))
	}
	if h[:EthernetSize-1].Valid() {
		t.Error("a short header is valid")
	}
}

func TestARPRoundTrip(t *testing.T) {
	f := ARPFields{Operation: ARPReply, SenderLink: linkA, TargetLink: linkB, SenderIP: addr4a, TargetIP: addr4b}
	h := ARP(dirty(ARPSize))
	h.Encode(f)
	if got := (ARPFields{h.Operation(), h.SenderLink(), h.TargetLink(), h.SenderIP(), h.TargetIP()}); !h.Valid() || got != f {
		t.Errorf("got %+v, want %+v", got, f)
	}
	for _, i := range []int{0, 1, 2, 3, 4, 5} {
		bad := append(ARP(nil), h...)
		bad[i]++
		if bad.Valid() {
			t.Errorf("valid with byte %d changed", i)
		}
	}
	if h[:ARPSize-1].Valid() {
		t.Error("a short packet is valid")
	}
}

func FuzzEthernet(f *testing.F) {
	f.Add(dirty(20))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h := Ethernet(b); h.Valid() {
			getters(t, h)
		}
	})
}

func FuzzARP(f *testing.F) {
	h := ARP(dirty(ARPSize))
	h.Encode(ARPFields{Operation: 1, SenderIP: addr4a, TargetIP: addr4b})
	f.Add([]byte(h))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h := ARP(b); h.Valid() {
			getters(t, h)
		}
	})
}
