package netlink

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

var bg = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

func open(t testing.TB) *Socket {
	st := socket.NewStack()
	Register(st)
	s, err := st.Socket(bg, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Socket)
}

func request(typ, flags uint16, payload []byte) []byte {
	var w builder
	w.begin(header{typ: typ, flags: flags | unix.NLM_F_REQUEST, seq: 7})
	w.bytes(payload...)
	w.end()
	return w.b
}

func exchange(t testing.TB, s *Socket, req []byte) (types []uint16, last []byte) {
	t.Helper()
	if _, err := s.SendMsg(bg, &socket.Message{Data: usermem.BytesSequence(req)}); err != nil {
		t.Fatal(err)
	}
	for {
		buf := make([]byte, 8192)
		m := &socket.Message{Data: usermem.BytesSequence(buf), Flags: unix.MSG_DONTWAIT}
		n, err := s.RecvMsg(bg, m)
		if err == unix.EAGAIN {
			return types, last
		}
		if err != nil {
			t.Fatal(err)
		}
		for b := buf[:n]; ; {
			h, p, rest, ok := next(b)
			if !ok {
				break
			}
			if h.seq != 7 {
				t.Errorf("sequence number %d", h.seq)
			}
			types, last, b = append(types, h.typ), p, rest
		}
	}
}

func TestDumpsEndWithDone(t *testing.T) {
	s := open(t)
	for typ, want := range map[uint16][]uint16{
		unix.RTM_GETLINK:  {unix.RTM_NEWLINK, unix.NLMSG_DONE},
		unix.RTM_GETADDR:  {unix.RTM_NEWADDR, unix.RTM_NEWADDR, unix.NLMSG_DONE},
		unix.RTM_GETROUTE: {unix.NLMSG_DONE},
	} {
		got, _ := exchange(t, s, request(typ, unix.NLM_F_DUMP, make([]byte, 16)))
		if len(got) != len(want) {
			t.Errorf("request %d: %v", typ, got)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("request %d: %v", typ, got)
			}
		}
	}
	got, _ := exchange(t, s, request(unix.RTM_GETADDR, unix.NLM_F_DUMP, []byte{unix.AF_INET6}))
	if len(got) != 2 {
		t.Errorf("IPv6 only: %v", got)
	}
}

func TestLinkByName(t *testing.T) {
	s := open(t)
	var w builder
	w.bytes(make([]byte, sizeofIfinfomsg)...)
	w.attrString(unix.IFLA_IFNAME, "lo")
	got, p := exchange(t, s, request(unix.RTM_GETLINK, 0, w.b))
	if len(got) != 1 || got[0] != unix.RTM_NEWLINK || binary.NativeEndian.Uint32(p[4:]) != 1 {
		t.Errorf("%v", got)
	}
	if name, ok := attribute(p[sizeofIfinfomsg:], unix.IFLA_IFNAME); !ok || string(name) != "lo\x00" {
		t.Errorf("name %q", name)
	}
	w = builder{}
	w.bytes(make([]byte, sizeofIfinfomsg)...)
	w.attrString(unix.IFLA_IFNAME, "nope")
	got, p = exchange(t, s, request(unix.RTM_GETLINK, 0, w.b))
	if len(got) != 1 || got[0] != unix.NLMSG_ERROR || int32(binary.NativeEndian.Uint32(p)) != -int32(unix.ENODEV) {
		t.Errorf("%v", got)
	}
}

func TestAcknowledgement(t *testing.T) {
	s := open(t)
	if s.Readiness(waiter.EventIn) != 0 {
		t.Error("readable too early")
	}
	got, p := exchange(t, s, request(unix.RTM_NEWLINK, unix.NLM_F_ACK, make([]byte, 16)))
	if len(got) != 1 || got[0] != unix.NLMSG_ERROR || int32(binary.NativeEndian.Uint32(p)) != -int32(unix.EPERM) {
		t.Errorf("%v", got)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(request(unix.RTM_GETLINK, unix.NLM_F_DUMP, make([]byte, 16)))
	f.Add(request(unix.RTM_GETLINK, 0, append(make([]byte, 16), 7, 0, 3, 0, 'l', 'o', 0, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := open(t)
		s.SendMsg(bg, &socket.Message{Data: usermem.BytesSequence(b)})
		for range 1000 {
			m := &socket.Message{Data: usermem.BytesSequence(make([]byte, 100)), Flags: unix.MSG_DONTWAIT}
			if _, err := s.RecvMsg(bg, m); err == unix.EAGAIN {
				return
			}
		}
	})
}
