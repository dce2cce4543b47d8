package boot

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/syscalls"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/fdbased"
	"runsc/pkg/tcpip/link/sniffer"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/urpc"
	"runsc/runsc/config"
	"runsc/runsc/netconf"
)

// MethodNetwork gives the sandbox its network.
const MethodNetwork = "Network.CreateLinksAndRoutes"

// NetworkArgs is the argument of MethodNetwork. Its files are a packet socket for each link, in
// order, then a pcap file for each if PCAP is set, then a connected UDP socket if Config.DNS is.
type NetworkArgs struct {
	urpc.FilePayload
	Config netconf.Config `json:"config"`
	PCAP   bool           `json:"pcap,omitempty"`
}

// ConfigureNetwork makes the links, addresses, routes, rules and neighbours of the sandbox's root
// network namespace. It owns the files.
func (l *Loader) ConfigureNetwork(a *NetworkArgs) error {
	fds, err := releaseFiles(a.Files)
	if err != nil {
		return err
	}
	used := 0
	defer func() { closeAll(fds[used:]) }()
	take := func() int {
		used++
		return fds[used-1]
	}
	c := &a.Config
	links := len(c.Links)
	want := links
	if a.PCAP {
		want += links
	}
	if c.DNS {
		want++
	}
	if len(fds) != want {
		return fmt.Errorf("%d files given for %d links, %d needed", len(fds), links, want)
	}
	if l.conf.Network != config.NetworkSandbox {
		return fmt.Errorf("the sandbox has no network of its own: --network=%s", l.conf.Network)
	}
	l.mu.Lock()
	var layer *inet.Namespace
	for _, ct := range l.containers {
		layer = inet.NamespaceOf(syscalls.NetStack(l.k, ct.net))
		break
	}
	again := l.networked
	l.networked = true
	l.mu.Unlock()
	switch {
	case layer == nil:
		return fmt.Errorf("the sandbox has no network stack")
	case again:
		return fmt.Errorf("the sandbox has its network already")
	}
	st := layer.Stack()
	sockets, pcaps := make([]int, links), make([]int, links)
	for i := range sockets {
		sockets[i] = take()
	}
	for i := range pcaps {
		if pcaps[i] = -1; a.PCAP {
			pcaps[i] = take()
		}
	}
	for i := range c.Links {
		if err := l.addLink(st, &c.Links[i], sockets[i], pcaps[i]); err != nil {
			for _, fd := range append(sockets[i+1:], pcaps[i+1:]...) {
				if fd >= 0 {
					unix.Close(fd)
				}
			}
			return fmt.Errorf("interface %s: %w", c.Links[i].Name, err)
		}
	}
	for i := range c.Neighbours {
		n := &c.Neighbours[i]
		if nic := st.NICByName(n.Link); nic != nil {
			if err := nic.SetNeighbour(stack.Neighbour{Addr: n.Addr, Link: n.Address, State: stack.NeighbourPermanent}); err != nil {
				log.Warningf("network: neighbour %v of %s: %v", n.Addr, n.Link, err)
			}
		}
	}
	addRoutes(st, c.Routes)
	for i := range c.Rules {
		if err := addRule(st, &c.Rules[i]); err != nil {
			log.Warningf("network: rule %d: %v", c.Rules[i].Priority, err)
		}
	}
	if c.DNS {
		return startDNS(st, take())
	}
	return nil
}

// addLink makes an interface. It owns the descriptors; pcap is -1 if there is none.
func (l *Loader) addLink(st *stack.Stack, c *netconf.Link, socket, pcap int) error {
	fdLink, err := fdbased.New(fdbased.Options{
		FD: socket, Kind: fdbased.KindPacket, MTU: c.MTU, LinkAddress: tcpip.LinkAddress(c.Address),
		VNetHeader: true, NoGRO: !l.conf.GRO, NoSegmentation: !l.conf.GSO, NoTXChecksum: !l.conf.TXChecksumOffload,
		NoRXChecksum: !l.conf.RXChecksumOffload,
	})
	if err != nil {
		if pcap >= 0 {
			unix.Close(pcap)
		}
		return err
	}
	var link stack.LinkEndpoint = fdLink
	if l.conf.LogPackets || pcap >= 0 {
		o := sniffer.Options{Name: c.Name}
		if l.conf.LogPackets {
			o.Text = sniffer.ToLog
		}
		if pcap >= 0 {
			o.PCAP = os.NewFile(uintptr(pcap), "pcap of "+c.Name)
		}
		if link, err = sniffer.New(fdLink, o); err != nil {
			if o.PCAP != nil {
				o.PCAP.Close()
			}
			fdLink.Close()
			return err
		}
	}
	nic, err := st.CreateNIC(0, c.Name, link)
	if err != nil {
		link.Close()
		return err
	}
	for i := range c.Addresses {
		if err := nic.AddAddress(addressOf(&c.Addresses[i])); err != nil {
			return fmt.Errorf("address %v: %w", c.Addresses[i].Prefix, err)
		}
	}
	set := st.Settings()
	set.AcceptRA.Store(c.AcceptRA)
	if c.NoIPv6 {
		// IPv6 is not begun on an interface that comes up while it is off.
		set.IPv6Disabled.Store(true)
		defer set.IPv6Disabled.Store(false)
	}
	inet.SetUp(nic, true)
	return nil
}

// addressOf is an address as the stack has it. The host's kernel has looked for duplicates
// already.
func addressOf(a *netconf.Address) stack.Address {
	return stack.Address{
		Prefix: a.Prefix, Peer: a.Peer, Broadcast: a.Broadcast, Label: a.Label, Scope: a.Scope,
		NoPrefixRoute: a.NoPrefixRoute, NoDAD: a.Prefix.Addr().Is6(), Temporary: a.Valid != 0,
		Valid: time.Duration(a.Valid) * time.Second, Preferred: time.Duration(a.Preferred) * time.Second,
	}
}

// addRoutes adds routes; a gateway may be reached by another of them, so they are tried until
// none is added any more. Those that cannot be had are in the log.
func addRoutes(st *stack.Stack, list []netconf.Route) {
	for len(list) > 0 {
		var left []netconf.Route
		var why error
		for _, r := range list {
			e := stack.RouteEntry{
				Destination: r.Destination, Source: r.Source, Metric: r.Metric, MTU: r.MTU, Table: r.Table,
				Scope: r.Scope, Protocol: r.Protocol, Type: stack.RouteType(r.Type),
			}
			if len(r.NextHops) > 0 {
				// Of several ways the first one is taken.
				h := &r.NextHops[0]
				e.Gateway, e.OnLink = h.Gateway, h.OnLink
				if nic := st.NICByName(h.Link); nic != nil {
					e.NIC = nic.ID()
				}
			}
			if e.Source.IsValid() && !st.IsLocal(0, e.Source) {
				e.Source = netip.Addr{}
			}
			if err := st.AddRoute(e); err != nil && err != unix.EEXIST {
				left, why = append(left, r), err
			}
		}
		if len(left) == len(list) {
			for _, r := range left {
				log.Warningf("network: route to %v: %v", r.Destination, why)
			}
			return
		}
		list = left
	}
}

func addRule(st *stack.Stack, r *netconf.Rule) error {
	rule := stack.Rule{
		Priority: r.Priority, V6: r.V6, Source: r.Source, Destination: r.Destination, Mark: r.Mark, MarkMask: r.MarkMask,
		TOS: r.TOS, Table: r.Table, Action: r.Action, Invert: r.Invert,
	}
	for _, n := range []struct {
		name string
		to   *tcpip.NICID
	}{{r.In, &rule.InNIC}, {r.Out, &rule.OutNIC}} {
		if n.name == "" {
			continue
		}
		nic := st.NICByName(n.name)
		if nic == nil {
			return fmt.Errorf("no interface %q", n.name)
		}
		*n.to = nic.ID()
	}
	return st.AddRule(rule)
}
