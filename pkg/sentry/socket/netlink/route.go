package netlink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
)

// route carries out requests of NETLINK_ROUTE.
type route struct{ devices socket.Devices }

// dumpLimit is how many bytes of a dump go into one datagram, as a hint: readers have
// buffers of 8 KiB at least (netlink(7)).
const dumpLimit = 4096

// handle carries out one request and returns the datagrams of its answer. An error is
// answered by NLMSG_ERROR.
func (r *route) handle(h header, payload []byte, port uint32) ([][]byte, error) {
	reply := header{seq: h.seq, port: port}
	dump := h.flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	if dump {
		reply.flags = unix.NLM_F_MULTI
	}
	d := dumper{}
	switch h.typ {
	case unix.RTM_GETLINK:
		if !dump {
			return r.oneLink(reply, payload)
		}
		for _, dev := range r.devices.List() {
			link(&d.w, reply, &dev)
			d.split()
		}
	case unix.RTM_GETADDR:
		if !dump {
			return nil, unix.EOPNOTSUPP
		}
		family := byte(unix.AF_UNSPEC)
		if len(payload) > 0 {
			family = payload[0]
		}
		for _, dev := range r.devices.List() {
			for _, p := range dev.Addrs {
				if family == unix.AF_UNSPEC || family == familyOf(p) {
					address(&d.w, reply, &dev, p)
					d.split()
				}
			}
		}
	case unix.RTM_GETROUTE, unix.RTM_GETNEIGH, unix.RTM_GETRULE, unix.RTM_GETQDISC:
		if !dump {
			return nil, unix.ENETUNREACH
		}
	default:
		if h.typ >= unix.RTM_NEWLINK && h.typ&3 != 2 {
			return nil, unix.EPERM // changes are not for applications
		}
		return nil, unix.EOPNOTSUPP
	}
	d.flush()
	var done builder
	reply.typ = unix.NLMSG_DONE
	done.begin(reply)
	done.u32(0)
	done.end()
	return append(d.out, done.b), nil
}

// dumper collects a dump in datagrams of moderate size.
type dumper struct {
	w   builder
	out [][]byte
}

func (d *dumper) split() {
	if len(d.w.b) >= dumpLimit {
		d.flush()
	}
}

func (d *dumper) flush() {
	if len(d.w.b) > 0 {
		d.out = append(d.out, d.w.b)
		d.w = builder{}
	}
}

const sizeofIfinfomsg = 16

// oneLink answers a request for the interface of an index or name.
func (r *route) oneLink(reply header, payload []byte) ([][]byte, error) {
	if len(payload) < sizeofIfinfomsg {
		return nil, unix.EINVAL
	}
	index := int32(binary.NativeEndian.Uint32(payload[4:]))
	name, byName := attribute(payload[sizeofIfinfomsg:], unix.IFLA_IFNAME)
	for len(name) > 0 && name[len(name)-1] == 0 {
		name = name[:len(name)-1]
	}
	if index == 0 && !byName {
		return nil, unix.EINVAL
	}
	for _, dev := range r.devices.List() {
		if index > 0 && dev.Index == index || index == 0 && dev.Name == string(name) {
			var w builder
			link(&w, reply, &dev)
			return [][]byte{w.b}, nil
		}
	}
	return nil, unix.ENODEV
}

// link appends RTM_NEWLINK for dev.
func link(w *builder, h header, dev *socket.Device) {
	h.typ = unix.RTM_NEWLINK
	w.begin(h)
	w.bytes(unix.AF_UNSPEC, 0)
	w.u16(dev.Type)
	w.u32(uint32(dev.Index))
	w.u32(dev.Flags)
	w.u32(0)
	w.attrString(unix.IFLA_IFNAME, dev.Name)
	w.attrU32(unix.IFLA_TXQLEN, 1000)
	operState := byte(0) // IF_OPER_UNKNOWN
	if dev.Flags&unix.IFF_LOOPBACK == 0 {
		operState = 6 // IF_OPER_UP
	}
	w.attr(unix.IFLA_OPERSTATE, []byte{operState})
	w.attr(unix.IFLA_LINKMODE, []byte{0})
	w.attrU32(unix.IFLA_MTU, dev.MTU)
	w.attrU32(unix.IFLA_GROUP, 0)
	w.attrU32(unix.IFLA_PROMISCUITY, 0)
	w.attrU32(unix.IFLA_NUM_TX_QUEUES, 1)
	w.attrU32(unix.IFLA_NUM_RX_QUEUES, 1)
	w.attr(unix.IFLA_CARRIER, []byte{1})
	w.attrString(unix.IFLA_QDISC, "noqueue")
	w.attr(unix.IFLA_ADDRESS, dev.HWAddr[:])
	broadcast := [6]byte{}
	if dev.Flags&unix.IFF_BROADCAST != 0 {
		broadcast = [6]byte{255, 255, 255, 255, 255, 255}
	}
	w.attr(unix.IFLA_BROADCAST, broadcast[:])
	w.end()
}

func familyOf(p netip.Prefix) byte {
	if p.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// address appends RTM_NEWADDR for p of dev.
func address(w *builder, h header, dev *socket.Device, p netip.Prefix) {
	h.typ = unix.RTM_NEWADDR
	w.begin(h)
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	switch {
	case p.Addr().IsLoopback():
		scope = unix.RT_SCOPE_HOST
	case p.Addr().IsLinkLocalUnicast():
		scope = unix.RT_SCOPE_LINK
	}
	w.bytes(familyOf(p), byte(p.Bits()), unix.IFA_F_PERMANENT, scope)
	w.u32(uint32(dev.Index))
	w.attr(unix.IFA_ADDRESS, p.Addr().AsSlice())
	if p.Addr().Is4() {
		w.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
		if dev.Flags&unix.IFF_BROADCAST != 0 {
			a := p.Addr().As4()
			mask := ^uint32(0) >> p.Bits()
			binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|mask)
			w.attr(unix.IFA_BROADCAST, a[:])
		}
		w.attrString(unix.IFA_LABEL, dev.Name)
	}
	w.attrU32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT)
	var info [16]byte // struct ifa_cacheinfo: valid for ever
	binary.NativeEndian.PutUint32(info[:], ^uint32(0))
	binary.NativeEndian.PutUint32(info[4:], ^uint32(0))
	w.attr(unix.IFA_CACHEINFO, info[:])
	w.end()
}
