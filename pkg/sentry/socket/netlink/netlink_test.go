package netlink

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	unixsocket "runsc/pkg/sentry/socket/unix"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

var (
	userNS = auth.NewRootUserNamespace()
	bg     = &context.Background{Creds: auth.NewRootCredentials(userNS)}
	user   = &context.Background{Creds: auth.NewUserCredentials(1000, 1000, nil, 0, 0, 0, 0, 0, userNS)}
)

// world is a namespace with lo, and eth0 (index 2) that has 10.0.0.1/24 and fd00::1/64; the
// cable of eth0 leads nowhere.
type world struct {
	t   testing.TB
	net *stack.Stack
	st  *socket.Stack
	ns  *Namespace
}

func newWorld(t testing.TB) *world {
	t.Helper()
	net := stack.New(stack.Config{
		Networks: []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New, ipv6.New},
		Seed:     []byte("netlink"),
	})
	t.Cleanup(net.Close)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lo, err := net.CreateNIC(1, "lo", loopback.New())
	must(err)
	lo.SetUp(true)
	must(lo.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: unix.RT_SCOPE_HOST, NoDAD: true}))
	must(lo.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("::1/128"), Scope: unix.RT_SCOPE_HOST, NoDAD: true}))
	a, _ := pipe.New(pipe.Options{Ethernet: true})
	a.SetLinkAddress(tcpip.LinkAddress{2, 0, 0, 0, 0, 1})
	eth, err := net.CreateNIC(2, "eth0", a)
	must(err)
	eth.SetUp(true)
	must(eth.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("10.0.0.1/24"), Broadcast: netip.MustParseAddr("10.0.0.255"), Label: "eth0"}))
	must(eth.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("fd00::1/64"), NoDAD: true}))
	st := socket.NewStack()
	unixsocket.NewNamespace(st)
	return &world{t: t, net: net, st: st, ns: register(st, net)}
}

func (w *world) open(protocol int) *client {
	w.t.Helper()
	s, err := w.st.Socket(bg, unix.AF_NETLINK, unix.SOCK_RAW, protocol)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, s: s.(*Socket)}
	return c
}

// bound is open with a port, without which no group is heard.
func (w *world) bound(protocol int) *client {
	w.t.Helper()
	c := w.open(protocol)
	var at socket.Addr
	putAddr(&at, 0, 0)
	if err := c.s.Bind(bg, &at); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// client is a socket and who uses it.
type client struct {
	t   testing.TB
	s   *Socket
	ctx context.Context // nil: root
	seq uint32
}

func (c *client) option(name, v int) *client {
	c.t.Helper()
	if err := c.s.SetSockOpt(bg, unix.SOL_NETLINK, name, binary.NativeEndian.AppendUint32(nil, uint32(v))); err != nil {
		c.t.Fatalf("option %d: %v", name, err)
	}
	return c
}

// message is one that came.
type message struct {
	header
	payload []byte
	group   uint32
}

func (m message) attrs(size int) attributes {
	shapes := make([]shape, 64)
	for i := range shapes {
		shapes[i] = isBytes
	}
	a, err := parse(m.payload[align(size):], 0, shapes, false)
	if err != nil {
		panic(err)
	}
	return a
}

func (c *client) send(typ, flags uint16, head []byte, fill func(w *builder)) {
	c.t.Helper()
	c.seq++
	var w builder
	w.begin(header{typ: typ, flags: flags | unix.NLM_F_REQUEST, seq: c.seq})
	w.bytes(head...)
	w.pad()
	if fill != nil {
		fill(&w)
	}
	w.end()
	ctx := c.ctx
	if ctx == nil {
		ctx = bg
	}
	if n, err := c.s.SendMsg(ctx, &socket.Message{Data: usermem.BytesSequence(w.b)}); err != nil || n != len(w.b) {
		c.t.Fatalf("send: %d, %v", n, err)
	}
}

// receive takes everything that is there.
func (c *client) receive() []message {
	c.t.Helper()
	var list []message
	for {
		buf := make([]byte, 32<<10)
		var from socket.Addr
		n, err := c.s.RecvMsg(bg, &socket.Message{Data: usermem.BytesSequence(buf), Flags: unix.MSG_DONTWAIT, From: &from})
		if err == unix.EAGAIN {
			return list
		}
		if err != nil {
			c.t.Fatal(err)
		}
		_, groups, err := parseAddr(&from)
		if err != nil {
			c.t.Fatal(err)
		}
		for b := buf[:n]; ; {
			h, p, rest, ok := next(b)
			if !ok {
				if len(b) != 0 {
					c.t.Errorf("%d bytes behind the last message", len(b))
				}
				break
			}
			list = append(list, message{h, p, groups})
			b = rest
		}
	}
}

// do sends a request with NLM_F_ACK and returns what came before the end, and the end's error.
func (c *client) do(typ, flags uint16, head []byte, fill func(w *builder)) ([]message, unix.Errno) {
	c.t.Helper()
	c.send(typ, flags|unix.NLM_F_ACK, head, fill)
	got := c.receive()
	if len(got) == 0 {
		c.t.Fatal("no answer")
	}
	last := got[len(got)-1]
	if last.seq != c.seq {
		c.t.Errorf("sequence number %d, want %d", last.seq, c.seq)
	}
	switch last.typ {
	case unix.NLMSG_ERROR:
		return got[:len(got)-1], unix.Errno(-int32(binary.NativeEndian.Uint32(last.payload)))
	case unix.NLMSG_DONE:
		for _, m := range got {
			if m.flags&unix.NLM_F_MULTI == 0 {
				c.t.Errorf("a part of a all, type %d, has no NLM_F_MULTI", m.typ)
			}
		}
		return got[:len(got)-1], 0
	}
	c.t.Fatalf("the answer ends with type %d", last.typ)
	return nil, 0
}

// want is do that must end with errno.
func (c *client) want(errno unix.Errno, typ, flags uint16, head []byte, fill func(w *builder)) []message {
	c.t.Helper()
	got, e := c.do(typ, flags, head, fill)
	if e != errno {
		c.t.Fatalf("request %d: %v, want %v", typ, e, errno)
	}
	return got
}

const all = unix.NLM_F_DUMP

// Headers of requests.
func ifinfo(index, flags, change uint32) []byte {
	var w builder
	w.bytes(0, 0, 0, 0)
	w.u32(index)
	w.u32(flags)
	w.u32(change)
	return w.b
}

func ifaddr(family, bits uint8, index uint32) []byte {
	var w builder
	w.bytes(family, bits, 0, 0)
	w.u32(index)
	return w.b
}

func rtmsg(family, bits, table, protocol, scope, typ uint8) []byte {
	return []byte{family, bits, 0, 0, table, protocol, scope, typ, 0, 0, 0, 0}
}

func ndmsg(family uint8, index uint32, state uint16) []byte {
	var w builder
	w.bytes(family, 0, 0, 0)
	w.u32(index)
	w.u16(state)
	w.bytes(0, 0)
	return w.b
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestSocketsOfProtocols(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		typ, protocol int
		want          error
	}{
		{unix.SOCK_RAW, unix.NETLINK_ROUTE, nil}, {unix.SOCK_DGRAM, unix.NETLINK_SOCK_DIAG, nil},
		{unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT, nil}, {unix.SOCK_STREAM, unix.NETLINK_ROUTE, unix.ESOCKTNOSUPPORT},
		{unix.SOCK_RAW, unix.NETLINK_GENERIC, unix.EPROTONOSUPPORT}, {unix.SOCK_RAW, 99, unix.EPROTONOSUPPORT},
		{unix.SOCK_RAW, -1, unix.EPROTONOSUPPORT},
	} {
		if _, err := w.st.Socket(bg, unix.AF_NETLINK, c.typ, c.protocol); err != c.want {
			t.Errorf("type %d, protocol %d: %v, want %v", c.typ, c.protocol, err, c.want)
		}
	}
}

func TestPortsAreUnique(t *testing.T) {
	w := newWorld(t)
	a, b := w.open(unix.NETLINK_ROUTE), w.open(unix.NETLINK_ROUTE)
	var at socket.Addr
	putAddr(&at, 77, 0)
	if err := a.s.Bind(bg, &at); err != nil {
		t.Fatal(err)
	}
	if err := b.s.Bind(bg, &at); err != unix.EADDRINUSE {
		t.Errorf("a taken port: %v", err)
	}
	putAddr(&at, 78, 0)
	if err := a.s.Bind(bg, &at); err != unix.EINVAL {
		t.Errorf("a second port: %v", err)
	}
	// Another protocol has ports of its own.
	putAddr(&at, 77, 0)
	if err := w.open(unix.NETLINK_SOCK_DIAG).s.Bind(bg, &at); err != nil {
		t.Error(err)
	}
	a.s.Release(bg)
	if err := b.s.Bind(bg, &at); err != nil {
		t.Errorf("a port that is free again: %v", err)
	}
	at.SetFamily(unix.AF_INET)
	if err := b.s.Bind(bg, &at); err != unix.EINVAL {
		t.Errorf("another family: %v", err)
	}
	if err := w.open(unix.NETLINK_ROUTE).s.Connect(user, func() *socket.Addr { putAddr(&at, 77, 0); return &at }(), false); err != unix.EPERM {
		t.Errorf("a user connects to a port: %v", err)
	}
}

func TestSocketsTalkToEachOther(t *testing.T) {
	w := newWorld(t)
	a, b := w.open(unix.NETLINK_ROUTE), w.open(unix.NETLINK_ROUTE)
	var at socket.Addr
	putAddr(&at, 77, 0)
	if err := a.s.Bind(bg, &at); err != nil {
		t.Fatal(err)
	}
	hello := func() *socket.Message { return &socket.Message{Data: usermem.BytesSequence([]byte("hello")), To: &at} }
	if _, err := b.s.SendMsg(user, hello()); err != unix.EPERM {
		t.Errorf("a user sends: %v", err)
	}
	if _, err := b.s.SendMsg(bg, hello()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	var from socket.Addr
	n, err := a.s.RecvMsg(bg, &socket.Message{Data: usermem.BytesSequence(buf), From: &from})
	port, _, _ := parseAddr(&from)
	var own socket.Addr
	b.s.GetSockName(bg, &own)
	want, _, _ := parseAddr(&own)
	if err != nil || string(buf[:n]) != "hello" || port != want || port == 0 {
		t.Errorf("%q from %d, want from %d: %v", buf[:n], port, want, err)
	}
	putAddr(&at, 4711, 0)
	if _, err := b.s.SendMsg(bg, hello()); err != unix.ECONNREFUSED {
		t.Errorf("to nobody: %v", err)
	}
	// A group: all but the sender get it.
	putAddr(&at, 0, 2)
	c := w.open(unix.NETLINK_KOBJECT_UEVENT)
	d := w.open(unix.NETLINK_KOBJECT_UEVENT)
	for _, x := range []*client{c, d} {
		if err := x.s.Bind(bg, &at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.s.SendMsg(bg, hello()); err != nil {
		t.Fatal(err)
	}
	if c.s.Readiness(waiter.EventIn) != 0 || d.s.Readiness(waiter.EventIn) == 0 {
		t.Error("the sender got its own message, or the other did not")
	}
}

func TestSendErrors(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	for _, x := range []struct {
		m    socket.Message
		want error
	}{
		{socket.Message{Data: usermem.BytesSequence(nil)}, unix.ENODATA},
		{socket.Message{Data: usermem.BytesSequence(make([]byte, 1<<20))}, unix.EMSGSIZE},
		{socket.Message{Data: usermem.BytesSequence([]byte{1}), Flags: unix.MSG_OOB}, unix.EOPNOTSUPP},
		{socket.Message{Data: usermem.BytesSequence([]byte{1}), To: &socket.Addr{}}, unix.EINVAL},
	} {
		if _, err := c.s.SendMsg(bg, &x.m); err != x.want {
			t.Errorf("%+v: %v, want %v", x.m, err, x.want)
		}
	}
	// What is no message, or one that is not whole, is not answered.
	for _, b := range [][]byte{{1}, make([]byte, 16), {17, 0, 0, 0, 18, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if _, err := c.s.SendMsg(bg, &socket.Message{Data: usermem.BytesSequence(b)}); err != nil {
			t.Error(err)
		}
	}
	if got := c.receive(); len(got) != 0 {
		t.Errorf("answers: %v", got)
	}
}

func TestReceiveBoundsItsQueue(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	for range 2000 {
		c.send(unix.RTM_GETLINK, unix.NLM_F_ACK, ifinfo(1, 0, 0), nil)
	}
	if c.s.queued > c.s.RecvBuffer() {
		t.Errorf("%d bytes queued of %d", c.s.queued, c.s.RecvBuffer())
	}
	buf := make([]byte, 8192)
	recv := func() error {
		_, err := c.s.RecvMsg(bg, &socket.Message{Data: usermem.BytesSequence(buf), Flags: unix.MSG_DONTWAIT})
		return err
	}
	if c.s.Readiness(waiter.EventErr) == 0 {
		t.Error("no error is shown")
	}
	if err := recv(); err != unix.ENOBUFS {
		t.Errorf("first receive: %v", err)
	}
	if err := recv(); err != nil {
		t.Errorf("second receive: %v", err)
	}
	d := w.open(unix.NETLINK_ROUTE).option(unix.NETLINK_NO_ENOBUFS, 1)
	for range 2000 {
		d.send(unix.RTM_GETLINK, 0, ifinfo(1, 0, 0), nil)
	}
	if d.s.HasError() {
		t.Error("NETLINK_NO_ENOBUFS, and yet an error")
	}
}

func TestReceiveTruncatesAndPeeks(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE).option(unix.NETLINK_PKTINFO, 1)
	if err := c.s.SetSockOpt(bg, unix.SOL_SOCKET, unix.SO_PASSCRED, []byte{1, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	c.send(unix.RTM_GETLINK, 0, ifinfo(1, 0, 0), nil)
	m := &socket.Message{Data: usermem.BytesSequence(make([]byte, 10)), Flags: unix.MSG_PEEK | unix.MSG_TRUNC, WantControl: true}
	n, err := c.s.RecvMsg(bg, m)
	if err != nil || n <= 100 || m.OutFlags&unix.MSG_TRUNC == 0 {
		t.Fatalf("peek: %d, %#x, %v", n, m.OutFlags, err)
	}
	if !m.Control.HasCreds || m.Control.Creds.PID != 0 || len(m.Control.Raw) != 1 || m.Control.Raw[0].Type != unix.NETLINK_PKTINFO {
		t.Errorf("control data %+v", m.Control)
	}
	m = &socket.Message{Data: usermem.BytesSequence(make([]byte, 10))}
	if n, err := c.s.RecvMsg(bg, m); n != 10 || err != nil || m.OutFlags&unix.MSG_TRUNC == 0 {
		t.Errorf("a short buffer: %d, %#x, %v", n, m.OutFlags, err)
	}
	m.Flags = unix.MSG_DONTWAIT
	if _, err := c.s.RecvMsg(bg, m); err != unix.EAGAIN {
		t.Errorf("the rest is not gone: %v", err)
	}
}

func TestOptions(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	buf := make([]byte, 16)
	for _, name := range []int{unix.NETLINK_PKTINFO, unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK, unix.NETLINK_NO_ENOBUFS} {
		for v := range 2 {
			c.option(name, v)
			if n, err := c.s.GetSockOpt(bg, unix.SOL_NETLINK, name, buf); n != 4 || err != nil || buf[0] != byte(v) {
				t.Errorf("option %d: %d, %v, %v", name, n, buf, err)
			}
		}
	}
	for _, g := range []int{unix.RTNLGRP_LINK, 33} {
		c.option(unix.NETLINK_ADD_MEMBERSHIP, g)
	}
	n, err := c.s.GetSockOpt(bg, unix.SOL_NETLINK, unix.NETLINK_LIST_MEMBERSHIPS, buf)
	if n != 8 || err != nil || !slices.Equal(buf[:8], []byte{1, 0, 0, 0, 1, 0, 0, 0}) {
		t.Errorf("memberships: %d, %v, %v", n, buf, err)
	}
	for _, x := range []struct {
		ctx         context.Context
		level, name int
		val         uint32
		want        error
	}{
		{bg, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, 0, unix.EINVAL},
		{bg, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, 1000, unix.EINVAL},
		{user, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1, unix.EPERM},
		{bg, unix.SOL_NETLINK, 99, 1, unix.ENOPROTOOPT},
		{bg, unix.SOL_NETLINK, unix.NETLINK_RX_RING, 1, unix.ENOPROTOOPT},
		{bg, unix.SOL_UDP, 1, 1, unix.ENOPROTOOPT},
		{user, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, 1, nil},
	} {
		if err := c.s.SetSockOpt(x.ctx, x.level, x.name, binary.NativeEndian.AppendUint32(nil, x.val)); err != x.want {
			t.Errorf("option %d of level %d: %v, want %v", x.name, x.level, err, x.want)
		}
	}
	d := w.open(unix.NETLINK_SOCK_DIAG)
	if err := d.s.SetSockOpt(user, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, []byte{1, 0, 0, 0}); err != unix.EPERM {
		t.Errorf("a user listens to sock_diag: %v", err)
	}
	if _, err := c.s.GetSockOpt(bg, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, buf); err != unix.ENOPROTOOPT {
		t.Error(err)
	}
	if _, err := c.s.GetSockOpt(bg, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, buf[:3]); err != unix.EINVAL {
		t.Error(err)
	}
}

func TestAcknowledgements(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	// Without NLM_F_ACK success is silent; an error has the whole request.
	c.send(unix.RTM_NEWLINK, 0, ifinfo(2, unix.IFF_UP, unix.IFF_UP), nil)
	if got := c.receive(); len(got) != 0 {
		t.Fatalf("%v", got)
	}
	get := func(fill func(*builder)) message {
		t.Helper()
		c.send(unix.RTM_GETLINK, unix.NLM_F_ACK, ifinfo(99, 0, 0), fill)
		got := c.receive()
		if len(got) != 1 || got[0].typ != unix.NLMSG_ERROR {
			t.Fatalf("%v", got)
		}
		return got[0]
	}
	if m := get(nil); m.flags != 0 || len(m.payload) != 4+16+16 {
		t.Errorf("an error: flags %#x, %d bytes", m.flags, len(m.payload))
	}
	c.option(unix.NETLINK_CAP_ACK, 1)
	if m := get(nil); m.flags != flagCapped || len(m.payload) != 4+16 {
		t.Errorf("capped: flags %#x, %d bytes", m.flags, len(m.payload))
	}
	// With NETLINK_EXT_ACK come words, and where the offending attribute is.
	c.option(unix.NETLINK_EXT_ACK, 1)
	c.send(unix.RTM_GETLINK, 0, ifinfo(0, 0, 0), func(w *builder) { w.attr(unix.IFLA_MTU, []byte{1}) })
	m := c.receive()[0]
	a, err := parse(m.payload[20:], 0, []shape{errAttrMsg: isBytes, errAttrOffs: isU32}, true)
	if err != nil || m.flags != flagCapped|flagAckTLVs || a.text(errAttrMsg) == "" || a.u32(errAttrOffs) != 32 {
		t.Errorf("extended: flags %#x, %v, %v", m.flags, a, err)
	}
	if e := unix.Errno(-int32(binary.NativeEndian.Uint32(m.payload))); e != unix.ERANGE {
		t.Errorf("a short attribute: %v", e)
	}
	// A message without NLM_F_REQUEST, and a control message, do nothing but are acknowledged.
	for _, h := range []header{{typ: unix.RTM_GETLINK, flags: unix.NLM_F_ACK}, {typ: unix.NLMSG_NOOP, flags: unix.NLM_F_ACK | unix.NLM_F_REQUEST}} {
		var b builder
		b.begin(h)
		b.end()
		c.s.SendMsg(bg, &socket.Message{Data: usermem.BytesSequence(b.b)})
		if got := c.receive(); len(got) != 1 || got[0].typ != unix.NLMSG_ERROR || binary.NativeEndian.Uint32(got[0].payload) != 0 {
			t.Errorf("%+v: %v", h, got)
		}
	}
	c.want(unix.EOPNOTSUPP, unix.RTM_MAX+1, 0, ifinfo(0, 0, 0), nil)
	c.want(unix.EOPNOTSUPP, unix.RTM_GETNETCONF, all, ifinfo(0, 0, 0), nil)
	c.want(unix.EINVAL, unix.RTM_GETLINK, 0, []byte{0}, nil)
	c.ctx = user
	for _, typ := range []uint16{unix.RTM_NEWLINK, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_DELRULE, unix.RTM_NEWNEIGH} {
		c.want(unix.EPERM, typ, 0, ifinfo(2, 0, 0), nil)
	}
}

func TestDumpsComeInPieces(t *testing.T) {
	w := newWorld(t)
	eth := w.net.NIC(2)
	for i := range 200 {
		if err := eth.AddAddress(stack.Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 1}), 24)}); err != nil {
			t.Fatal(err)
		}
	}
	c := w.open(unix.NETLINK_ROUTE)
	got := c.want(0, unix.RTM_GETADDR, all, ifaddr(unix.AF_INET, 0, 0), nil)
	if len(got) != 202 {
		t.Errorf("%d addresses", len(got))
	}
	// One piece is queued at a time, and another dump has to wait.
	c = w.open(unix.NETLINK_ROUTE)
	c.send(unix.RTM_GETADDR, all, ifaddr(unix.AF_INET, 0, 0), nil)
	if n := len(c.s.queue) - c.s.head; n != 1 {
		t.Errorf("%d datagrams are queued", n)
	}
	c.send(unix.RTM_GETLINK, all, ifinfo(0, 0, 0), nil)
	got = c.receive()
	if len(got) != 204 { // the addresses, EBUSY and the end
		t.Errorf("%d messages", len(got))
	}
	busy := 0
	for _, m := range got {
		if m.typ == unix.NLMSG_ERROR && unix.Errno(-int32(binary.NativeEndian.Uint32(m.payload))) == unix.EBUSY {
			busy++
		}
	}
	if busy != 1 {
		t.Errorf("%d times EBUSY", busy)
	}
	// A reader with a small buffer gets small pieces.
	d := w.open(unix.NETLINK_ROUTE)
	d.send(unix.RTM_GETADDR, all, ifaddr(unix.AF_INET, 0, 0), nil)
	for {
		buf := make([]byte, 4096)
		m := &socket.Message{Data: usermem.BytesSequence(buf), Flags: unix.MSG_DONTWAIT}
		_, err := d.s.RecvMsg(bg, m)
		if err == unix.EAGAIN {
			break
		}
		if m.OutFlags&unix.MSG_TRUNC != 0 || err != nil {
			t.Fatalf("%#x, %v", m.OutFlags, err)
		}
	}
}

func TestNamespaceWithoutNetwork(t *testing.T) {
	st := socket.NewStack()
	register(st, nil)
	s, err := st.Socket(bg, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, s: s.(*Socket)}
	if got := c.want(0, unix.RTM_GETLINK, all, ifinfo(0, 0, 0), nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
	c.want(unix.EOPNOTSUPP, unix.RTM_GETLINK, 0, ifinfo(1, 0, 0), nil)
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWADDR, 0, ifaddr(unix.AF_INET, 8, 1), nil)
	c.s.Deliver([]byte("cookie"))
	buf := make([]byte, 10)
	if n, err := c.s.Read(bg, usermem.BytesSequence(buf), 0); n != 6 || err != nil {
		t.Errorf("a message of the kernel: %d, %v", n, err)
	}
}

func FuzzRequest(f *testing.F) {
	seed := func(protocol int, typ, flags uint16, head []byte, fill func(*builder)) {
		var w builder
		w.begin(header{typ: typ, flags: flags | unix.NLM_F_REQUEST, seq: 7})
		w.bytes(head...)
		w.pad()
		if fill != nil {
			fill(&w)
		}
		w.end()
		f.Add(protocol, w.b)
	}
	seed(0, unix.RTM_GETLINK, all, ifinfo(0, 0, 0), nil)
	seed(0, unix.RTM_GETLINK, 0, ifinfo(0, 0, 0), func(w *builder) { w.attrString(unix.IFLA_IFNAME, "lo") })
	seed(0, unix.RTM_NEWLINK, unix.NLM_F_CREATE, ifinfo(0, 1, 1), func(w *builder) {
		w.attrString(unix.IFLA_IFNAME, "dummy%d")
		at := w.nest(unix.IFLA_LINKINFO)
		w.attrString(iflaInfoKind, "dummy")
		w.unnest(at)
	})
	seed(0, unix.RTM_NEWADDR, unix.NLM_F_CREATE, ifaddr(unix.AF_INET6, 64, 2), func(w *builder) { w.attrAddr(unix.IFA_LOCAL, addr("fd01::1")) })
	seed(0, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET, 24, 2), func(w *builder) { w.attrAddr(unix.IFA_LOCAL, addr("10.0.0.1")) })
	seed(0, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, rtmsg(unix.AF_INET, 8, 254, 3, 0, 1), func(w *builder) {
		w.attrAddr(unix.RTA_DST, addr("11.0.0.0"))
		at := w.nest(unix.RTA_MULTIPATH)
		w.u16(16)
		w.u16(0)
		w.u32(2)
		w.attrAddr(unix.RTA_GATEWAY, addr("10.0.0.2"))
		w.unnest(at)
	})
	seed(0, unix.RTM_GETROUTE, 0, rtmsg(unix.AF_INET, 32, 0, 0, 0, 0), func(w *builder) { w.attrAddr(unix.RTA_DST, addr("10.0.0.2")) })
	seed(0, unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, ndmsg(unix.AF_INET, 2, 0x80), func(w *builder) {
		w.attrAddr(unix.NDA_DST, addr("10.0.0.2"))
		w.attr(unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 2})
	})
	seed(0, unix.RTM_NEWRULE, unix.NLM_F_CREATE, rtmsg(unix.AF_INET, 0, 100, 0, 0, 1), func(w *builder) { w.attrU32(linux.FRAPriority, 5) })
	seed(4, diagByFamily, all, inetRequestOf(unix.AF_INET, unix.IPPROTO_TCP, nil), func(w *builder) {
		w.attr(inetReqBytecode, []byte{bcSourceEQ, 8, 12, 0, 0, 0, 80, 0})
	})
	seed(4, diagByFamily, all, append([]byte{unix.AF_UNIX, 0, 0, 0, 255, 255, 255, 255}, make([]byte, 16)...), nil)
	f.Fuzz(func(t *testing.T, protocol int, b []byte) {
		w := newWorld(t)
		w.ns.ip = someSockets{}
		if protocol != unix.NETLINK_SOCK_DIAG {
			protocol = unix.NETLINK_ROUTE
		}
		for _, strict := range []int{0, 1} {
			c := w.open(protocol).option(unix.NETLINK_EXT_ACK, 1).option(unix.NETLINK_GET_STRICT_CHK, strict)
			for g := range uint32(numRouteGroups) {
				if protocol == unix.NETLINK_ROUTE {
					c.option(unix.NETLINK_ADD_MEMBERSHIP, int(g+1))
				}
			}
			c.s.SendMsg(bg, &socket.Message{Data: usermem.BytesSequence(b)})
			for range 10000 {
				m := &socket.Message{Data: usermem.BytesSequence(make([]byte, 100)), Flags: unix.MSG_DONTWAIT}
				if _, err := c.s.RecvMsg(bg, m); err == unix.EAGAIN {
					break
				}
			}
		}
	})
}
