package netlink

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/stack"
)

var addrShapes = []shape{
	unix.IFA_ADDRESS: isBytes, unix.IFA_LOCAL: isBytes, unix.IFA_LABEL: isBytes, unix.IFA_BROADCAST: isBytes,
	unix.IFA_ANYCAST: isBytes, unix.IFA_CACHEINFO: isBytes, unix.IFA_MULTICAST: isBytes, unix.IFA_FLAGS: isU32,
	unix.IFA_RT_PRIORITY: isU32, unix.IFA_TARGET_NETNSID: isU32, ifaProto: isU8,
}

const (
	ifaProto = 11
	// infinite is a lifetime without end.
	infinite = ^uint32(0)
	// addrFlagsKernel are those that say how an address is, not how it shall be.
	addrFlagsKernel = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_SECONDARY
)

// addrFlags are IFA_F_* of an address. earlier are those that the interface had before.
func addrFlags(p *stack.Address, earlier []stack.Address) uint32 {
	var f uint32
	for _, c := range []struct {
		on   bool
		flag uint32
	}{
		{p.Valid == 0, unix.IFA_F_PERMANENT}, {p.Tentative, unix.IFA_F_TENTATIVE}, {p.Duplicate, unix.IFA_F_DADFAILED},
		{p.NoDAD, unix.IFA_F_NODAD}, {p.Deprecated, unix.IFA_F_DEPRECATED}, {p.NoPrefixRoute, unix.IFA_F_NOPREFIXROUTE},
	} {
		if c.on {
			f |= c.flag
		}
	}
	if p.Prefix.Addr().Is4() {
		for i := range earlier {
			if e := earlier[i].Prefix; e.Bits() == p.Prefix.Bits() && e.Masked() == p.Prefix.Masked() {
				f |= unix.IFA_F_SECONDARY
				break
			}
		}
	}
	return f
}

// seconds is a lifetime as the ABI has it; 0 stands for one without end.
func seconds(d time.Duration) uint32 {
	if d == 0 {
		return infinite
	}
	return uint32(min((d+time.Second-1)/time.Second, time.Duration(infinite-1)))
}

// putAddr appends a message about an address of nic of type typ: RTM_NEWADDR or RTM_DELADDR.
func putAddress(w *builder, h header, typ uint16, nic *stack.NIC, p *stack.Address, flags uint32) {
	h.typ = typ
	addr := p.Prefix.Addr()
	w.begin(h)
	w.bytes(familyOf(addr), uint8(p.Prefix.Bits()), uint8(flags), p.Scope)
	w.u32(uint32(nic.ID()))
	peer := p.Peer
	if !peer.IsValid() {
		peer = addr
	}
	w.attrAddr(unix.IFA_ADDRESS, peer)
	if addr.Is4() || peer != addr {
		w.attrAddr(unix.IFA_LOCAL, addr)
	}
	if p.Broadcast.IsValid() {
		w.attrAddr(unix.IFA_BROADCAST, p.Broadcast)
	}
	if addr.Is4() {
		label := p.Label
		if label == "" {
			label = nic.Name()
		}
		w.attrString(unix.IFA_LABEL, label)
	}
	w.attrU32(unix.IFA_FLAGS, flags)
	// struct ifa_cacheinfo: preferred and valid lifetime in seconds, times of making and of
	// the last change.
	preferred := seconds(p.Preferred)
	if p.Deprecated {
		preferred = 0
	}
	info := w.nest(unix.IFA_CACHEINFO)
	w.u32(preferred)
	w.u32(seconds(p.Valid))
	w.u32(0)
	w.u32(0)
	w.unnest(info)
	w.end()
}

// addrOf is an address of an interface.
type addrOf struct {
	nic   *stack.NIC
	addr  stack.Address
	flags uint32
}

// addrDump shows addresses.
type addrDump struct{ listDump[addrOf] }

// emit implements dumper.
func (d *addrDump) emit(w *builder, h header) bool {
	a, ok := d.next()
	if ok {
		putAddress(w, h, unix.RTM_NEWADDR, a.nic, &a.addr, a.flags)
	}
	return ok
}

// addresses lists the addresses of a family, first all of IPv4, then of IPv6.
func (n *Namespace) addresses(family uint8, index uint32) []addrOf {
	var list []addrOf
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if family != unix.AF_UNSPEC && family != f {
			continue
		}
		for _, nic := range n.net.NICs() {
			if index != 0 && index != uint32(nic.ID()) {
				continue
			}
			all := nic.Addresses()
			for i := range all {
				if familyOf(all[i].Prefix.Addr()) == f {
					list = append(list, addrOf{nic, all[i], addrFlags(&all[i], all[:i])})
				}
			}
		}
	}
	return list
}

func (n *Namespace) dumpAddrs(r *request) (dumper, error) {
	index := uint32(0)
	if r.strict {
		if r.u8(1) != 0 || r.u8(2) != 0 || r.u8(3) != 0 {
			return nil, refuse(unix.EINVAL, "a dump of addresses is by family and interface only")
		}
		if _, err := r.attributes(sizeofIfaddrmsg, []shape{unix.IFA_TARGET_NETNSID: isU32}, true); err != nil {
			return nil, err
		}
		if index = r.u32(4); index != 0 {
			if _, err := n.nic(index); err != nil {
				return nil, err
			}
		}
	}
	d := &addrDump{}
	d.list = n.addresses(r.family(), index)
	return d, nil
}

// getAddr finds one address, which only IPv6 can do.
func (n *Namespace) getAddr(r *request) error {
	if r.family() != unix.AF_INET6 {
		return unix.EOPNOTSUPP
	}
	a, err := r.attributes(sizeofIfaddrmsg, addrShapes, r.strict)
	if err != nil {
		return err
	}
	addr, err := a.addr(unix.IFA_ADDRESS, true)
	if err == nil && !addr.IsValid() {
		addr, err = a.addr(unix.IFA_LOCAL, true)
	}
	if err != nil {
		return err
	}
	if !addr.IsValid() {
		return refuse(unix.EINVAL, "no address is given")
	}
	for _, e := range n.addresses(unix.AF_INET6, r.u32(4)) {
		if e.addr.Prefix.Addr() == addr {
			var w builder
			putAddress(&w, r.reply(0), unix.RTM_NEWADDR, e.nic, &e.addr, e.flags)
			r.answer(w.b)
			return nil
		}
	}
	return unix.EADDRNOTAVAIL
}

// addrRequest is what a request says about an address.
type addrRequest struct {
	nic   *stack.NIC
	a     attributes
	addr  stack.Address
	flags uint32
}

// parseAddress reads RTM_NEWADDR and RTM_DELADDR.
func (n *Namespace) parseAddress(r *request) (*addrRequest, error) {
	v6, ok := isIP(r.family())
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	a, err := r.attributes(sizeofIfaddrmsg, addrShapes, false)
	if err != nil {
		return nil, err
	}
	q := &addrRequest{a: a, flags: uint32(r.u8(2))}
	if a.has(unix.IFA_FLAGS) {
		q.flags = a.u32(unix.IFA_FLAGS)
	}
	bits := int(r.u8(1))
	if bits > bitsOf(v6) {
		return nil, refuse(unix.EINVAL, "the prefix is longer than an address")
	}
	local, err := a.addr(unix.IFA_LOCAL, v6)
	if err != nil {
		return nil, err
	}
	other, err := a.addr(unix.IFA_ADDRESS, v6)
	if err != nil {
		return nil, err
	}
	if v6 && !local.IsValid() {
		local, other = other, netip.Addr{}
	}
	if local.IsValid() {
		q.addr.Prefix = netip.PrefixFrom(local, bits)
	}
	if other.IsValid() && other != local {
		q.addr.Peer = other
	}
	q.nic, err = n.nic(r.u32(4))
	return q, err
}

func (n *Namespace) newAddr(r *request) error {
	q, err := n.parseAddress(r)
	if err != nil {
		return err
	}
	a, p := q.a, &q.addr
	if !p.Prefix.IsValid() {
		return refuse(unix.EINVAL, "no local address is given")
	}
	v6 := p.Prefix.Addr().Is6()
	if v6 && (p.Prefix.Addr().IsMulticast() || p.Prefix.Addr().IsUnspecified()) {
		return refuse(unix.EADDRNOTAVAIL, "the address cannot be one of an interface")
	}
	if a.has(unix.IFA_CACHEINFO) {
		info := a.bytes(unix.IFA_CACHEINFO)
		if len(info) < 8 {
			return a.refuse(unix.EINVAL, unix.IFA_CACHEINFO, "the lifetimes are too short")
		}
		preferred, valid := binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:])
		if valid == 0 || preferred > valid {
			return a.refuse(unix.EINVAL, unix.IFA_CACHEINFO, "the preferred lifetime is longer than the valid one, or that is 0")
		}
		if valid != infinite {
			p.Valid = time.Duration(valid) * time.Second
		}
		switch preferred {
		case 0:
			p.Deprecated = true
		case infinite:
		default:
			p.Preferred = time.Duration(preferred) * time.Second
		}
	}
	p.Scope = r.u8(3)
	p.NoPrefixRoute = q.flags&unix.IFA_F_NOPREFIXROUTE != 0
	p.Temporary = p.Valid != 0
	if v6 {
		p.NoDAD = q.flags&unix.IFA_F_NODAD != 0
		p.Scope = scopeOf(p.Prefix.Addr())
	} else {
		p.Label = a.text(unix.IFA_LABEL)
		if len(p.Label) > maxNameLength {
			return a.refuse(unix.ERANGE, unix.IFA_LABEL, "the label is too long")
		}
		if p.Label == "" {
			p.Label = q.nic.Name()
		}
		if p.Broadcast, err = a.addr(unix.IFA_BROADCAST, false); err != nil {
			return err
		}
	}
	for _, e := range q.nic.Addresses() {
		if e.Prefix.Addr() != p.Prefix.Addr() || !v6 && e.Prefix != p.Prefix {
			continue
		}
		if r.flags&unix.NLM_F_EXCL != 0 || r.flags&unix.NLM_F_REPLACE == 0 {
			return alreadyAssigned(v6)
		}
		q.nic.UpdateAddress(p.Prefix.Addr(), func(e *stack.Address) {
			e.Valid, e.Preferred, e.Deprecated, e.Temporary = p.Valid, p.Preferred, p.Deprecated, p.Temporary
		})
		return nil
	}
	if err = q.nic.AddAddress(*p); err == unix.EEXIST {
		return alreadyAssigned(v6)
	}
	return err
}

// alreadyAssigned is EEXIST in Linux's words, which some scripts look for.
func alreadyAssigned(v6 bool) error {
	if v6 {
		return refuse(unix.EEXIST, "ipv6: address already assigned")
	}
	return refuse(unix.EEXIST, "ipv4: Address already assigned")
}

// scopeOf is the scope of an IPv6 address (RFC 4007 section 5) as rtnetlink(7) has it.
func scopeOf(a netip.Addr) uint8 {
	switch {
	case a.IsLoopback():
		return unix.RT_SCOPE_HOST
	case a.IsLinkLocalUnicast():
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

func (n *Namespace) delAddr(r *request) error {
	q, err := n.parseAddress(r)
	if err != nil {
		return err
	}
	want := &q.addr
	v6 := r.family() == unix.AF_INET6
	if v6 && !want.Prefix.IsValid() {
		return refuse(unix.EINVAL, "no address is given")
	}
	for _, e := range q.nic.Addresses() {
		addr := e.Prefix.Addr()
		if addr.Is6() != v6 {
			continue
		}
		if want.Prefix.IsValid() && addr != want.Prefix.Addr() {
			continue
		}
		switch {
		case v6:
			if e.Prefix.Bits() != want.Prefix.Bits() {
				continue
			}
		case q.a.has(unix.IFA_LABEL) && q.a.text(unix.IFA_LABEL) != e.Label:
			continue
		case q.a.has(unix.IFA_ADDRESS):
			other, err := q.a.addr(unix.IFA_ADDRESS, false)
			if err != nil {
				return err
			}
			mine := e.Peer
			if !mine.IsValid() {
				mine = addr
			}
			if int(r.u8(1)) != e.Prefix.Bits() || !netip.PrefixFrom(mine, e.Prefix.Bits()).Contains(other) {
				continue
			}
		}
		return q.nic.RemoveAddress(e.Prefix)
	}
	return refuse(unix.EADDRNOTAVAIL, "the interface does not have the address")
}
