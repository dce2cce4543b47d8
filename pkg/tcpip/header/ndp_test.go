package header

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestNDPNeighborRoundTrip(t *testing.T) {
	s := NDPNeighborSolicit(dirty(NDPNeighborSolicitSize + NDPLinkOptionSize))
	s.Encode(addr6a)
	if n := NDPLinkOption(s.Options()).Encode(NDPOptionSourceLink, linkA); n != 8 {
		t.Errorf("the option has %d bytes", n)
	}
	w := WalkNDPOptions(s.Options())
	if !s.Valid() || s.Target() != addr6a || !w.Next() || w.Type != NDPOptionSourceLink ||
		!NDPLinkOption(w.Option).Valid() || NDPLinkOption(w.Option).Address() != linkA || w.Next() || w.Malformed() {
		t.Errorf("%x", []byte(s))
	}
	if s[:len(s)-1].Valid() || NDPNeighborAdvert(s).Valid() {
		t.Error("a cut or other message is valid")
	}
	if s[25] = 0; s.Valid() {
		t.Error("an option of length 0 is valid")
	}

	f := NDPNeighborAdvertFields{Router: true, Override: true, Target: addr6b}
	a := NDPNeighborAdvert(dirty(NDPNeighborAdvertSize))
	a.Encode(f)
	if got := (NDPNeighborAdvertFields{a.Router(), a.Solicited(), a.Override(), a.Target()}); !a.Valid() || got != f {
		t.Errorf("got %+v", got)
	}
	if a[1] = 1; a.Valid() {
		t.Error("a code of 1 is valid")
	}
}

func TestNDPRouterRoundTrip(t *testing.T) {
	s := NDPRouterSolicit(dirty(NDPRouterSolicitSize))
	if s.Encode(); !s.Valid() || len(s.Options()) != 0 {
		t.Errorf("%x", []byte(s))
	}
	f := NDPRouterAdvertFields{
		HopLimit: 64, Managed: true, Preference: NDPPreferenceLow, Lifetime: 1800 * time.Second,
		ReachableTime: 30 * time.Second, RetransTimer: 1500 * time.Millisecond,
	}
	h := NDPRouterAdvert(dirty(NDPRouterAdvertSize))
	h.Encode(f)
	got := NDPRouterAdvertFields{h.HopLimit(), h.Managed(), h.Other(), h.Preference(), h.Lifetime(), h.ReachableTime(), h.RetransTimer()}
	if !h.Valid() || got != f {
		t.Errorf("got %+v", got)
	}
	h.Encode(NDPRouterAdvertFields{Lifetime: time.Hour * 100, ReachableTime: -1})
	if h.Lifetime() != 65535*time.Second || h.ReachableTime() != 0 {
		t.Errorf("lifetime %v, reachable %v: not limited", h.Lifetime(), h.ReachableTime())
	}
}

func TestNDPRedirectRoundTrip(t *testing.T) {
	h := NDPRedirect(dirty(NDPRedirectSize))
	if h.Encode(addr6b, addr6a); !h.Valid() || h.Target() != addr6b || h.Destination() != addr6a {
		t.Errorf("%x", []byte(h))
	}
}

func TestNDPOptionsRoundTrip(t *testing.T) {
	b := dirty(32)
	f := NDPPrefixFields{netip.MustParsePrefix("2001:db8:1::/48"), true, false, NDPInfinite, 600 * time.Second}
	n := NDPPrefix(b).Encode(f)
	p := NDPPrefix(b[:n])
	if got := (NDPPrefixFields{p.Prefix(), p.OnLink(), p.Autonomous(), p.ValidLifetime(), p.PreferredLifetime()}); !p.Valid() || got != f {
		t.Errorf("prefix: got %+v", got)
	}
	if p[2] = 129; p.Valid() {
		t.Error("a prefix of 129 bits is valid")
	}

	b = dirty(8)
	if m := NDPMTU(b[:NDPMTU(b).Encode(1280)]); !m.Valid() || m.MTU() != 1280 {
		t.Errorf("MTU: %x", b)
	}
	nonce := [6]byte{1, 2, 3, 4, 5, 6}
	if o := NDPNonce(b[:NDPNonce(b).Encode(nonce)]); !o.Valid() || o.Nonce() != nonce {
		t.Errorf("nonce: %x", b)
	}

	b = dirty(40)
	d := NDPRDNSS(b[:NDPRDNSS(b).Encode(1099511627*time.Second, addr6a, addr6b)])
	if !d.Valid() || d.Count() != 2 || d.Server(0) != addr6a || d.Server(1) != addr6b || d.Lifetime() != 1099511627*time.Second {
		t.Errorf("RDNSS: %x %v", b, d.Lifetime())
	}
	if n := NDPRDNSS(b).Encode(0); NDPRDNSS(b[:n]).Valid() {
		t.Error("RDNSS without servers is valid")
	}

	for prefix, size := range map[string]int{"::/0": 8, "2001:db8::/32": 16, "2001:db8::/64": 16, "2001:db8::/65": 24, "2001:db8::1/128": 24} {
		b := dirty(24)
		p := netip.MustParsePrefix(prefix)
		n := NDPRouteInfo(b).Encode(p, NDPPreferenceHigh, time.Minute)
		r := NDPRouteInfo(b[:n])
		if n != size || !r.Valid() || r.Prefix() != p || r.Preference() != NDPPreferenceHigh || r.Lifetime() != time.Minute {
			t.Errorf("route information %s: %x", prefix, b[:n])
		}
		if r[2]++; n == 8 && r.Valid() {
			t.Error("a prefix longer than the option is valid")
		}
	}
}

func TestNDPLifetimesThatAreTooLongStayFinite(t *testing.T) {
	b := dirty(32)
	NDPPrefix(b).Encode(NDPPrefixFields{Prefix: netip.MustParsePrefix("::/0"), Valid: NDPInfinite - 1})
	if got := NDPPrefix(b).ValidLifetime(); got != (1<<32-2)*time.Second {
		t.Errorf("lifetime %v", got)
	}
}

func TestNDPOptionWalkStopsAtMalformed(t *testing.T) {
	good := []byte{5, 1, 0, 0, 0, 0, 5, 0}
	for _, bad := range [][]byte{{1}, {1, 1, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0, 0, 0}, {1, 2, 0, 0, 0, 0, 0, 0}, {1, 255, 0, 0, 0, 0, 0, 0}} {
		w := WalkNDPOptions(slices.Concat(good, bad))
		if !w.Next() || w.Type != NDPOptionMTU || w.Malformed() || w.Next() || !w.Malformed() || w.Next() {
			t.Errorf("%x: not malformed", bad)
		}
	}
}

func FuzzNDP(f *testing.F) {
	for _, t := range []byte{133, 134, 135, 136, 137} {
		f.Add(append([]byte{t, 0}, make([]byte, 38)...))
	}
	s := NDPNeighborSolicit(dirty(32))
	s.Encode(addr6a)
	NDPLinkOption(s.Options()).Encode(1, linkA)
	f.Add([]byte(s))
	f.Fuzz(func(t *testing.T, b []byte) {
		try := func(view interface {
			Valid() bool
			Options() []byte
		}) {
			if view.Valid() {
				getters(t, view)
				checkNDPOptions(t, view.Options())
			}
		}
		try(NDPRouterSolicit(b))
		try(NDPRouterAdvert(b))
		try(NDPNeighborSolicit(b))
		try(NDPNeighborAdvert(b))
		try(NDPRedirect(b))
	})
}

func FuzzNDPOptions(f *testing.F) {
	b := dirty(120)
	n := NDPPrefix(b).Encode(NDPPrefixFields{Prefix: netip.MustParsePrefix("2001:db8::/64")})
	n += NDPRouteInfo(b[n:]).Encode(netip.MustParsePrefix("2001:db8::/70"), 1, 0)
	n += NDPRDNSS(b[n:]).Encode(1, addr6a)
	n += NDPLinkOption(b[n:]).Encode(2, linkA)
	n += NDPMTU(b[n:]).Encode(1500)
	f.Add(b[:n])
	f.Fuzz(func(t *testing.T, b []byte) {
		checkNDPOptions(t, b)
		for _, v := range views(b, 0) { // an option's view need not come from the walker
			if v.ok {
				getters(t, v.view)
			}
		}
	})
}

func checkNDPOptions(t *testing.T, b []byte) {
	n := 0
	for w := WalkNDPOptions(b); w.Next(); {
		n += len(w.Option)
		for _, v := range views(w.Option, 0) {
			if v.ok {
				getters(t, v.view)
			}
		}
		if o := NDPRDNSS(w.Option); o.Valid() {
			for i := range o.Count() {
				o.Server(i)
			}
		}
	}
	if n > len(b) {
		t.Fatalf("options of %d bytes in %d", n, len(b))
	}
}
