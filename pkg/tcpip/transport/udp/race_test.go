package udp_test

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/pkg/waiter"
)

// TestConcurrentSendersLoseNothingSilently has many send to one at once: what does not arrive is
// counted.
func TestConcurrentSendersLoseNothingSilently(t *testing.T) {
	const senders, each = 8, 2000
	h := host(t)
	b := bound(t, h, false, Loopback4, 5000)
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range senders {
		a := endpoint(t, h, false)
		OK(t, a.Connect(To(Loopback4, 5000)))
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				if Send(a, "data") != nil {
					failed.Add(1)
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	received := 0
	take := func() {
		for {
			s, _, err := Receive(b, tcpip.ReceiveOptions{DontWait: true})
			if err == unix.EAGAIN {
				return
			}
			if err != nil || s != "data" {
				t.Fatalf("received %q, %v", s, err)
			}
			received++
		}
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		take()
	}
	// lo's goroutine may have some of the last.
	Eventually(t, "the count of all datagrams", func() bool {
		take()
		return received+int(b.Drops()) == senders*each
	})
	if failed.Load() != 0 || h.Stats().UDP.RcvbufErrors.Load() != uint64(b.Drops()) {
		t.Errorf("%d sends failed, %d RcvbufErrors, %d drops", failed.Load(), h.Stats().UDP.RcvbufErrors.Load(), b.Drops())
	}
}

// TestEverythingAtOnce does everything that a socket can do from several goroutines: the race
// detector looks on.
func TestEverythingAtOnce(t *testing.T) {
	h := host(t)
	e, peer := endpoint(t, h, true), bound(t, h, false, Loopback4, 5000)
	OK(t, e.Bind(To(netip.Addr{}, 6000)))
	m := tcpip.GroupMembership{Group: families[0].group, NIC: EthID}
	do := []func(i int){
		func(int) { SendTo(e, "x", To(Loopback4, 5000)) },
		func(int) { SendTo(peer, "x", To(Loopback4, 6000)) },
		func(int) { SendTo(peer, "x", To(families[0].group, 6000)) },
		func(i int) { Receive(e, tcpip.ReceiveOptions{DontWait: true, Peek: i&1 != 0, ErrorQueue: i&2 != 0}) },
		func(int) { Receive(peer, tcpip.ReceiveOptions{DontWait: true}) },
		func(i int) {
			if e.Connect(To(Loopback4, uint16(5000+i%2))); i%3 == 0 {
				e.Connect(tcpip.FullAddress{})
			}
		},
		func(i int) {
			if e.JoinGroup(m); i%2 == 0 {
				e.LeaveGroup(m)
			}
		},
		func(i int) { e.Options().ReceiveErrors4.Store(i&1 != 0); e.TakeError() },
		func(i int) { e.SetDevice(tcpip.NICID(i % 3)) },
		func(i int) { e.SetCork(i&1 != 0); e.SetGRO(i&2 != 0); e.SetSegmentSize(i % 3) },
		func(int) { e.LocalAddress(); e.RemoteAddress(); e.ReceiveQueued(); e.SendQueued() },
		func(int) { e.Readiness(waiter.AllEvents); e.Shutdown(tcpip.ShutdownRead) },
		func(int) {
			l := &waiter.Entry{Mask: waiter.AllEvents, Listener: nothing{}}
			e.EventRegister(l)
			e.EventUnregister(l)
		},
	}
	var wg sync.WaitGroup
	for _, f := range do {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 300 {
				f(i)
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for range 100 {
			x := udp.NewEndpoint(h.Stack, false)
			x.Options().ReusePort.Store(true)
			x.Bind(To(Loopback4, 7000))
			SendTo(x, "x", To(Loopback4, 7000))
			x.Close()
		}
	}()
	wg.Wait()
	e.Close()
	if e.Rx.Memory() != 0 || h.Eth.InGroup(families[0].group) {
		t.Error("something is left of the socket")
	}
}

type nothing struct{}

func (nothing) NotifyEvent(waiter.EventMask) {}
