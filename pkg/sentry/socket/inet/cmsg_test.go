package inet

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
)

func i32(v int) []byte { return u32(uint32(int32(v))) }

func TestControlOfSends(t *testing.T) {
	n := world(t)
	four, _ := n.udpPair(t, unix.AF_INET)
	six, _ := n.udpPair(t, unix.AF_INET6)
	info4 := append(u32(1), 127, 0, 0, 5, 9, 9, 9, 9)
	info6 := func(a string, id uint32) []byte {
		b := netip.MustParseAddr(a).As16()
		return append(b[:], u32(id)...)
	}
	mapped := tcpip.FullAddress{Addr: loopback4, Port: 9}
	for _, c := range []struct {
		name  string
		s     *Socket
		to    *tcpip.FullAddress
		level int32
		typ   int32
		data  []byte
		want  tcpip.SendControl
		err   error
	}{
		{"IP_PKTINFO", four, nil, unix.SOL_IP, unix.IP_PKTINFO, info4, tcpip.SendControl{HasPacketInfo: true, NIC: 1, Source: netip.MustParseAddr("127.0.0.5")}, nil},
		{"IP_PKTINFO, short", four, nil, unix.SOL_IP, unix.IP_PKTINFO, info4[:8], tcpip.SendControl{}, unix.EINVAL},
		{"IP_TTL", four, nil, unix.SOL_IP, unix.IP_TTL, i32(9), tcpip.SendControl{HasTTL: true, TTL: 9}, nil},
		{"IP_TTL of 0", four, nil, unix.SOL_IP, unix.IP_TTL, i32(0), tcpip.SendControl{}, unix.EINVAL},
		{"IP_TOS", four, nil, unix.SOL_IP, unix.IP_TOS, i32(8), tcpip.SendControl{HasTOS: true, TOS: 8}, nil},
		{"IP_TOS, a byte", four, nil, unix.SOL_IP, unix.IP_TOS, []byte{8}, tcpip.SendControl{HasTOS: true, TOS: 8}, nil},
		{"IP_TOS, two bytes", four, nil, unix.SOL_IP, unix.IP_TOS, []byte{8, 0}, tcpip.SendControl{}, unix.EINVAL},
		{"IP_TOS, negative", four, nil, unix.SOL_IP, unix.IP_TOS, i32(-1), tcpip.SendControl{}, unix.EINVAL},
		{"IP_RETOPTS", four, nil, unix.SOL_IP, unix.IP_RETOPTS, []byte{1, 0}, tcpip.SendControl{}, nil},
		{"IP_RETOPTS, broken", four, nil, unix.SOL_IP, unix.IP_RETOPTS, []byte{7, 99}, tcpip.SendControl{}, unix.EINVAL},
		{"IP_PROTOCOL", four, nil, unix.SOL_IP, unix.IP_PROTOCOL, i32(17), tcpip.SendControl{}, nil},
		{"IP_PROTOCOL of 0", four, nil, unix.SOL_IP, unix.IP_PROTOCOL, i32(0), tcpip.SendControl{}, unix.EINVAL},
		{"unknown", four, nil, unix.SOL_IP, 99, i32(0), tcpip.SendControl{}, unix.EINVAL},
		{"another version's", four, nil, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, i32(7), tcpip.SendControl{}, nil},
		{"UDP_SEGMENT", four, nil, unix.SOL_UDP, unix.UDP_SEGMENT, []byte{100, 0}, tcpip.SendControl{SegmentSize: 100}, nil},
		{"UDP_SEGMENT, an int", four, nil, unix.SOL_UDP, unix.UDP_SEGMENT, i32(100), tcpip.SendControl{}, unix.EINVAL},
		{"SO_MARK", four, nil, unix.SOL_SOCKET, unix.SO_MARK, i32(1), tcpip.SendControl{}, nil},
		{"SO_MARK, short", four, nil, unix.SOL_SOCKET, unix.SO_MARK, []byte{1}, tcpip.SendControl{}, unix.EINVAL},
		{"SCM_TXTIME", four, nil, unix.SOL_SOCKET, unix.SCM_TXTIME, i32(1), tcpip.SendControl{}, unix.EINVAL},
		{"IPV6_PKTINFO", six, nil, unix.SOL_IPV6, unix.IPV6_PKTINFO, info6("::1", 1), tcpip.SendControl{HasPacketInfo: true, NIC: 1, Source: loopback6}, nil},
		{"IPV6_PKTINFO, any", six, nil, unix.SOL_IPV6, unix.IPV6_PKTINFO, info6("::", 0), tcpip.SendControl{HasPacketInfo: true}, nil},
		{"IPV6_PKTINFO, not ours", six, nil, unix.SOL_IPV6, unix.IPV6_PKTINFO, info6("2001:db8::1", 0), tcpip.SendControl{}, unix.EINVAL},
		{"IPV6_PKTINFO, no interface", six, nil, unix.SOL_IPV6, unix.IPV6_PKTINFO, info6("::1", 9), tcpip.SendControl{}, unix.ENODEV},
		{"IPV6_HOPLIMIT", six, nil, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, i32(9), tcpip.SendControl{HasTTL: true, TTL: 9}, nil},
		{"IPV6_HOPLIMIT, default", six, nil, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, i32(-1), tcpip.SendControl{}, nil},
		{"IPV6_HOPLIMIT, too much", six, nil, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, i32(256), tcpip.SendControl{}, unix.EINVAL},
		{"IPV6_TCLASS", six, nil, unix.SOL_IPV6, unix.IPV6_TCLASS, i32(8), tcpip.SendControl{HasTOS: true, TOS: 8}, nil},
		{"IPV6_TCLASS, default", six, nil, unix.SOL_IPV6, unix.IPV6_TCLASS, i32(-1), tcpip.SendControl{}, nil},
		{"IPV6_TCLASS, too much", six, nil, unix.SOL_IPV6, unix.IPV6_TCLASS, i32(256), tcpip.SendControl{}, unix.EINVAL},
		{"IPV6_DONTFRAG", six, nil, unix.SOL_IPV6, unix.IPV6_DONTFRAG, i32(1), tcpip.SendControl{}, nil},
		{"IPV6_DONTFRAG, 2", six, nil, unix.SOL_IPV6, unix.IPV6_DONTFRAG, i32(2), tcpip.SendControl{}, unix.EINVAL},
		{"IPV6_FLOWINFO, short", six, nil, unix.SOL_IPV6, ipv6Flowinfo, []byte{1}, tcpip.SendControl{}, unix.EINVAL},
		{"unknown of IPv6", six, nil, unix.SOL_IPV6, 99, i32(0), tcpip.SendControl{}, unix.EINVAL},
		{"IP_TTL to IPv6", six, nil, unix.SOL_IP, unix.IP_TTL, i32(9), tcpip.SendControl{}, nil},
		{"IP_TTL to a mapped address", six, &mapped, unix.SOL_IP, unix.IP_TTL, i32(9), tcpip.SendControl{HasTTL: true, TTL: 9}, nil},
		{"IPV6_PKTINFO to a mapped address", six, &mapped, unix.SOL_IPV6, unix.IPV6_PKTINFO, info6("::ffff:127.0.0.9", 0), tcpip.SendControl{HasPacketInfo: true, Source: netip.MustParseAddr("127.0.0.9")}, nil},
		{"IPV6_HOPLIMIT to a mapped address", six, &mapped, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, i32(300), tcpip.SendControl{}, nil},
	} {
		m := &socket.Message{}
		m.Control.AddRaw(c.level, c.typ, c.data)
		opts := tcpip.SendOptions{To: c.to}
		if err := c.s.sendControl(newTask(), m, &opts); err != c.err || err == nil && opts.Control != c.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", c.name, opts.Control, err, c.want, c.err)
		}
	}
	m := &socket.Message{}
	m.Control.AddRaw(unix.SOL_SOCKET, unix.SO_MARK, i32(1))
	if err := four.sendControl(nobody(), m, &tcpip.SendOptions{}); err != unix.EPERM {
		t.Errorf("SO_MARK of nobody: %v", err)
	}
	// To a device only, when the socket is bound to another.
	six.ep.Options().Device.Store(7)
	m.Control.Reset()
	m.Control.AddRaw(unix.SOL_IPV6, unix.IPV6_PKTINFO, info6("::1", 1))
	if err := six.sendControl(newTask(), m, &tcpip.SendOptions{}); err != unix.EINVAL {
		t.Errorf("another device: %v", err)
	}
}

func TestControlOfReceives(t *testing.T) {
	n := world(t)
	four, six := n.sock(t, unix.AF_INET, unix.SOCK_DGRAM, 0), n.sock(t, unix.AF_INET6, unix.SOCK_DGRAM, 0)
	for _, s := range []*Socket{four, six} {
		o := s.ep.Options()
		for _, f := range []interface{ Store(bool) }{&o.PacketInfo4, &o.PacketInfo6, &o.ReceiveTTL, &o.ReceiveTOS, &o.ReceiveHopLimit,
			&o.ReceiveTrafficClass, &o.ReceiveFlowInfo, &o.ReceiveOriginalDestination, &o.ReceiveIPOptions} {
			f.Store(true)
		}
		s.SetOption(unix.SO_RXQ_OVFL, true)
		s.extra.stamp.Store(unix.SO_TIMESTAMPNS)
		s.extra.timestamping.Store(unix.SOF_TIMESTAMPING_SOFTWARE | softwareStamps)
	}
	rc := tcpip.ReceiveControl{
		Timestamp: time.Unix(5, 6), HasPacketInfo: true, NIC: 3, LocalAddr: loopback4, Destination: netip.MustParseAddr("127.255.255.255"),
		DestinationPort: 99, TTL: 7, TOS: 8, IPOptions: []byte{1, 1, 1, 0}, SegmentSize: 100, Dropped: 2,
	}
	find := func(m *socket.Message, level, typ int32) []byte {
		for _, r := range m.Control.Raw {
			if r.Level == level && r.Type == typ {
				return r.Data
			}
		}
		return nil
	}
	is := func(m *socket.Message, level, typ int32, want string) {
		t.Helper()
		if got := string(find(m, level, typ)); got != want {
			t.Errorf("%d/%d: %x, want %x", level, typ, got, want)
		}
	}
	m := &socket.Message{}
	four.receiveControl(m, &rc)
	if m.Control.Timestamp != 5e9+6 || m.Control.HasTimestamp != unix.SO_TIMESTAMPNS {
		t.Errorf("time %d", m.Control.Timestamp)
	}
	is(m, unix.SOL_IP, unix.IP_PKTINFO, "\x03\x00\x00\x00\x7f\x00\x00\x01\x7f\xff\xff\xff")
	is(m, unix.SOL_IP, unix.IP_TTL, string(i32(7)))
	is(m, unix.SOL_IP, unix.IP_TOS, "\x08")
	is(m, unix.SOL_IP, unix.IP_RECVOPTS, "\x01\x01\x01\x00")
	is(m, unix.SOL_IP, unix.IP_ORIGDSTADDR, string(addr(unix.AF_INET, "127.255.255.255", 99).Bytes()))
	is(m, unix.SOL_UDP, unix.UDP_GRO, string(i32(100)))
	is(m, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, string(i32(2)))
	if b := find(m, unix.SOL_SOCKET, unix.SCM_TIMESTAMPING); len(b) != 48 || binary.NativeEndian.Uint64(b) != 5 || binary.NativeEndian.Uint64(b[8:]) != 6 {
		t.Errorf("SCM_TIMESTAMPING %x", b)
	}
	if find(m, unix.SOL_IPV6, unix.IPV6_PKTINFO) != nil {
		t.Error("IPv6's on an IPv4 socket")
	}
	// An IPv6 socket shows the same as mapped.
	m = &socket.Message{}
	six.receiveControl(m, &rc)
	is(m, unix.SOL_IPV6, unix.IPV6_PKTINFO, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\xff\xff\xff\x03\x00\x00\x00")
	is(m, unix.SOL_IP, unix.IP_TTL, string(i32(7)))

	rc.Destination, rc.LocalAddr, rc.FlowLabel, rc.IPOptions = loopback6, loopback6, 0x12345, nil
	m = &socket.Message{}
	six.receiveControl(m, &rc)
	is(m, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, string(i32(7)))
	is(m, unix.SOL_IPV6, unix.IPV6_TCLASS, string(i32(8)))
	is(m, unix.SOL_IPV6, ipv6Flowinfo, "\x00\x81\x23\x45")
	is(m, unix.SOL_IPV6, unix.IPV6_ORIGDSTADDR, string(loop(unix.AF_INET6, 99).Bytes()))
	if find(m, unix.SOL_IP, unix.IP_TTL) != nil {
		t.Error("IPv4's of a packet of IPv6")
	}
	// Nothing that was not asked for, and nothing of a packet without.
	plain := n.sock(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	m = &socket.Message{}
	rc.SegmentSize = 0
	plain.receiveControl(m, &rc)
	if len(m.Control.Raw) != 0 || m.Control.HasTimestamp != 0 {
		t.Errorf("%+v", m.Control)
	}
}
