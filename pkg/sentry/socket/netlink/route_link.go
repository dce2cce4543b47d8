package netlink

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/dummy"
	"runsc/pkg/tcpip/stack"
)

// Numbers of if_link.h and rtnetlink.h that package unix lacks.
const (
	iflaMinMTU          = 50
	iflaMaxMTU          = 51
	iflaAltIfname       = 53
	iflaAllMulti        = 61
	iflaInfoKind        = 1
	iflaInfoData        = 2
	iflaInetConf        = 1
	iflaInet6Flags      = 1
	iflaInet6Conf       = 2
	iflaInet6CacheInfo  = 5
	iflaInet6AddrGen    = 8
	extSkipStats        = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	operUnknown         = 0
	operDown            = 2
	operUp              = 6
	devconfV4Forwarding = 0 // places in IFLA_INET_CONF
	numDevconfV4        = 32
	devconfV6Forwarding = 0 // places in IFLA_INET6_CONF
	devconfV6HopLimit   = 1
	devconfV6MTU        = 2
	devconfV6AcceptRA   = 3
	devconfV6AutoConf   = 5
	devconfV6DAD        = 6
	devconfV6Disable    = 27
	numDevconfV6        = 54
	inet6Ready          = 0x80000000 // IF_READY
	txQueueLength       = 1000
	maxNameLength       = 15
)

// linkShapes are the attributes of a request about a link.
var linkShapes = func() []shape {
	s := make([]shape, 64)
	for i := range s {
		s[i] = isBytes
	}
	for _, t := range []int{unix.IFLA_MTU, unix.IFLA_LINK, unix.IFLA_MASTER, unix.IFLA_TXQLEN, unix.IFLA_WEIGHT, unix.IFLA_NET_NS_PID,
		unix.IFLA_NET_NS_FD, unix.IFLA_EXT_MASK, unix.IFLA_PROMISCUITY, unix.IFLA_NUM_TX_QUEUES, unix.IFLA_NUM_RX_QUEUES, unix.IFLA_GROUP} {
		s[t] = isU32
	}
	s[unix.IFLA_OPERSTATE], s[unix.IFLA_LINKMODE], s[unix.IFLA_CARRIER], s[unix.IFLA_PROTO_DOWN] = isU8, isU8, isU8, isU8
	s[unix.IFLA_LINKINFO], s[unix.IFLA_AF_SPEC] = isNested, isNested
	return s
}()

// linkDumpShapes are those that a dump may have when it is checked strictly.
var linkDumpShapes = func() []shape {
	s := make([]shape, 64)
	s[unix.IFLA_EXT_MASK], s[unix.IFLA_MASTER] = isU32, isU32
	s[unix.IFLA_LINKINFO] = isNested
	return s
}()

var linkInfoShapes = []shape{iflaInfoKind: isBytes, iflaInfoData: isNested, 3: isNested, 4: isBytes, 5: isNested}

// putLink appends a message about nic of type typ: RTM_NEWLINK or RTM_DELLINK.
func (n *Namespace) putLink(w *builder, h header, typ uint16, nic *stack.NIC, change, ext uint32) {
	h.typ = typ
	link := nic.Link()
	flags := inet.Flags(nic)
	w.begin(h)
	w.bytes(unix.AF_UNSPEC, 0)
	w.u16(link.HardwareType())
	w.u32(uint32(nic.ID()))
	w.u32(flags)
	w.u32(change)
	w.attrString(unix.IFLA_IFNAME, nic.Name())
	w.attrU32(unix.IFLA_TXQLEN, txQueueLength)
	oper := uint8(operUnknown) // what lo and dummies say
	switch {
	case !nic.Up():
		oper = operDown
	case !nic.IsLoopback() && inet.KindOf(nic) == "":
		oper = operUp
	}
	w.attrU8(unix.IFLA_OPERSTATE, oper)
	w.attrU8(unix.IFLA_LINKMODE, 0)
	w.attrU32(unix.IFLA_MTU, nic.MTU())
	low, high := mtuLimits(nic)
	w.attrU32(iflaMinMTU, low)
	w.attrU32(iflaMaxMTU, high)
	w.attrU32(unix.IFLA_GROUP, 0)
	w.attrU32(unix.IFLA_PROMISCUITY, bit(nic.Promiscuous()))
	w.attrU32(iflaAllMulti, bit(nic.AllMulticast()))
	w.attrU32(unix.IFLA_NUM_TX_QUEUES, 1)
	w.attrU32(unix.IFLA_GSO_MAX_SEGS, 65535)
	w.attrU32(unix.IFLA_GSO_MAX_SIZE, 65536)
	w.attrU32(unix.IFLA_NUM_RX_QUEUES, 1)
	w.attrU8(unix.IFLA_CARRIER, 1)
	qdisc := "noqueue"
	if !nic.Up() {
		qdisc = "noop"
	}
	w.attrString(unix.IFLA_QDISC, qdisc)
	w.attrU32(unix.IFLA_CARRIER_CHANGES, 0)
	w.attrU8(unix.IFLA_PROTO_DOWN, 0)
	w.attrU32(unix.IFLA_CARRIER_UP_COUNT, 0)
	w.attrU32(unix.IFLA_CARRIER_DOWN_COUNT, 0)
	w.attr(unix.IFLA_MAP, make([]byte, 32)) // struct rtnl_link_ifmap: no memory, no interrupt
	address := link.LinkAddress()
	broadcast := tcpip.LinkAddress{}
	if flags&unix.IFF_BROADCAST != 0 {
		broadcast = tcpip.Broadcast
	}
	w.attr(unix.IFLA_ADDRESS, address[:])
	w.attr(unix.IFLA_BROADCAST, broadcast[:])
	if ext&extSkipStats == 0 {
		putLinkStats(w, nic.Stats())
	}
	if kind := inet.KindOf(nic); kind != "" {
		info := w.nest(unix.IFLA_LINKINFO)
		w.attrString(iflaInfoKind, kind)
		w.unnest(info)
	}
	n.putAFSpec(w, nic)
	w.end()
}

func bit(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

// mtuLimits are the smallest and the largest MTU that SetMTU takes; 0: as with lo, no limit is
// told.
func mtuLimits(nic *stack.NIC) (low, high uint32) {
	if nic.IsLoopback() {
		return 0, 0
	}
	return 68, 65535
}

// putLinkStats appends struct rtnl_link_stats64 and the same in 32 bits.
func putLinkStats(w *builder, s *stack.NICStats) {
	v := [25]uint64{
		0: s.RXPackets.Load(), 1: s.TXPackets.Load(), 2: s.RXBytes.Load(), 3: s.TXBytes.Load(),
		4: s.RXErrors.Load(), 5: s.TXErrors.Load(), 6: s.RXDropped.Load(), 7: s.TXDropped.Load(),
		8: s.RXMulticast.Load(),
	}
	at := w.nest(unix.IFLA_STATS64)
	for _, x := range v {
		w.u64(x)
	}
	w.unnest(at)
	at = w.nest(unix.IFLA_STATS)
	for _, x := range v[:24] {
		w.u32(uint32(x))
	}
	w.unnest(at)
}

// putAFSpec appends what the protocols know of the interface.
func (n *Namespace) putAFSpec(w *builder, nic *stack.NIC) {
	set := n.net.Settings()
	spec := w.nest(unix.IFLA_AF_SPEC)
	inet := w.nest(unix.AF_INET)
	conf := w.nest(iflaInetConf)
	for i := range numDevconfV4 {
		if i == devconfV4Forwarding {
			w.u32(bit(set.IPForward.Load()))
		} else {
			w.u32(0)
		}
	}
	w.unnest(conf)
	w.unnest(inet)
	inet6 := w.nest(unix.AF_INET6)
	flags := uint32(0)
	if nic.Up() {
		flags = inet6Ready
	}
	w.attrU32(iflaInet6Flags, flags)
	// struct ifla_cacheinfo: reassembly bound, time stamp, reachable time and retransmission
	// time in milliseconds.
	info := w.nest(iflaInet6CacheInfo)
	w.u32(65535)
	w.u32(0)
	w.u32(30000)
	w.u32(1000)
	w.unnest(info)
	conf = w.nest(iflaInet6Conf)
	for i := range numDevconfV6 {
		switch i {
		case devconfV6Forwarding:
			w.u32(bit(set.IPv6Forwarding.Load()))
		case devconfV6HopLimit:
			w.u32(uint32(set.IPv6HopLimit.Load()))
		case devconfV6MTU:
			w.u32(nic.MTU())
		case devconfV6AcceptRA:
			w.u32(bit(set.AcceptRA.Load()))
		case devconfV6AutoConf:
			w.u32(bit(set.Autoconf.Load()))
		case devconfV6DAD:
			w.u32(uint32(set.DADTransmits.Load()))
		case devconfV6Disable:
			w.u32(bit(set.IPv6Disabled.Load()))
		default:
			w.u32(0)
		}
	}
	w.unnest(conf)
	w.attrU8(iflaInet6AddrGen, 0) // by EUI-64
	w.unnest(inet6)
	w.unnest(spec)
}

// linkDump shows interfaces.
type linkDump struct {
	listDump[*stack.NIC]
	ns   *Namespace
	ext  uint32
	kind string // "": all
}

// emit implements dumper.
func (d *linkDump) emit(w *builder, h header) bool {
	nic, ok := d.next()
	if ok && (d.kind == "" || d.kind == inet.KindOf(nic)) {
		d.ns.putLink(w, h, unix.RTM_NEWLINK, nic, 0, d.ext)
	}
	return ok
}

func (n *Namespace) dumpLinks(r *request) (dumper, error) {
	if r.strict {
		if r.u8(1) != 0 || r.u16(2) != 0 || r.u32(8) != 0 || r.u32(12) != 0 {
			return nil, refuse(unix.EINVAL, "a dump of links has no fields in its header")
		}
		if r.u32(4) != 0 {
			return nil, refuse(unix.EINVAL, "a dump of links cannot be for one interface")
		}
	}
	// Old programs send struct rtgenmsg, or attributes behind it.
	shapes, size := linkShapes, sizeofIfinfomsg
	if r.strict {
		shapes = linkDumpShapes
	}
	if len(r.payload) < sizeofIfinfomsg {
		size = sizeofRtgenmsg
	}
	a, err := r.attributes(size, shapes, r.strict)
	if err != nil {
		return nil, err
	}
	d := &linkDump{ns: n, ext: a.u32(unix.IFLA_EXT_MASK)}
	d.list = n.net.NICs()
	if r.family() == unix.AF_BRIDGE || a.u32(unix.IFLA_MASTER) != 0 {
		d.list = nil // there are no bridges, nor anything else that has others
	}
	if a.has(unix.IFLA_LINKINFO) {
		info, err := parse(a.bytes(unix.IFLA_LINKINFO), a[unix.IFLA_LINKINFO].off, linkInfoShapes, false)
		if err != nil {
			return nil, err
		}
		d.kind = info.text(iflaInfoKind)
	}
	return d, nil
}

// findLink finds the interface that a request names by index or name, nil if there is none.
// given is false if it names none.
func (n *Namespace) findLink(r *request, a attributes) (nic *stack.NIC, given bool, err error) {
	index := int32(r.u32(4))
	if index < 0 {
		return nil, false, refuse(unix.EINVAL, "the index is negative")
	}
	if index > 0 {
		return n.net.NIC(tcpip.NICID(index)), true, nil
	}
	for _, t := range []uint16{unix.IFLA_IFNAME, iflaAltIfname} {
		if a.has(t) && a.text(t) != "" {
			if len(a.text(t)) > maxNameLength && t == unix.IFLA_IFNAME {
				return nil, true, a.refuse(unix.ERANGE, t, "the name is too long")
			}
			return n.net.NICByName(a.text(t)), true, nil
		}
	}
	return nil, false, nil
}

// needLink is findLink for a request that is of an interface that exists.
func (n *Namespace) needLink(r *request, a attributes) (*stack.NIC, error) {
	nic, given, err := n.findLink(r, a)
	switch {
	case err != nil:
		return nil, err
	case !given:
		return nil, refuse(unix.EINVAL, "neither an index nor a name is given")
	case nic == nil:
		return nil, unix.ENODEV
	}
	return nic, nil
}

func (n *Namespace) getLink(r *request) error {
	a, err := r.attributes(sizeofIfinfomsg, linkShapes, r.strict)
	if err != nil {
		return err
	}
	nic, err := n.needLink(r, a)
	if err != nil {
		return err
	}
	var w builder
	n.putLink(&w, r.reply(0), unix.RTM_NEWLINK, nic, 0, a.u32(unix.IFLA_EXT_MASK))
	r.answer(w.b)
	return nil
}

// newLink is RTM_NEWLINK and RTM_SETLINK: it makes or changes an interface.
func (n *Namespace) newLink(r *request) error {
	a, err := r.attributes(sizeofIfinfomsg, linkShapes, false)
	if err != nil {
		return err
	}
	kind, hasData := "", false
	if a.has(unix.IFLA_LINKINFO) {
		info, err := parse(a.bytes(unix.IFLA_LINKINFO), a[unix.IFLA_LINKINFO].off+sizeofAttr, linkInfoShapes, false)
		if err != nil {
			return err
		}
		kind, hasData = info.text(iflaInfoKind), info.has(iflaInfoData)
	}
	nic, given, err := n.findLink(r, a)
	if err != nil {
		return err
	}
	if nic != nil {
		if r.typ == unix.RTM_NEWLINK {
			switch {
			case r.flags&unix.NLM_F_EXCL != 0:
				return unix.EEXIST
			case r.flags&unix.NLM_F_REPLACE != 0:
				return unix.EOPNOTSUPP
			case kind != "" && (hasData || kind != inet.KindOf(nic)):
				return a.refuse(unix.EOPNOTSUPP, unix.IFLA_LINKINFO, "the kind of a link cannot be changed")
			}
		}
		return n.changeLink(r, a, nic)
	}
	if r.typ == unix.RTM_SETLINK || r.flags&unix.NLM_F_CREATE == 0 {
		if !given && r.typ == unix.RTM_SETLINK {
			return refuse(unix.EINVAL, "neither an index nor a name is given")
		}
		return unix.ENODEV
	}
	switch kind {
	case dummy.Kind:
	case "":
		return refuse(unix.EOPNOTSUPP, "a link needs a kind")
	default:
		return a.refuse(unix.EOPNOTSUPP, unix.IFLA_LINKINFO, fmt.Sprintf("links of kind %.16q cannot be made in a sandbox; dummy can", kind))
	}
	return n.createDummy(r, a)
}

// maxLinks bounds the interfaces that applications can make in a namespace.
const maxLinks = 1024

func (n *Namespace) createDummy(r *request, a attributes) error {
	name := a.text(unix.IFLA_IFNAME)
	if name == "" {
		name = dummy.Kind + "%d"
	}
	nics := n.net.NICs()
	if len(nics) >= maxLinks {
		return refuse(unix.ENOBUFS, "there are too many links")
	}
	if before, after, ok := strings.Cut(name, "%d"); ok {
		for i := 0; ; i++ {
			if name = fmt.Sprintf("%s%d%s", before, i, after); n.net.NICByName(name) == nil {
				break
			}
		}
	}
	if err := checkName(a, name); err != nil {
		return err
	}
	link := dummy.New(n.randomLinkAddress())
	if a.has(unix.IFLA_ADDRESS) {
		addr, err := linkAddress(a, unix.IFLA_ADDRESS)
		if err != nil {
			return err
		}
		link.SetLinkAddress(addr)
	}
	if a.has(unix.IFLA_MTU) {
		mtu := a.u32(unix.IFLA_MTU)
		if mtu < 68 || mtu > 65535 {
			return a.refuse(unix.EINVAL, unix.IFLA_MTU, "the MTU is out of range")
		}
		link.SetMTU(mtu)
	}
	nic, err := n.net.CreateNIC(tcpip.NICID(r.u32(4)), name, link)
	if err != nil {
		return err
	}
	n.changeFlags(r, nic)
	return nil
}

// checkName says whether an interface may have the name (netdevice(7)). EINVAL.
func checkName(a attributes, name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxNameLength || strings.ContainsAny(name, "/: \t\n\v\f\r") {
		return a.refuse(unix.EINVAL, unix.IFLA_IFNAME, "that is not a name for an interface")
	}
	return nil
}

// randomLinkAddress is a unicast address that is administered locally (IEEE 802).
func (n *Namespace) randomLinkAddress() (a tcpip.LinkAddress) {
	v := n.net.Random()
	for i := range a {
		a[i] = byte(v >> (8 * i))
	}
	a[0] = a[0]&^1 | 2
	return a
}

// linkAddress reads a hardware address. EINVAL: it is too short.
func linkAddress(a attributes, typ uint16) (addr tcpip.LinkAddress, err error) {
	if len(a.bytes(typ)) < len(addr) {
		return addr, a.refuse(unix.EINVAL, typ, "the hardware address is too short")
	}
	copy(addr[:], a.bytes(typ))
	return addr, nil
}

// changeLink does what a request asks of an interface, in Linux's order; what was done before an
// error stays done.
func (n *Namespace) changeLink(r *request, a attributes, nic *stack.NIC) error {
	for _, t := range []uint16{unix.IFLA_NET_NS_PID, unix.IFLA_NET_NS_FD} {
		if a.has(t) {
			return a.refuse(unix.EOPNOTSUPP, t, "interfaces of a sandbox stay in their namespace")
		}
	}
	if a.has(unix.IFLA_ADDRESS) {
		addr, err := linkAddress(a, unix.IFLA_ADDRESS)
		if err != nil {
			return err
		}
		if addr.IsMulticast() || addr == (tcpip.LinkAddress{}) && !nic.IsLoopback() {
			return a.refuse(unix.EADDRNOTAVAIL, unix.IFLA_ADDRESS, "not an address of a station")
		}
		nic.SetLinkAddress(addr)
	}
	if a.has(unix.IFLA_MTU) && a.u32(unix.IFLA_MTU) != nic.MTU() {
		mtu := a.u32(unix.IFLA_MTU)
		if low, high := mtuLimits(nic); mtu < low || high != 0 && mtu > high {
			return a.refuse(unix.EINVAL, unix.IFLA_MTU, "the MTU is out of range")
		}
		if err := nic.SetMTU(mtu); err != nil {
			return a.refuse(unix.EINVAL, unix.IFLA_MTU, "the MTU is out of range")
		}
	}
	if int32(r.u32(4)) > 0 && a.has(unix.IFLA_IFNAME) && a.text(unix.IFLA_IFNAME) != nic.Name() {
		name := a.text(unix.IFLA_IFNAME)
		if err := checkName(a, name); err != nil {
			return err
		}
		if err := nic.SetName(name); err != nil {
			return err
		}
	}
	if a.u32(unix.IFLA_MASTER) != 0 {
		return a.refuse(unix.EOPNOTSUPP, unix.IFLA_MASTER, "there are no links that others can belong to")
	}
	if a.has(unix.IFLA_TXQLEN) && a.u32(unix.IFLA_TXQLEN) != txQueueLength {
		return a.refuse(unix.EOPNOTSUPP, unix.IFLA_TXQLEN, "the length of the queue cannot be changed")
	}
	n.changeFlags(r, nic)
	return nil
}

// changeFlags sets the flags that ifi_change of a request names; all if it names none but there
// are flags.
func (n *Namespace) changeFlags(r *request, nic *stack.NIC) {
	flags, change := r.u32(8), r.u32(12)
	if change == 0 {
		if flags == 0 {
			return
		}
		change = ^uint32(0)
	}
	id := int32(nic.ID())
	for _, c := range []struct {
		flag uint32
		set  func(bool)
	}{{unix.IFF_PROMISC, nic.SetPromiscuous}, {unix.IFF_ALLMULTI, nic.SetAllMulticast}} {
		// The stack counts who wants it; here it is wanted or not.
		if change&c.flag != 0 && (flags^n.flags[id])&c.flag != 0 {
			c.set(flags&c.flag != 0)
			n.flags[id] = n.flags[id]&^c.flag | flags&c.flag
		}
	}
	if change&unix.IFF_UP != 0 {
		inet.SetUp(nic, flags&unix.IFF_UP != 0)
	}
}

func (n *Namespace) delLink(r *request) error {
	a, err := r.attributes(sizeofIfinfomsg, linkShapes, false)
	if err != nil {
		return err
	}
	nic, err := n.needLink(r, a)
	switch {
	case err != nil:
		return err
	case inet.KindOf(nic) != dummy.Kind:
		return refuse(unix.EOPNOTSUPP, "this link cannot be removed")
	}
	delete(n.flags, int32(nic.ID()))
	return n.net.RemoveNIC(nic.ID())
}
