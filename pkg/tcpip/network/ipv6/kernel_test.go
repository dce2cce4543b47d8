package ipv6

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/hostnet"
	"runsc/pkg/tcpip/link/fdbased"
	"runsc/pkg/tcpip/stack"
)

// kernel is the other end of a veth pair: Linux itself, in a network namespace of its own, where
// fd, a raw ICMPv6 socket, is.
type kernel struct {
	t  *testing.T
	fd int
	// run runs a command there.
	run func(format string, args ...any) (string, error)
	// ifindex is that of its interface.
	ifindex int
}

// withKernel calls f on a thread in a new network namespace that has the interface v0 with the
// address peerGlobal; our stack has the other end, with ourGlobal.
func withKernel(t *testing.T, f func(k *kernel, p *pinger)) {
	t.Helper()
	hostnet.In(t, func() error { return setUpKernel(t, f) })
}

func setUpKernel(t *testing.T, f func(k *kernel, p *pinger)) error {
	k := &kernel{t: t}
	k.run = func(format string, args ...any) (string, error) {
		return hostnet.Run(strings.Fields(fmt.Sprintf(format, args...))...)
	}
	for _, c := range []string{
		"ip link set lo up",
		"ip link add name v0 type veth peer name v1",
	} {
		if _, err := k.run("%s", c); err != nil {
			return err
		}
	}
	if os.WriteFile("/proc/sys/net/ipv6/conf/v1/disable_ipv6", []byte("1"), 0) != nil {
		return fmt.Errorf("the kernel has no IPv6: %w", hostnet.ErrNotHere)
	}
	for _, c := range []string{"ip link set v0 up", "ip link set v1 up", fmt.Sprintf("ip -6 addr add %v/64 dev v0 nodad", peerGlobal)} {
		if _, err := k.run("%s", c); err != nil {
			return err
		}
	}
	var fd int
	for name, to := range map[string]*int{"v0": &k.ifindex, "v1": &fd} {
		index, err := ifIndex(name)
		if err != nil {
			return err
		}
		*to = index
	}
	fd, err := fdbased.OpenPacketSocket(fd)
	if err != nil {
		return err
	}
	link, err := fdbased.New(fdbased.Options{FD: fd, MTU: 1500, LinkAddress: ourLink, VNetHeader: true})
	if err != nil {
		return err
	}
	if k.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6); err != nil {
		return err
	}
	defer unix.Close(k.fd)
	unix.SetsockoptTimeval(k.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	p := &pinger{}
	p.stack = stack.New(stack.Config{Networks: []func(*stack.Stack) stack.NetworkProtocol{New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{func(s *stack.Stack) stack.TransportProtocol {
			return &transport{stack: s, number: header.ProtocolUDP, refuse: true}
		}}})
	defer p.stack.Close()
	if p.nic, err = p.stack.CreateNIC(0, "eth0", link); err != nil {
		return err
	}
	if err := p.nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(ourGlobal, 64), NoDAD: true}); err != nil {
		return err
	}
	p.stack.RegisterRaw(true, header.ProtocolICMPv6, &p.raw)
	p.nic.SetUp(true)
	if !poll(func() bool {
		out, _ := k.run("ip -6 addr show dev v0 scope link")
		return p.nic.HasAddress(ourLL) && strings.Contains(out, "fe80::") && !strings.Contains(out, "tentative")
	}) {
		return errors.New("the two ends have no link-local addresses")
	}
	f(k, p)
	return nil
}

func ifIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, err
	}
	return int(r.Uint32()), nil
}

// poll waits until cond holds, and says whether it does.
func poll(cond func() bool) bool {
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// send sends an ICMPv6 message, whose checksum the kernel sets.
func (k *kernel) send(to netip.Addr, hops int, b []byte) {
	k.t.Helper()
	unix.SetsockoptInt(k.fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, hops)
	unix.SetsockoptInt(k.fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hops)
	sa := &unix.SockaddrInet6{Addr: to.As16()}
	if to.IsLinkLocalUnicast() || to.IsMulticast() {
		sa.ZoneId = uint32(k.ifindex)
	}
	if err := unix.Sendto(k.fd, b, 0, sa); err != nil {
		k.t.Fatalf("sendto(%v): %v", to, err)
	}
}

// reply waits for an echo reply and returns its payload.
func (k *kernel) reply(seq uint16) ([]byte, error) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(k.fd, b, 0)
		if err != nil {
			return nil, err
		}
		if m := header.ICMPv6(b[:n]); m.Valid() && m.Type() == header.ICMPv6EchoReply && m.Sequence() == seq {
			return m.Payload(), nil
		}
	}
}

func TestLinuxPingsUs(t *testing.T) {
	withKernel(t, func(k *kernel, p *pinger) {
		seq := uint16(0)
		for _, dst := range []netip.Addr{ourGlobal, ourLL, header.IPv6AllNodes} {
			for _, n := range []int{0, 56, 1452, 1453, 5000, 30000, 65000} {
				if n > 1452 && dst.IsMulticast() {
					continue
				}
				seq++
				b := make([]byte, header.ICMPv6Size+n)
				b[0] = header.ICMPv6EchoRequest
				header.ICMPv6(b).SetSequence(seq)
				for i := range n {
					b[header.ICMPv6Size+i] = byte(i * 11)
				}
				k.send(dst, 64, b)
				got, err := k.reply(seq)
				if err != nil || !slices.Equal(got, b[header.ICMPv6Size:]) {
					t.Errorf("%d bytes to %v: %d came back, %v", n, dst, len(got), err)
				}
			}
		}
	})
}

func TestWePingLinux(t *testing.T) {
	withKernel(t, func(k *kernel, p *pinger) {
		for seq, n := range []int{0, 56, 1452, 1453, 5000, 30000, 65000} {
			p.ping(t, peerGlobal, uint16(seq), n)
			if !poll(func() bool { return len(p.replies(t, n)) == 1 }) {
				t.Errorf("%d bytes are not answered", n)
			}
		}
		n, _ := p.nic.Neighbour(peerGlobal)
		if n.State&(stack.NeighbourReachable|stack.NeighbourDelay|stack.NeighbourStale) == 0 {
			t.Errorf("the kernel's entry is %+v", n)
		}
	})
}

func TestLinuxIsRefused(t *testing.T) {
	withKernel(t, func(k *kernel, p *pinger) {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
		if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: ourGlobal.As16(), Port: 9}); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Read(fd, make([]byte, 10)); err != unix.ECONNREFUSED {
			t.Errorf("read: %v, want ECONNREFUSED", err)
		}
	})
}

func TestDuplicatesBetweenLinuxAndUs(t *testing.T) {
	withKernel(t, func(k *kernel, p *pinger) {
		if err := p.nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(peerGlobal, 64)}); err != nil {
			t.Fatal(err)
		}
		if !poll(func() bool { a, _ := p.nic.Address(peerGlobal); return a.Duplicate }) {
			t.Error("we do not notice that the kernel has our address")
		}
		if _, err := k.run("ip -6 addr add %v/64 dev v0", ourGlobal); err != nil {
			t.Fatal(err)
		}
		if !poll(func() bool { out, _ := k.run("ip -6 addr show dev v0"); return strings.Contains(out, "dadfailed") }) {
			t.Error("the kernel does not notice that we have its address")
		}
	})
}

// The kernel as a router: we take its advertisement, send to elsewhere by it, and hear of the MTU
// and of routes that there are not.
func TestLinuxAsARouter(t *testing.T) {
	withKernel(t, func(k *kernel, p *pinger) {
		for _, c := range []string{
			"ip link add name d0 type veth peer name d1",
			"ip link set d1 up", "ip link set d0 mtu 1300 up",
			"ip -6 addr add 2001:db8:1::1/64 dev d0 nodad",
			"ip -6 neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:09 dev d0",
		} {
			if _, err := k.run("%s", c); err != nil {
				t.Skip("skipped: ", err)
			}
		}
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0); err != nil {
			t.Skip("skipped: ", err)
		}
		var b [header.NDPRouterAdvertSize]byte
		header.NDPRouterAdvert(b[:]).Encode(header.NDPRouterAdvertFields{Lifetime: time.Hour})
		m := slices.Concat(b[:], prefixOpt("2001:db8:7::/64", true, true, time.Hour, time.Hour))
		k.send(header.IPv6AllNodes, 255, m)
		auto := netip.PrefixFrom(autoAddr("2001:db8:7::/64"), 64)
		if !poll(func() bool { return p.nic.HasAddress(auto.Addr()) }) {
			t.Fatal("no address is made")
		}
		far := addr("2001:db8:1::9")
		path := func() uint32 {
			r, err := p.stack.FindRoute(stack.RouteQuery{Destination: far})
			if err != nil {
				return 0
			}
			return r.MTU()
		}
		if n := path(); n != 1500 {
			t.Fatalf("the path MTU is %d at first", n)
		}
		p.ping(t, far, 1, 1400)
		if !poll(func() bool { return path() == 1300 }) {
			t.Errorf("the path MTU is %d", path())
		}
		errors := func(typ, code uint8) func() bool {
			return func() bool {
				p.raw.mu.Lock()
				defer p.raw.mu.Unlock()
				return slices.ContainsFunc(p.raw.got, func(b []byte) bool { return b[0] == typ && b[1] == code })
			}
		}
		p.ping(t, addr("2001:db8:2::9"), 2, 10)
		if !poll(errors(header.ICMPv6Unreachable, header.ICMPv6NoRoute)) {
			t.Error("we do not hear that there is no route")
		}
		r, err := p.stack.FindRoute(stack.RouteQuery{Destination: far})
		if err != nil {
			t.Fatal(err)
		}
		pkt := packet(udp(1, 2, 3))
		if err := r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP, TTL: 1}, pkt); err != nil {
			t.Fatal(err)
		}
		if !poll(errors(header.ICMPv6TimeExceeded, header.ICMPv6HopLimitExceeded)) {
			t.Error("we do not hear of the hop limit")
		}
	})
}

// We as a router between Linux and another of our links.
func TestLinuxBehindUsAsARouter(t *testing.T) {
	withKernel(t, func(k *kernel, p *pinger) {
		p.stack.Settings().IPv6Forwarding.Store(true)
		far := &wire{caps: stack.CapResolution, addr: tcpip.LinkAddress{2, 0, 0, 0, 1, 1}}
		far.mtu.Store(1300)
		nic, err := p.stack.CreateNIC(0, "eth1", far)
		if err != nil {
			t.Fatal(err)
		}
		if err := nic.AddAddress(stack.Address{Prefix: prefix("2001:db8:1::1/64"), NoDAD: true}); err != nil {
			t.Fatal(err)
		}
		nic.SetUp(true)
		if err := nic.SetNeighbour(stack.Neighbour{Addr: addr("2001:db8:1::9"), Link: otherLink}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.run("ip -6 route add 2001:db8:1::/64 via %v", ourLL); err != nil {
			if _, err = k.run("ip -6 route add 2001:db8:1::/64 via %v dev v0", ourLL); err != nil {
				t.Fatal(err)
			}
		}
		b := make([]byte, header.ICMPv6Size+1400)
		b[0] = header.ICMPv6EchoRequest
		k.send(addr("2001:db8:1::9"), 64, b)
		if !poll(func() bool {
			out, _ := k.run("ip -6 route get 2001:db8:1::9")
			return strings.Contains(out, "mtu 1300")
		}) {
			t.Error("the kernel does not hear of the MTU of our other link")
		}
		k.send(addr("2001:db8:1::9"), 64, b)
		var once sync.Once
		if !poll(func() bool {
			far.mu.Lock()
			defer far.mu.Unlock()
			n := 0
			for _, f := range far.sent {
				if f.ip().Destination() == addr("2001:db8:1::9") && f.ip().NextHeader() == header.ProtocolFragment {
					once.Do(func() {
						if f.ip().HopLimit() != 63 {
							t.Errorf("hop limit %d", f.ip().HopLimit())
						}
					})
					n++
				}
			}
			return n == 2
		}) {
			t.Error("the kernel's fragments are not forwarded")
		}
	})
}
