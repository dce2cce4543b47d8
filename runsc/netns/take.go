package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/tcpip/link/fdbased"
	"runsc/runsc/netconf"
)

// Take takes the links of c over, in the namespace that the calling thread is in: it opens a
// packet socket on each, in their order, and removes their addresses, so that only the holder of
// the socket answers. On failure sockets are closed, but addresses may be gone: see Restore.
func Take(c *netconf.Config) (sockets []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range sockets {
				f.Close()
			}
			sockets = nil
		}
	}()
	for _, l := range c.Links {
		fd, err := fdbased.OpenPacketSocket(l.Index)
		if err != nil {
			return sockets, fmt.Errorf("interface %s: %w", l.Name, err)
		}
		sockets = append(sockets, os.NewFile(uintptr(fd), "packets of "+l.Name))
	}
	for i := range c.Links {
		if err := silence(&c.Links[i]); err != nil {
			return sockets, fmt.Errorf("interface %s: %w", c.Links[i].Name, err)
		}
	}
	return sockets, nil
}

// set writes a setting that makes things better but is not needed.
func set(path, value string) {
	if err := os.WriteFile(path, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Debugf("network: %v", err)
	}
}

// silence removes a link's addresses.
func silence(l *netconf.Link) error {
	link, err := netlink.LinkByIndex(l.Index)
	if err != nil {
		return err
	}
	// With IPv6 off, its addresses are gone and no link-local one comes back.
	set(conf("ipv6", l.Name, "disable_ipv6"), "1")
	// Packets for addresses that the kernel no longer has are not to be passed on.
	set(conf("ipv4", l.Name, "forwarding"), "0")
	list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for i := range list {
		// The secondary ones go with their primary one, in part.
		if err := netlink.AddrDel(link, &list[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("removing %v: %w", list[i].IPNet, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func ip(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}

// Restore puts addresses and routes of c back, in the namespace that the calling thread is in. It
// goes on after an error.
func Restore(c *netconf.Config) error {
	var errs []error
	indices := map[string]int{}
	for i := range c.Links {
		l := &c.Links[i]
		link, err := netlink.LinkByIndex(l.Index)
		if err != nil || link.Attrs().Name != l.Name {
			continue // it has gone elsewhere
		}
		indices[l.Name] = l.Index
		if !l.NoIPv6 {
			set(conf("ipv6", l.Name, "disable_ipv6"), "0")
		}
		if l.Forwarding {
			set(conf("ipv4", l.Name, "forwarding"), "1")
		}
		for _, a := range l.Addresses {
			x := &netlink.Addr{IPNet: ipNet(a.Prefix), Peer: ipNet(a.Peer), Broadcast: ip(a.Broadcast), Label: a.Label, Scope: int(a.Scope)}
			if a.NoPrefixRoute {
				x.Flags |= unix.IFA_F_NOPREFIXROUTE
			}
			if a.Prefix.Addr().Is6() {
				x.Flags |= unix.IFA_F_NODAD // it was done for this address already
			}
			if a.Valid != 0 {
				x.ValidLft, x.PreferedLft = int(a.Valid), int(a.Preferred)
			}
			if err := netlink.AddrReplace(link, x); err != nil {
				errs = append(errs, fmt.Errorf("address %v of %s: %w", a.Prefix, l.Name, err))
			}
		}
	}
	// A gateway may be reached by another of the routes; so they are tried until none is added.
	left := c.Routes
	for len(left) > 0 {
		var again []netconf.Route
		var failed []error
		for _, r := range left {
			if err := restoreRoute(&r, indices); err != nil {
				again, failed = append(again, r), append(failed, fmt.Errorf("route to %v: %w", r.Destination, err))
			}
		}
		if len(again) == len(left) {
			errs = append(errs, failed...)
			break
		}
		left = again
	}
	return errors.Join(errs...)
}

func restoreRoute(r *netconf.Route, indices map[string]int) error {
	x := &netlink.Route{
		Dst: ipNet(r.Destination), Src: ip(r.Source), Priority: int(r.Metric), MTU: int(r.MTU), Table: int(r.Table),
		Scope: netlink.Scope(r.Scope), Protocol: netlink.RouteProtocol(r.Protocol), Type: int(r.Type),
	}
	flags := func(h *netconf.NextHop) int {
		if h.OnLink {
			return unix.RTNH_F_ONLINK
		}
		return 0
	}
	switch len(r.NextHops) {
	case 0:
	case 1:
		h := &r.NextHops[0]
		if x.LinkIndex = indices[h.Link]; x.LinkIndex == 0 && h.Link != "" {
			return nil // its interface is gone
		}
		x.Gw, x.Flags = ip(h.Gateway), flags(h)
	default:
		for i := range r.NextHops {
			h := &r.NextHops[i]
			x.MultiPath = append(x.MultiPath, &netlink.NexthopInfo{LinkIndex: indices[h.Link], Gw: ip(h.Gateway), Flags: flags(h), Hops: h.Weight})
		}
	}
	return netlink.RouteReplace(x)
}
