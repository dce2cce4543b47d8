// Package nettables writes the tables of /proc/net (proc(5)) from a namespace's network stack and
// its sockets: what netstat, ifconfig, route and many monitoring agents read. Each call looks at
// the stack as it is then; nothing is kept, and there are no locks beyond those of what is asked.
//
// Addresses are shown as Linux shows them, as numbers in the byte order of the machine.
package nettables

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/socket/netlink"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

// Table is the content of the file of /proc/net called name, for the namespace whose sockets layer
// holds. ok is false if there is no such table, or the namespace has no network stack.
func Table(layer *socket.Stack, name string) (text string, ok bool) {
	write, ok := tables[name]
	ns := inet.NamespaceOf(layer)
	if !ok || ns == nil {
		return "", false
	}
	t := &table{ns: ns, st: ns.Stack()}
	write(t)
	return t.b.String(), true
}

// table is one that is being written.
type table struct {
	ns *inet.Namespace
	st *stack.Stack
	b  strings.Builder
}

func (t *table) printf(format string, args ...any) { fmt.Fprintf(&t.b, format, args...) }

var tables = map[string]func(*table){
	"arp":        (*table).arp,
	"dev":        (*table).dev,
	"dev_mcast":  (*table).devMulticast,
	"if_inet6":   (*table).ifInet6,
	"igmp":       (*table).igmp,
	"igmp6":      (*table).igmp6,
	"ipv6_route": (*table).route6,
	"netstat":    (*table).netstat,
	"route":      (*table).route,
	"snmp":       (*table).snmp,
	"snmp6":      (*table).snmp6,
	"sockstat":   (*table).sockstat,
	"sockstat6":  (*table).sockstat6,
	"tcp":        func(t *table) { t.tcp(unix.AF_INET) },
	"tcp6":       func(t *table) { t.tcp(unix.AF_INET6) },
	"udp":        func(t *table) { t.datagrams(unix.AF_INET, unix.IPPROTO_UDP) },
	"udp6":       func(t *table) { t.datagrams(unix.AF_INET6, unix.IPPROTO_UDP) },
	"icmp":       func(t *table) { t.datagrams(unix.AF_INET, unix.IPPROTO_ICMP) },
	"icmp6":      func(t *table) { t.datagrams(unix.AF_INET6, unix.IPPROTO_ICMPV6) },
	"raw":        func(t *table) { t.datagrams(unix.AF_INET, unix.IPPROTO_RAW) },
	"raw6":       func(t *table) { t.datagrams(unix.AF_INET6, unix.IPPROTO_RAW) },
}

// hexAddr is an address as the tables of sockets and routes show it: 32-bit words in the
// machine's order. An invalid one is that of any host.
func hexAddr(a netip.Addr, v6 bool) string {
	if !v6 {
		var b [4]byte
		if a.IsValid() {
			b = a.Unmap().As4()
		}
		return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
	}
	b := netip.IPv6Unspecified().As16()
	if a.IsValid() {
		b = a.As16() // an IPv4 address is a mapped one here
	}
	var s strings.Builder
	for i := 0; i < 16; i += 4 {
		fmt.Fprintf(&s, "%08X", binary.NativeEndian.Uint32(b[i:]))
	}
	return s.String()
}

// plainAddr is an IPv6 address as tables of interfaces and routes show it: 32 digits.
func plainAddr(a netip.Addr) string {
	b := a.As16()
	return fmt.Sprintf("%x", b[:])
}

func (t *table) name(id tcpip.NICID) string {
	if nic := t.st.NIC(id); nic != nil {
		return nic.Name()
	}
	return "*"
}

func (t *table) arp() {
	t.printf("IP address       HW type     Flags       HW address            Mask     Device\n")
	for _, nic := range t.st.NICs() {
		for _, n := range nic.Neighbours() {
			if !n.Addr.Is4() || n.State == stack.NeighbourNoARP {
				continue
			}
			flags := 0
			if n.State&^(stack.NeighbourIncomplete|stack.NeighbourFailed) != 0 {
				flags = 2 // ATF_COM
			}
			if n.State == stack.NeighbourPermanent {
				flags |= 4 // ATF_PERM
			}
			t.printf("%-16s 0x%-10x0x%-10x%-17s     *        %s\n", n.Addr, nic.Link().HardwareType(), flags, n.Link, nic.Name())
		}
	}
}

func (t *table) dev() {
	t.printf("Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
	for _, nic := range t.st.NICs() {
		s := nic.Stats()
		t.printf("%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n", nic.Name(),
			s.RXBytes.Load(), s.RXPackets.Load(), s.RXErrors.Load(), s.RXDropped.Load(), 0, 0, 0, s.RXMulticast.Load(),
			s.TXBytes.Load(), s.TXPackets.Load(), s.TXErrors.Load(), s.TXDropped.Load(), 0, 0, 0, 0)
	}
}

// groupLink is the Ethernet address of a multicast group (RFC 1112 section 6.4, RFC 2464
// section 7).
func groupLink(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("01005e%02x%02x%02x", b[1]&0x7f, b[2], b[3])
	}
	b := a.As16()
	return fmt.Sprintf("3333%x", b[12:])
}

func (t *table) devMulticast() {
	for _, nic := range t.st.NICs() {
		if nic.IsLoopback() {
			continue
		}
		for _, g := range nic.Groups() {
			t.printf("%-4d %-15s %-5d %-5d %s\n", nic.ID(), nic.Name(), 1, 0, groupLink(g))
		}
	}
}

func (t *table) igmp() {
	t.printf("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n")
	for _, nic := range t.st.NICs() {
		groups := slices.DeleteFunc(slices.Clone(nic.Groups()), func(a netip.Addr) bool { return !a.Is4() })
		if len(groups) == 0 {
			continue
		}
		t.printf("%d\t%-10s: %5d %7s\n", nic.ID(), nic.Name(), len(groups), "V3")
		for _, g := range groups {
			t.printf("\t\t\t\t%s %5d %d:%08X\t\t%d\n", hexAddr(g, false), 1, 0, 0, 0)
		}
	}
}

func (t *table) igmp6() {
	for _, nic := range t.st.NICs() {
		for _, g := range nic.Groups() {
			if g.Is6() {
				t.printf("%-4d %-15s %s %5d %08X %d\n", nic.ID(), nic.Name(), plainAddr(g), 1, 0xc, 0)
			}
		}
	}
}

// Flags of addresses (linux/if_addr.h).
const (
	addrDuplicate  = 0x08
	addrDeprecated = 0x20
	addrTentative  = 0x40
	addrPermanent  = 0x80
)

// scope6 is the scope of an IPv6 address as if_inet6 shows it (IPV6_ADDR_*).
func scope6(a netip.Addr) int {
	switch {
	case a.IsLoopback():
		return 0x10
	case a.IsLinkLocalUnicast():
		return 0x20
	}
	return 0
}

func (t *table) ifInet6() {
	for _, nic := range t.st.NICs() {
		for _, a := range nic.Addresses() {
			addr := a.Prefix.Addr()
			if !addr.Is6() {
				continue
			}
			flags := 0
			for _, f := range []struct {
				on   bool
				flag int
			}{{!a.Temporary, addrPermanent}, {a.Tentative, addrTentative}, {a.Deprecated, addrDeprecated}, {a.Duplicate, addrDuplicate}} {
				if f.on {
					flags |= f.flag
				}
			}
			t.printf("%s %02x %02x %02x %02x %8s\n", plainAddr(addr), nic.ID(), a.Prefix.Bits(), scope6(addr), flags, nic.Name())
		}
	}
}

// Flags of routes (linux/route.h).
const (
	routeUp      = 0x0001
	routeGateway = 0x0002
	routeHost    = 0x0004
	routeReject  = 0x0200
	routeLocal   = 0x80000000
)

func (t *table) route() {
	t.line("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT", 127)
	for _, r := range t.st.Routes() {
		if !r.Destination.Addr().Is4() || r.Table != stack.TableMain && r.Table != 0 || r.Type == stack.RouteBroadcast {
			continue
		}
		flags := routeUp
		if r.Gateway.IsValid() {
			flags |= routeGateway
		}
		if r.Destination.Bits() == 32 {
			flags |= routeHost
		}
		if r.Type == stack.RouteUnreachable || r.Type == stack.RouteProhibit {
			flags |= routeReject
		}
		mtu := uint32(0)
		if r.MTU != 0 {
			mtu = r.MTU
		}
		mask := bits.ReverseBytes32(^uint32(0) << (32 - r.Destination.Bits()))
		if r.Destination.Bits() == 0 {
			mask = 0
		}
		t.line(fmt.Sprintf("%s\t%s\t%s\t%04X\t%d\t%d\t%d\t%08X\t%d\t%d\t%d", t.name(r.NIC), hexAddr(r.Destination.Addr(), false),
			hexAddr(r.Gateway, false), flags, 0, 0, r.Metric, mask, mtu, 0, 0), 127)
	}
}

// line pads a line as Linux does where it reserves room for each.
func (t *table) line(s string, width int) { t.printf("%-*s\n", width, s) }

func (t *table) route6() {
	for _, r := range t.st.Routes() {
		if !r.Destination.Addr().Is6() {
			continue
		}
		flags := uint32(routeUp)
		gateway := netip.IPv6Unspecified()
		if r.Gateway.IsValid() {
			flags |= routeGateway
			gateway = r.Gateway
		}
		if r.Destination.Bits() == 128 {
			flags |= routeHost
		}
		switch r.Type {
		case stack.RouteUnreachable, stack.RouteProhibit, stack.RouteBlackhole:
			flags |= routeReject
		case stack.RouteLocal:
			flags |= routeLocal
		}
		t.printf("%s %02x %s %02x %s %08x %08x %08x %08x %8s\n", plainAddr(r.Destination.Addr()), r.Destination.Bits(),
			plainAddr(netip.IPv6Unspecified()), 0, plainAddr(gateway), r.Metric, 1, 0, flags, t.name(r.NIC))
	}
}

// sockets are those of a family and a protocol, in the order in which they were made.
func (t *table) sockets(family, protocol int) []netlink.IPSocket {
	var list []netlink.IPSocket
	netlink.SocketsOf(t.ns).Each(family, protocol, func(s *netlink.IPSocket) { list = append(list, *s) })
	slices.SortStableFunc(list, func(a, b netlink.IPSocket) int { return cmp.Compare(a.Cookie, b.Cookie) })
	return list
}

const (
	socketHeader4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	socketHeader6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
	datagramMore  = " ref pointer drops"
)

// state of a TCP listener.
const stateListen = 10

func (t *table) tcp(family int) {
	v6 := family == unix.AF_INET6
	if v6 {
		t.printf("%s\n", socketHeader6)
	} else {
		t.line(socketHeader4, 149)
	}
	for i, s := range t.sockets(family, unix.IPPROTO_TCP) {
		send, receive := s.SendQueue, s.ReceiveQueue
		if s.State == stateListen {
			send = 0
		}
		line := fmt.Sprintf("%4d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08X %08X %5d %8d %d 1 0000000000000000 100 0 0 10 0",
			i, hexAddr(s.Local.Addr(), v6), s.Local.Port(), hexAddr(s.Remote.Addr(), v6), s.Remote.Port(), s.State, send, receive,
			s.Timer, s.Expires/10, s.Retransmits, s.UID, 0, s.Inode)
		if v6 {
			t.printf("%s\n", line)
		} else {
			t.line(line, 149)
		}
	}
}

func (t *table) datagrams(family, protocol int) {
	v6 := family == unix.AF_INET6
	header, width := socketHeader4+datagramMore, 127
	if v6 {
		header, width = socketHeader6+datagramMore, 0
	}
	t.line(header, width)
	raw := protocol == unix.IPPROTO_RAW
	if raw {
		protocol = 0
	}
	for i, s := range t.sockets(family, protocol) {
		if raw != (s.Type == unix.SOCK_RAW) || raw && s.Family != family {
			continue
		}
		local := s.Local.Port()
		if raw {
			local = uint16(s.Protocol)
		}
		t.line(fmt.Sprintf("%5d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08X %08X %5d %8d %d 2 0000000000000000 %d",
			i, hexAddr(s.Local.Addr(), v6), local, hexAddr(s.Remote.Addr(), v6), s.Remote.Port(), s.State, s.SendQueue, s.ReceiveQueue,
			0, 0, 0, s.UID, 0, s.Inode, 0), width)
	}
}

// counters writes a line of names and one of values.
func (t *table) counters(title string, names []string, values []uint64) {
	t.printf("%s: %s\n%s:", title, strings.Join(names, " "), title)
	for _, v := range values {
		t.printf(" %d", v)
	}
	t.printf("\n")
}

// fields are the counters of a struct of package stack by their names, from the field first on.
func fields(s any, first string) (names []string, values []uint64) {
	v := reflect.ValueOf(s).Elem()
	begun := first == ""
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if begun = begun || name == first; !begun {
			continue
		}
		if c, ok := v.Field(i).Addr().Interface().(*stack.Counter); ok {
			names, values = append(names, name), append(values, c.Load())
		}
	}
	return names, values
}

func boolNumber(on bool, yes, no uint64) uint64 {
	if on {
		return yes
	}
	return no
}

// icmpTypes are the messages that have a counter of their own name.
var icmpTypes = []struct {
	name string
	typ  uint8
}{
	{"DestUnreachs", 3}, {"TimeExcds", 11}, {"ParmProbs", 12}, {"SrcQuenchs", 4}, {"Redirects", 5}, {"Echos", 8}, {"EchoReps", 0},
	{"Timestamps", 13}, {"TimestampReps", 14}, {"AddrMasks", 17}, {"AddrMaskReps", 18},
}

func (t *table) snmp() {
	st, set := t.st.Stats(), t.st.Settings()
	ip := &st.IP
	names, values := []string{"Forwarding", "DefaultTTL"}, []uint64{boolNumber(set.IPForward.Load(), 1, 2), uint64(set.IPDefaultTTL.Load())}
	for _, c := range []struct {
		name string
		c    *stack.Counter
	}{
		{"InReceives", &ip.InReceives}, {"InHdrErrors", &ip.InHdrErrors}, {"InAddrErrors", &ip.InAddrErrors}, {"ForwDatagrams", &ip.ForwDatagrams},
		{"InUnknownProtos", &ip.InUnknownProtos}, {"InDiscards", &ip.InDiscards}, {"InDelivers", &ip.InDelivers}, {"OutRequests", &ip.OutRequests},
		{"OutDiscards", &ip.OutDiscards}, {"OutNoRoutes", &ip.OutNoRoutes}, {"ReasmTimeout", &ip.ReasmTimeout}, {"ReasmReqds", &ip.ReasmReqds},
		{"ReasmOKs", &ip.ReasmOKs}, {"ReasmFails", &ip.ReasmFails}, {"FragOKs", &ip.FragOKs}, {"FragFails", &ip.FragFails}, {"FragCreates", &ip.FragCreates},
	} {
		names, values = append(names, c.name), append(values, c.c.Load())
	}
	t.counters("Ip", names, values)

	ic := &st.ICMP
	names = []string{"InMsgs", "InErrors", "InCsumErrors"}
	values = []uint64{ic.InMsgs.Load(), ic.InErrors.Load(), ic.InCsumErrors.Load()}
	for _, m := range icmpTypes {
		names, values = append(names, "In"+m.name), append(values, ic.InType[m.typ].Load())
	}
	names = append(names, "OutMsgs", "OutErrors", "OutRateLimitGlobal", "OutRateLimitHost")
	values = append(values, ic.OutMsgs.Load(), ic.OutErrors.Load(), ic.OutRateLimited.Load(), 0)
	for _, m := range icmpTypes {
		names, values = append(names, "Out"+m.name), append(values, ic.OutType[m.typ].Load())
	}
	t.counters("Icmp", names, values)
	names, values = nil, nil
	for i := range ic.InType {
		if n := ic.InType[i].Load(); n != 0 {
			names, values = append(names, fmt.Sprintf("InType%d", i)), append(values, n)
		}
	}
	for i := range ic.OutType {
		if n := ic.OutType[i].Load(); n != 0 {
			names, values = append(names, fmt.Sprintf("OutType%d", i)), append(values, n)
		}
	}
	if names != nil {
		t.counters("IcmpMsg", names, values)
	}

	tc := &st.TCP
	// RtoAlgorithm 1 is "other", times are in milliseconds, and MaxConn of -1 is no limit.
	t.printf("Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n")
	t.printf("Tcp: 1 200 120000 -1 %d %d %d %d %d %d %d %d %d %d %d\n", tc.ActiveOpens.Load(), tc.PassiveOpens.Load(), tc.AttemptFails.Load(),
		tc.EstabResets.Load(), tc.CurrEstab.Load(), tc.InSegs.Load(), tc.OutSegs.Load(), tc.RetransSegs.Load(), tc.InErrs.Load(),
		tc.OutRsts.Load(), tc.InCsumErrors.Load())
	udpNames, udpValues := fields(&st.UDP, "")
	t.counters("Udp", udpNames, udpValues)
	t.counters("UdpLite", udpNames, make([]uint64, len(udpNames)))
}

// netstat has what TCP counts beyond RFC 4022, and octets of IP.
func (t *table) netstat() {
	names, values := fields(&t.st.Stats().TCP, "SyncookiesSent")
	t.counters("TcpExt", names, values)
	ip := &t.st.Stats().IP
	t.counters("IpExt", []string{"InNoRoutes", "InTruncatedPkts", "InMcastPkts", "OutMcastPkts", "InBcastPkts", "OutBcastPkts", "InOctets", "OutOctets", "InCsumErrors"},
		[]uint64{ip.InNoRoutes.Load(), ip.InTruncatedPkts.Load(), ip.InMcastPkts.Load(), ip.OutMcastPkts.Load(), ip.InBcastPkts.Load(),
			ip.OutBcastPkts.Load(), ip.InOctets.Load(), ip.OutOctets.Load(), ip.InCsumErrors.Load()})
}

func (t *table) snmp6() {
	st := t.st.Stats()
	list := func(prefix string, names []string, values []uint64) {
		for i, name := range names {
			t.printf("%-32s\t%d\n", prefix+name, values[i])
		}
	}
	names, values := fields(&st.IP6, "")
	list("Ip6", names, values)
	ic := &st.ICMP6
	list("Icmp6", []string{"InMsgs", "InErrors", "OutMsgs", "OutErrors", "InCsumErrors", "OutRateLimitHost"},
		[]uint64{ic.InMsgs.Load(), ic.InErrors.Load(), ic.OutMsgs.Load(), ic.OutErrors.Load(), ic.InCsumErrors.Load(), ic.OutRateLimited.Load()})
	for i := range ic.InType {
		if n := ic.InType[i].Load(); n != 0 {
			list("Icmp6", []string{fmt.Sprintf("InType%d", i)}, []uint64{n})
		}
	}
	for i := range ic.OutType {
		if n := ic.OutType[i].Load(); n != 0 {
			list("Icmp6", []string{fmt.Sprintf("OutType%d", i)}, []uint64{n})
		}
	}
	names, values = fields(&st.UDP6, "")
	list("Udp6", names, values)
}

// stateTimeWait is that of TCP connections that only wait for late segments.
const stateTimeWait = 6

// inUse counts sockets of a family; of TCP those in TIME-WAIT and those without a user apart.
func (t *table) inUse(family int) (tcp, timeWait, orphans, udp, raw int) {
	for _, s := range t.sockets(family, 0) {
		switch {
		case s.Type == unix.SOCK_RAW:
			raw++
		case s.Protocol == unix.IPPROTO_UDP:
			udp++
		case s.Protocol != unix.IPPROTO_TCP:
		case s.State == stateTimeWait:
			timeWait++
		default:
			if tcp++; s.Inode == 0 {
				orphans++
			}
		}
	}
	return tcp, timeWait, orphans, udp, raw
}

func (t *table) sockstat() {
	tcp, timeWait, orphans, udp, raw := t.inUse(unix.AF_INET)
	t.printf("sockets: used %d\nTCP: inuse %d orphan %d tw %d alloc %d mem 0\nUDP: inuse %d mem 0\nUDPLITE: inuse 0\nRAW: inuse %d\nFRAG: inuse 0 memory 0\n",
		len(t.ns.Sockets()), tcp, orphans, timeWait, tcp, udp, raw)
}

func (t *table) sockstat6() {
	tcp, _, _, udp, raw := t.inUse(unix.AF_INET6)
	t.printf("TCP6: inuse %d\nUDP6: inuse %d\nUDPLITE6: inuse 0\nRAW6: inuse %d\nFRAG6: inuse 0 memory 0\n", tcp, udp, raw)
}

// Statistics are the files of /sys/class/net/NAME/statistics that are not always 0.
func Statistics(nic *stack.NIC) map[string]uint64 {
	s := nic.Stats()
	return map[string]uint64{
		"rx_packets": s.RXPackets.Load(), "rx_bytes": s.RXBytes.Load(), "rx_errors": s.RXErrors.Load(), "rx_dropped": s.RXDropped.Load(),
		"tx_packets": s.TXPackets.Load(), "tx_bytes": s.TXBytes.Load(), "tx_errors": s.TXErrors.Load(), "tx_dropped": s.TXDropped.Load(),
		"multicast": s.RXMulticast.Load(),
	}
}
