package fdbased

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/hostnet"
	"runsc/pkg/tcpip/stack"
)

func TestFramesCross(t *testing.T) {
	a, b := pair(t, 1500)
	qa, qb := newQueue(t, a), newQueue(t, b)
	const n = 500
	for i := range n {
		for _, e := range []*Endpoint{a, b} {
			src, dst := linkA, linkB
			if e == b {
				src, dst = linkB, linkA
			}
			if err := e.WritePackets([]*buffer.Packet{raw(src, dst, fmt.Appendf(nil, "%-60d", i))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		for q, src := range map[*queue]tcpip.LinkAddress{qa: linkB, qb: linkA} {
			p := q.next(t)
			// A frame of one's own would have the other source.
			if got := strings.TrimSpace(bytesOf(p)); got != fmt.Sprint(i) || p.LinkSource != src {
				t.Fatalf("frame %d is %q of %v", i, got, p.LinkSource)
			}
			p.Release()
		}
	}
}

// Packets that are to be cut up cross between two sandboxes as they are.
func TestLargePacketsCross(t *testing.T) {
	a, b := pair(t, 1500)
	q := newQueue(t, b)
	for _, c := range []struct {
		f    segmentFields
		size int
	}{
		{segmentFields{mss: 1448}, 1448}, {segmentFields{mss: 1448}, 1449}, {segmentFields{mss: 1448}, 20000},
		{segmentFields{mss: 1428, v6: true}, 60000}, {segmentFields{mss: 1448}, int(a.MaxSegmentation()) - 40},
		{segmentFields{mss: 1448, flags: header.TCPFlagCwr | header.TCPFlagEce}, 5000},
	} {
		data := strings.Repeat("0123456789abcdef", c.size/16+1)[:c.size]
		p := buffer.NewFrom([]byte(data[:c.size/3]))
		p.Append([]byte(data[c.size/3:]))
		tcp4(p, c.f)
		seg := p.Segmentation
		if c.size <= int(seg.Size) {
			seg = buffer.Segmentation{} // it is no large packet
		}
		want := bytesOf(p)[header.EthernetSize:]
		if err := a.WritePackets([]*buffer.Packet{p}); err != nil {
			t.Fatalf("%d bytes: %v", c.size, err)
		}
		p = q.next(t)
		if bytesOf(p) != want || p.Segmentation != seg || p.Checksum != buffer.ChecksumPartial || p.ChecksumOffset != 16 {
			t.Errorf("%d bytes: %d came, %+v, checksum %d", c.size, p.Len(), p.Segmentation, p.Checksum)
		}
		p.Release()
	}
}

// datagram is a UDP packet from peer to local, whose checksum is left to the link; if size is not 0,
// its segmentation too.
func datagram(src, dst tcpip.LinkAddress, from, to netip.AddrPort, data string, size uint16) *buffer.Packet {
	p := buffer.NewFrom([]byte(data))
	u := header.UDP(p.Push(header.UDPSize))
	p.TransportHeader = u
	length := uint16(header.UDPSize + len(data))
	u.Encode(header.UDPFields{SourcePort: from.Port(), DestinationPort: to.Port(), Length: length})
	u.SetChecksumField(checksum.Fold(checksum.PseudoHeader(header.ProtocolUDP, from.Addr(), to.Addr(), uint32(length))))
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 6
	if size != 0 {
		p.Segmentation = buffer.Segmentation{Type: buffer.SegmentUDP, Size: size}
	}
	h := header.IPv4(p.Push(header.IPv4MinimumSize))
	h.Encode(header.IPv4Fields{TotalLength: header.IPv4MinimumSize + length, TTL: 64, Protocol: header.ProtocolUDP, Source: from.Addr(), Destination: to.Addr()})
	p.NetworkHeader = h
	if (src != tcpip.LinkAddress{}) {
		p.LinkHeader = p.Push(header.EthernetSize)
		header.Ethernet(p.LinkHeader).Encode(header.EthernetFields{Source: src, Destination: dst, Type: header.EtherTypeIPv4})
	}
	p.EtherType = header.EtherTypeIPv4
	return p
}

var (
	kernelAddr = netip.MustParseAddrPort("10.9.0.1:7001")
	ourAddr    = netip.MustParseAddrPort("10.9.0.2:7002")
)

// testWithKernel talks to a socket of the kernel: e is the link to it, dst the kernel's link address
// (zero: there are none).
func testWithKernel(t *testing.T, e *Endpoint, dst tcpip.LinkAddress, socket *net.UDPConn) {
	src := tcpip.LinkAddress{}
	if (dst != tcpip.LinkAddress{}) {
		src = linkA
	}
	q := newQueue(t, e)
	b := make([]byte, 1<<16)
	for _, n := range []int{0, 1, 17, 1000, 1472} {
		data := strings.Repeat("d", n)
		if err := e.WritePackets([]*buffer.Packet{datagram(src, dst, ourAddr, kernelAddr, data, 0)}); err != nil {
			t.Fatal(err)
		}
		got, from, err := socket.ReadFromUDPAddrPort(b)
		if err != nil || string(b[:got]) != data || from != ourAddr {
			t.Fatalf("%d bytes to the kernel: %d came from %v, %v", n, got, from, err)
		}
		// And back: the kernel leaves the checksum to us, who need none.
		if _, err := socket.WriteToUDPAddrPort([]byte(data), from); err != nil {
			t.Fatal(err)
		}
		p := nextUDP(t, q)
		if p.Checksum != buffer.ChecksumPartial || p.ChecksumOffset != 6 || !strings.HasSuffix(bytesOf(p), data) || p.Len() != n+28 {
			t.Errorf("%d bytes of the kernel: %d came, checksum %d at %d", n, p.Len(), p.Checksum, p.ChecksumOffset)
		}
		p.Release()
	}
	if e.Capabilities()&stack.CapUDPSegmentation == 0 {
		t.Fatal("no UDP segmentation")
	}
	// Many datagrams at once.
	data := strings.Repeat("a", 1000) + strings.Repeat("b", 1000) + "c"
	err := e.WritePackets([]*buffer.Packet{datagram(src, dst, ourAddr, kernelAddr, data, 1000)})
	if e.Capabilities()&stack.CapUDPSegmentation == 0 {
		t.Logf("the host does not segment UDP: %v", err)
		return
	}
	for _, want := range []string{data[:1000], data[1000:2000], "c"} {
		got, _, err := socket.ReadFromUDPAddrPort(b)
		if err != nil || string(b[:got]) != want {
			t.Fatalf("segment: %d bytes, %v", got, err)
		}
	}
	// And back, as one packet if the kernel's device takes that.
	rc, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := socket.WriteToUDPAddrPort([]byte(data), ourAddr); err != nil {
		t.Fatal(err)
	}
	p := nextUDP(t, q)
	if p.Len() != 28+len(data) || p.Segmentation != (buffer.Segmentation{Type: buffer.SegmentUDP, Size: 1000}) {
		t.Errorf("%d bytes came, %+v", p.Len(), p.Segmentation)
	}
	p.Release()
}

// nextUDP skips what else the kernel says (IGMP …).
func nextUDP(t *testing.T, q *queue) *buffer.Packet {
	t.Helper()
	for {
		p := q.any(t)
		if b, ok := p.Peek(28); ok && p.EtherType == header.EtherTypeIPv4 && b[9] == header.ProtocolUDP {
			return p
		}
		p.Release()
	}
}

func listen(t *testing.T) (c *net.UDPConn, err error) {
	c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(kernelAddr))
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func commands(lines ...string) error {
	for _, l := range lines {
		if _, err := hostnet.Run(strings.Fields(l)...); err != nil {
			return err
		}
	}
	return nil
}

func TestPacketSocketWithTheKernelsUDP(t *testing.T) {
	var fd int
	var socket *net.UDPConn
	var addr tcpip.LinkAddress
	inNamespace(t, func() error {
		err := commands("ip link add name v0 type veth peer name v1", "ip link set v0 up", "ip link set v1 up",
			"ip addr add 10.9.0.1/24 dev v1", fmt.Sprintf("ip neigh add 10.9.0.2 lladdr %v dev v1", linkA))
		if err != nil {
			return err
		}
		v0, err := running("v0")
		if err != nil {
			return err
		}
		v1, err := running("v1")
		if err != nil {
			return err
		}
		copy(addr[:], v1.HardwareAddr)
		if socket, err = listen(t); err != nil {
			return err
		}
		fd, err = OpenPacketSocket(v0.Index)
		return err
	})
	e := link(t, Options{FD: fd, MTU: 1500, LinkAddress: linkA, VNetHeader: true})
	testWithKernel(t, e, addr, socket)
}

func openDevice(t *testing.T, tun bool) (fd int, addr tcpip.LinkAddress, socket *net.UDPConn) {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("skipped: there is no /dev/net/tun")
	}
	inNamespace(t, func() (err error) {
		var name string
		if fd, name, err = OpenTAP("t%d", tun); err != nil {
			return err
		}
		if name != "t0" {
			return fmt.Errorf("the device is called %q", name)
		}
		cmds := []string{"ip link set t0 up", "ip addr add 10.9.0.1/24 dev t0"}
		if !tun {
			cmds = append(cmds, fmt.Sprintf("ip neigh add 10.9.0.2 lladdr %v dev t0", linkA))
		}
		if err := commands(cmds...); err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("t0")
		if err != nil {
			return err
		}
		copy(addr[:], ifi.HardwareAddr)
		socket, err = listen(t)
		return err
	})
	return fd, addr, socket
}

func TestTAPWithTheKernelsUDP(t *testing.T) {
	fd, addr, socket := openDevice(t, false)
	testWithKernel(t, link(t, Options{FD: fd, Kind: KindTAP, MTU: 1500, LinkAddress: linkA, VNetHeader: true}), addr, socket)
}

func TestTUNWithTheKernelsUDP(t *testing.T) {
	fd, _, socket := openDevice(t, true)
	testWithKernel(t, link(t, Options{FD: fd, Kind: KindTUN, MTU: 1500, VNetHeader: true}), tcpip.LinkAddress{}, socket)
}

// More frames than a batch come from a device.
func TestTAPBatches(t *testing.T) {
	fd, _, socket := openDevice(t, false)
	for i := range 3 * receiveBatch {
		if _, err := socket.WriteToUDPAddrPort(fmt.Appendf(nil, "%d", i), ourAddr); err != nil {
			t.Fatal(err)
		}
	}
	q := newQueue(t, link(t, Options{FD: fd, Kind: KindTAP, VNetHeader: true}))
	for i := range 3 * receiveBatch {
		p := nextUDP(t, q)
		if got := bytesOf(p)[28:]; got != fmt.Sprint(i) {
			t.Fatalf("datagram %d is %q", i, got)
		}
		p.Release()
	}
}

func TestErrorsOfOpening(t *testing.T) {
	inNamespace(t, func() error {
		if fd, err := OpenPacketSocket(12345); err == nil {
			unix.Close(fd)
			t.Error("a packet socket of an interface that does not exist")
		}
		for _, name := range []string{"lo", "a name that is too long", "a/b"} {
			if fd, _, err := OpenTAP(name, false); err == nil {
				unix.Close(fd)
				t.Errorf("a device called %q", name)
			}
		}
		return nil
	})
	if err := setUpPacketSocket(-1, 1); err == nil {
		t.Error("descriptor -1 is a packet socket")
	}
}

// An interface that goes down is told to the receiver as an error, once, and works when it is up
// again.
func TestInterfaceGoesDownAndUp(t *testing.T) {
	var ns *os.File
	fds := vethIn(t, 1500, func() (err error) {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	defer ns.Close()
	a, b := link(t, Options{FD: fds[0], VNetHeader: true}), link(t, Options{FD: fds[1], VNetHeader: true})
	q := newQueue(t, b)
	send := func() {
		t.Helper()
		if err := a.WritePackets([]*buffer.Packet{raw(linkA, linkB, make([]byte, 60))}); err != nil {
			t.Fatal(err)
		}
		q.next(t).Release()
	}
	send()
	enter := fmt.Sprintf("nsenter --net=/proc/%d/fd/%d ip link set v1 ", os.Getpid(), ns.Fd())
	if err := commands(enter+"down", enter+"up"); err != nil {
		t.Fatal(err)
	}
	// Until the carrier is noticed, frames are lost.
	for arrived := false; !arrived; {
		a.WritePackets([]*buffer.Packet{raw(linkA, linkB, make([]byte, 60))})
		time.Sleep(time.Millisecond)
		q.mu.Lock()
		arrived = len(q.pkts) > 0
		q.mu.Unlock()
	}
	if n := b.Stats().RXErrors.Load(); n != 1 {
		t.Errorf("%d errors", n)
	}
}

// Without CAP_NET_ADMIN, the buffers are as large as the host allows everyone.
func TestBufferSizes(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	size := func() int {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 5000); err != nil {
		t.Fatal(err)
	}
	before := size()
	setBuffer(fd, -1, unix.SO_RCVBUF) // an option that is refused
	if size() <= before {
		t.Errorf("the buffer has %d bytes", size())
	}
	if os.Geteuid() == 0 {
		if setBuffer(fd, unix.SO_RCVBUFFORCE, -1); size() < 4<<20 {
			t.Errorf("the forced buffer has %d bytes", size())
		}
	}
}
