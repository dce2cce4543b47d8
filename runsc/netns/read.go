package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/netconf"
)

// Numbers of rtnetlink(7) that package netlink lacks.
const (
	tableMain     = unix.RT_TABLE_MAIN
	tableLocal    = unix.RT_TABLE_LOCAL
	actionToTable = 1 // FR_ACT_TO_TBL
)

// conf is the path of a setting of an interface below net.VERSION.conf.
func conf(version, link, name string) string {
	return "/proc/sys/net/" + version + "/conf/" + link + "/" + name
}

// isSet says whether a setting is there and not 0.
func isSet(path string) bool {
	data, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(data)) != "0"
}

// Read describes the namespace that the calling thread is in. What a sandbox cannot have is left
// out, and said in the log.
func Read() (*netconf.Config, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	c := &netconf.Config{}
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		switch {
		case a.Flags&net.FlagLoopback != 0:
			continue // the sandbox has its own
		case a.RawFlags&unix.IFF_UP == 0:
			log.Debugf("network: %s is down, and left alone", a.Name)
			continue
		case a.EncapType != "ether" || len(a.HardwareAddr) != 6:
			log.Warningf("network: %s is no Ethernet interface (%s); the sandbox does without", a.Name, a.EncapType)
			continue
		case a.MasterIndex != 0:
			log.Debugf("network: %s belongs to another interface, and is left to it", a.Name)
			continue
		}
		link, err := readLink(l)
		if err != nil {
			return nil, err
		}
		names[a.Index] = a.Name
		c.Links = append(c.Links, *link)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if err := readRoutes(c, names, family); err != nil {
			return nil, err
		}
		if err := readRules(c, names, family); err != nil {
			return nil, err
		}
	}
	for _, l := range c.Links {
		list, err := netlink.NeighList(l.Index, 0)
		if err != nil {
			return nil, fmt.Errorf("listing neighbours of %s: %w", l.Name, err)
		}
		for _, n := range list {
			addr, ok := addrOf(n.IP)
			if n.State&unix.NUD_PERMANENT == 0 || !ok || len(n.HardwareAddr) != 6 {
				continue
			}
			c.Neighbours = append(c.Neighbours, netconf.Neighbour{Link: l.Name, Addr: addr, Address: [6]byte(n.HardwareAddr)})
		}
	}
	return c, nil
}

func addrOf(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := addrOf(n.IP)
	bits, size := n.Mask.Size()
	if !ok || size != a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits), true
}

func readLink(l netlink.Link) (*netconf.Link, error) {
	a := l.Attrs()
	link := &netconf.Link{
		Name: a.Name, Index: a.Index, MTU: uint32(a.MTU), Address: [6]byte(a.HardwareAddr),
		NoIPv6: isSet(conf("ipv6", a.Name, "disable_ipv6")), AcceptRA: isSet(conf("ipv6", a.Name, "accept_ra")),
		Forwarding: isSet(conf("ipv4", a.Name, "forwarding")),
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing addresses of %s: %w", a.Name, err)
	}
	for _, x := range list {
		p, ok := prefixOf(x.IPNet)
		if !ok || x.Flags&unix.IFA_F_DADFAILED != 0 {
			continue
		}
		addr := netconf.Address{Prefix: p, Scope: uint8(x.Scope), NoPrefixRoute: x.Flags&unix.IFA_F_NOPREFIXROUTE != 0}
		if p.Addr().Is4() {
			addr.Label = x.Label
			if b, ok := addrOf(x.Broadcast); ok {
				addr.Broadcast = b
			}
		}
		if peer, ok := prefixOf(x.Peer); ok && peer != p {
			addr.Peer = peer
		}
		if x.Flags&unix.IFA_F_PERMANENT == 0 {
			addr.Valid, addr.Preferred = lifetime(x.ValidLft), lifetime(x.PreferedLft)
		}
		link.Addresses = append(link.Addresses, addr)
	}
	return link, nil
}

// lifetime is one as netconf has it; the kernel's "for ever" is all ones.
func lifetime(v int) uint32 {
	if uint32(v) == ^uint32(0) {
		return 0
	}
	return uint32(v)
}

func anyPrefix(family int) netip.Prefix {
	if family == unix.AF_INET6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func readRoutes(c *netconf.Config, names map[int]string, family int) error {
	list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	for i := range list {
		x := &list[i]
		// What addresses make, the sandbox's addresses make too.
		if x.Table == tableLocal || x.Protocol == unix.RTPROT_KERNEL || x.Flags&unix.RTM_F_CLONED != 0 {
			continue
		}
		r := netconf.Route{
			Destination: anyPrefix(family), Metric: uint32(x.Priority), MTU: uint32(x.MTU), Table: uint32(x.Table),
			Scope: uint8(x.Scope), Protocol: uint8(x.Protocol), Type: uint8(x.Type),
		}
		if p, ok := prefixOf(x.Dst); ok {
			r.Destination = p
		}
		if a, ok := addrOf(x.Src); ok {
			r.Source = a
		}
		if x.Tos != 0 || x.Encap != nil || x.Via != nil {
			log.Warningf("network: a route to %v goes by what the sandbox does not have; it does without", r.Destination)
			continue
		}
		hop := func(gw net.IP, index, flags, weight int) bool {
			h := netconf.NextHop{Link: names[index], OnLink: flags&unix.RTNH_F_ONLINK != 0, Weight: weight}
			if a, ok := addrOf(gw); ok {
				h.Gateway = a
			}
			if index != 0 && h.Link == "" {
				return false // of an interface that is not taken over
			}
			r.NextHops = append(r.NextHops, h)
			return true
		}
		switch {
		case r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_PROHIBIT || r.Type == unix.RTN_THROW:
		case len(x.MultiPath) > 0:
			for _, m := range x.MultiPath {
				if m.Encap == nil && m.Via == nil {
					hop(m.Gw, m.LinkIndex, m.Flags, m.Hops)
				}
			}
			if len(r.NextHops) == 0 {
				continue
			}
		case !hop(x.Gw, x.LinkIndex, x.Flags, 0):
			continue
		}
		c.Routes = append(c.Routes, r)
	}
	return nil
}

func readRules(c *netconf.Config, names map[int]string, family int) error {
	list, err := netlink.RuleList(family)
	if err != nil {
		return fmt.Errorf("listing rules: %w", err)
	}
	known := map[string]bool{"lo": true, "": true}
	for _, n := range names {
		known[n] = true
	}
	for _, x := range list {
		if x.Table == tableLocal && x.Priority == 0 || x.Table == tableMain && x.Priority == 32766 ||
			x.Table == unix.RT_TABLE_DEFAULT && x.Priority == 32767 {
			continue
		}
		if x.Goto >= 0 || x.SuppressPrefixlen >= 0 || x.SuppressIfgroup >= 0 || x.Dport != nil || x.Sport != nil || x.IPProto > 0 ||
			x.UIDRange != nil || x.TunID != 0 || !known[x.IifName] || !known[x.OifName] {
			log.Warningf("network: the rule of priority %d goes by what the sandbox does not have; it does without", x.Priority)
			continue
		}
		r := netconf.Rule{
			Priority: uint32(x.Priority), V6: family == unix.AF_INET6, In: x.IifName, Out: x.OifName, Mark: x.Mark,
			TOS: uint8(x.Tos), Table: uint32(x.Table), Action: x.Type, Invert: x.Invert,
		}
		if r.Action == 0 {
			r.Action = actionToTable
		}
		if x.Mask != nil {
			r.MarkMask = *x.Mask
		}
		r.Source, _ = prefixOf(x.Src)
		r.Destination, _ = prefixOf(x.Dst)
		c.Rules = append(c.Rules, r)
	}
	return nil
}
