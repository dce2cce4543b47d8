package inet

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

// struct rtentry: its size, and where its fields are.
const (
	sizeofRtentry = 120
	rtDst         = 8
	rtGateway     = 24
	rtGenmask     = 40
	rtFlags       = 56
	rtMetric      = 80
	rtDev         = 88
	rtMTU         = 96
)

// Flags of routes (route(8)).
const (
	rtfGateway = 0x2
	rtfHost    = 0x4
	rtfMTU     = 0x40
	rtfReject  = 0x200
)

// changeRoute4 is SIOCADDRT and SIOCDELRT with a struct rtentry.
func (n *Namespace) changeRoute4(ctx context.Context, io usermem.IO, add bool, arg uint64) error {
	if !n.Capable(ctx, unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	var b [sizeofRtentry]byte
	if _, err := io.CopyIn(uintptr(arg), b[:]); err != nil {
		return err
	}
	e, err := n.parseRtentry(io, b[:], add)
	if err != nil {
		return err
	}
	if add {
		return n.stack.AddRoute(e)
	}
	return n.stack.RemoveRoute(e)
}

func (n *Namespace) parseRtentry(io usermem.IO, b []byte, add bool) (e stack.RouteEntry, err error) {
	family := func(at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
	flags := binary.NativeEndian.Uint16(b[rtFlags:])
	if family(rtDst) != unix.AF_INET {
		return e, unix.EAFNOSUPPORT
	}
	dst, bits := addr4(b[rtDst+4:]), 32
	if flags&rtfHost == 0 {
		if f := family(rtGenmask); f != unix.AF_INET {
			if mask := addr4(b[rtGenmask+4:]); !mask.IsUnspecified() || f != 0 {
				return e, unix.EAFNOSUPPORT
			}
		}
		var ok bool
		if bits, ok = bitsOf(addr4(b[rtGenmask+4:])); !ok {
			return e, unix.EINVAL
		}
	}
	e.Destination = netip.PrefixFrom(dst, bits)
	if e.Destination.Masked().Addr() != dst {
		return e, unix.EINVAL
	}
	e.Table = stack.TableMain
	if m := binary.NativeEndian.Uint16(b[rtMetric:]); m != 0 {
		e.Metric = uint32(m) - 1
	}
	if flags&rtfReject != 0 {
		e.Type, e.Scope, e.Protocol = stack.RouteUnreachable, unix.RT_SCOPE_HOST, unix.RTPROT_BOOT
		return e, nil
	}
	if p := binary.NativeEndian.Uint64(b[rtDev:]); p != 0 {
		name, err := copyInName(io, uintptr(p))
		if err != nil {
			return e, err
		}
		nic := n.stack.NICByName(name)
		if nic == nil {
			return e, unix.ENODEV
		}
		e.NIC = nic.ID()
	}
	gateway := addr4(b[rtGateway+4:])
	hasGateway := family(rtGateway) == unix.AF_INET && !gateway.IsUnspecified()
	if hasGateway {
		e.Gateway = gateway
	}
	if !add {
		return e, nil
	}
	if flags&rtfGateway != 0 && !hasGateway {
		return e, unix.EINVAL
	}
	e.Type, e.Protocol = stack.RouteUnicast, unix.RTPROT_BOOT
	if !hasGateway {
		e.Scope = unix.RT_SCOPE_LINK
	}
	if flags&rtfMTU != 0 {
		e.MTU = uint32(binary.NativeEndian.Uint64(b[rtMTU:]))
	}
	return e, nil
}

// copyInName reads the name of an interface.
func copyInName(io usermem.IO, addr uintptr) (string, error) {
	var b [unix.IFNAMSIZ]byte
	// The string may end where memory ends.
	if n, err := io.CopyIn(addr, b[:unix.IFNAMSIZ-1]); err != nil && bytes.IndexByte(b[:n], 0) < 0 {
		return "", err
	}
	name, _, _ := bytes.Cut(b[:], []byte{0})
	return string(name), nil
}

// struct in6_rtmsg and struct in6_ifreq: sizes and places of fields.
const (
	sizeofRtmsg6  = 80
	rtm6Dst       = 0
	rtm6Gateway   = 32
	rtm6DstLen    = 52
	rtm6Metric    = 56
	rtm6Flags     = 72
	rtm6Ifindex   = 76
	sizeofIfreq6  = 24
	ifreq6Prefix  = 16
	ifreq6Ifindex = 20
	// metric6 is the metric of routes that are set without one.
	metric6 = 1024
)

// ioctl6 carries out what AF_INET6 sockets do differently. ENOTTY: nothing.
func (n *Namespace) ioctl6(ctx context.Context, io usermem.IO, request uint32, arg uint64) error {
	switch request {
	case unix.SIOCADDRT, unix.SIOCDELRT:
		return n.changeRoute6(ctx, io, request == unix.SIOCADDRT, arg)
	case unix.SIOCSIFADDR, unix.SIOCDIFADDR:
		return n.changeAddress6(ctx, io, request == unix.SIOCSIFADDR, arg)
	case unix.SIOCSIFDSTADDR:
		return unix.EINVAL
	}
	return unix.ENOTTY
}

func (n *Namespace) changeRoute6(ctx context.Context, io usermem.IO, add bool, arg uint64) error {
	if !n.Capable(ctx, unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	var b [sizeofRtmsg6]byte
	if _, err := io.CopyIn(uintptr(arg), b[:]); err != nil {
		return err
	}
	bits := int(binary.NativeEndian.Uint16(b[rtm6DstLen:]))
	flags := binary.NativeEndian.Uint32(b[rtm6Flags:])
	if bits > 128 {
		return unix.EINVAL
	}
	e := stack.RouteEntry{
		Destination: netip.PrefixFrom(netip.AddrFrom16([16]byte(b[rtm6Dst:])), bits).Masked(),
		NIC:         tcpip.NICID(binary.NativeEndian.Uint32(b[rtm6Ifindex:])),
		Metric:      binary.NativeEndian.Uint32(b[rtm6Metric:]),
		Table:       stack.TableMain,
	}
	if flags&rtfGateway != 0 {
		e.Gateway = specified(netip.AddrFrom16([16]byte(b[rtm6Gateway:])))
	}
	if !add {
		return n.stack.RemoveRoute(e)
	}
	if e.NIC != 0 && n.stack.NIC(e.NIC) == nil {
		return unix.ENODEV
	}
	if e.Metric == 0 {
		e.Metric = metric6
	}
	e.Type, e.Protocol = stack.RouteUnicast, unix.RTPROT_BOOT
	if flags&rtfReject != 0 {
		e.Type = stack.RouteUnreachable
	}
	return n.stack.AddRoute(e)
}

func (n *Namespace) changeAddress6(ctx context.Context, io usermem.IO, add bool, arg uint64) error {
	if !n.Capable(ctx, unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	var b [sizeofIfreq6]byte
	if _, err := io.CopyIn(uintptr(arg), b[:]); err != nil {
		return err
	}
	bits := binary.NativeEndian.Uint32(b[ifreq6Prefix:])
	if bits > 128 {
		return unix.EINVAL
	}
	nic := n.stack.NIC(tcpip.NICID(binary.NativeEndian.Uint32(b[ifreq6Ifindex:])))
	if nic == nil {
		return unix.ENODEV
	}
	p := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[:])), int(bits))
	if add {
		return nic.AddAddress(stack.Address{Prefix: p})
	}
	return nic.RemoveAddress(p)
}

// struct arpreq: its size, and where its fields are (arp(7)).
const (
	sizeofArpreq = 68
	arpHA        = 16
	arpFlags     = 32
	arpDev       = 52
)

// Flags of arp(7).
const (
	atfComplete  = 0x2
	atfPermanent = 0x4
	atfPublish   = 0x8
)

// arp is SIOCGARP, SIOCSARP and SIOCDARP.
func (n *Namespace) arp(ctx context.Context, io usermem.IO, request uint32, arg uint64) error {
	if request != unix.SIOCGARP && !n.Capable(ctx, unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	var b [sizeofArpreq]byte
	if _, err := io.CopyIn(uintptr(arg), b[:]); err != nil {
		return err
	}
	if binary.NativeEndian.Uint16(b[:]) != unix.AF_INET {
		return unix.EPFNOSUPPORT
	}
	flags := binary.NativeEndian.Uint32(b[arpFlags:])
	if flags&atfPublish != 0 {
		return unix.EINVAL
	}
	addr := addr4(b[4:])
	var nic *stack.NIC
	if name, _, _ := bytes.Cut(b[arpDev:arpDev+unix.IFNAMSIZ-1], []byte{0}); len(name) > 0 {
		if nic = n.stack.NICByName(string(name)); nic == nil {
			return unix.ENODEV
		}
	} else if request == unix.SIOCGARP {
		return unix.ENODEV
	} else {
		r, err := n.stack.FindRoute(stack.RouteQuery{Destination: addr})
		if err != nil {
			return err
		}
		nic = r.NIC
	}
	switch request {
	case unix.SIOCGARP:
		e, ok := nic.Neighbour(addr)
		if !ok {
			return unix.ENXIO
		}
		clear(b[arpHA:arpFlags])
		binary.NativeEndian.PutUint16(b[arpHA:], nic.Link().HardwareType())
		copy(b[arpHA+2:], e.Link[:])
		binary.NativeEndian.PutUint32(b[arpFlags:], NeighbourFlags(e.State))
		copy(b[arpDev:], nic.Name())
		_, err := io.CopyOut(uintptr(arg), b[:])
		return err
	case unix.SIOCDARP:
		if err := nic.RemoveNeighbour(addr); err != nil {
			return unix.ENXIO
		}
		return nil
	}
	if f := binary.NativeEndian.Uint16(b[arpHA:]); f != nic.Link().HardwareType() {
		return unix.EINVAL
	}
	e := stack.Neighbour{Addr: addr, Link: tcpip.LinkAddress(b[arpHA+2 : arpHA+8]), State: stack.NeighbourStale}
	if flags&atfPermanent != 0 {
		e.State = stack.NeighbourPermanent
	}
	return nic.SetNeighbour(e)
}

// NeighbourFlags are ATF_* of a neighbour's state.
func NeighbourFlags(s stack.NeighbourState) uint32 {
	switch {
	case s&stack.NeighbourPermanent != 0:
		return atfPermanent | atfComplete
	case s&(stack.NeighbourReachable|stack.NeighbourStale|stack.NeighbourDelay|stack.NeighbourProbe|stack.NeighbourNoARP) != 0:
		return atfComplete
	}
	return 0
}
