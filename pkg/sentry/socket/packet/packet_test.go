package packet

import (
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/usermem"
)

var root = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

func world(t testing.TB) *socket.Stack {
	layer, st := socket.NewStack(), inet.NewStack(nil)
	t.Cleanup(st.Close)
	inet.SetUp(st.NIC(1), true)
	Register(inet.Register(layer, st))
	return layer
}

func sock(t testing.TB, layer *socket.Stack, typ int) *Socket {
	s, err := layer.Socket(root, unix.AF_PACKET, typ, int(hostOrder(3)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Release(root) })
	return s.(*Socket)
}

// What applications see is tested against Linux by test/syscalls/inet_raw.c.

func TestEveryOption(t *testing.T) {
	s := sock(t, world(t), unix.SOCK_RAW)
	if len(Options()) < 10 {
		t.Errorf("%d options", len(Options()))
	}
	for _, o := range Options() {
		if o.Label == "" || o.LevelLabel != "SOL_PACKET" {
			t.Errorf("%+v", o)
		}
		for _, size := range []int{0, 1, 4, 8, 16, 64} {
			buf := make([]byte, size)
			if n, err := s.GetSockOpt(root, o.Level, o.Name, buf); err == nil && n > size {
				t.Errorf("%s: %d bytes of %d", o.Label, n, size)
			}
			if err := s.SetSockOpt(root, o.Level, o.Name, buf); err != nil {
				if _, ok := err.(unix.Errno); !ok {
					t.Errorf("%s: %v", o.Label, err)
				}
			}
		}
	}
	for _, r := range recorded {
		if err := s.SetSockOpt(root, unix.SOL_PACKET, r.name, []byte{7, 0, 0, 0}); err != nil {
			t.Errorf("%s: %v", r.label, err)
		}
		b := make([]byte, 4)
		if _, err := s.GetSockOpt(root, unix.SOL_PACKET, r.name, b); err != nil || b[0] != 7 {
			t.Errorf("%s: %v, %v", r.label, b, err)
		}
	}
}

func TestProtocolOrder(t *testing.T) {
	if hostOrder(hostOrder(0x0800)) != 0x0800 || isLittleEndian && hostOrder(0x0008) != 0x0800 {
		t.Errorf("%#x", hostOrder(0x0008))
	}
}

func FuzzPacketSocket(f *testing.F) {
	f.Add(uint8(0), []byte{17, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}, []byte("\x45 frame"))
	f.Add(uint8(1), []byte{17, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 60))
	f.Fuzz(func(t *testing.T, call uint8, address, data []byte) {
		layer := world(t)
		typ := unix.SOCK_RAW
		if call&1 != 0 {
			typ = unix.SOCK_DGRAM
		}
		s := sock(t, layer, typ)
		var a socket.Addr
		a.Set(address)
		s.Bind(root, &a)
		m := &socket.Message{Data: usermem.BytesSequence(data), Flags: unix.MSG_DONTWAIT, To: &a}
		if call&2 != 0 {
			m.To = nil
		}
		s.SendMsg(root, m)
		s.auxdata.Store(true)
		for range 3 {
			in := &socket.Message{Data: usermem.BytesSequence(make([]byte, 100)), Flags: unix.MSG_DONTWAIT, From: new(socket.Addr)}
			if n, err := s.RecvMsg(root, in); err == nil && n > 100 {
				t.Errorf("%d bytes in 100", n)
			}
		}
		var name socket.Addr
		if err := s.GetSockName(root, &name); err != nil || name.Len() < llAddr {
			t.Errorf("%v, %v", name.Bytes(), err)
		}
	})
}
