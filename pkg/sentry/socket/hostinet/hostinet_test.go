package hostinet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/host"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

var bg = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

func newLayer() *socket.Stack {
	layer := socket.NewStack()
	Register(layer, host.New(vfs.New()))
	return layer
}

func TestOnlyKnownSocketsAreMade(t *testing.T) {
	layer := newLayer()
	for _, c := range []struct {
		family, typ, protocol int
		want                  error
	}{
		{unix.AF_INET, unix.SOCK_STREAM, 0, nil}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP, nil},
		{unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_ROUTE, nil},
		{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP, unix.EPROTONOSUPPORT},
		{unix.AF_INET, unix.SOCK_STREAM, 9999, unix.EINVAL}, {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, unix.EPERM},
		{unix.AF_INET, unix.SOCK_RAW, 0, unix.EPROTONOSUPPORT}, {unix.AF_INET6, unix.SOCK_SEQPACKET, 0, unix.ESOCKTNOSUPPORT},
		{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG, unix.EPROTONOSUPPORT}, {unix.AF_PACKET, unix.SOCK_RAW, 0, unix.EAFNOSUPPORT},
	} {
		s, err := layer.Socket(bg, c.family, c.typ, c.protocol)
		if err != c.want {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			s.Release(bg)
		}
	}
}

func TestOptionsOutsideTheListAreRefused(t *testing.T) {
	s, err := newLayer().Socket(bg, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release(bg)
	one := []byte{1, 0, 0, 0}
	if err := s.SetSockOpt(bg, unix.IPPROTO_TCP, unix.TCP_NODELAY, one); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 8)
	if n, err := s.GetSockOpt(bg, unix.IPPROTO_TCP, unix.TCP_NODELAY, buf); n != 4 || err != nil || buf[0] != 1 {
		t.Errorf("%d, %v, %v", n, buf, err)
	}
	for _, o := range [][2]int{{unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, {unix.IPPROTO_IP, unix.IP_HDRINCL}, {unix.IPPROTO_TCP, unix.TCP_REPAIR}, {0x7777, 1}} {
		if err := s.SetSockOpt(bg, o[0], o[1], one); err != unix.ENOPROTOOPT {
			t.Errorf("option %v: %v", o, err)
		}
	}
	if err := s.SetSockOpt(bg, unix.IPPROTO_TCP, unix.TCP_INFO, one); err != unix.ENOPROTOOPT {
		t.Errorf("an option that is read only: %v", err)
	}
	// Of SOL_SOCKET some are the sentry's own.
	if n, err := s.GetSockOpt(bg, unix.SOL_SOCKET, unix.SO_DOMAIN, buf); n != 4 || err != nil || buf[0] != unix.AF_INET {
		t.Errorf("SO_DOMAIN: %d, %v, %v", n, buf, err)
	}
}

func TestConversation(t *testing.T) {
	layer := newLayer()
	open := func() socket.Socket {
		s, err := layer.Socket(bg, unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, c := open(), open()
	var a socket.Addr
	a.Set([]byte{unix.AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	must(l.Bind(bg, &a))
	must(l.Listen(bg, 1))
	must(l.GetSockName(bg, &a))
	must(c.Connect(bg, &a, false))
	if err := c.Connect(bg, &a, false); err != unix.EISCONN {
		t.Errorf("connect again: %v", err)
	}
	s, err := l.Accept(bg, nil, true)
	must(err)
	big := bytes.Repeat([]byte("0123456789"), 20000) // more than a chunk
	sent, err := c.SendMsg(bg, &socket.Message{Data: usermem.BytesSequence(big), Flags: unix.MSG_DONTWAIT})
	must(err)
	got := make([]byte, sent)
	for n := 0; n < sent; {
		m, err := s.RecvMsg(bg, &socket.Message{Data: usermem.BytesSequence(got[n:]), Flags: unix.MSG_DONTWAIT})
		must(err)
		n += m
	}
	if !bytes.Equal(got, big[:sent]) || sent <= maxChunk {
		t.Errorf("%d bytes sent, and others came", sent)
	}
	if _, err := s.RecvMsg(bg, &socket.Message{Data: usermem.BytesSequence(got), Flags: unix.MSG_DONTWAIT}); err != unix.EAGAIN {
		t.Errorf("nothing more: %v", err)
	}
	for _, x := range []socket.Socket{c, s} {
		x.Release(bg)
	}
	if list := layer.Devices().List(); len(list) == 0 || list[0].Name != "lo" {
		t.Errorf("devices %v", list)
	}
	l.Release(bg)
}

func TestNetlinkOnlyLooks(t *testing.T) {
	s, err := newLayer().Socket(bg, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release(bg)
	request := func(typ, flags uint16) []byte {
		b := make([]byte, 32)
		binary.NativeEndian.PutUint32(b, 32)
		binary.NativeEndian.PutUint16(b[4:], typ)
		binary.NativeEndian.PutUint16(b[6:], flags|unix.NLM_F_REQUEST)
		return b
	}
	send := func(b []byte) error {
		_, err := s.SendMsg(bg, &socket.Message{Data: usermem.BytesSequence(b), Flags: unix.MSG_DONTWAIT})
		return err
	}
	if err := send(request(unix.RTM_GETLINK, unix.NLM_F_DUMP)); err != nil {
		t.Error(err)
	}
	for _, b := range [][]byte{
		request(unix.RTM_NEWLINK, 0), request(unix.RTM_DELROUTE, 0), request(unix.RTM_NEWNSID, 0),
		append(request(unix.RTM_GETLINK, unix.NLM_F_DUMP), request(unix.RTM_NEWADDR, unix.NLM_F_CREATE)...),
	} {
		if err := send(b); err != unix.EPERM {
			t.Errorf("request %d: %v", b[4], err)
		}
	}
	var to socket.Addr
	to.Set([]byte{unix.AF_NETLINK, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	if err := s.Connect(bg, &to, false); err != unix.EPERM {
		t.Errorf("to another process: %v", err)
	}
}

func TestControlData(t *testing.T) {
	b, err := encodeControl([]socket.RawControl{{Level: unix.IPPROTO_IP, Type: unix.IP_TTL, Data: []byte{9, 0, 0, 0}}})
	if err != nil || len(b) != 24 {
		t.Fatalf("% x, %v", b, err)
	}
	var c socket.Control
	decodeControl(&c, b)
	if len(c.Raw) != 1 || c.Raw[0].Type != unix.IP_TTL || c.Raw[0].Data[0] != 9 {
		t.Errorf("%+v", c.Raw)
	}
	for _, r := range []socket.RawControl{
		{Level: unix.SOL_SOCKET, Type: unix.SCM_RIGHTS, Data: make([]byte, 4)},
		{Level: unix.IPPROTO_IP, Type: unix.IP_RETOPTS, Data: make([]byte, 4)},
		{Level: unix.IPPROTO_IP, Type: unix.IP_TTL, Data: make([]byte, 5)},
	} {
		if _, err := encodeControl([]socket.RawControl{r}); err != unix.EINVAL {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{32, 0, 0, 0, 18, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 3, 0, 'l', 'o', 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c socket.Control
		decodeControl(&c, b)
		for _, r := range c.Raw {
			if r.Level == unix.SOL_SOCKET && (r.Type == unix.SCM_RIGHTS || r.Type == unix.SCM_CREDENTIALS) {
				t.Errorf("%+v", r)
			}
		}
		attribute(b, 3)
		// What is let through holds no message that the kernel would carry out.
		if onlyLooks(b) {
			for {
				typ, _, rest, ok := next(b)
				if !ok {
					break
				}
				if typ >= unix.NLMSG_MIN_TYPE && typ&3 != 2 {
					t.Errorf("type %d", typ)
				}
				b = rest
			}
		}
	})
}
