package interop

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/fdbased"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/icmp"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/test/oci"
)

// TestMain lets many tests wait at the same time, whatever the number of cores.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "64")
	os.Exit(m.Run())
}

// patience is after how long a test is stuck.
const patience = 60 * time.Second

// The two hosts, by version of IP: our stack and the kernel.
var (
	ours   = [2]netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")}
	theirs = [2]netip.Addr{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")}
	// ourLink is also the address of the pipe's first end.
	ourLink  = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}
	versions = [2]string{"IPv4", "IPv6"}
)

// device is how the kernel is reached.
type device int

const (
	tap device = iota
	veth
)

func (d device) String() string { return [...]string{"tap", "veth"}[d] }

// world is the two hosts and what is between them.
type world struct {
	t  *testing.T
	ns *oci.Netns
	// dev is the kernel's interface.
	dev   string
	stack *stack.Stack
	nic   *stack.NIC
	// near and far are the cable's ends; nil: there is no cable.
	near, far *pipe.Endpoint
	// mark: each so manieth frame that may be marked with congestion is (RFC 3168); 0: none.
	mark atomic.Uint32
	// tooLong counts our frames that are longer than the MTU, which a TAP device would take.
	tooLong atomic.Uint32
	// seen is shown the frames that we sent; nil: nobody looks.
	seen atomic.Pointer[func(frame []byte)]
}

// newWorld connects a stack and a namespace. It is skipped where that cannot be.
func newWorld(t *testing.T, dev device, cable bool) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: network namespaces need root")
	}
	for _, c := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(c); err != nil {
			t.Skip("skipped: ", err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil && dev == tap {
		t.Skip("skipped: ", err)
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("skipped: the host has no IPv6: ", err)
	}
	w := &world{t: t, ns: oci.NewNetns(t, "interop")}
	// What one case learns of the path must not help the next one.
	w.sysctl(t, "net.ipv4.tcp_no_metrics_save", "1")
	w.sysctl(t, "net.ipv4.ping_group_range", "0 0")
	link, err := w.openDevice(dev, cable)
	if err != nil {
		t.Fatal(err)
	}
	var nicLink stack.LinkEndpoint = link
	if cable {
		w.near, w.far = pipe.New(pipe.Options{Ethernet: true, Seed: 1})
		link.Attach(&bridge{to: w.far})
		w.far.Attach(&bridge{to: link, w: w})
		nicLink = w.near
		t.Cleanup(func() { // after the stack has closed its end
			link.Close()
			w.far.Close()
		})
	}
	w.ns.IP(t, "addr", "add", netip.PrefixFrom(theirs[0], 24).String(), "dev", w.dev)
	w.ns.IP(t, "addr", "add", netip.PrefixFrom(theirs[1], 64).String(), "dev", w.dev, "nodad")
	w.ns.IP(t, "link", "set", w.dev, "up")
	w.makeStack(nicLink)
	return w
}

func (w *world) openDevice(dev device, cable bool) (*fdbased.Endpoint, error) {
	o := fdbased.Options{MTU: 1500, LinkAddress: ourLink, VNetHeader: true, NoGRO: cable}
	var err error
	switch dev {
	case tap:
		o.Kind, w.dev = fdbased.KindTAP, "tap0"
		err = w.inside(func() (err error) {
			if o.FD, _, err = fdbased.OpenTAP(w.dev, false); err != nil || !cable {
				return err
			}
			return unix.IoctlSetInt(o.FD, unix.TUNSETOFFLOAD, 0)
		})
	case veth:
		w.dev = "v0"
		w.ns.IP(w.t, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
		w.ns.IP(w.t, "link", "set", "v1", "up")
		err = w.inside(func() (err error) {
			if cable {
				for _, d := range []string{"v0", "v1"} {
					if err := disableOffloads(d); err != nil {
						return err
					}
				}
			}
			index, err := interfaceIndex("v1")
			if err == nil {
				o.FD, err = fdbased.OpenPacketSocket(index)
			}
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return fdbased.New(o)
}

func (w *world) makeStack(link stack.LinkEndpoint) {
	w.t.Helper()
	w.stack = stack.New(stack.Config{
		Networks:   []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New, ipv6.New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{tcp.New, udp.New, icmp.New4, icmp.New6},
	})
	w.t.Cleanup(w.stack.Close)
	lo, err := w.stack.CreateNIC(1, "lo", loopback.New())
	if err != nil {
		w.t.Fatal(err)
	}
	lo.SetUp(true)
	if w.nic, err = w.stack.CreateNIC(2, "eth0", link); err != nil {
		w.t.Fatal(err)
	}
	w.nic.SetUp(true)
	for _, p := range []string{ours[0].String() + "/24", ours[1].String() + "/64"} {
		if err := w.nic.AddAddress(stack.Address{Prefix: netip.MustParsePrefix(p), NoDAD: true}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// inside calls f on a thread of its own in the kernel's namespace. Sockets that f makes stay
// there, whoever uses them.
func (w *world) inside(f func() error) error { return inside(w.ns, f) }

func inside(ns *oci.Netns, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		fd, err := unix.Open(ns.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		unix.Close(fd)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// sysctl sets a value in the kernel's namespace.
func (w *world) sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := sysctl(w.ns, name, value); err != nil {
		t.Fatal(err)
	}
}

func sysctl(ns *oci.Netns, name, value string) error {
	return inside(ns, func() error {
		return os.WriteFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")), []byte(value), 0)
	})
}

// readSysctl returns what sysctl sets.
func (w *world) readSysctl(t *testing.T, name string) string {
	t.Helper()
	var b []byte
	if err := w.inside(func() (err error) {
		b, err = os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// setMTU sets the MTU of both sides, in bytes.
func (w *world) setMTU(t *testing.T, mtu int) {
	t.Helper()
	w.ns.IP(t, "link", "set", w.dev, "mtu", fmt.Sprint(mtu))
	if w.dev == "v0" {
		w.ns.IP(t, "link", "set", "v1", "mtu", fmt.Sprint(mtu))
	}
	if err := w.nic.SetMTU(uint32(mtu)); err != nil {
		t.Fatal(err)
	}
}

// impair changes the cable, both ways.
func (w *world) impair(imp pipe.Impairment) {
	w.near.SetImpairment(imp)
	w.far.SetImpairment(imp)
}

// bridge carries frames from one link to the other. That towards the kernel has a world.
type bridge struct {
	to stack.LinkEndpoint
	w  *world
	n  uint32
}

// DeliverPackets implements stack.LinkDispatcher. One goroutine at a time is in it.
func (b *bridge) DeliverPackets(pkts []*buffer.Packet) {
	out := make([]*buffer.Packet, len(pkts))
	for i, p := range pkts {
		p.Unconsume(len(p.LinkHeader))
		p.LinkHeader = nil
		out[i] = p
		if b.w != nil {
			b.inspect(p)
		}
	}
	b.to.WritePackets(out)
}

// inspect marks a frame and shows it to who wants to see it.
func (b *bridge) inspect(p *buffer.Packet) {
	frame, ok := p.Own(p.Len())
	if !ok {
		return
	}
	if len(frame) > int(b.w.nic.MTU())+header.EthernetSize {
		b.w.tooLong.Add(1)
	}
	if f := b.w.seen.Load(); f != nil {
		(*f)(frame)
	}
	every := b.w.mark.Load()
	if every == 0 || !capable(frame) {
		return
	}
	if b.n++; b.n%every == 0 {
		markCongestion(frame)
	}
}

// capable says whether a frame is of an ECN-capable transport.
func capable(frame []byte) bool {
	switch ip := frame[header.EthernetSize:]; header.Ethernet(frame).Type() {
	case header.EtherTypeIPv4:
		return ip[1]&3 == 1 || ip[1]&3 == 2
	case header.EtherTypeIPv6:
		return ip[1]>>4&3 == 1 || ip[1]>>4&3 == 2
	}
	return false
}

// markCongestion sets the code point CE (RFC 3168 section 5).
func markCongestion(frame []byte) {
	ip := frame[header.EthernetSize:]
	if header.Ethernet(frame).Type() == header.EtherTypeIPv6 {
		ip[1] |= 0x30
		return
	}
	ip[1] |= 3
	ip[10], ip[11] = 0, 0
	sum := checksum.Finish(checksum.Sum(ip[:int(ip[0]&15)*4], 0))
	ip[10], ip[11] = byte(sum>>8), byte(sum)
}

// disableOffloads makes an interface of the thread's namespace take only what a wire takes.
func disableOffloads(name string) error {
	const (
		ethtoolSTXCsum = 0x17
		ethtoolSTSO    = 0x1f
		ethtoolSGSO    = 0x24
		ethtoolSGRO    = 0x2c
	)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, cmd := range []uint32{ethtoolSTXCsum, ethtoolSTSO, ethtoolSGSO, ethtoolSGRO} {
		value := &[2]uint32{cmd, 0} // struct ethtool_value
		var req struct {            // struct ifreq with ifr_data
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(req.name[:unix.IFNAMSIZ-1], name)
		req.data = unsafe.Pointer(value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return fmt.Errorf("ethtool %#x of %s: %w", cmd, name, errno)
		}
	}
	return nil
}

// interfaceIndex is of the thread's namespace.
func interfaceIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}

var errStuck = errors.New("nothing came of it in time")

// eventually polls f.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, errStuck)
		}
	}
}
