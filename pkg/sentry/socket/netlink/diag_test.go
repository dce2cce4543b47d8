package netlink

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
)

// someSockets are a listener, a connection of an IPv6 socket by IPv4, a UDP and a raw socket.
type someSockets struct{ destroyed *[]uint64 }

var someList = []IPSocket{
	{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: tcpListen, Local: netip.MustParseAddrPort("0.0.0.0:80"), ReceiveQueue: 1, SendQueue: 128, UID: 33, Inode: 100, Cookie: 1, Congestion: "cubic", Info: make([]byte, 232)},
	{Family: unix.AF_INET6, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: 1, Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("10.0.0.2:4000"), Inode: 101, Cookie: 2, Timer: 1, Expires: 200, Mark: 5},
	{Family: unix.AF_INET6, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP, State: 6, Local: netip.MustParseAddrPort("[fd00::1]:80"), Remote: netip.MustParseAddrPort("[fd00::2]:4000"), Cookie: 3, Device: 2},
	{Family: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP, State: 7, Local: netip.MustParseAddrPort("10.0.0.1:53"), Inode: 102, Cookie: 4},
	{Family: unix.AF_INET, Type: unix.SOCK_RAW, Protocol: unix.IPPROTO_ICMP, State: 7, Local: netip.MustParseAddrPort("0.0.0.0:1"), Inode: 103, Cookie: 5},
	{Family: unix.AF_PACKET, Type: unix.SOCK_RAW, Protocol: unix.ETH_P_ALL, Device: 2, Inode: 104, Cookie: 6},
}

// Each implements IPSockets.
func (someSockets) Each(family, protocol int, f func(*IPSocket)) {
	for i := range someList {
		s := &someList[i]
		if family == s.Family || family == unix.AF_UNSPEC && s.Family != unix.AF_PACKET {
			if protocol == 0 || protocol == s.Protocol {
				f(s)
			}
		}
	}
}

// Destroy implements IPSockets.
func (d someSockets) Destroy(s *IPSocket) error {
	if d.destroyed != nil {
		*d.destroyed = append(*d.destroyed, s.Cookie)
	}
	return nil
}

// inetRequestOf is struct inet_diag_req_v2 that wants everything; id changes its id.
func inetRequestOf(family, protocol uint8, id func(id []byte)) []byte {
	b := make([]byte, sizeofInetDiagReq)
	b[0], b[1], b[2] = family, protocol, 0xff
	binary.NativeEndian.PutUint32(b[4:], 0xffffffff)
	if id != nil {
		id(b[diagIDInReq:])
	}
	return b
}

func cookies(got []message) (list []uint64) {
	for _, m := range got {
		list = append(list, binary.NativeEndian.Uint64(m.payload[4+diagIDCookie:]))
	}
	return list
}

func diagWorld(t *testing.T) (*client, *[]uint64) {
	w := newWorld(t)
	var destroyed []uint64
	w.ns.ip = someSockets{&destroyed}
	return w.open(unix.NETLINK_SOCK_DIAG), &destroyed
}

func TestInetDump(t *testing.T) {
	c, _ := diagWorld(t)
	for _, x := range []struct {
		family, protocol uint8
		states           uint32
		want             int
	}{
		{unix.AF_INET, unix.IPPROTO_TCP, 0xffffffff, 1}, {unix.AF_INET6, unix.IPPROTO_TCP, 0xffffffff, 2},
		{unix.AF_INET6, unix.IPPROTO_TCP, 1 << 1, 1}, {unix.AF_INET, unix.IPPROTO_UDP, 0xffffffff, 1},
		{unix.AF_INET, unix.IPPROTO_RAW, 0xffffffff, 1}, {unix.AF_INET, unix.IPPROTO_TCP, 1 << 1, 0},
	} {
		req := inetRequestOf(x.family, x.protocol, nil)
		binary.NativeEndian.PutUint32(req[4:], x.states)
		if got := c.want(0, diagByFamily, all, req, nil); len(got) != x.want {
			t.Errorf("%+v: %v", x, cookies(got))
		}
	}
	got := c.want(0, diagByFamily, all, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, nil), nil)[0]
	a := got.attrs(72)
	if p := got.payload; p[0] != unix.AF_INET || p[1] != tcpListen || p[4] != 0 || p[5] != 80 ||
		binary.NativeEndian.Uint32(p[56:]) != 1 || binary.NativeEndian.Uint32(p[60:]) != 128 ||
		binary.NativeEndian.Uint32(p[64:]) != 33 || binary.NativeEndian.Uint32(p[68:]) != 100 {
		t.Errorf("a listener: % x", p[:72])
	}
	if a.text(inetDiagCong) != "cubic" || len(a.bytes(inetDiagInfo)) != 232 || len(a.bytes(inetDiagSKMeminfo)) != 36 || !a.has(inetDiagMeminfo) {
		t.Errorf("attributes %v", a)
	}
	// IPv4 on an IPv6 socket is mapped.
	got = c.want(0, diagByFamily, all, inetRequestOf(unix.AF_INET6, unix.IPPROTO_TCP, nil), nil)[0]
	if want := addr("::ffff:10.0.0.1").As16(); string(got.payload[8:24]) != string(want[:]) {
		t.Errorf("% x", got.payload[8:24])
	}
	c.want(unix.ENOENT, diagByFamily, all, inetRequestOf(unix.AF_INET, 132, nil), nil)
	c.want(unix.EINVAL, diagByFamily, all, []byte{unix.AF_INET, 6}, nil)
	c.want(unix.EINVAL, diagByFamily, all, []byte{unix.AF_INET}, nil)
	c.want(unix.ENOENT, diagByFamily, all, make([]byte, 60), nil)
	c.want(unix.EINVAL, diagByFamily, all, []byte{200, 0, 0, 0}, nil)
	c.want(unix.EINVAL, 99, all, make([]byte, 60), nil)
	old := make([]byte, sizeofInetDiagOld)
	old[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(old[52:], 0xffffffff)
	if got := c.want(0, diagOldTCP, all, old, nil); len(got) != 1 {
		t.Errorf("the old request: %v", cookies(got))
	}
}

func TestInetOneSocket(t *testing.T) {
	c, destroyed := diagWorld(t)
	connection := func(id []byte) {
		binary.BigEndian.PutUint16(id, 80)
		binary.BigEndian.PutUint16(id[2:], 4000)
		a, b := addr("10.0.0.1").As4(), addr("10.0.0.2").As4()
		copy(id[4:], a[:])
		copy(id[20:], b[:])
		binary.NativeEndian.PutUint64(id[diagIDCookie:], ^uint64(0))
	}
	got := c.want(0, diagByFamily, 0, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, connection), nil)
	if ids := cookies(got); len(ids) != 1 || ids[0] != 2 {
		t.Errorf("the connection: %v", ids)
	}
	// Nobody has this connection; so the listener is meant.
	got = c.want(0, diagByFamily, 0, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, func(id []byte) {
		connection(id)
		id[20] = 99
	}), nil)
	if ids := cookies(got); len(ids) != 1 || ids[0] != 1 {
		t.Errorf("the listener: %v", ids)
	}
	c.want(unix.ENOENT, diagByFamily, 0, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, nil), nil)
	stale := inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, func(id []byte) {
		connection(id)
		binary.NativeEndian.PutUint64(id[diagIDCookie:], 9)
	})
	c.want(unix.ENOENT, diagByFamily, 0, stale, nil)
	c.want(0, diagDestroy, 0, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, connection), nil)
	if len(*destroyed) != 1 || (*destroyed)[0] != 2 {
		t.Errorf("destroyed: %v", *destroyed)
	}
	c.ctx = user
	c.want(unix.EPERM, diagDestroy, 0, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, connection), nil)
}

// op makes an operation of a filter.
func op(code, yes byte, no uint16, arg ...byte) []byte {
	return append(binary.NativeEndian.AppendUint16([]byte{code, yes}, no), arg...)
}

func port(p uint16) []byte { return binary.NativeEndian.AppendUint16([]byte{0, 0}, p) }

func TestInetFilter(t *testing.T) {
	c, _ := diagWorld(t)
	host := func(code byte, family, bits byte, p int32, a netip.Addr) []byte {
		arg := binary.NativeEndian.AppendUint32([]byte{family, bits, 0, 0}, uint32(p))
		if a.IsValid() {
			arg = append(arg, a.AsSlice()...)
		}
		return op(code, byte(4+len(arg)), uint16(8+len(arg)), arg...)
	}
	cat := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	for name, x := range map[string]struct {
		code []byte
		want int
	}{
		"source port":            {op(bcSourceEQ, 8, 12, port(80)...), 2},
		"source port, not so":    {op(bcSourceEQ, 8, 12, port(81)...), 0},
		"source at least":        {op(bcSourceGE, 8, 12, port(81)...), 0},
		"source at most":         {op(bcSourceLE, 8, 12, port(80)...), 2},
		"destination":            {op(bcDestEQ, 8, 12, port(4000)...), 2},
		"destination at least":   {op(bcDestGE, 8, 12, port(4001)...), 0},
		"destination at most":    {op(bcDestLE, 8, 12, port(4000)...), 2},
		"device":                 {op(bcDevice, 8, 12, 2, 0, 0, 0), 1},
		"mark":                   {op(bcMark, 12, 16, 5, 0, 0, 0, 7, 0, 0, 0), 1},
		"source host":            {host(bcSource, unix.AF_INET6, 64, -1, addr("fd00::")), 1},
		"destination mapped":     {host(bcDest, unix.AF_INET6, 128, 4000, addr("::ffff:10.0.0.2")), 1},
		"destination by IPv4":    {host(bcDest, unix.AF_INET, 24, -1, addr("10.0.0.9")), 1},
		"destination of no kind": {host(bcDest, unix.AF_UNSPEC, 0, 4000, netip.Addr{}), 2},
		"other host":             {host(bcDest, unix.AF_INET, 32, -1, addr("10.0.0.9")), 0},
		"not":                    {cat(op(bcSourceEQ, 8, 12, port(80)...), op(bcJump, 4, 8)), 0},
		"nothing":                {op(bcNop, 4, 0), 2},
		"automatic":              {op(bcAuto, 4, 8), 0},
	} {
		got := c.want(0, diagByFamily, all, inetRequestOf(unix.AF_INET6, unix.IPPROTO_TCP, nil), func(w *builder) { w.attr(inetReqBytecode, x.code) })
		if len(got) != x.want {
			t.Errorf("%s: %v", name, cookies(got))
		}
	}
	for name, code := range map[string][]byte{
		"unknown":              op(99, 4, 8),
		"too short":            {bcNop, 4},
		"argument is missing":  op(bcSourceEQ, 4, 8),
		"backward":             op(bcJump, 0, 0),
		"no beyond the end":    op(bcAuto, 4, 16),
		"yes beyond the end":   op(bcAuto, 8, 8),
		"into the middle":      cat(op(bcAuto, 4, 8), op(bcSourceEQ, 8, 12, port(1)...)),
		"odd":                  op(bcAuto, 4, 5),
		"family":               op(bcSource, 12, 16, 99, 0, 0, 0, 0, 0, 0, 0),
		"prefix":               op(bcSource, 16, 20, unix.AF_INET, 33, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4),
		"address is missing":   op(bcSource, 12, 16, unix.AF_INET, 32, 0, 0, 0, 0, 0, 0),
		"condition is missing": op(bcSource, 4, 8),
	} {
		if _, e := c.do(diagByFamily, all, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, nil), func(w *builder) { w.attr(inetReqBytecode, code) }); e != unix.EINVAL {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestUnixDiag(t *testing.T) {
	w := newWorld(t)
	a, b, err := w.st.Pair(bg, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.st.Socket(bg, unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []socket.Socket{a, b, l} {
		s.SetInodeNumber(uint64(1001 + i))
	}
	name, _ := socket.NewAddr(append([]byte{unix.AF_UNIX, 0, 0}, "name"...))
	if err := l.Bind(bg, &name); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(bg, 7); err != nil {
		t.Fatal(err)
	}
	c := w.open(unix.NETLINK_SOCK_DIAG)
	req := func(states, ino, show uint32) []byte {
		b := []byte{unix.AF_UNIX, 0, 0, 0}
		for _, v := range []uint32{states, ino, show, noCookie, noCookie} {
			b = binary.NativeEndian.AppendUint32(b, v)
		}
		return b
	}
	got := c.want(0, diagByFamily, all, req(0xffffffff, 0, 0xff), nil)
	if len(got) != 3 {
		t.Fatalf("%d sockets", len(got))
	}
	if p := got[0].payload; p[1] != unix.SOCK_STREAM || p[2] != 1 || binary.NativeEndian.Uint32(p[4:]) != 1001 ||
		got[0].attrs(16).u32(unixDiagPeer) != 1002 || got[0].attrs(16).u32(unixDiagUID) != 0 {
		t.Errorf("a pair: % x", p)
	}
	if at := got[2].attrs(16); string(at.bytes(unixDiagName)) != "\x00name" || got[2].payload[2] != 10 || binary.NativeEndian.Uint32(at.bytes(unixDiagRQLen)[4:]) != 7 {
		t.Errorf("a listener: %v", at)
	}
	if got := c.want(0, diagByFamily, all, req(1<<10, 0, 0), nil); len(got) != 1 {
		t.Errorf("%d listeners", len(got))
	}
	if got := c.want(0, diagByFamily, 0, req(0xffffffff, 1002, unixShowPeer), nil); len(got) != 1 || got[0].attrs(16).u32(unixDiagPeer) != 1001 {
		t.Errorf("%v", got)
	}
	c.want(unix.ENOENT, diagByFamily, 0, req(0xffffffff, 77, 0), nil)
	c.want(unix.EINVAL, diagByFamily, 0, req(0xffffffff, 0, 0), nil)
	c.want(unix.EINVAL, diagByFamily, all, []byte{unix.AF_UNIX, 0, 0, 0}, nil)
	c.want(unix.EOPNOTSUPP, diagDestroy, 0, req(0xffffffff, 1001, 0), nil)
	stale := req(0xffffffff, 1001, 0)
	binary.NativeEndian.PutUint32(stale[16:], 5)
	c.want(unix.ESTALE, diagByFamily, 0, stale, nil)
}

func TestNetlinkAndPacketDiag(t *testing.T) {
	c, _ := diagWorld(t)
	c.s.SetInodeNumber(55)
	c.option(unix.NETLINK_ADD_MEMBERSHIP, 3)
	req := make([]byte, 20)
	req[0], req[1] = unix.AF_NETLINK, netlinkAllProtocols
	binary.NativeEndian.PutUint32(req[8:], netlinkShowGroups|netlinkShowMeminfo)
	got := c.want(0, diagByFamily, all, req, nil)
	if len(got) != 1 {
		t.Fatalf("%d sockets", len(got))
	}
	if p := got[0].payload; p[2] != unix.NETLINK_SOCK_DIAG || binary.NativeEndian.Uint32(p[16:]) != 55 || got[0].attrs(28).u32(netlinkDiagGroups) != 4 {
		t.Errorf("% x", p)
	}
	req[1] = unix.NETLINK_ROUTE
	if got := c.want(0, diagByFamily, all, req, nil); len(got) != 0 {
		t.Errorf("of another protocol: %v", got)
	}
	req[0] = unix.AF_PACKET
	binary.NativeEndian.PutUint32(req[8:], packetShowInfo)
	got = c.want(0, diagByFamily, all, req, nil)
	if len(got) != 1 || binary.NativeEndian.Uint32(got[0].payload[4:]) != 104 || got[0].attrs(16).u32(packetDiagInfo) != 2 {
		t.Errorf("packet sockets: %v", got)
	}
	c.want(unix.EOPNOTSUPP, diagByFamily, 0, req, nil)
	for _, family := range []byte{unix.AF_NETLINK, unix.AF_PACKET} {
		c.want(unix.EINVAL, diagByFamily, all, []byte{family, 0, 0, 0}, nil)
	}
}
