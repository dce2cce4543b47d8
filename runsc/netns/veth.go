package netns

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// New makes a network namespace. It lives as long as the Namespace is open, or a process is in it.
func New() (*Namespace, error) {
	type result struct {
		n   *Namespace
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: see Do
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("making a network namespace: %w", err)}
			return
		}
		n, err := Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		done <- result{n, err}
	}()
	r := <-done
	return r.n, r.err
}

// Path is a name of the namespace for other processes, good for as long as this one has it open.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Numbers of if_link.h and veth.h.
const (
	iflaInfoKind = 1
	iflaInfoData = 2
	vethInfoPeer = 1
)

func ifinfo(index int, flags, change uint32) message {
	return make(message, 4).u32(uint32(index)).u32(flags).u32(change)
}

// AddVeth makes a pair of virtual Ethernet devices: name in the namespace that the calling thread
// is in, and peer in other. Both are down.
func AddVeth(name, peer string, other *Namespace) error {
	rt, err := dial()
	if err != nil {
		return err
	}
	defer rt.close()
	far := ifinfo(0, 0, 0).attrString(unix.IFLA_IFNAME, peer).attrU32(unix.IFLA_NET_NS_FD, uint32(other.file.Fd()))
	info := message(nil).attrString(iflaInfoKind, "veth").attr(iflaInfoData, message(nil).attr(vethInfoPeer, far))
	m := ifinfo(0, 0, 0).attrString(unix.IFLA_IFNAME, name).attr(unix.IFLA_LINKINFO, info)
	if err := rt.do(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m); err != nil {
		return fmt.Errorf("making a veth pair: %w", err)
	}
	return nil
}

// DeleteLink removes a device, with its other end. It is no error if it is gone.
func DeleteLink(name string) error {
	rt, err := dial()
	if err != nil {
		return err
	}
	defer rt.close()
	err = rt.do(unix.RTM_DELLINK, 0, ifinfo(0, 0, 0).attrString(unix.IFLA_IFNAME, name))
	if err != nil && err != unix.ENODEV {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

// SetUp gives a device of the present namespace an address, unless it is zero, and brings it up.
func SetUp(name string, p netip.Prefix) error {
	rt, err := dial()
	if err != nil {
		return err
	}
	defer rt.close()
	index, err := rt.index(name)
	if err != nil {
		return err
	}
	if p.IsValid() {
		x := address{index: index, family: unix.AF_INET, bits: p.Bits(), local: p.Addr(), peer: p.Addr()}
		if err := rt.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, x.request()); err != nil {
			return fmt.Errorf("address %v of %s: %w", p, name, err)
		}
	}
	if err := rt.do(unix.RTM_NEWLINK, 0, ifinfo(index, unix.IFF_UP, unix.IFF_UP)); err != nil {
		return fmt.Errorf("bringing %s up: %w", name, err)
	}
	return nil
}

// AddDefaultRoute adds an IPv4 route to everywhere, in the present namespace.
func AddDefaultRoute(via netip.Addr) error {
	rt, err := dial()
	if err != nil {
		return err
	}
	defer rt.close()
	m := message{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST}.u32(0)
	if err := rt.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, m.attrAddr(unix.RTA_GATEWAY, via)); err != nil {
		return fmt.Errorf("default route by %v: %w", via, err)
	}
	return nil
}

func (c *conn) index(name string) (int, error) {
	links, err := c.links()
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		if l.name == name {
			return l.index, nil
		}
	}
	return 0, fmt.Errorf("no interface %s", name)
}

// InUse says whether the present namespace has an address, or a route but the default one, that
// overlaps p.
func InUse(p netip.Prefix) (bool, error) {
	rt, err := dial()
	if err != nil {
		return false, err
	}
	defer rt.close()
	head := make(message, unix.SizeofRtMsg)
	head[0] = unix.AF_INET
	routes, err := rt.dump(unix.RTM_GETROUTE, head)
	if err != nil {
		return false, fmt.Errorf("listing routes: %w", err)
	}
	for _, m := range routes {
		// Addresses are there as local routes.
		if d := m.attrs(unix.SizeofRtMsg).addr(unix.RTA_DST); d.IsValid() && netip.PrefixFrom(d, int(m.body[1])).Overlaps(p) {
			return true, nil
		}
	}
	return false, nil
}
