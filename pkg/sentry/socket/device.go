package socket

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
)

// Device is a network interface as netdevice(7) and rtnetlink(7) show it.
type Device struct {
	Index  int32
	Name   string
	Type   uint16 // ARPHRD_*
	Flags  uint32 // IFF_*
	MTU    uint32
	HWAddr [6]byte
	Addrs  []netip.Prefix
}

// Devices are the network interfaces of a namespace.
type Devices interface {
	// List returns them by rising index; the caller does not change the result.
	List() []Device
}

// DeviceControl is implemented by Devices that answer every request of netdevice(7), those that
// change something too.
type DeviceControl interface {
	// Control carries out a request of ioctl(2). ENOTTY: it is none.
	Control(ctx context.Context, io usermem.IO, request uint32, arg uint64) error
}

// loopbackOnly is a namespace without a network stack.
type loopbackOnly struct{}

var loopback = []Device{{
	Index: 1, Name: "lo", Type: unix.ARPHRD_LOOPBACK, MTU: 65536,
	Flags: unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING | unix.IFF_LOWER_UP,
	Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")},
}}

// List implements Devices.
func (loopbackOnly) List() []Device { return loopback }

const (
	ifNameSize = 16
	ifreqSize  = 40
)

// DeviceIoctl carries out the requests of netdevice(7) that only read. ENOTTY: it is none.
func DeviceIoctl(d Devices, io usermem.IO, request uint32, arg uint64) error {
	switch request {
	case unix.SIOCGIFCONF:
		return ifconf(d, io, uintptr(arg))
	case unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFFLAGS, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR,
		unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR, unix.SIOCGIFDSTADDR,
		unix.SIOCGIFMETRIC, unix.SIOCGIFTXQLEN, unix.SIOCGIFMAP:
	default:
		return unix.ENOTTY
	}
	var r [ifreqSize]byte
	if _, err := io.CopyIn(uintptr(arg), r[:]); err != nil {
		return err
	}
	dev := findDevice(d, &r, request == unix.SIOCGIFNAME)
	if dev == nil {
		return unix.ENODEV
	}
	v := r[ifNameSize:]
	switch request {
	case unix.SIOCGIFNAME:
		clear(r[:ifNameSize])
		copy(r[:ifNameSize-1], dev.Name)
	case unix.SIOCGIFINDEX:
		binary.NativeEndian.PutUint32(v, uint32(dev.Index))
	case unix.SIOCGIFFLAGS:
		binary.NativeEndian.PutUint16(v, uint16(dev.Flags))
	case unix.SIOCGIFMTU:
		binary.NativeEndian.PutUint32(v, dev.MTU)
	case unix.SIOCGIFMETRIC:
		binary.NativeEndian.PutUint32(v, 0)
	case unix.SIOCGIFTXQLEN:
		binary.NativeEndian.PutUint32(v, 1000)
	case unix.SIOCGIFMAP:
		clear(v)
	case unix.SIOCGIFHWADDR:
		clear(v[:16])
		binary.NativeEndian.PutUint16(v, dev.Type)
		copy(v[2:], dev.HWAddr[:])
	default:
		p, ok := dev.ipv4()
		if !ok {
			return unix.EADDRNOTAVAIL
		}
		a := p.Addr().As4()
		mask := binary.BigEndian.Uint32([]byte{255, 255, 255, 255}) << (32 - p.Bits())
		switch request {
		case unix.SIOCGIFNETMASK:
			binary.BigEndian.PutUint32(a[:], mask)
		case unix.SIOCGIFBRDADDR:
			if dev.Flags&unix.IFF_BROADCAST == 0 {
				a = [4]byte{}
			} else {
				binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|^mask)
			}
		}
		putSockaddrIn(v, a)
	}
	_, err := io.CopyOut(uintptr(arg), r[:])
	return err
}

func (d *Device) ipv4() (netip.Prefix, bool) {
	for _, p := range d.Addrs {
		if p.Addr().Is4() {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func putSockaddrIn(b []byte, a [4]byte) {
	clear(b[:16])
	binary.NativeEndian.PutUint16(b, unix.AF_INET)
	copy(b[4:], a[:])
}

func findDevice(d Devices, r *[ifreqSize]byte, byIndex bool) *Device {
	list := d.List()
	for i := range list {
		if byIndex {
			if uint32(list[i].Index) == binary.NativeEndian.Uint32(r[ifNameSize:]) {
				return &list[i]
			}
			continue
		}
		name := r[:ifNameSize-1]
		for n, c := range name {
			if c == 0 {
				name = name[:n]
				break
			}
		}
		if list[i].Name == string(name) {
			return &list[i]
		}
	}
	return nil
}

// ifconf is SIOCGIFCONF: the interfaces that have an IPv4 address.
func ifconf(d Devices, io usermem.IO, arg uintptr) error {
	var c [16]byte
	if _, err := io.CopyIn(arg, c[:]); err != nil {
		return err
	}
	size := int(int32(binary.NativeEndian.Uint32(c[:])))
	buf := uintptr(binary.NativeEndian.Uint64(c[8:]))
	done := 0
	for _, dev := range d.List() {
		p, ok := dev.ipv4()
		if !ok {
			continue
		}
		if buf != 0 {
			if size-done < ifreqSize {
				break
			}
			var r [ifreqSize]byte
			copy(r[:ifNameSize-1], dev.Name)
			putSockaddrIn(r[ifNameSize:], p.Addr().As4())
			if _, err := io.CopyOut(buf+uintptr(done), r[:]); err != nil {
				return err
			}
		}
		done += ifreqSize
	}
	binary.NativeEndian.PutUint32(c[:], uint32(done))
	_, err := io.CopyOut(arg, c[:4])
	return err
}
