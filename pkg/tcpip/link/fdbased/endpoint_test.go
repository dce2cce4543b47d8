package fdbased

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

func bytesAt(v unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }

// datagrams is a link on a socket that is not one of packets but behaves like one, and the socket's
// other end, which is blocking.
func datagrams(t *testing.T, o Options) (*Endpoint, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	// Nothing here may wait for ever.
	unix.SetsockoptTimeval(fds[1], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	o.FD = fds[0]
	return link(t, o), fds[1]
}

func TestProperties(t *testing.T) {
	for _, c := range []struct {
		o    Options
		caps stack.Capabilities
		typ  uint16
	}{
		{Options{Kind: KindPacket}, stack.CapResolution, unix.ARPHRD_ETHER},
		{Options{Kind: KindTAP, VNetHeader: true}, stack.CapResolution | stack.CapTXChecksum | stack.CapRXChecksum | stack.CapSegmentation | stack.CapUDPSegmentation, unix.ARPHRD_ETHER},
		{Options{Kind: KindTUN}, 0, unix.ARPHRD_NONE},
	} {
		c.o.MTU, c.o.LinkAddress = 1400, linkA
		e, _ := datagrams(t, c.o)
		if e.Capabilities() != c.caps || e.HardwareType() != c.typ || e.MTU() != 1400 || e.LinkAddress() != linkA || e.MaxSegmentation() != 65521 {
			t.Errorf("%+v: capabilities %b, type %d", c.o, e.Capabilities(), e.HardwareType())
		}
		e.SetMTU(9000)
		e.SetLinkAddress(linkB)
		if e.MTU() != 9000 || e.LinkAddress() != linkB {
			t.Error("properties do not change")
		}
	}
}

// open says whether a descriptor is.
func open(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

func TestNewClosesWhatItCannotUse(t *testing.T) {
	if _, err := New(Options{FD: -1}); err == nil {
		t.Error("a link by descriptor -1")
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, kind := range []Kind{KindTAP, 9} {
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{FD: fd, Kind: kind}); err == nil {
			t.Errorf("kind %d: a link by a regular file", kind)
		}
		if open(fd) {
			t.Errorf("kind %d: the descriptor is still open", kind)
		}
	}
}

func frameOf(data string) []byte {
	p := raw(linkA, linkB, []byte(data))
	defer p.Release()
	return []byte(bytesOf(p))
}

func TestReceive(t *testing.T) {
	for _, kind := range []Kind{KindPacket, KindTAP} {
		for _, vnet := range []bool{false, true} {
			e, peer := datagrams(t, Options{Kind: kind, VNetHeader: vnet})
			var front []byte
			if vnet {
				front = make([]byte, vnetSize)
				front[0] = vnetDataValid
			}
			sizes := []int{0, 1, 2048 - header.EthernetSize, 2049 - header.EthernetSize, 9000, 10240 - header.EthernetSize, 1, 60000, 5, 43008, 64000}
			q := newQueue(t, e)
			for _, n := range sizes {
				data := strings.Repeat("x", n)
				if _, err := unix.Write(peer, append(bytes.Clone(front), frameOf(data)...)); err != nil {
					t.Fatal(err)
				}
				p := q.next(t)
				if bytesOf(p) != data || p.EtherType != testType || !p.HasLink || p.LinkSource != linkA || p.LinkDestination != linkB {
					t.Errorf("kind %d, %d bytes: %d came, %+v", kind, n, p.Len(), p)
				}
				if (p.Checksum == buffer.ChecksumVerified) != vnet {
					t.Errorf("kind %d: checksum %d", kind, p.Checksum)
				}
				if m := p.Memory(); m > 1024+max(pieceSizes[0], 5*n) {
					t.Errorf("%d bytes keep %d", n, m)
				}
				p.Release()
			}
		}
	}
}

func TestReceiveWithoutLinkHeaders(t *testing.T) {
	e, peer := datagrams(t, Options{Kind: KindTUN})
	q := newQueue(t, e)
	for _, data := range []string{"\x00 is no IP", "\x45abc", "\x60abc"} {
		unix.Write(peer, []byte(data))
	}
	for _, c := range []struct {
		data string
		want uint16
	}{{"\x45abc", header.EtherTypeIPv4}, {"\x60abc", header.EtherTypeIPv6}} {
		p := q.next(t)
		if bytesOf(p) != c.data || p.EtherType != c.want || p.HasLink {
			t.Errorf("got %q, EtherType %#x", bytesOf(p), p.EtherType)
		}
		p.Release()
	}
	if n := e.Stats().RXMalformed.Load(); n != 1 {
		t.Errorf("%d malformed", n)
	}
}

func TestMalformedFramesAreSkipped(t *testing.T) {
	e, peer := datagrams(t, Options{VNetHeader: true})
	unix.SetsockoptInt(peer, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	q := newQueue(t, e)
	head := make([]byte, vnetSize)
	for _, f := range [][]byte{
		{}, {1}, head, append(bytes.Clone(head), frameOf("")[:13]...),
		make([]byte, vnetSize+frameMax+1), // longer than any packet
		append(bytes.Clone(head), frameOf("good")...),
	} {
		if _, err := unix.Write(peer, f); err != nil {
			t.Fatal(err)
		}
	}
	p := q.next(t)
	if bytesOf(p) != "good" || e.Stats().RXMalformed.Load() != 5 {
		t.Errorf("got %q, %d malformed", bytesOf(p), e.Stats().RXMalformed.Load())
	}
	p.Release()
}

func TestSegmentsOfABatchAreCoalesced(t *testing.T) {
	for _, off := range []bool{false, true} {
		e, peer := datagrams(t, Options{NoGRO: off})
		unix.SetNonblock(peer, true)
		want := ""
		for i := range 8 { // the queue of a unix socket has room for ten
			d := fmt.Sprintf("segment %d,", i)
			want += d
			p := buffer.NewFrom([]byte(d))
			tcp4(p, segmentFields{seq: uint32(i * len(d))})
			if _, err := unix.Write(peer, []byte(bytesOf(p))); err != nil {
				t.Fatal(err)
			}
			p.Release()
		}
		q := newQueue(t, e)
		got, n := "", 0
		for len(got) < len(want) {
			p := q.next(t)
			got += payload(p)
			n++
			p.Release()
		}
		if got != want || off != (n == 8) || off != (e.Stats().RXCoalesced.Load() == 0) {
			t.Errorf("NoGRO %v: %d packets, %q", off, n, got)
		}
	}
}

// readFrom is read(2), which a signal ends early where there is a time limit (signal(7)); Go's
// run-time sends itself some.
func readFrom(fd int, b []byte) (int, error) {
	for {
		if n, err := unix.Read(fd, b); err != unix.EINTR {
			return n, err
		}
	}
}

func TestSend(t *testing.T) {
	for _, kind := range []Kind{KindPacket, KindTAP} {
		for _, vnet := range []bool{false, true} {
			e, peer := datagrams(t, Options{Kind: kind, VNetHeader: vnet})
			got := make(chan string, 100)
			go func() {
				b := make([]byte, 1<<17)
				for range 80 {
					n, err := readFrom(peer, b)
					if err != nil {
						break
					}
					got <- string(b[:n])
				}
				close(got)
			}()
			var pkts []*buffer.Packet
			var want []string
			for i := range 80 {
				p := buffer.New()
				for j := range i { // up to more pieces than are sent
					p.Append([]byte{byte('a' + j%26)})
				}
				p.Append(nil)
				p.LinkHeader = p.Push(header.EthernetSize)
				clear(p.LinkHeader)
				w := bytesOf(p)
				if vnet {
					w = string(make([]byte, vnetSize)) + w
				}
				want = append(want, w)
				pkts = append(pkts, p)
			}
			// In small calls, so that the other end keeps up.
			for i := range pkts {
				for {
					if err := e.WritePackets([]*buffer.Packet{pkts[i].Clone()}); err == nil {
						break
					}
				}
				pkts[i].Release()
			}
			i := 0
			for g := range got {
				if g != want[i] {
					t.Errorf("kind %d: frame %d is %q, want %q", kind, i, g, want[i])
				}
				i++
			}
			if i != len(want) {
				t.Errorf("%d frames arrived", i)
			}
		}
	}
}

// A batch that is longer than what is sent at once.
func TestSendManyAtOnce(t *testing.T) {
	a, b := pair(t, 1500)
	q := newQueue(t, b)
	var pkts []*buffer.Packet
	for i := range 3*sendBatch + 1 {
		pkts = append(pkts, raw(linkA, linkB, fmt.Appendf(nil, "%060d", i)))
	}
	if err := a.WritePackets(pkts); err != nil {
		t.Fatal(err)
	}
	for i := range 3*sendBatch + 1 {
		p := q.next(t)
		if s := bytesOf(p); s != fmt.Sprintf("%060d", i) {
			t.Fatalf("frame %d is %q", i, s)
		}
		p.Release()
	}
}

// A host that takes nothing costs a bounded time, and frames.
func TestSendDropsWhenThereIsNoRoom(t *testing.T) {
	for _, kind := range []Kind{KindPacket, KindTAP} {
		e, peer := datagrams(t, Options{Kind: kind})
		unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1) // the least there is
		var pkts []*buffer.Packet
		for range 2 * sendBatch {
			pkts = append(pkts, raw(linkA, linkB, []byte("frame")))
		}
		if err := e.WritePackets(pkts); err != unix.ENOBUFS {
			t.Fatalf("kind %d: WritePackets: %v", kind, err)
		}
		unix.SetNonblock(peer, true)
		n := uint64(0)
		b := make([]byte, 100)
		for {
			if _, err := readFrom(peer, b); err != nil {
				break
			}
			n++
		}
		if d := e.Stats().TXDropped.Load(); n == 0 || d == 0 || n+d != 2*sendBatch {
			t.Errorf("kind %d: %d arrived, %d were dropped", kind, n, d)
		}
	}
}

func TestFramesThatTheHostRefuses(t *testing.T) {
	for _, kind := range []Kind{KindPacket, KindTAP} {
		e, peer := datagrams(t, Options{Kind: kind})
		// Longer than the send buffer: EMSGSIZE.
		unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 5000)
		big := raw(linkA, linkB, make([]byte, 60000))
		err := e.WritePackets([]*buffer.Packet{raw(linkA, linkB, []byte("1")), big, raw(linkA, linkB, []byte("2"))})
		if err != unix.ENOBUFS || e.Stats().TXErrors.Load() != 1 {
			t.Errorf("kind %d: %v, %d errors", kind, err, e.Stats().TXErrors.Load())
		}
		b := make([]byte, 100)
		for _, want := range []string{"1", "2"} {
			n, err := readFrom(peer, b)
			if err != nil || string(b[:n]) != string(frameOf(want)) {
				t.Errorf("kind %d: got %q, %v", kind, b[:n], err)
			}
		}
	}
	e, _ := datagrams(t, Options{Kind: KindTAP})
	if err := e.WritePackets([]*buffer.Packet{buffer.New()}); err != unix.ENOBUFS {
		t.Errorf("an empty frame to a device: %v", err)
	}
	e, _ = pair(t, 1500)
	if err := e.WritePackets([]*buffer.Packet{buffer.New()}); err != unix.ENOBUFS {
		t.Errorf("an empty frame to a packet socket: %v", err)
	}
	e.vnet = false
	if err := e.WritePackets([]*buffer.Packet{buffer.New()}); err != unix.ENOBUFS {
		t.Errorf("an empty message to a packet socket: %v", err)
	}
}

func TestHostWithoutUDPSegmentation(t *testing.T) {
	e, _ := datagrams(t, Options{VNetHeader: true})
	p := buffer.New()
	p.Segmentation = buffer.Segmentation{Type: buffer.SegmentUDP, Size: 100}
	e.refused(unix.EINVAL, p)
	if e.Capabilities()&stack.CapUDPSegmentation != 0 || e.Capabilities()&stack.CapSegmentation == 0 {
		t.Errorf("capabilities %b", e.Capabilities())
	}
	p.Release()
}

func TestSendAgain(t *testing.T) {
	e, _ := datagrams(t, Options{})
	patience := sendPatience
	if !e.sendAgain(unix.EINTR, &patience) || patience != sendPatience {
		t.Error("EINTR costs patience")
	}
	n := 0
	for e.sendAgain(unix.EAGAIN, &patience) { // there is room, so it does not wait
		n++
	}
	if n == 0 || n > 10 {
		t.Errorf("%d attempts", n)
	}
	if e.sendAgain(unix.EIO, &patience) {
		t.Error("EIO is tried again")
	}
}

func TestNothingIsDeliveredAfterDetach(t *testing.T) {
	e, peer := datagrams(t, Options{})
	unix.SetNonblock(peer, true)
	var live atomic.Bool
	for range 100 {
		live.Store(true)
		e.Attach(dispatcher(func(p *buffer.Packet) {
			if !live.Load() {
				t.Error("delivered after Attach(nil)")
			}
			p.Release()
		}))
		for range 5 {
			unix.Write(peer, frameOf("x"))
		}
		e.Attach(nil)
		live.Store(false)
		unix.Write(peer, frameOf("x"))
	}
	// What came meanwhile is still in the socket.
	q := newQueue(t, e)
	q.next(t).Release()
}

type dispatcher func(*buffer.Packet)

func (d dispatcher) DeliverPackets(pkts []*buffer.Packet) {
	for _, p := range pkts {
		d(p)
	}
}

func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	e, _ := datagrams(t, Options{})
	fd := e.fd
	e.Attach(dispatcher(func(p *buffer.Packet) { p.Release() }))
	e.Close()
	e.Close()
	if open(fd) {
		t.Error("the descriptor is open after Close")
	}
	if err := e.WritePackets([]*buffer.Packet{raw(linkA, linkB, nil)}); err != nil {
		t.Errorf("WritePackets after Close: %v", err)
	}
	e.Attach(dispatcher(func(p *buffer.Packet) { t.Error("delivered after Close") }))
	e.Attach(nil)
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	r := newReceiver(e, nil)
	r.run(nil) // a closed file: it ends
}

func TestReopen(t *testing.T) {
	e, _ := datagrams(t, Options{})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	d, err := unix.Dup(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Reopen(d); err == nil || open(d) {
		t.Errorf("Reopen of an open link: %v, descriptor open: %v", err, open(d))
	}
	e.Close()
	q := newQueue(t, e) // nothing comes yet
	if err := e.Reopen(fds[0]); err != nil {
		t.Fatal(err)
	}
	unix.Write(fds[1], frameOf("x"))
	p := q.next(t)
	if bytesOf(p) != "x" {
		t.Errorf("got %q", bytesOf(p))
	}
	p.Release()
	if err := e.WritePackets([]*buffer.Packet{raw(linkA, linkB, []byte("y"))}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := readFrom(fds[1], b); err != nil || string(b[:n]) != string(frameOf("y")) {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// A socket whose reads fail is tried again, and Attach(nil) ends that too.
func TestReadErrors(t *testing.T) {
	// A socket that can be waited for but not received from.
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(l, &unix.SockaddrUnix{}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	e := link(t, Options{FD: l})
	e.Attach(dispatcher(func(*buffer.Packet) { t.Error("delivered") }))
	for e.Stats().RXErrors.Load() < tolerance+2 {
		runtime.Gosched()
	}
	e.Attach(nil)
}

func TestSyscalls(t *testing.T) {
	for _, k := range []Kind{KindPacket, KindTAP} {
		seen := map[uintptr]bool{}
		for _, c := range Syscalls(k) {
			if seen[c.Number] {
				t.Errorf("kind %d: call %d is listed twice", k, c.Number)
			}
			seen[c.Number] = true
		}
		if seen[unix.SYS_RECVMMSG] != (k == KindPacket) || seen[unix.SYS_READV] == (k == KindPacket) {
			t.Errorf("kind %d: %v", k, seen)
		}
	}
}

func TestOffloadsThatAreNotWanted(t *testing.T) {
	const all = stack.CapTXChecksum | stack.CapRXChecksum | stack.CapSegmentation | stack.CapUDPSegmentation
	for _, c := range []struct {
		o    Options
		want stack.Capabilities
	}{
		{Options{VNetHeader: true}, all},
		{Options{VNetHeader: true, NoSegmentation: true}, stack.CapTXChecksum | stack.CapRXChecksum},
		{Options{VNetHeader: true, NoTXChecksum: true}, stack.CapRXChecksum},
		{Options{VNetHeader: true, NoRXChecksum: true}, all &^ stack.CapRXChecksum},
		{Options{}, 0},
	} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.o.FD, c.o.Kind, c.o.MTU = pair[0], KindPacket, 1500
		e, err := New(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Capabilities() & all; got != c.want {
			t.Errorf("%+v: capabilities %#x, want %#x", c.o, got, c.want)
		}
		e.Close()
		unix.Close(pair[1])
	}
}
