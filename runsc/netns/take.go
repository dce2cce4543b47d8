package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

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
	rt, err := dial()
	if err != nil {
		return sockets, err
	}
	defer rt.close()
	for i := range c.Links {
		// With IPv6 off, its addresses are gone and no link-local one comes back.
		set(conf("ipv6", c.Links[i].Name, "disable_ipv6"), "1")
		// Packets for addresses that the kernel no longer has are not to be passed on.
		set(conf("ipv4", c.Links[i].Name, "forwarding"), "0")
	}
	addresses, err := rt.addresses()
	if err != nil {
		return sockets, err
	}
	for _, a := range addresses {
		for i := range c.Links {
			if c.Links[i].Index != a.index {
				continue
			}
			// Secondary addresses may go with their primary one.
			if err := rt.do(unix.RTM_DELADDR, 0, a.request()); err != nil && err != unix.EADDRNOTAVAIL {
				return sockets, fmt.Errorf("interface %s: removing %v: %w", c.Links[i].Name, a.local, err)
			}
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

// Restore puts addresses and routes of c back, in the namespace that the calling thread is in. It
// goes on after an error.
func Restore(c *netconf.Config) error {
	rt, err := dial()
	if err != nil {
		return err
	}
	defer rt.close()
	links, err := rt.links()
	if err != nil {
		return err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.index] = l.name
	}
	var errs []error
	indices := map[string]int{}
	for i := range c.Links {
		l := &c.Links[i]
		if names[l.Index] != l.Name {
			continue // it has gone elsewhere
		}
		indices[l.Name] = l.Index
		if !l.NoIPv6 {
			set(conf("ipv6", l.Name, "disable_ipv6"), "0")
		}
		if l.Forwarding {
			set(conf("ipv4", l.Name, "forwarding"), "1")
		}
		for j := range l.Addresses {
			m := restored(l.Index, &l.Addresses[j])
			if err := rt.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m); err != nil {
				errs = append(errs, fmt.Errorf("address %v of %s: %w", l.Addresses[j].Prefix, l.Name, err))
			}
		}
	}
	// A gateway may be reached by another of the routes; so they are tried until none is added.
	left := c.Routes
	for len(left) > 0 {
		var again []netconf.Route
		var failed []error
		for i := range left {
			r := &left[i]
			m, ok := routeRequest(r, indices)
			if !ok {
				continue // its interface is gone
			}
			if err := rt.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m); err != nil {
				again, failed = append(again, *r), append(failed, fmt.Errorf("route to %v: %w", r.Destination, err))
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

// restored is the request that puts an address back.
func restored(index int, a *netconf.Address) message {
	x := address{
		index: index, family: unix.AF_INET, bits: a.Prefix.Bits(), scope: a.Scope, local: a.Prefix.Addr(), peer: a.Peer,
		broadcast: a.Broadcast, label: a.Label,
	}
	if !x.peer.IsValid() {
		x.peer = x.local
	}
	if a.NoPrefixRoute {
		x.flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if x.local.Is6() {
		x.family = unix.AF_INET6
		x.flags |= unix.IFA_F_NODAD // it was looked for already
	}
	m := x.request()
	if a.Valid != 0 {
		info := binary.NativeEndian.AppendUint32(nil, a.Preferred)
		info = binary.NativeEndian.AppendUint32(info, a.Valid)
		m = m.attr(unix.IFA_CACHEINFO, append(info, make([]byte, 8)...))
	}
	return m
}

// routeRequest is the request that puts a route back; ok is false if its interface is gone.
func routeRequest(r *netconf.Route, indices map[string]int) (m message, ok bool) {
	family := uint8(unix.AF_INET)
	if r.Destination.Addr().Is6() {
		family = unix.AF_INET6
	}
	table := uint8(unix.RT_TABLE_UNSPEC)
	if r.Table < 256 {
		table = uint8(r.Table)
	}
	flags := uint32(0)
	onLink := func(h *netconf.NextHop) uint32 {
		if h.OnLink {
			return unix.RTNH_F_ONLINK
		}
		return 0
	}
	if len(r.NextHops) == 1 {
		flags = onLink(&r.NextHops[0])
	}
	m = message{family, uint8(r.Destination.Bits()), 0, 0, table, r.Protocol, r.Scope, r.Type}.u32(flags)
	m = m.attrU32(unix.RTA_TABLE, r.Table)
	if r.Destination.Bits() > 0 {
		m = m.attrAddr(unix.RTA_DST, r.Destination.Addr())
	}
	m = m.attrAddr(unix.RTA_PREFSRC, r.Source)
	if r.Metric != 0 {
		m = m.attrU32(unix.RTA_PRIORITY, r.Metric)
	}
	if r.MTU != 0 {
		m = m.attr(unix.RTA_METRICS, message(nil).attrU32(rtaxMTU, r.MTU))
	}
	switch len(r.NextHops) {
	case 0:
	case 1:
		h := &r.NextHops[0]
		if indices[h.Link] == 0 {
			return nil, false
		}
		m = m.attrAddr(unix.RTA_GATEWAY, h.Gateway).attrU32(unix.RTA_OIF, uint32(indices[h.Link]))
	default:
		var all message
		for i := range r.NextHops {
			h := &r.NextHops[i]
			if indices[h.Link] == 0 {
				return nil, false
			}
			at := len(all)
			all = append(all, 0, 0, byte(onLink(h)), byte(h.Weight))
			all = all.u32(uint32(indices[h.Link])).attrAddr(unix.RTA_GATEWAY, h.Gateway)
			binary.NativeEndian.PutUint16(all[at:], uint16(len(all)-at))
		}
		m = m.attr(unix.RTA_MULTIPATH, all)
	}
	return m, true
}
