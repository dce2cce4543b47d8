package hostinet

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
)

// looks are the requests of NETLINK_ROUTE that change nothing.
var looks = map[uint16]bool{
	unix.RTM_GETLINK: true, unix.RTM_GETADDR: true, unix.RTM_GETROUTE: true, unix.RTM_GETNEIGH: true, unix.RTM_GETRULE: true,
}

// next takes the first message off b: type and payload. ok is false at the end, and at what is
// not whole.
func next(b []byte) (typ uint16, payload, rest []byte, ok bool) {
	if len(b) < unix.NLMSG_HDRLEN {
		return 0, nil, nil, false
	}
	n := int(binary.NativeEndian.Uint32(b))
	if n < unix.NLMSG_HDRLEN || n > len(b) {
		return 0, nil, nil, false
	}
	return binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:n], b[min((n+3)&^3, len(b)):], true
}

// onlyLooks says whether every message in b is one that changes nothing. What the host's kernel
// would not take for a message does not matter.
func onlyLooks(b []byte) bool {
	for {
		typ, _, rest, ok := next(b)
		if !ok {
			return true
		}
		if typ >= unix.NLMSG_MIN_TYPE && !looks[typ] {
			return false
		}
		b = rest
	}
}

// devices are the interfaces of the host, asked for each time. It implements socket.Devices.
type devices struct{}

// List implements socket.Devices. What cannot be found out is not there.
func (*devices) List() []socket.Device {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var list []socket.Device
	places := map[int32]int{}
	dump(fd, unix.RTM_GETLINK, unix.SizeofIfInfomsg, func(p []byte, attr func(uint16) []byte) {
		d := socket.Device{Index: int32(binary.NativeEndian.Uint32(p[4:])), Type: binary.NativeEndian.Uint16(p[2:]), Flags: binary.NativeEndian.Uint32(p[8:])}
		for _, c := range attr(unix.IFLA_IFNAME) {
			if c != 0 {
				d.Name += string(rune(c))
			}
		}
		if m := attr(unix.IFLA_MTU); len(m) >= 4 {
			d.MTU = binary.NativeEndian.Uint32(m)
		}
		copy(d.HWAddr[:], attr(unix.IFLA_ADDRESS))
		places[d.Index] = len(list)
		list = append(list, d)
	})
	dump(fd, unix.RTM_GETADDR, unix.SizeofIfAddrmsg, func(p []byte, attr func(uint16) []byte) {
		i, ok := places[int32(binary.NativeEndian.Uint32(p[4:]))]
		v := attr(unix.IFA_LOCAL)
		if v == nil {
			v = attr(unix.IFA_ADDRESS)
		}
		if a, valid := netip.AddrFromSlice(v); ok && valid {
			list[i].Addrs = append(list[i].Addrs, netip.PrefixFrom(a, int(p[1])))
		}
	})
	return list
}

// dump asks the host for everything of a kind, and calls f with each payload, whose header is size
// bytes, and a function that finds its attributes.
func dump(fd int, typ uint16, size int, f func(p []byte, attr func(uint16) []byte)) {
	m := messages.Get().(*message)
	defer messages.Put(m)
	n := unix.NLMSG_HDRLEN + size
	clear(m.data[:n])
	binary.NativeEndian.PutUint32(m.data[:], uint32(n))
	binary.NativeEndian.PutUint16(m.data[4:], typ)
	binary.NativeEndian.PutUint16(m.data[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if _, err := m.send(fd, n, nil, nil, 0); err != nil {
		return
	}
	for {
		// The kernel has put the next piece there before the last one is taken.
		n, err := m.receive(fd, len(m.data), 0)
		if err != nil || n <= 0 {
			return
		}
		for b := m.data[:min(n, len(m.data))]; ; {
			t, p, rest, ok := next(b)
			if !ok {
				break
			}
			if t == unix.NLMSG_DONE || t == unix.NLMSG_ERROR {
				return
			}
			if len(p) >= size {
				f(p, func(want uint16) []byte { return attribute(p[size:], want) })
			}
			b = rest
		}
	}
}

// attribute finds an attribute.
func attribute(b []byte, typ uint16) []byte {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&0x3fff == typ {
			return b[4:n]
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}
