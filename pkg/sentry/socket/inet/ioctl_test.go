package inet

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

// ethernet adds an interface eth0 that is up, with an address.
func ethernet(t *testing.T, n *Namespace) *stack.NIC {
	t.Helper()
	nic, err := n.stack.CreateNIC(2, "eth0", capture.New(capture.Options{Ethernet: true, Address: tcpip.LinkAddress{2, 0, 0, 0, 0, 2}}))
	if err != nil {
		t.Fatal(err)
	}
	SetUp(nic, true)
	p := netip.MustParsePrefix("198.18.0.2/24")
	if err := nic.AddAddress(stack.Address{Prefix: p, Broadcast: broadcastOf(p)}); err != nil {
		t.Fatal(err)
	}
	return nic
}

func ifreqOf(name string, value []byte) []byte {
	b := make([]byte, sizeofIfreq)
	copy(b, name)
	copy(b[unix.IFNAMSIZ:], value)
	return b
}

func sockaddr4(a string) []byte {
	b := make([]byte, 16)
	putSockaddr4(b, netip.MustParseAddr(a))
	return b
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func TestEthernetIoctls(t *testing.T) {
	n := world(t)
	nic := ethernet(t, n)
	ctx := newTask()
	call := func(request uint32, value []byte) ([]byte, error) {
		b := ifreqOf("eth0", value)
		err := n.Ioctl(ctx, &usermem.Bytes{B: b}, request, 0)
		return b[unix.IFNAMSIZ:], err
	}
	must := func(request uint32, value []byte) []byte {
		t.Helper()
		b, err := call(request, value)
		if err != nil {
			t.Errorf("request %#x: %v", request, err)
		}
		return b
	}
	addrIs := func(b []byte, want string) {
		t.Helper()
		if got := addr4(b[4:]).String(); got != want {
			t.Errorf("address %s, want %s", got, want)
		}
	}
	addrIs(must(unix.SIOCGIFADDR, nil), "198.18.0.2")
	addrIs(must(unix.SIOCGIFBRDADDR, nil), "198.18.0.255")
	addrIs(must(unix.SIOCGIFNETMASK, nil), "255.255.255.0")
	if b := must(unix.SIOCGIFFLAGS, nil); binary.NativeEndian.Uint16(b)&(unix.IFF_UP|unix.IFF_BROADCAST|unix.IFF_MULTICAST|unix.IFF_RUNNING) != unix.IFF_UP|unix.IFF_BROADCAST|unix.IFF_MULTICAST|unix.IFF_RUNNING {
		t.Errorf("flags %x", b[:2])
	}
	// The netmask takes the broadcast address with it.
	must(unix.SIOCSIFNETMASK, sockaddr4("255.255.0.0"))
	addrIs(must(unix.SIOCGIFBRDADDR, nil), "198.18.255.255")
	must(unix.SIOCSIFBRDADDR, sockaddr4("198.18.7.7"))
	addrIs(must(unix.SIOCGIFBRDADDR, nil), "198.18.7.7")
	must(unix.SIOCSIFDSTADDR, sockaddr4("198.18.0.9"))
	addrIs(must(unix.SIOCGIFDSTADDR, nil), "198.18.0.9")
	must(unix.SIOCSIFADDR, sockaddr4("198.18.0.3"))
	addrIs(must(unix.SIOCGIFADDR, nil), "198.18.0.3")
	addrIs(must(unix.SIOCGIFNETMASK, nil), "255.255.255.0") // class C
	must(unix.SIOCSIFADDR, sockaddr4("198.18.0.3"))
	if _, err := call(unix.SIOCSIFADDR, sockaddr4("240.0.0.1")); err != unix.EINVAL {
		t.Errorf("class E: %v", err)
	}

	hw := append(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER), 2, 0, 0, 0, 0, 7)
	must(unix.SIOCSIFHWADDR, hw)
	if nic.Link().LinkAddress() != (tcpip.LinkAddress{2, 0, 0, 0, 0, 7}) {
		t.Errorf("hardware address %v", nic.Link().LinkAddress())
	}
	hw[2] = 1
	if _, err := call(unix.SIOCSIFHWADDR, hw); err != unix.EADDRNOTAVAIL {
		t.Errorf("group address: %v", err)
	}
	must(unix.SIOCSIFMTU, u32(1400))
	if nic.MTU() != 1400 {
		t.Errorf("MTU %d", nic.MTU())
	}
	must(unix.SIOCSIFTXQLEN, u32(5))
	must(unix.SIOCADDMULTI, nil)
	if !nic.AllMulticast() {
		t.Error("SIOCADDMULTI")
	}
	must(unix.SIOCDELMULTI, nil)
	for _, request := range []uint32{unix.SIOCSIFMETRIC, unix.SIOCSIFMAP, unix.SIOCETHTOOL} {
		if _, err := call(request, nil); err != unix.EOPNOTSUPP {
			t.Errorf("request %#x: %v", request, err)
		}
	}
	for _, bad := range []string{"", "a/b", "a:b", "a b", ".", ".."} {
		if err := Rename(nic, bad); err != unix.EINVAL {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	if _, err := call(unix.SIOCSIFNAME, []byte("lo")); err != unix.EEXIST {
		t.Errorf("name lo: %v", err)
	}
	must(unix.SIOCSIFNAME, []byte("wan0"))
	if n.stack.NICByName("wan0") != nic {
		t.Error("it has its old name")
	}
	if names := n.DeviceNames(); len(names) != 2 || names[1] != "wan0" {
		t.Errorf("names %v", names)
	}
	if d := n.layer.Devices().List(); len(d) != 2 || d[1].Name != "wan0" || d[1].MTU != 1400 {
		t.Errorf("%+v", d)
	}
}

func arpreqOf(a string, link tcpip.LinkAddress, flags uint32, dev string) []byte {
	b := make([]byte, sizeofArpreq)
	copy(b, sockaddr4(a))
	binary.NativeEndian.PutUint16(b[arpHA:], unix.ARPHRD_ETHER)
	copy(b[arpHA+2:], link[:])
	binary.NativeEndian.PutUint32(b[arpFlags:], flags)
	copy(b[arpDev:], dev)
	return b
}

func TestARPIoctls(t *testing.T) {
	n := world(t)
	nic := ethernet(t, n)
	link := tcpip.LinkAddress{2, 0, 0, 0, 0, 9}
	call := func(request uint32, b []byte) error { return n.Ioctl(newTask(), &usermem.Bytes{B: b}, request, 0) }
	// Without a name, the interface is that of the route.
	if err := call(unix.SIOCSARP, arpreqOf("198.18.0.9", link, atfPermanent|atfComplete, "")); err != nil {
		t.Fatal(err)
	}
	b := arpreqOf("198.18.0.9", tcpip.LinkAddress{}, 0, "eth0")
	if err := call(unix.SIOCGARP, b); err != nil || tcpip.LinkAddress(b[arpHA+2:arpHA+8]) != link || binary.NativeEndian.Uint32(b[arpFlags:]) != atfPermanent|atfComplete {
		t.Errorf("%x, %v", b, err)
	}
	if e, ok := nic.Neighbour(netip.MustParseAddr("198.18.0.9")); !ok || e.State != stack.NeighbourPermanent {
		t.Errorf("%+v", e)
	}
	if err := call(unix.SIOCDARP, arpreqOf("198.18.0.9", link, 0, "eth0")); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name    string
		request uint32
		b       []byte
		want    error
	}{
		{"gone", unix.SIOCGARP, b, unix.ENXIO},
		{"gone", unix.SIOCDARP, b, unix.ENXIO},
		{"published", unix.SIOCSARP, arpreqOf("198.18.0.9", link, atfPublish, "eth0"), unix.EINVAL},
		{"no interface", unix.SIOCGARP, arpreqOf("198.18.0.9", link, 0, ""), unix.ENODEV},
		{"no route", unix.SIOCSARP, arpreqOf("203.0.113.1", link, 0, ""), unix.ENETUNREACH},
		{"wrong hardware", unix.SIOCSARP, arpreqOf("198.18.0.9", link, 0, "lo"), unix.EINVAL},
	} {
		if err := call(c.request, c.b); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for s, want := range map[stack.NeighbourState]uint32{stack.NeighbourReachable: atfComplete, stack.NeighbourIncomplete: 0, stack.NeighbourPermanent: atfComplete | atfPermanent} {
		if got := NeighbourFlags(s); got != want {
			t.Errorf("state %#x: flags %#x, want %#x", s, got, want)
		}
	}
}

// Every request that changes something needs CAP_NET_ADMIN, and none of them panics.
func TestIoctlsNeedAdmin(t *testing.T) {
	n := world(t)
	s := n.sock(t, unix.AF_INET6, unix.SOCK_DGRAM, 0)
	for _, request := range []uint32{
		unix.SIOCSIFADDR, unix.SIOCDIFADDR, unix.SIOCADDRT, unix.SIOCDELRT,
	} {
		if _, err := s.Ioctl(nobody(), &usermem.Bytes{B: make([]byte, 256)}, request, 0); err != unix.EPERM {
			t.Errorf("IPv6, request %#x: %v", request, err)
		}
	}
	for _, request := range []uint32{
		unix.SIOCSIFADDR, unix.SIOCSIFNETMASK, unix.SIOCSIFBRDADDR, unix.SIOCSIFDSTADDR, unix.SIOCSIFFLAGS, unix.SIOCSIFMTU,
		unix.SIOCSIFHWADDR, unix.SIOCSIFNAME, unix.SIOCSIFTXQLEN, unix.SIOCADDMULTI, unix.SIOCDELMULTI, unix.SIOCADDRT,
		unix.SIOCDELRT, unix.SIOCSARP, unix.SIOCDARP,
	} {
		b := make([]byte, 256)
		copy(b, "lo")
		if err := n.Ioctl(nobody(), &usermem.Bytes{B: b}, request, 0); err != unix.EPERM {
			t.Errorf("request %#x: %v", request, err)
		}
		if err := n.Ioctl(newTask(), &usermem.Bytes{}, request, 0); err != unix.EFAULT {
			t.Errorf("request %#x without memory: %v", request, err)
		}
	}
}

func FuzzIoctl(f *testing.F) {
	for _, r := range []uint32{unix.SIOCGIFCONF, unix.SIOCSIFADDR, unix.SIOCADDRT, unix.SIOCGARP, unix.SIOCSIFNAME, unix.SIOCSIFFLAGS, unix.SIOCINQ, unix.SIOCGSTAMP, unix.SIOCDIFADDR} {
		f.Add(true, r, ifreqOf("lo", sockaddr4("10.0.0.1")))
		f.Add(false, r, make([]byte, 128))
	}
	f.Fuzz(func(t *testing.T, v6 bool, request uint32, b []byte) {
		n := world(t)
		family := unix.AF_INET
		if v6 {
			family = unix.AF_INET6
		}
		mem := &usermem.Bytes{B: b}
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			s := n.sock(t, family, typ, 0)
			if _, err := s.Ioctl(newTask(), mem, request, 0); err != nil {
				if _, ok := err.(unix.Errno); !ok {
					t.Errorf("%v is no errno", err)
				}
			}
		}
		n.layer.Devices().(socket.DeviceControl).Control(newTask(), mem, request, 0)
	})
}
