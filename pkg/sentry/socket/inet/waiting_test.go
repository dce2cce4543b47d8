package inet

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/waiter"
)

// scripted is an endpoint whose sends take what the script says, one entry a call; -1 is EAGAIN.
type scripted struct {
	waiter.Queue
	tcpip.Endpoint // what is not used here
	opts           tcpip.SocketOptions
	script         []int
	calls          int
}

func (s *scripted) Options() *tcpip.SocketOptions { return &s.opts }
func (s *scripted) EventRegister(e *waiter.Entry) error {
	// As soon as somebody waits there is news.
	err := s.Queue.EventRegister(e)
	s.Notify(waiter.EventOut | waiter.EventIn)
	return err
}
func (s *scripted) EventUnregister(e *waiter.Entry)               { s.Queue.EventUnregister(e) }
func (s *scripted) Readiness(m waiter.EventMask) waiter.EventMask { return 0 }
func (s *scripted) Close()                                        {}
func (s *scripted) next() int {
	n := -1
	if s.calls < len(s.script) {
		n = s.script[s.calls]
	}
	s.calls++
	s.Notify(waiter.EventOut | waiter.EventIn)
	return n
}

func (s *scripted) Send(src tcpip.Source, _ tcpip.SendOptions) (int, error) {
	n := s.next()
	if n < 0 {
		return 0, unix.EAGAIN
	}
	b := make([]byte, min(n, src.Len()))
	return src.Read(b)
}

func (s *scripted) Receive(dst tcpip.Sink, _ tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	n := s.next()
	if n < 0 {
		return tcpip.ReceiveResult{}, unix.EAGAIN
	}
	m, err := dst.Write(make([]byte, min(n, dst.Len())))
	return tcpip.ReceiveResult{N: m, MessageLen: n}, err
}

func withScript(t *testing.T, typ int, script ...int) (*Socket, *scripted) {
	ep := &scripted{script: script}
	ep.opts.Init(1, 1)
	return newSocket(world(t), ep, unix.AF_INET, typ, unix.IPPROTO_UDP, 0), ep
}

func TestWaitingForRoom(t *testing.T) {
	data := usermem.BytesSequence(make([]byte, 10))
	for _, c := range []struct {
		name   string
		typ    int
		flags  uint32
		script []int
		want   int
		err    error
	}{
		{"datagram at once", unix.SOCK_DGRAM, 0, []int{10}, 10, nil},
		{"datagram later", unix.SOCK_DGRAM, 0, []int{-1, -1, -1, 10}, 10, nil},
		{"datagram without waiting", unix.SOCK_DGRAM, unix.MSG_DONTWAIT, []int{-1, 10}, 0, unix.EAGAIN},
		{"stream at once", unix.SOCK_STREAM, 0, []int{10}, 10, nil},
		{"stream in pieces", unix.SOCK_STREAM, 0, []int{3, -1, 3, -1, -1, 4}, 10, nil},
		{"stream without waiting", unix.SOCK_STREAM, unix.MSG_DONTWAIT, []int{3, 10}, 3, nil},
		{"stream without waiting, nothing", unix.SOCK_STREAM, unix.MSG_DONTWAIT, []int{-1, 10}, 0, unix.EAGAIN},
	} {
		s, _ := withScript(t, c.typ, c.script...)
		if n, err := s.SendMsg(newTask(), &socket.Message{Data: data, Flags: c.flags}); n != c.want || err != c.err {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, n, err, c.want, c.err)
		}
	}
}

func TestWaitingForData(t *testing.T) {
	data := usermem.BytesSequence(make([]byte, 10))
	for _, c := range []struct {
		name   string
		typ    int
		flags  uint32
		low    int32
		script []int
		want   int
		err    error
	}{
		{"datagram later", unix.SOCK_DGRAM, 0, 1, []int{-1, -1, 7}, 7, nil},
		{"datagram, cut off", unix.SOCK_DGRAM, unix.MSG_TRUNC, 1, []int{20}, 20, nil},
		{"datagram without waiting", unix.SOCK_DGRAM, unix.MSG_DONTWAIT, 1, []int{-1, 7}, 0, unix.EAGAIN},
		{"stream, anything", unix.SOCK_STREAM, 0, 1, []int{-1, 2, 8}, 2, nil},
		{"stream, all", unix.SOCK_STREAM, unix.MSG_WAITALL, 1, []int{-1, 2, -1, 3, 5}, 10, nil},
		{"stream, all, and its end", unix.SOCK_STREAM, unix.MSG_WAITALL, 1, []int{2, -1, 0}, 2, nil},
		{"stream, low-water mark", unix.SOCK_STREAM, 0, 4, []int{2, -1, 2, 6}, 4, nil},
		{"stream at its end", unix.SOCK_STREAM, 0, 1, []int{0}, 0, nil},
		{"stream without waiting", unix.SOCK_STREAM, unix.MSG_DONTWAIT | unix.MSG_WAITALL, 1, []int{2, -1, 8}, 2, nil},
	} {
		s, ep := withScript(t, c.typ, c.script...)
		ep.opts.ReceiveLow.Store(c.low)
		if n, err := s.RecvMsg(newTask(), &socket.Message{Data: data, Flags: c.flags}); n != c.want || err != c.err {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, n, err, c.want, c.err)
		}
	}
}

func TestTimesOut(t *testing.T) {
	short := timevalMicroseconds(10_000)
	for _, typ := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		s, ep := withScript(t, typ)
		ep.script = nil // EAGAIN for ever
		ctx := newTask()
		for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
			if err := s.SetSockOpt(ctx, unix.SOL_SOCKET, o, short); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if _, err := recv(ctx, s, 1, 0); err != unix.EAGAIN {
			t.Errorf("type %d, receive: %v", typ, err)
		}
		if _, err := send(ctx, s, "x", 0); err != unix.EAGAIN {
			t.Errorf("type %d, send: %v", typ, err)
		}
		if d := time.Since(start); d < 20*time.Millisecond {
			t.Errorf("type %d: %v", typ, d)
		}
	}
}

func timevalMicroseconds(us uint32) []byte {
	return append(make([]byte, 8), append(u32(us), 0, 0, 0, 0)...)
}
