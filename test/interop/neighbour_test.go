package interop

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/test/oci"
)

const neighbourKnown = stack.NeighbourReachable | stack.NeighbourStale | stack.NeighbourDelay | stack.NeighbourProbe

// Each side finds the other, finds it again, and sees where nobody is.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	link := strings.Fields(w.ns.IP(t, "-br", "link", "show", "dev", w.dev))[2]
	for _, imp := range []pipe.Impairment{{}, {Delay: 20 * ms, Reorder: 0.1, Duplicate: 0.5}} {
		w.impair(imp)
		for v := range versions {
			us, them, err := w.pair(v, v == 0)
			must(t, "pair", err)
			exchange(t, us, them)
			n, ok := w.nic.Neighbour(theirs[v])
			if !ok || n.Link.String() != link || n.State&neighbourKnown == 0 {
				t.Errorf("%s: ours is %+v, want %s", versions[v], n, link)
			}
			show := func() string { return w.ns.IP(t, "neigh", "show", ours[v].String(), "dev", w.dev) }
			if out := show(); !strings.Contains(out, ourLink.String()) {
				t.Errorf("%s: theirs is %q", versions[v], out)
			}
			// Both look each other up again, by broadcast or group and by unicast.
			must(t, "forget", w.nic.RemoveNeighbour(theirs[v]))
			w.ns.IP(t, "neigh", "flush", "dev", w.dev)
			exchange(t, us, them)
			w.ns.IP(t, "neigh", "change", ours[v].String(), "dev", w.dev, "lladdr", ourLink.String(), "nud", "probe")
			eventually(t, "the kernel's probe", func() bool { return strings.Contains(show(), "REACHABLE") })
			us.Close()
			them.Close()
		}
	}
	w.impair(pipe.Impairment{})
	var wait sync.WaitGroup
	for v, a := range []string{"10.9.0.77", "fd09::77"} {
		nobody := netip.AddrPortFrom(netip.MustParseAddr(a), 80)
		for who, connect := range map[string]func() error{
			"we":   func() error { _, err := w.connect(nobody); return err },
			"they": func() error { _, err := w.kernelConnect(nobody); return err },
		} {
			wait.Add(1)
			go func() {
				defer wait.Done()
				if err := connect(); !errors.Is(err, unix.EHOSTUNREACH) {
					t.Errorf("%s: %s reach nobody: %v", versions[v], who, err)
				}
			}()
		}
	}
	wait.Wait()
}

// An address that the other side has is not taken (RFC 4862 section 5.4).
func TestDuplicateAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	w.ns.IP(t, "addr", "add", ours[1].String()+"/64", "dev", w.dev)
	eventually(t, "the kernel's failure", func() bool {
		return strings.Contains(w.ns.IP(t, "-6", "addr", "show", "dev", w.dev), "dadfailed")
	})
	must(t, "add", w.nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(theirs[1], 64)}))
	eventually(t, "our failure", func() bool {
		a, ok := w.nic.Address(theirs[1])
		return ok && a.Duplicate
	})
}

// narrow puts a router behind the kernel: a link of 1300 bytes to a namespace with the address
// beyond, of each version.
func (w *world) narrow(t *testing.T) (ns *oci.Netns, beyond [2]netip.Addr) {
	t.Helper()
	ns = oci.NewNetns(t, "beyond")
	must(t, "link", w.ns.Join(ns, "n0", "10.8.0.1/24", "10.8.0.2/24", "fd08::1/64", "fd08::2/64"))
	w.sysctl(t, "net.ipv4.ip_forward", "1")
	w.sysctl(t, "net.ipv6.conf.all.forwarding", "1")
	w.ns.IP(t, "link", "set", "n0", "mtu", "1300")
	// The far end says that it takes more than the link to it does.
	for i, route := range [2]string{"10.9.0.0/24", "fd09::/64"} {
		ns.IP(t, "route", "add", route, "via", [2]string{"10.8.0.1", "fd08::1"}[i], "advmss", "1400")
	}
	for i, p := range [2]string{"10.8.0.0/24", "fd08::/64"} {
		must(t, "route", w.stack.AddRoute(stack.RouteEntry{Destination: netip.MustParsePrefix(p), Gateway: theirs[i], NIC: w.nic.ID()}))
	}
	return ns, [2]netip.Addr{netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd08::2")}
}

// TCP learns of the narrow link from the router, and so does UDP (RFC 1191, RFC 8201).
func TestPathMTU(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	ns, beyond := w.narrow(t)
	far := &world{t: t, ns: ns}
	for v := range versions {
		l, err := far.kernelListen(beyond[v])
		must(t, "listen", err)
		us, err := w.connect(netip.AddrPortFrom(beyond[v], uint16(l.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port())))
		must(t, "connect", err)
		them, err := l.AcceptTCP()
		must(t, "accept", err)
		data := numbers(7, 1<<20)
		sent := make(chan error, 2)
		go func() { sent <- sendAll(us, data) }()
		go func() { sent <- sendAll(them, data) }()
		received := make(chan error, 1)
		go func() { received <- receiveAll(us, data) }()
		must(t, "they receive", receiveAll(them, data))
		must(t, "we receive", <-received)
		must(t, "sending", <-sent)
		must(t, "sending", <-sent)
		if i := us.Info(); i.PathMTU != 1300 || i.SendMSS > 1300-40 {
			t.Errorf("%s: %+v", versions[v], i)
		}
		us.Close()
		them.Close()
		l.Close()
	}
}

func TestPathMTUOfDatagrams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	ns, beyond := w.narrow(t)
	far := &world{t: t, ns: ns}
	for v := range versions {
		fd := far.kernelSocket(t, v, unix.SOCK_DGRAM, 0)
		must(t, "bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(beyond[v], 7))))
		e := udp.NewEndpoint(w.stack, v == 1)
		o := e.Options()
		o.MTUDiscovery4.Store(tcpip.MTUDiscoveryDo)
		o.MTUDiscovery6.Store(tcpip.MTUDiscoveryDo)
		must(t, "connect", e.Connect(tcpip.FullAddress{Addr: beyond[v], Port: 7}))
		data := numbers(8, 1400)
		send := func() error { _, err := e.Send(&source{data}, tcpip.SendOptions{}); return err }
		// What is too long for the way is refused here once the router has said so.
		// The first error is the router's answer itself.
		eventually(t, "EMSGSIZE", func() bool { return send() == unix.EMSGSIZE && send() == unix.EMSGSIZE })
		e.TakeError()
		if err := send(); err != unix.EMSGSIZE {
			t.Errorf("%s: 1400 bytes: %v, want EMSGSIZE", versions[v], err)
		}
		// With fragments it arrives.
		o.MTUDiscovery4.Store(tcpip.MTUDiscoveryWant)
		o.MTUDiscovery6.Store(tcpip.MTUDiscoveryWant)
		for _, n := range []int{1400, 9000} {
			data = numbers(8, n)
			if err := ask(send, func() ([]byte, error) { return kernelReceive(fd) }, func(b []byte) bool { return string(b) == string(data) }); err != nil {
				t.Errorf("%s: %d bytes: %v", versions[v], n, err)
			}
		}
		e.Close()
	}
}

// What a router cannot reach is not tried for long.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	w.narrow(t)
	// The router says "no route", not "host unreachable", of IPv6.
	want := [2]unix.Errno{unix.EHOSTUNREACH, unix.ENETUNREACH}
	for v, p := range [2]string{"10.7.0.0/16", "fd07::/64"} {
		prefix := netip.MustParsePrefix(p)
		w.ns.IP(t, "route", "add", "unreachable", p)
		must(t, "route", w.stack.AddRoute(stack.RouteEntry{Destination: prefix, Gateway: theirs[v], NIC: w.nic.ID()}))
		to := netip.AddrPortFrom(prefix.Addr().Next(), 80)
		if _, err := w.connect(to); !errors.Is(err, want[v]) {
			t.Errorf("%s: connect: %v", versions[v], err)
		}
		e := udp.NewEndpoint(w.stack, v == 1)
		o := e.Options()
		o.ReceiveErrors4.Store(true)
		o.ReceiveErrors6.Store(true)
		must(t, "connect", e.Connect(tcpip.FullAddress{Addr: to.Addr(), Port: to.Port()}))
		err := ask(func() error { _, err := e.Send(&source{[]byte("hello")}, tcpip.SendOptions{}); return err },
			func() ([]byte, error) { b, _, err := receive(e); return b, err }, func([]byte) bool { return false })
		if !errors.Is(err, want[v]) {
			t.Errorf("%s: a datagram: %v", versions[v], err)
		}
		e.Close()
	}
}
