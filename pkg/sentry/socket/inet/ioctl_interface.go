package inet

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

// sizeofIfreq is the size of struct ifreq.
const sizeofIfreq = 40

// Ioctl carries out the requests of netdevice(7), arp(7) and of route tables, which sockets of
// many families have. ENOTTY: it is none.
func (n *Namespace) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) error {
	switch request {
	case unix.SIOCADDRT, unix.SIOCDELRT:
		return n.changeRoute4(ctx, io, request == unix.SIOCADDRT, arg)
	case siocRtmsg:
		return unix.EINVAL
	case unix.SIOCGARP, unix.SIOCSARP, unix.SIOCDARP:
		return n.arp(ctx, io, request, arg)
	case unix.SIOCGIFCONF:
		return n.ifconf(io, uintptr(arg))
	case unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR, unix.SIOCGIFDSTADDR:
		return n.getAddress(io, request, arg)
	case unix.SIOCSIFADDR, unix.SIOCSIFNETMASK, unix.SIOCSIFBRDADDR, unix.SIOCSIFDSTADDR,
		unix.SIOCSIFFLAGS, unix.SIOCSIFMTU, unix.SIOCSIFHWADDR, unix.SIOCSIFNAME, unix.SIOCSIFTXQLEN,
		unix.SIOCADDMULTI, unix.SIOCDELMULTI:
		return n.change(ctx, io, request, arg)
	case unix.SIOCSIFMETRIC, unix.SIOCSIFMAP, unix.SIOCETHTOOL:
		if _, _, err := n.request(io, arg); err != nil {
			return err
		}
		return unix.EOPNOTSUPP
	}
	return socket.DeviceIoctl(n.layer.Devices(), io, request, arg)
}

// Control implements socket.DeviceControl, for sockets of other families.
func (d *devices) Control(ctx context.Context, io usermem.IO, request uint32, arg uint64) error {
	return d.ns.Ioctl(ctx, io, request, arg)
}

// ifreq is struct ifreq.
type ifreq [sizeofIfreq]byte

// name is ifr_name, which may be an alias (eth0:1).
func (r *ifreq) name() string {
	b, _, _ := bytes.Cut(r[:unix.IFNAMSIZ-1], []byte{0})
	return string(b)
}

// value is the union behind the name.
func (r *ifreq) value() []byte { return r[unix.IFNAMSIZ:] }

// request reads an ifreq and finds its interface. ENODEV.
func (n *Namespace) request(io usermem.IO, arg uint64) (*ifreq, *stack.NIC, error) {
	r := &ifreq{}
	if _, err := io.CopyIn(uintptr(arg), r[:]); err != nil {
		return nil, nil, err
	}
	name, _, _ := bytes.Cut([]byte(r.name()), []byte{':'})
	nic := n.stack.NICByName(string(name))
	if nic == nil {
		return nil, nil, unix.ENODEV
	}
	return r, nic, nil
}

// labelled returns the interface's IPv4 address that a request by label is about: the first of
// that label.
func labelled(nic *stack.NIC, label string) (stack.Address, bool) {
	for _, a := range nic.Addresses() {
		if a.Prefix.Addr().Is4() && a.Label == label {
			return a, true
		}
	}
	return stack.Address{}, false
}

func putSockaddr4(b []byte, a netip.Addr) {
	clear(b[:16])
	binary.NativeEndian.PutUint16(b, unix.AF_INET)
	if a.Is4() {
		v := a.As4()
		copy(b[4:], v[:])
	}
}

// maskOf is the netmask of a prefix length.
func maskOf(bits int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-bits))
	return netip.AddrFrom4(b)
}

// bitsOf is the length of a netmask; false: it has holes.
func bitsOf(mask netip.Addr) (int, bool) {
	b := mask.As4()
	v := binary.BigEndian.Uint32(b[:])
	for bits := range 33 {
		if v == uint32(uint64(0xffffffff)<<(32-bits)) {
			return bits, true
		}
	}
	return 0, false
}

func (n *Namespace) getAddress(io usermem.IO, request uint32, arg uint64) error {
	r, nic, err := n.request(io, arg)
	if err != nil {
		return err
	}
	a, ok := labelled(nic, r.name())
	if !ok {
		return unix.EADDRNOTAVAIL
	}
	v := a.Prefix.Addr()
	switch request {
	case unix.SIOCGIFNETMASK:
		v = maskOf(a.Prefix.Bits())
	case unix.SIOCGIFBRDADDR:
		v = a.Broadcast
	case unix.SIOCGIFDSTADDR:
		if a.Peer.IsValid() {
			v = a.Peer
		}
	}
	putSockaddr4(r.value(), v)
	_, err = io.CopyOut(uintptr(arg), r[:])
	return err
}

// ifconf is SIOCGIFCONF: every IPv4 address by its label.
func (n *Namespace) ifconf(io usermem.IO, arg uintptr) error {
	var c [16]byte // struct ifconf
	if _, err := io.CopyIn(arg, c[:]); err != nil {
		return err
	}
	size := int(int32(binary.NativeEndian.Uint32(c[:])))
	buf := uintptr(binary.NativeEndian.Uint64(c[8:]))
	done := 0
	for _, nic := range n.stack.NICs() {
		for _, a := range nic.Addresses() {
			if !a.Prefix.Addr().Is4() {
				continue
			}
			if buf != 0 {
				if size-done < sizeofIfreq {
					break
				}
				var r ifreq
				copy(r[:unix.IFNAMSIZ-1], a.Label)
				putSockaddr4(r.value(), a.Prefix.Addr())
				if _, err := io.CopyOut(buf+uintptr(done), r[:]); err != nil {
					return err
				}
			}
			done += sizeofIfreq
		}
	}
	binary.NativeEndian.PutUint32(c[:], uint32(done))
	_, err := io.CopyOut(arg, c[:4])
	return err
}

// change carries out the requests that change an interface. EPERM: they need CAP_NET_ADMIN.
func (n *Namespace) change(ctx context.Context, io usermem.IO, request uint32, arg uint64) error {
	r, nic, err := n.request(io, arg)
	if err == nil && !n.Capable(ctx, unix.CAP_NET_ADMIN) {
		err = unix.EPERM
	}
	if err != nil {
		return err
	}
	v := r.value()
	number := int32(binary.NativeEndian.Uint32(v))
	switch request {
	case unix.SIOCSIFFLAGS:
		return setFlags(nic, r.name(), uint32(binary.NativeEndian.Uint16(v)))
	case unix.SIOCSIFMTU:
		if number < 0 {
			return unix.EINVAL
		}
		return nic.SetMTU(uint32(number))
	case unix.SIOCSIFHWADDR:
		if nic.IsLoopback() || binary.NativeEndian.Uint16(v) != nic.Link().HardwareType() {
			return unix.EINVAL
		}
		a := tcpip.LinkAddress(v[2:8])
		if a.IsMulticast() || a == (tcpip.LinkAddress{}) {
			return unix.EADDRNOTAVAIL
		}
		nic.SetLinkAddress(a)
		return nil
	case unix.SIOCSIFNAME:
		name, _, _ := bytes.Cut(v[:unix.IFNAMSIZ-1], []byte{0})
		return Rename(nic, string(name))
	case unix.SIOCSIFTXQLEN:
		if number < 0 {
			return unix.EINVAL
		}
		return nil // there is no such queue
	case unix.SIOCADDMULTI, unix.SIOCDELMULTI:
		if nic.IsLoopback() {
			return unix.EINVAL
		}
		nic.SetAllMulticast(request == unix.SIOCADDMULTI)
		return nil
	}
	if binary.NativeEndian.Uint16(v) != unix.AF_INET {
		return unix.EINVAL
	}
	return setAddress(nic, r.name(), request, addr4(v[4:]))
}

// Rename gives an interface another name. EINVAL: it is not one for an interface; EEXIST.
func Rename(nic *stack.NIC, name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ || name == "." || name == ".." {
		return unix.EINVAL
	}
	for _, c := range []byte(name) {
		if c == '/' || c == ':' || c <= ' ' {
			return unix.EINVAL
		}
	}
	return nic.SetName(name)
}

// setFlags changes those of IFF_UP, IFF_PROMISC and IFF_ALLMULTI that differ. Taking an alias
// down removes its address.
func setFlags(nic *stack.NIC, name string, flags uint32) error {
	if name != nic.Name() {
		a, ok := labelled(nic, name)
		if !ok {
			return unix.EADDRNOTAVAIL
		}
		if flags&unix.IFF_UP == 0 {
			return nic.RemoveAddress(a.Prefix)
		}
		return nil
	}
	SetUp(nic, flags&unix.IFF_UP != 0)
	if on := flags&unix.IFF_PROMISC != 0; on != nic.Promiscuous() {
		nic.SetPromiscuous(on)
	}
	if on := flags&unix.IFF_ALLMULTI != 0; on != nic.AllMulticast() {
		nic.SetAllMulticast(on)
	}
	return nil
}

// classBits is the prefix length of an address's class (RFC 791 section 3.2), which an address
// has that is set without a netmask. false: it is of no class that hosts have.
func classBits(a netip.Addr) (int, bool) {
	switch b := a.As4()[0]; {
	case b == 0:
		return 0, true
	case b < 128:
		return 8, true
	case b < 192:
		return 16, true
	case b < 224:
		return 24, true
	}
	return 0, false
}

// broadcastOf is the last address of a prefix, none if it has no room for one.
func broadcastOf(p netip.Prefix) netip.Addr {
	if p.Bits() >= 31 {
		return netip.Addr{}
	}
	b := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|^uint32(0)>>p.Bits())
	return netip.AddrFrom4(b)
}

// setAddress is SIOCSIFADDR and its kin: the address of that label becomes another.
func setAddress(nic *stack.NIC, label string, request uint32, v netip.Addr) error {
	old, exists := labelled(nic, label)
	if !exists && request != unix.SIOCSIFADDR {
		return unix.EADDRNOTAVAIL
	}
	a := old
	switch request {
	case unix.SIOCSIFADDR:
		bits, ok := classBits(v)
		if !ok {
			return unix.EINVAL
		}
		if exists && old.Prefix.Addr() == v {
			return nil
		}
		a = stack.Address{Label: label}
		switch {
		case Flags(nic)&unix.IFF_POINTOPOINT != 0:
			a.Prefix = netip.PrefixFrom(v, 32)
		default:
			a.Prefix = netip.PrefixFrom(v, bits)
			if !nic.IsLoopback() {
				a.Broadcast = broadcastOf(a.Prefix)
			}
		}
		if v.IsUnspecified() {
			if exists {
				return nic.RemoveAddress(old.Prefix)
			}
			return nil
		}
	case unix.SIOCSIFNETMASK:
		bits, ok := bitsOf(v)
		if !ok {
			return unix.EINVAL
		}
		// A broadcast address that was that of the prefix goes with it.
		if old.Broadcast == broadcastOf(old.Prefix) && old.Broadcast.IsValid() {
			a.Broadcast = broadcastOf(netip.PrefixFrom(old.Prefix.Addr(), bits))
		}
		a.Prefix = netip.PrefixFrom(old.Prefix.Addr(), bits)
	case unix.SIOCSIFBRDADDR:
		a.Broadcast = specified(v)
	case unix.SIOCSIFDSTADDR:
		if _, ok := classBits(v); !ok {
			return unix.EINVAL
		}
		a.Peer = v
	}
	if exists {
		if err := nic.RemoveAddress(old.Prefix); err != nil {
			return err
		}
	}
	return nic.AddAddress(a)
}
