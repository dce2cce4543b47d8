package ipv4_test

import (
	"bytes"
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
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/hostnet"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/fdbased"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/stack"
)

// kernel is Linux itself at the other end of a veth pair, in a network namespace of its own. Its
// interface v0 has the address peer; our stack has us.
type kernel struct {
	t   *testing.T
	s   *stack.Stack
	nic *stack.NIC
	// raw is a raw ICMP socket in the namespace.
	raw int
}

// withKernel calls f on a thread in the namespace.
func withKernel(t *testing.T, f func(k *kernel)) {
	t.Helper()
	hostnet.In(t, func() error { return kernelWorld(t, f) })
}

// ip runs ip(8) in the namespace.
func (k *kernel) ip(format string, args ...any) (string, error) {
	return hostnet.Run(append([]string{"ip"}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

func kernelWorld(t *testing.T, f func(k *kernel)) error {
	hostnet.NoIPv6()
	k := &kernel{t: t}
	for _, c := range []string{"link set lo up", "link add name v0 type veth peer name v1", "link set v1 up", "link set v0 up",
		fmt.Sprintf("addr add %v/24 dev v0", peer)} {
		if _, err := k.ip("%s", c); err != nil {
			return err
		}
	}
	v1, err := net.InterfaceByName("v1")
	if err != nil {
		return err
	}
	fd, err := fdbased.OpenPacketSocket(v1.Index)
	if err != nil {
		return err
	}
	link, err := fdbased.New(fdbased.Options{FD: fd, MTU: 1500, LinkAddress: usLink, VNetHeader: true})
	if err != nil {
		return err
	}
	if k.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP); err != nil {
		return err
	}
	defer unix.Close(k.raw)
	unix.SetsockoptTimeval(k.raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	k.s = stack.New(stack.Config{Networks: []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{func(s *stack.Stack) stack.TransportProtocol { return &refusing{s: s} }}})
	defer k.s.Close()
	lo, err := k.s.CreateNIC(1, "lo", loopback.New())
	if err != nil {
		return err
	}
	lo.SetUp(true)
	if k.nic, err = k.s.CreateNIC(2, "eth0", link); err != nil {
		return err
	}
	k.nic.SetUp(true)
	if err := k.nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(us, 24)}); err != nil {
		return err
	}
	f(k)
	return nil
}

// refusing is UDP without sockets.
type refusing struct {
	transport
	s *stack.Stack
}

func (r *refusing) Number() uint8 { return header.ProtocolUDP }
func (r *refusing) HandleUnknown(_ stack.TransportID, pkt *buffer.Packet) {
	r.s.NIC(pkt.NIC).Endpoint(header.EtherTypeIPv4).(stack.InternetEndpoint).SendError(stack.ICMPError{Kind: stack.ErrorPortUnreachable}, pkt)
	pkt.Release()
}

// send sends a message from the kernel's raw socket.
func (k *kernel) send(dst netip.Addr, m []byte) {
	k.t.Helper()
	if err := unix.Sendto(k.raw, m, 0, &unix.SockaddrInet4{Addr: dst.As4()}); err != nil {
		k.t.Fatalf("sendto(%v): %v", dst, err)
	}
}

// receive waits for a message for which want says so, and returns its packet.
func (k *kernel) receive(want func(header.IPv4, header.ICMPv4) bool) (header.IPv4, error) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(k.raw, b, 0)
		if err != nil {
			return nil, err
		}
		h := header.IPv4(b[:n])
		if h.Valid(n) && header.ICMPv4(h.Payload()).Valid() && want(h, h.Payload()) {
			return h, nil
		}
	}
}

func echo(seq uint16, payload []byte) []byte {
	return icmp(header.ICMPv4Fields{Type: header.ICMPv4Echo, Rest: [4]byte{7, 7, byte(seq >> 8), byte(seq)}}, payload)
}

var pingSizes = []int{0, 56, 1472, 1473, 5000, 30000, 65000}

func TestLinuxPingsUs(t *testing.T) {
	withKernel(t, func(k *kernel) {
		for i, n := range pingSizes {
			seq := uint16(i + 1)
			k.send(us, echo(seq, numbers(n)))
			h, err := k.receive(func(h header.IPv4, m header.ICMPv4) bool {
				return m.Type() == header.ICMPv4EchoReply && m.Sequence() == seq
			})
			if err != nil || !bytes.Equal(header.ICMPv4(h.Payload()).Payload(), numbers(n)) || h.Source() != us {
				t.Errorf("%d bytes: %d came back, %v", n, len(h), err)
			}
		}
		out, err := k.ip("neigh show dev v0")
		if err != nil || !strings.Contains(out, usLink.String()) {
			t.Errorf("the kernel's neighbours: %s, %v", out, err)
		}
	})
}

func TestWePingLinux(t *testing.T) {
	withKernel(t, func(k *kernel) {
		raw := &endpoint{}
		k.s.RegisterRaw(false, header.ProtocolICMPv4, raw)
		r, err := k.s.FindRoute(stack.RouteQuery{Destination: peer})
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range pingSizes {
			r.WritePacket(stack.NetworkParams{Transport: header.ProtocolICMPv4}, outgoing(echo(uint16(i), numbers(n))))
			var got []received
			eventually(t, "an answer", func() bool { got = raw.take(); return len(got) > 0 })
			if m := header.ICMPv4(got[0].payload); m.Type() != header.ICMPv4EchoReply || !bytes.Equal(m.Payload(), numbers(n)) {
				t.Errorf("%d bytes: %d came back", n, len(m))
			}
		}
		n, ok := k.nic.Neighbour(peer)
		if !ok || n.State&(stack.NeighbourReachable|stack.NeighbourStale|stack.NeighbourDelay) == 0 {
			t.Errorf("the kernel's entry is %+v", n)
		}
	})
}

func TestLinuxIsRefused(t *testing.T) {
	withKernel(t, func(k *kernel) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: us.As4(), Port: 9}); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Read(fd, make([]byte, 10)); err != unix.ECONNREFUSED {
			t.Errorf("read: %v, want ECONNREFUSED", err)
		}
		raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, 99)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(raw)
		unix.Sendto(raw, numbers(20), 0, &unix.SockaddrInet4{Addr: us.As4()})
		if _, err := k.receive(func(_ header.IPv4, m header.ICMPv4) bool {
			return m.Type() == header.ICMPv4Unreachable && m.Code() == header.ICMPv4ProtocolUnreachable
		}); err != nil {
			t.Errorf("protocol unreachable: %v", err)
		}
	})
}

func TestOptionsBetweenLinuxAndUs(t *testing.T) {
	from, to := string(peer.AsSlice()), string(us.AsSlice())
	withKernel(t, func(k *kernel) {
		for name, c := range map[string]struct{ options, want string }{
			// The kernel, we, we again, and the kernel when the answer arrives.
			"record route": {"\x07\x13\x04" + strings.Repeat("\x00", 17), "\x07\x13\x14" + from + to + to + from},
			"router alert": {"\x94\x04\x00\x00", ""},
		} {
			if err := unix.SetsockoptString(k.raw, unix.IPPROTO_IP, unix.IP_OPTIONS, c.options); err != nil {
				t.Fatal(err)
			}
			k.send(us, echo(1, nil))
			h, err := k.receive(func(_ header.IPv4, m header.ICMPv4) bool { return m.Type() == header.ICMPv4EchoReply })
			if err != nil || !strings.HasPrefix(string(h.Options()), c.want) || c.want == "" && len(h.Options()) != 0 {
				t.Errorf("%s: %x, %v", name, h.Options(), err)
			}
		}
	})
}

func TestTimestampsBetweenLinuxAndUs(t *testing.T) {
	withKernel(t, func(k *kernel) {
		k.send(us, icmp(header.ICMPv4Fields{Type: header.ICMPv4TimestampRequest, Rest: [4]byte{0, 5, 0, 6}}, make([]byte, 12)))
		h, err := k.receive(func(_ header.IPv4, m header.ICMPv4) bool { return m.Type() == header.ICMPv4TimestampReply })
		if err != nil || len(h.Payload()) != 20 {
			t.Fatalf("%x, %v", []byte(h), err)
		}
		now := time.Now().UTC()
		ms := int64(now.Hour()*3600+now.Minute()*60+now.Second())*1000 + int64(now.Nanosecond()/1e6)
		if d := ms - int64(header.ICMPv4Timestamp(h.Payload()).Receive()); d < 0 && d > -86_000_000 || d > 60_000 {
			t.Errorf("the time is %d ms wrong", d)
		}
	})
}

func TestGroupsBetweenLinuxAndUs(t *testing.T) {
	withKernel(t, func(k *kernel) {
		igmp, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_IGMP)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(igmp)
		unix.SetsockoptTimeval(igmp, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
		// The kernel is where reports go.
		if err := unix.SetsockoptIPMreq(igmp, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreq{Multiaddr: header.IPv4IGMPv3Routers.As4(), Interface: peer.As4()}); err != nil {
			t.Fatal(err)
		}
		if err := k.nic.JoinGroup(groupA); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1500)
		for {
			n, _, err := unix.Recvfrom(igmp, b, 0)
			if err != nil {
				t.Fatalf("no report came: %v", err)
			}
			h := header.IPv4(b[:n])
			if h.Source() != us {
				continue
			}
			w := header.IGMPv3Report(h.Payload()).Records()
			if !header.IGMPv3Report(h.Payload()).Valid() || !w.Next() || w.Group != groupA || w.Type != header.GroupChangeToExclude {
				t.Errorf("the report is %x", []byte(h))
			}
			break
		}
		// And what it sends to the group comes in.
		if err := unix.SetsockoptInet4Addr(k.raw, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, peer.As4()); err != nil {
			t.Fatal(err)
		}
		raw := &endpoint{}
		k.s.RegisterRaw(false, header.ProtocolICMPv4, raw)
		k.send(groupA, echo(1, nil))
		var got []received
		eventually(t, "a packet to the group", func() bool { got = raw.take(); return len(got) > 0 })
		if got[0].destination != groupA || got[0].packetType != 2 || got[0].local != us {
			t.Errorf("%+v", got[0])
		}
	})
}

// Linux as a router: we hear of a narrower link, and of what cannot be reached.
func TestLinuxAsARouter(t *testing.T) {
	withKernel(t, func(k *kernel) {
		for _, c := range []string{"link add name d0 type veth peer name d1", "link set d1 up", "link set d0 mtu 1300 up", "addr add 10.1.0.1/24 dev d0",
			"neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev d0", "route add unreachable 10.2.0.0/16"} {
			if _, err := k.ip("%s", c); err != nil {
				t.Skip("skipped: ", err)
			}
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			t.Skip("skipped: ", err)
		}
		if err := k.s.AddRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("10.0.0.0/8"), Gateway: peer}); err != nil {
			t.Fatal(err)
		}
		e := &endpoint{}
		if err := k.s.Register(&stack.Binding{Transport: udp, V4: true, ID: stack.TransportID{LocalPort: 53}, Endpoint: e}); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			dst   string
			size  int
			ttl   uint8
			errno unix.Errno
			mtu   uint32
		}{
			"too large":   {"10.1.0.9", 1400, 0, unix.EMSGSIZE, 1300},
			"unreachable": {"10.2.0.9", 10, 0, unix.EHOSTUNREACH, 0},
			"too far":     {"10.1.0.9", 10, 1, unix.EHOSTUNREACH, 0},
		} {
			r, err := k.s.FindRoute(stack.RouteQuery{Destination: netip.MustParseAddr(c.dst)})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.WritePacket(stack.NetworkParams{Transport: udp, TTL: c.ttl, DontFragment: true}, outgoing(datagram(53, 9, numbers(c.size)))); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got []stack.TransportError
			eventually(t, name, func() bool { got = e.takeErrors(); return len(got) > 0 })
			if got[0].Errno != c.errno || got[0].MTU != c.mtu || got[0].Offender != peer {
				t.Errorf("%s: %+v", name, got[0])
			}
			if c.mtu != 0 && r.MTU() != c.mtu {
				t.Errorf("%s: the path MTU is %d", name, r.MTU())
			}
		}
	})
}

// We as a router for Linux, to a narrower link.
func TestLinuxBehindUsAsARouter(t *testing.T) {
	withKernel(t, func(k *kernel) {
		k.s.Settings().IPForward.Store(true)
		out := capture.New(capture.Options{MTU: 1300})
		n, err := k.s.CreateNIC(3, "eth1", out)
		if err != nil {
			t.Fatal(err)
		}
		n.SetUp(true)
		if err := n.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("10.1.0.1/24")}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.ip("route add 10.1.0.0/24 via %v", us); err != nil {
			t.Fatal(err)
		}
		// With don't fragment (the default) the kernel learns of the path's MTU.
		k.send(beyond9, echo(1, numbers(1400)))
		eventually(t, "the kernel's path MTU", func() bool {
			out, _ := k.ip("route get %v", beyond9)
			return strings.Contains(out, "mtu 1300")
		})
		if list := out.Take(); len(list) != 0 {
			t.Errorf("%d packets went on", len(list))
		}
		// Without, its packet is cut up by us.
		unix.SetsockoptInt(k.raw, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE)
		k.send(beyond9, echo(2, numbers(1400)))
		var list []capture.Sent
		eventually(t, "two fragments", func() bool { list = append(list, out.Take()...); return len(list) == 2 })
		var whole []byte
		for i, s := range list {
			h := header.IPv4(s.Bytes)
			if h.TTL() != 63 || h.MoreFragments() != (i == 0) || int(h.FragmentOffset()) != len(whole) {
				t.Errorf("fragment %d: %x", i, s.Bytes[:20])
			}
			whole = append(whole, h.Payload()...)
		}
		if !bytes.Equal(whole, echo(2, numbers(1400))) {
			t.Errorf("%d bytes went on", len(whole))
		}
		// And it hears where the way ends.
		unix.SetsockoptInt(k.raw, unix.IPPROTO_IP, unix.IP_TTL, 1)
		k.send(beyond9, echo(3, nil))
		if h, err := k.receive(func(_ header.IPv4, m header.ICMPv4) bool { return m.Type() == header.ICMPv4TimeExceeded }); err != nil || h.Source() != us {
			t.Errorf("%x, %v", []byte(h), err)
		}
	})
}

var beyond9 = netip.MustParseAddr("10.1.0.9")

// Linux looks for us by ARP when it believes something else, and we follow it when it moves.
func TestNeighboursMove(t *testing.T) {
	withKernel(t, func(k *kernel) {
		raw := &endpoint{}
		k.s.RegisterRaw(false, header.ProtocolICMPv4, raw)
		ping := func(seq uint16) {
			r, err := k.s.FindRoute(stack.RouteQuery{Destination: peer})
			if err != nil {
				t.Fatal(err)
			}
			raw.take()
			eventually(t, "an answer", func() bool {
				r.WritePacket(stack.NetworkParams{Transport: header.ProtocolICMPv4}, outgoing(echo(seq, nil)))
				time.Sleep(20 * time.Millisecond)
				return len(raw.take()) > 0
			})
		}
		ping(1)
		moved := tcpip.LinkAddress{2, 0, 0, 0, 0, 0x77}
		for _, c := range []string{"link set v0 down", "link set v0 address " + moved.String(), "link set v0 up"} {
			if _, err := k.ip("%s", c); err != nil {
				t.Fatal(err)
			}
		}
		os.WriteFile("/proc/sys/net/ipv4/conf/v0/arp_notify", []byte("1"), 0)
		k.ip("link set v0 down")
		k.ip("link set v0 up") // announces itself
		eventually(t, "the new address", func() bool {
			n, _ := k.nic.Neighbour(peer)
			return n.Link == moved
		})
		ping(2)
		// Now we move.
		arp.Announce(k.nic, us)
		ping(3)
	})
}
