package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/transport/icmp"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/pkg/waiter"
)

// fragile are paths for datagrams: what is lost is sent again by the tests.
var fragile = []struct {
	name string
	mtu  int
	pipe.Impairment
}{
	{name: "clean", mtu: 1280},
	{name: "clean", mtu: 1500},
	{name: "clean", mtu: 9000},
	{"reordered and repeated", 1500, pipe.Impairment{Delay: 2 * ms, Reorder: 0.2, Duplicate: 0.2}},
	{"loss", 1500, pipe.Impairment{Loss: 0.003}},
}

// onPaths runs a test on each of fragile.
func onPaths(t *testing.T, run func(t *testing.T, w *world)) {
	w := newWorld(t, tap, true)
	for _, p := range fragile {
		t.Run(fmt.Sprintf("%s %d", p.name, p.mtu), func(t *testing.T) {
			w.setMTU(t, p.mtu)
			w.impair(p.Impairment)
			run(t, w)
		})
	}
}

// packetEndpoint is what our datagram sockets have in common.
type packetEndpoint interface {
	tcpip.Endpoint
	JoinGroup(tcpip.GroupMembership) error
}

// retryAfter is when a datagram is taken for lost.
const retryAfter = 300 * time.Millisecond

// receive takes one datagram of at most 64 KiB. EAGAIN: none came within retryAfter.
func receive(e packetEndpoint) ([]byte, tcpip.FullAddress, error) {
	w := make(waker, 1)
	entry := waiter.Entry{Mask: waiter.ReadableEvents, Listener: w}
	if err := e.EventRegister(&entry); err != nil {
		return nil, tcpip.FullAddress{}, err
	}
	defer e.EventUnregister(&entry)
	deadline := time.After(retryAfter)
	s := sink{b: make([]byte, 1<<16)}
	for {
		r, err := e.Receive(&s, tcpip.ReceiveOptions{DontWait: true})
		if err != unix.EAGAIN {
			return s.b[:s.n], r.From, err
		}
		select {
		case <-w:
		case <-deadline:
			return nil, tcpip.FullAddress{}, err
		}
	}
}

// ask sends a message until the answer that is wanted comes.
func ask(send func() error, receive func() ([]byte, error), wanted func([]byte) bool) error {
	for end := time.Now().Add(patience); ; {
		if err := send(); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		for {
			b, err := receive()
			if err == unix.EAGAIN || errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return fmt.Errorf("receiving: %w", err)
			}
			if wanted(b) {
				return nil
			}
		}
		if time.Now().After(end) {
			return errStuck
		}
	}
}

// kernelSocket makes a socket of the kernel's, which gives up receiving after retryAfter.
func (w *world) kernelSocket(t *testing.T, v, kind, protocol int) int {
	t.Helper()
	fd := -1
	must(t, "socket", w.inside(func() (err error) {
		fd, err = unix.Socket([2]int{unix.AF_INET, unix.AF_INET6}[v], kind|unix.SOCK_CLOEXEC, protocol)
		return err
	}))
	t.Cleanup(func() { unix.Close(fd) })
	must(t, "SO_RCVTIMEO", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: int64(retryAfter / time.Microsecond)}))
	return fd
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func kernelReceive(fd int) ([]byte, error) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != unix.EINTR {
			return b[:max(n, 0)], err
		}
	}
}

var datagramSizes = []int{1, 2, 1000, 1232, 1233, 1472, 1473, 3000, 8973, 20000, 40001, 65507}

func TestDatagramsThere(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, w *world) {
		for v := range versions {
			fd := w.kernelSocket(t, v, unix.SOCK_DGRAM, 0)
			must(t, "bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(theirs[v], 7))))
			done := make(chan struct{})
			stop := make(chan struct{})
			go func() { // echoes
				defer close(done)
				b := make([]byte, 1<<16)
				for {
					select {
					case <-stop:
						return
					default:
					}
					if n, from, err := unix.Recvfrom(fd, b, 0); err == nil {
						unix.Sendto(fd, b[:n], 0, from)
					}
				}
			}()
			e := udp.NewEndpoint(w.stack, v == 1)
			must(t, "connect", e.Connect(tcpip.FullAddress{Addr: theirs[v], Port: 7}))
			for _, n := range datagramSizes {
				data := numbers(uint64(n), n)
				err := ask(func() error { _, err := e.Send(&source{data}, tcpip.SendOptions{}); return err },
					func() ([]byte, error) { b, _, err := receive(e); return b, err },
					func(b []byte) bool { return bytes.Equal(b, data) })
				if err != nil {
					t.Errorf("%s, %d bytes: %v", versions[v], n, err)
				}
			}
			close(stop)
			<-done
			e.Close()
		}
	})
}

func TestDatagramsBack(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, w *world) {
		for v := range versions {
			e := udp.NewEndpoint(w.stack, v == 1)
			must(t, "bind", e.Bind(tcpip.FullAddress{Addr: ours[v], Port: 7}))
			done := make(chan struct{})
			stop := make(chan struct{})
			go func() { // echoes
				defer close(done)
				for {
					select {
					case <-stop:
						return
					default:
					}
					if b, from, err := receive(e); err == nil {
						e.Send(&source{b}, tcpip.SendOptions{To: &from})
					}
				}
			}()
			fd := w.kernelSocket(t, v, unix.SOCK_DGRAM, 0)
			must(t, "connect", unix.Connect(fd, sockaddr(netip.AddrPortFrom(ours[v], 7))))
			for _, n := range datagramSizes {
				data := numbers(uint64(n), n)
				err := ask(func() error { _, err := unix.Write(fd, data); return err },
					func() ([]byte, error) { return kernelReceive(fd) },
					func(b []byte) bool { return bytes.Equal(b, data) })
				if err != nil {
					t.Errorf("%s, %d bytes: %v", versions[v], n, err)
				}
			}
			close(stop)
			<-done
			e.Close()
		}
	})
}

var echoSizes = []int{0, 1, 56, 1232, 1233, 1472, 1473, 10000, 60000}

// The types of echo requests and their answers.
var echoTypes = [2][2]byte{{header.ICMPv4Echo, header.ICMPv4EchoReply}, {header.ICMPv6EchoRequest, header.ICMPv6EchoReply}}

// echoMessage is a request; the identifier and the checksum are filled in by the socket.
func echoMessage(v int, seq uint16, n int) []byte {
	b := append([]byte{echoTypes[v][0], 0, 0, 0, 0, 0, 0, 0}, numbers(uint64(seq), n)...)
	binary.BigEndian.PutUint16(b[6:], seq)
	return b
}

// answers says whether b answers the request m.
func answers(v int, m, b []byte) bool {
	return len(b) == len(m) && b[0] == echoTypes[v][1] && bytes.Equal(b[6:], m[6:])
}

func TestPings(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, w *world) {
		for v := range versions {
			e := icmp.NewEndpoint(w.stack, v == 1)
			must(t, "connect", e.Connect(tcpip.FullAddress{Addr: theirs[v]}))
			fd := w.kernelSocket(t, v, unix.SOCK_DGRAM, [2]int{unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6}[v])
			must(t, "connect", unix.Connect(fd, sockaddr(netip.AddrPortFrom(ours[v], 0))))
			for i, n := range echoSizes {
				m := echoMessage(v, uint16(i+1), n)
				wanted := func(b []byte) bool { return answers(v, m, b) }
				if err := ask(func() error { _, err := e.Send(&source{m}, tcpip.SendOptions{}); return err },
					func() ([]byte, error) { b, _, err := receive(e); return b, err }, wanted); err != nil {
					t.Errorf("%s, we ping with %d bytes: %v", versions[v], n, err)
				}
				if err := ask(func() error { _, err := unix.Write(fd, m); return err },
					func() ([]byte, error) { return kernelReceive(fd) }, wanted); err != nil {
					t.Errorf("%s, they ping with %d bytes: %v", versions[v], n, err)
				}
			}
			e.Close()
		}
	})
}

// A datagram for a port that nobody has is refused to its sender.
func TestUnreachablePorts(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, w *world) {
		never := func([]byte) bool { return false }
		for v := range versions {
			e := udp.NewEndpoint(w.stack, v == 1)
			must(t, "connect", e.Connect(tcpip.FullAddress{Addr: theirs[v], Port: 9}))
			err := ask(func() error { _, err := e.Send(&source{[]byte("hello")}, tcpip.SendOptions{}); return err },
				func() ([]byte, error) { b, _, err := receive(e); return b, err }, never)
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: we: %v", versions[v], err)
			}
			e.Close()
			fd := w.kernelSocket(t, v, unix.SOCK_DGRAM, 0)
			must(t, "connect", unix.Connect(fd, sockaddr(netip.AddrPortFrom(ours[v], 9))))
			err = ask(func() error { _, err := unix.Write(fd, []byte("hello")); return err },
				func() ([]byte, error) { return kernelReceive(fd) }, never)
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: they: %v", versions[v], err)
			}
		}
	})
}

// TestGroups: datagrams to a group come to who joined it, and Linux hears of our membership.
func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	groups := [2]netip.Addr{netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff05::1:3")}
	index := 0
	must(t, "interface", w.inside(func() (err error) { index, err = interfaceIndex(w.dev); return err }))
	for v, group := range groups {
		reported := make(chan string, 16)
		seen := func(frame []byte) {
			if r := report(frame, group); r != "" {
				select {
				case reported <- r:
				default:
				}
			}
		}
		w.seen.Store(&seen)
		e := udp.NewEndpoint(w.stack, v == 1)
		must(t, "bind", e.Bind(tcpip.FullAddress{Port: 5000}))
		must(t, "join", e.JoinGroup(tcpip.GroupMembership{Group: group, NIC: w.nic.ID()}))
		if r := <-reported; r != "joins" {
			t.Errorf("%s: the report says that we %s it", versions[v], r)
		}
		fd := w.kernelSocket(t, v, unix.SOCK_DGRAM, 0)
		if v == 1 {
			must(t, "IPV6_V6ONLY", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
		}
		must(t, "bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom([2]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}[v], 5000))))
		if v == 0 {
			m := &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}
			must(t, "the kernel joins", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, m))
			must(t, "IP_MULTICAST_IF", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}))
			must(t, "IP_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0))
		} else {
			m := &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)}
			must(t, "the kernel joins", unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m))
			must(t, "IPV6_MULTICAST_IF", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index))
			must(t, "IPV6_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0))
		}
		o := e.Options()
		o.MulticastLoop4.Store(false)
		o.MulticastLoop6.Store(false)
		o.Mu.Lock()
		o.MulticastNIC, o.MulticastNIC6 = w.nic.ID(), w.nic.ID()
		o.Mu.Unlock()
		for _, n := range []int{5, 5000} {
			data := numbers(uint64(n), n)
			same := func(b []byte) bool { return bytes.Equal(b, data) }
			if err := ask(func() error { return unix.Sendto(fd, data, 0, sockaddr(netip.AddrPortFrom(group, 5000))) },
				func() ([]byte, error) { b, _, err := receive(e); return b, err }, same); err != nil {
				t.Errorf("%s: they send %d bytes to the group: %v", versions[v], n, err)
			}
			to := &tcpip.FullAddress{Addr: group, Port: 5000}
			if err := ask(func() error { _, err := e.Send(&source{data}, tcpip.SendOptions{To: to}); return err },
				func() ([]byte, error) { return kernelReceive(fd) }, same); err != nil {
				t.Errorf("%s: we send %d bytes to the group: %v", versions[v], n, err)
			}
		}
		for len(reported) > 0 {
			<-reported // the first report is repeated
		}
		must(t, "leave", e.LeaveGroup(tcpip.GroupMembership{Group: group, NIC: w.nic.ID()}))
		for r := range reported {
			if r == "leaves" {
				break
			}
		}
		w.seen.Store(nil)
		e.Close()
	}
}

// report reads a report of IGMPv3 or MLDv2 about a group (RFC 3376 section 4.2, RFC 3810 section
// 5.2): "joins", "leaves", or "" if the frame is none.
func report(frame []byte, group netip.Addr) string {
	var kind byte
	switch p := frame[header.EthernetSize:]; header.Ethernet(frame).Type() {
	case header.EtherTypeIPv4:
		r := header.IPv4(p).Payload()
		if !group.Is4() || p[9] != 2 || len(r) < 16 || r[0] != 0x22 || [4]byte(r[12:16]) != group.As4() {
			return ""
		}
		kind = r[8]
	case header.EtherTypeIPv6:
		// A hop-by-hop header of 8 bytes, with the router alert.
		if !group.Is6() || len(p) < 40+8+28 || p[6] != 0 || p[40] != header.ProtocolICMPv6 || p[48] != 143 || [16]byte(p[60:76]) != group.As16() {
			return ""
		}
		kind = p[56]
	}
	switch kind {
	case 2, 4: // MODE_IS_EXCLUDE, CHANGE_TO_EXCLUDE_MODE
		return "joins"
	case 3: // CHANGE_TO_INCLUDE_MODE
		return "leaves"
	}
	return ""
}
