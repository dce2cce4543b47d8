package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/log"
	"runsc/runsc/netconf"
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
	c, err := dial()
	if err != nil {
		return nil, err
	}
	defer c.close()
	links, err := c.links()
	if err != nil {
		return nil, err
	}
	addresses, err := c.addresses()
	if err != nil {
		return nil, err
	}
	out := &netconf.Config{}
	names := map[int]string{}
	for _, l := range links {
		switch {
		case l.flags&unix.IFF_LOOPBACK != 0:
			continue // the sandbox has its own
		case l.flags&unix.IFF_UP == 0:
			log.Debugf("network: %s is down, and left alone", l.name)
			continue
		case l.typ != unix.ARPHRD_ETHER || len(l.address) != 6:
			log.Warningf("network: %s is no Ethernet interface; the sandbox does without", l.name)
			continue
		case l.master != 0:
			log.Debugf("network: %s belongs to another interface, and is left to it", l.name)
			continue
		}
		names[l.index] = l.name
		out.Links = append(out.Links, describe(&l, addresses))
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := readRoutes(c, out, names, family); err != nil {
			return nil, err
		}
		if err := readRules(c, out, names, family); err != nil {
			return nil, err
		}
	}
	return out, readNeighbours(c, out, names)
}

// describe is a link with its addresses.
func describe(l *link, addresses []address) netconf.Link {
	out := netconf.Link{
		Name: l.name, Index: l.index, MTU: l.mtu, Address: [6]byte(l.address),
		NoIPv6: isSet(conf("ipv6", l.name, "disable_ipv6")), AcceptRA: isSet(conf("ipv6", l.name, "accept_ra")),
		Forwarding: isSet(conf("ipv4", l.name, "forwarding")),
	}
	for i := range addresses {
		x := &addresses[i]
		if x.index != l.index || !x.local.IsValid() || x.flags&unix.IFA_F_DADFAILED != 0 {
			continue
		}
		a := netconf.Address{
			Prefix: netip.PrefixFrom(x.local, x.bits), Broadcast: x.broadcast, Label: x.label, Scope: x.scope,
			NoPrefixRoute: x.flags&unix.IFA_F_NOPREFIXROUTE != 0,
		}
		if x.peer.IsValid() && x.peer != x.local {
			a.Peer = x.peer
		}
		if x.flags&unix.IFA_F_PERMANENT == 0 {
			a.Valid, a.Preferred = lifetime(x.valid), lifetime(x.preferred)
		}
		out.Addresses = append(out.Addresses, a)
	}
	return out
}

// lifetime is one as netconf has it; the kernel's "for ever" is all ones.
func lifetime(v uint32) uint32 {
	if v == ^uint32(0) {
		return 0
	}
	return v
}

func anyPrefix(family uint8) netip.Prefix {
	if family == unix.AF_INET6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// Numbers of rtnetlink.h that package unix lacks.
const (
	rtaxMTU       = 2
	rtaVia        = 18
	rtaEncap      = 22
	sizeofNextHop = 8 // struct rtnexthop
	sizeofRuleHdr = 12
)

func readRoutes(c *conn, out *netconf.Config, names map[int]string, family uint8) error {
	head := make(message, unix.SizeofRtMsg)
	head[0] = family
	list, err := c.dump(unix.RTM_GETROUTE, head)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	for _, m := range list {
		a := m.attrs(unix.SizeofRtMsg)
		if a == nil || m.body[0] != family {
			continue
		}
		r := netconf.Route{
			Destination: anyPrefix(family), Source: a.addr(unix.RTA_PREFSRC), Metric: a.u32(unix.RTA_PRIORITY),
			Table: uint32(m.body[4]), Protocol: m.body[5], Scope: m.body[6], Type: m.body[7],
			MTU: parseAttributes(a[unix.RTA_METRICS]).u32(rtaxMTU),
		}
		if a[unix.RTA_TABLE] != nil {
			r.Table = a.u32(unix.RTA_TABLE)
		}
		if d := a.addr(unix.RTA_DST); d.IsValid() {
			r.Destination = netip.PrefixFrom(d, int(m.body[1]))
		}
		flags := binary.NativeEndian.Uint32(m.body[8:])
		// What addresses make, the sandbox's addresses make too.
		if r.Table == unix.RT_TABLE_LOCAL || r.Protocol == unix.RTPROT_KERNEL || flags&unix.RTM_F_CLONED != 0 {
			continue
		}
		if m.body[2] != 0 || m.body[3] != 0 || a[rtaVia] != nil || a[rtaEncap] != nil {
			log.Warningf("network: a route to %v goes by what the sandbox does not have; it does without", r.Destination)
			continue
		}
		if wayless(r.Type) {
			out.Routes = append(out.Routes, r)
			continue
		}
		hop := func(a attributes, index int, flags uint32, weight int) {
			h := netconf.NextHop{Gateway: a.addr(unix.RTA_GATEWAY), Link: names[index], OnLink: flags&unix.RTNH_F_ONLINK != 0, Weight: weight}
			if h.Link != "" { // else of an interface that is not taken over
				r.NextHops = append(r.NextHops, h)
			}
		}
		if b := a[unix.RTA_MULTIPATH]; b != nil {
			for len(b) >= sizeofNextHop {
				n := int(binary.NativeEndian.Uint16(b))
				if n < sizeofNextHop || n > len(b) {
					break
				}
				hop(parseAttributes(b[sizeofNextHop:n]), int(binary.NativeEndian.Uint32(b[4:])), uint32(b[2]), int(b[3]))
				b = b[min((n+3)&^3, len(b)):]
			}
		} else {
			hop(a, int(a.u32(unix.RTA_OIF)), flags, 0)
		}
		if len(r.NextHops) > 0 {
			out.Routes = append(out.Routes, r)
		}
	}
	return nil
}

// wayless says whether routes of a type lead nowhere.
func wayless(typ uint8) bool {
	return typ == unix.RTN_BLACKHOLE || typ == unix.RTN_UNREACHABLE || typ == unix.RTN_PROHIBIT || typ == unix.RTN_THROW
}

func readRules(c *conn, out *netconf.Config, names map[int]string, family uint8) error {
	head := make(message, sizeofRuleHdr)
	head[0] = family
	list, err := c.dump(unix.RTM_GETRULE, head)
	if err != nil {
		return fmt.Errorf("listing rules: %w", err)
	}
	known := map[string]bool{"lo": true, "": true}
	for _, n := range names {
		known[n] = true
	}
	for _, m := range list {
		a := m.attrs(sizeofRuleHdr)
		if a == nil || m.body[0] != family {
			continue
		}
		r := netconf.Rule{
			Priority: a.u32(linux.FRAPriority), V6: family == unix.AF_INET6, In: a.text(linux.FRAIifname), Out: a.text(linux.FRAOifname),
			Mark: a.u32(linux.FRAFwmark), MarkMask: a.u32(linux.FRAFwmask), TOS: m.body[3], Table: uint32(m.body[4]), Action: m.body[7],
			Invert: binary.NativeEndian.Uint32(m.body[8:])&linux.FIBRuleInvert != 0,
		}
		if a[linux.FRATable] != nil {
			r.Table = a.u32(linux.FRATable)
		}
		if d := a.addr(linux.FRADst); d.IsValid() {
			r.Destination = netip.PrefixFrom(d, int(m.body[1]))
		}
		if s := a.addr(linux.FRASrc); s.IsValid() {
			r.Source = netip.PrefixFrom(s, int(m.body[2]))
		}
		if r.Priority == 0 && r.Table == unix.RT_TABLE_LOCAL || r.Priority == 32766 && r.Table == unix.RT_TABLE_MAIN ||
			r.Priority == 32767 && r.Table == unix.RT_TABLE_DEFAULT {
			continue // every namespace has them
		}
		special := !known[r.In] || !known[r.Out]
		for _, t := range []uint16{linux.FRAGoto, linux.FRATunID, linux.FRASuppressGroup, linux.FRAL3mdev, linux.FRAUIDRange, linux.FRAIPProto, linux.FRASportRange, linux.FRADportRange} {
			special = special || a[t] != nil
		}
		if v := a[linux.FRASuppressPrefix]; special || v != nil && a.u32(linux.FRASuppressPrefix) != ^uint32(0) {
			log.Warningf("network: the rule of priority %d goes by what the sandbox does not have; it does without", r.Priority)
			continue
		}
		out.Rules = append(out.Rules, r)
	}
	return nil
}

func readNeighbours(c *conn, out *netconf.Config, names map[int]string) error {
	list, err := c.dump(unix.RTM_GETNEIGH, make(message, unix.SizeofNdMsg))
	if err != nil {
		return fmt.Errorf("listing neighbours: %w", err)
	}
	for _, m := range list {
		a := m.attrs(unix.SizeofNdMsg)
		if a == nil || binary.NativeEndian.Uint16(m.body[8:])&unix.NUD_PERMANENT == 0 {
			continue
		}
		name, addr, mac := names[int(binary.NativeEndian.Uint32(m.body[4:]))], a.addr(unix.NDA_DST), a[unix.NDA_LLADDR]
		if name == "" || !addr.IsValid() || len(mac) != 6 {
			continue
		}
		out.Neighbours = append(out.Neighbours, netconf.Neighbour{Link: name, Addr: addr, Address: [6]byte(mac)})
	}
	return nil
}
