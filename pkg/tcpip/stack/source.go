package stack

import "net/netip"

// SourceFor chooses a source address for dst among those of this interface; zero: none.
func (n *NIC) SourceFor(dst netip.Addr) netip.Addr {
	if dst.Is6() {
		return n.betterSource6(candidate6{}, n, dst).addr()
	}
	return n.source4(dst)
}

// sourceFor chooses the source of a packet that leaves n for dst by nextHop; zero: there is
// none.
func (t *nicTable) sourceFor(n *NIC, nextHop, dst netip.Addr) netip.Addr {
	if dst.Is6() {
		best := n.betterSource6(candidate6{}, n, dst)
		if !dst.IsLinkLocalUnicast() && !dst.IsMulticast() {
			// RFC 6724 section 4 recommends addresses of that interface only; like Linux
			// we look at the others', too, for the sake of links that have no address but
			// a link-local one.
			for _, x := range t.sorted {
				if x != n {
					best = x.betterSource6(best, n, dst)
				}
			}
		}
		return best.addr()
	}
	if a := n.source4(nextHop); a.IsValid() {
		return a
	}
	// The weak host model: any address will do, but not one that means this host or this
	// link only.
	for _, x := range t.sorted {
		for i := range x.addresses.Load().list {
			if r := &x.addresses.Load().list[i]; r.Prefix.Addr().Is4() && r.Scope < scopeLink {
				return r.Prefix.Addr()
			}
		}
	}
	return netip.Addr{}
}

// source4 is the first address whose prefix has nextHop, or else the first one. Addresses of
// scope host are for packets to this host only.
func (n *NIC) source4(nextHop netip.Addr) netip.Addr {
	var first netip.Addr
	list := n.addresses.Load().list
	for i := range list {
		r := &list[i]
		if !r.Prefix.Addr().Is4() || r.Scope == scopeHost && !n.IsLoopback() {
			continue
		}
		if r.Prefix.Contains(nextHop) {
			return r.Prefix.Addr()
		}
		if !first.IsValid() {
			first = r.Prefix.Addr()
		}
	}
	return first
}

// candidate6 is an address that may be the source; the zero candidate6 is none.
type candidate6 struct {
	*addressRecord
	// out: it is of the interface that the packet leaves by.
	out bool
}

func (c candidate6) addr() netip.Addr {
	if c.addressRecord == nil {
		return netip.Addr{}
	}
	return c.Prefix.Addr()
}

// betterSource6 is the best of best and n's addresses, for a packet that leaves by out (RFC 6724
// section 5).
func (n *NIC) betterSource6(best candidate6, out *NIC, dst netip.Addr) candidate6 {
	list := n.addresses.Load().list
	for i := range list {
		c := candidate6{&list[i], n == out}
		a := c.addr()
		if !a.Is6() || c.Tentative || c.Duplicate {
			continue
		}
		if !c.out && (a.IsLinkLocalUnicast() || a.IsLoopback()) {
			continue // of no meaning there (RFC 4291 sections 2.5.3 and 2.5.6)
		}
		if best.addressRecord == nil || preferSource6(c, best, dst) {
			best = c
		}
	}
	return best
}

// preferSource6 says whether a is better than b, which was there before.
func preferSource6(a, b candidate6, dst netip.Addr) bool {
	aa, ba := a.addr(), b.addr()
	// Rule 1: the same address.
	if aa == dst || ba == dst {
		return aa == dst && ba != dst
	}
	// Rule 2: appropriate scope.
	if as, bs, ds := scope6(aa), scope6(ba), scope6(dst); as != bs {
		if as < bs {
			return as >= ds
		}
		return bs < ds
	}
	// Rule 3: avoid deprecated addresses.
	if a.Deprecated != b.Deprecated {
		return b.Deprecated
	}
	// Rule 5: prefer the outgoing interface.
	if a.out != b.out {
		return a.out
	}
	// Rule 6: matching label.
	dl := label6(dst)
	if am, bm := label6(aa) == dl, label6(ba) == dl; am != bm {
		return am
	}
	// Rule 8: longest matching prefix, of the source's own prefix at most.
	return commonBits(aa, dst, a.Prefix.Bits()) > commonBits(ba, dst, b.Prefix.Bits())
}

// scope6 is the scope of an address as RFC 4007 section 5 and RFC 4291 section 2.7 number them.
func scope6(a netip.Addr) int {
	switch b := a.As16(); {
	case a.IsMulticast():
		return int(b[1] & 0xf)
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		return 2
	case b[0] == 0xfe && b[1]&0xc0 == 0xc0:
		return 5 // site-local
	}
	return 0xe
}

// policy6 is the default policy table (RFC 6724 section 2.1), longest prefixes first.
var policy6 = [...]struct {
	prefix netip.Prefix
	label  int
}{
	{netip.MustParsePrefix("::1/128"), 0},
	{netip.MustParsePrefix("::ffff:0:0/96"), 4},
	{netip.MustParsePrefix("::/96"), 3},
	{netip.MustParsePrefix("2001::/32"), 5},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("3ffe::/16"), 12},
	{netip.MustParsePrefix("fec0::/10"), 11},
	{netip.MustParsePrefix("fc00::/7"), 13},
	{netip.MustParsePrefix("::/0"), 1},
}

func label6(a netip.Addr) int {
	for i := range policy6 {
		if policy6[i].prefix.Contains(a) {
			return policy6[i].label
		}
	}
	return 1
}

// commonBits is how many leading bits are the same, limit at most.
func commonBits(a, b netip.Addr, limit int) int {
	x, y := a.As16(), b.As16()
	n := 0
	for n < limit && (x[n/8]^y[n/8])&(0x80>>(n%8)) == 0 {
		n++
	}
	return n
}
