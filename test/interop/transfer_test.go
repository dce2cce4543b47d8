package interop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
)

// direction is who sends in a transfer.
type direction int

const (
	weSend direction = iota
	theySend
	bothSend
)

func (d direction) String() string { return [...]string{"we send", "they send", "both send"}[d] }

// transferCase is a path, and the settings at its ends. All kinds of transfers cross it at the same time: both
// versions of IP, either side as the client, each direction and both.
type transferCase struct {
	name string
	mtu  int
	imp  pipe.Impairment
	// size is in bytes, of each direction.
	size int
	// mark: see world.mark.
	mark   uint32
	sysctl map[string]string
	set    func(*stack.Settings)
	// check looks at a connection whose data has been transferred.
	check func(t *testing.T, us conn, them *net.TCPConn)
}

const ms = time.Millisecond

var transferCases = []transferCase{
	{name: "clean 1280", mtu: 1280, size: 1 << 20},
	{name: "clean 1500", mtu: 1500, size: 2 << 20},
	{name: "clean 9000", mtu: 9000, size: 5 << 20},
	{name: "delay", mtu: 1500, size: 2 << 20, imp: pipe.Impairment{Delay: 20 * ms}},
	{name: "loss", mtu: 1500, size: 1 << 20, imp: pipe.Impairment{Loss: 0.02}},
	{name: "reorder", mtu: 1500, size: 1 << 20, imp: pipe.Impairment{Delay: 2 * ms, Reorder: 0.05, ReorderDelay: 3 * ms}},
	{name: "duplicates", mtu: 1500, size: 1 << 20, imp: pipe.Impairment{Duplicate: 0.05}},
	{name: "damage", mtu: 1500, size: 1 << 20, imp: pipe.Impairment{Corrupt: 0.01}},
	{name: "rate", mtu: 1500, size: 256 << 10, imp: pipe.Impairment{Delay: 5 * ms, Rate: 50e6, Queue: 64 << 10}},
	{name: "all together 1280", mtu: 1280, size: 128 << 10, imp: everything},
	{name: "all together 1500", mtu: 1500, size: 128 << 10, imp: everything},
	{name: "all together 9000", mtu: 9000, size: 256 << 10, imp: everything},
	{name: "no timestamps", mtu: 1500, size: 256 << 10, imp: pipe.Impairment{Loss: 0.02, Delay: ms},
		sysctl: map[string]string{"net.ipv4.tcp_timestamps": "0"},
		check:  negotiated("no timestamps", func(us conn) bool { i := us.Info(); return !i.Timestamps && i.SACK && i.WindowScaling })},
	{name: "no SACK", mtu: 1500, size: 256 << 10, imp: pipe.Impairment{Loss: 0.01, Delay: ms},
		sysctl: map[string]string{"net.ipv4.tcp_sack": "0"},
		check:  negotiated("no SACK", func(us conn) bool { i := us.Info(); return i.Timestamps && !i.SACK && i.WindowScaling })},
	{name: "no window scaling", mtu: 1500, size: 256 << 10, imp: pipe.Impairment{Loss: 0.02, Delay: ms},
		sysctl: map[string]string{"net.ipv4.tcp_window_scaling": "0"},
		check:  negotiated("no window scaling", func(us conn) bool { i := us.Info(); return i.Timestamps && i.SACK && !i.WindowScaling })},
	{name: "no options", mtu: 1500, size: 128 << 10, imp: pipe.Impairment{Loss: 0.01, Delay: ms},
		sysctl: map[string]string{"net.ipv4.tcp_window_scaling": "0", "net.ipv4.tcp_sack": "0", "net.ipv4.tcp_timestamps": "0"},
		check:  negotiated("no options", func(us conn) bool { i := us.Info(); return !i.Timestamps && !i.SACK && !i.WindowScaling })},
	{name: "no options of ours", mtu: 1500, size: 128 << 10, imp: pipe.Impairment{Loss: 0.01, Delay: ms},
		set: func(s *stack.Settings) {
			s.TCPTimestamps.Store(false)
			s.TCPSACK.Store(false)
			s.TCPWindowScaling.Store(false)
		},
		check: negotiated("no options", func(us conn) bool { i := us.Info(); return !i.Timestamps && !i.SACK && !i.WindowScaling })},
	{name: "ECN", mtu: 1500, size: 512 << 10, imp: pipe.Impairment{Delay: 2 * ms}, mark: 50,
		sysctl: map[string]string{"net.ipv4.tcp_ecn": "1"},
		set:    func(s *stack.Settings) { s.TCPECN.Store(1) },
		check:  negotiated("ECN", func(us conn) bool { return us.Info().ECN })},
	{name: "NewReno", mtu: 1500, size: 256 << 10, imp: everything,
		set: func(s *stack.Settings) { s.CongestionControl.Store("reno") }},
}

var everything = pipe.Impairment{Loss: 0.02, Delay: 20 * ms, Jitter: 2 * ms, Reorder: 0.02, ReorderDelay: 5 * ms, Duplicate: 0.02, Rate: 200e6}

// negotiated checks what both sides agreed on.
func negotiated(what string, f func(us conn) bool) func(*testing.T, conn, *net.TCPConn) {
	return func(t *testing.T, us conn, _ *net.TCPConn) {
		if !f(us) {
			t.Errorf("%s: we agreed on %+v", what, us.Info())
		}
	}
}

// numbers are n bytes that depend on seed and of which no part is like another.
func numbers(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed))).Read(b)
	return b
}

func TestTransfers(t *testing.T) {
	w := newWorld(t, tap, true)
	for _, c := range transferCases {
		t.Run(c.name, func(t *testing.T) { w.runTransfers(t, &c) })
	}
}

// Without a cable both sides leave checksums and segmentation to each other.
func TestTransfersWithOffloads(t *testing.T) {
	for _, dev := range []device{tap, veth} {
		t.Run(dev.String(), func(t *testing.T) {
			w := newWorld(t, dev, false)
			for _, mtu := range []int{1280, 1500, 9000} {
				c := transferCase{mtu: mtu, size: 4 << 20}
				t.Run(fmt.Sprint(mtu), func(t *testing.T) { w.runTransfers(t, &c) })
			}
		})
	}
}

// A veth pair and a packet socket, frame by frame.
func TestTransfersByPacketSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, veth, true)
	for _, c := range []transferCase{
		{name: "clean", mtu: 1500, size: 1 << 20},
		{name: "all together", mtu: 1500, size: 128 << 10, imp: everything},
	} {
		t.Run(c.name, func(t *testing.T) { w.runTransfers(t, &c) })
	}
}

// The kernel's own impairments, where it has them.
func TestTransfersByNetem(t *testing.T) {
	w := newWorld(t, veth, true)
	out, err := w.ns.Command("tc", "qdisc", "add", "dev", "v0", "root", "netem", "delay", "20ms", "2ms", "loss", "2%", "reorder", "2%", "duplicate", "2%").CombinedOutput()
	if err != nil {
		t.Skipf("skipped: netem: %v: %s", err, bytes.TrimSpace(out))
	}
	w.runTransfers(t, &transferCase{mtu: 1500, size: 256 << 10})
}

// The other kinds of congestion control that the kernel has.
func TestTransfersWithKernelsCongestionControls(t *testing.T) {
	t.Parallel() // they mostly wait
	w := newWorld(t, tap, true)
	list := w.readSysctl(t, "net.ipv4.tcp_available_congestion_control")
	for _, name := range strings.Fields(list) {
		t.Run(name, func(t *testing.T) {
			if err := sysctl(w.ns, "net.ipv4.tcp_congestion_control", name); err != nil {
				t.Skip("skipped: not for this namespace: ", err)
			}
			w.runTransfers(t, &transferCase{mtu: 1500, size: 128 << 10, imp: everything})
		})
	}
}

func (w *world) runTransfers(t *testing.T, c *transferCase) {
	w.setMTU(t, c.mtu)
	if w.near != nil {
		w.impair(c.imp)
	}
	w.mark.Store(c.mark)
	w.tooLong.Store(0)
	for name, value := range c.sysctl {
		before := w.readSysctl(t, name)
		w.sysctl(t, name, value)
		defer w.sysctl(t, name, before)
	}
	if c.set != nil {
		saved := saveSettings(w.stack.Settings())
		c.set(w.stack.Settings())
		defer saved()
	}
	start := time.Now()
	// Some connections of each kind at a time, not so many that they only lose to each other.
	var wait sync.WaitGroup
	for v := range versions {
		for _, weConnect := range []bool{true, false} {
			wait.Add(1)
			go func() {
				defer wait.Done()
				for _, d := range []direction{weSend, theySend, bothSend} {
					w.transfer(t, c, v, weConnect, d)
				}
			}()
		}
	}
	wait.Wait()
	t.Logf("%v", time.Since(start))
	if n := w.tooLong.Load(); n > 0 {
		t.Errorf("%d frames were longer than the MTU", n)
	}
}

// saveSettings returns a function that undoes what a case may set.
func saveSettings(s *stack.Settings) func() {
	ts, sack, ws, ecn, cc := s.TCPTimestamps.Load(), s.TCPSACK.Load(), s.TCPWindowScaling.Load(), s.TCPECN.Load(), s.CongestionControl.Load()
	return func() {
		s.TCPTimestamps.Store(ts)
		s.TCPSACK.Store(sack)
		s.TCPWindowScaling.Store(ws)
		s.TCPECN.Store(ecn)
		s.CongestionControl.Store(cc)
	}
}

// transfer is one connection from its beginning to its end.
func (w *world) transfer(t *testing.T, c *transferCase, v int, weConnect bool, d direction) {
	who := map[bool]string{true: "we connect", false: "they connect"}[weConnect]
	name := fmt.Sprintf("%s, %s, %v", versions[v], who, d)
	start := time.Now()
	us, them, err := w.pair(v, weConnect)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer us.Close()
	defer them.Close()
	up, down := numbers(1, c.size), numbers(2, c.size)
	switch d {
	case weSend:
		down = nil
	case theySend:
		up = nil
	}
	var wait sync.WaitGroup
	run := func(what string, f func() error) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := f(); err != nil {
				i := us.Info()
				t.Errorf("%s: %s: %v after %v; %+v", name, what, err, time.Since(start), i)
			}
		}()
	}
	run("we send", func() error { return sendAll(us, up) })
	run("the kernel sends", func() error { return sendAll(them, down) })
	run("we receive", func() error { return receiveAll(us, down) })
	run("the kernel receives", func() error { return receiveAll(them, up) })
	wait.Wait()
	if c.check != nil {
		c.check(t, us, them)
	}
	i := us.Info()
	line := fmt.Sprintf("%s: %v; we: RTT %v, %d retransmitted, %d timeouts, %d DSACKs, window %d", name, time.Since(start).Round(ms), i.RTT, i.TotalRetransSegments, i.TotalRTO, i.DSACKDuplicates, i.CongestionWindow)
	if k, err := kernelInfo(them); err == nil {
		line += fmt.Sprintf("; kernel: RTT %dus, %d retransmitted, window %d", k.Rtt, k.Total_retrans, k.Snd_cwnd)
	}
	t.Log(line)
}

// sendAll sends all of b and ends the direction.
func sendAll(to stream, b []byte) error {
	if _, err := to.Write(b); err != nil {
		return err
	}
	return to.CloseWrite()
}

// receiveAll takes all that comes until the end, which is want.
func receiveAll(from stream, want []byte) error {
	buf := make([]byte, 64<<10)
	at := 0
	for {
		n, err := from.Read(buf)
		if n > len(want)-at || !bytes.Equal(buf[:n], want[at:at+n]) {
			return fmt.Errorf("other bytes came than were sent, at %d", at)
		}
		at += n
		switch {
		case err == io.EOF && at == len(want):
			return nil
		case err == io.EOF:
			return fmt.Errorf("the end came after %d of %d bytes", at, len(want))
		case err != nil:
			return fmt.Errorf("after %d of %d bytes: %w", at, len(want), err)
		}
	}
}
