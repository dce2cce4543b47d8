package netlink

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

const (
	ruleToTable = 1 // FR_ACT_TO_TBL
	// tableCompat stands in the header for a table whose number has more than 8 bits.
	tableCompat = 252
)

var ruleShapes = []shape{
	linux.FRADst: isBytes, linux.FRASrc: isBytes, linux.FRAIifname: isBytes, linux.FRAGoto: isU32, linux.FRAPriority: isU32, linux.FRAFwmark: isU32,
	11: isU32, 12: isU64, linux.FRASuppressGroup: isU32, linux.FRASuppressPrefix: isU32, linux.FRATable: isU32, linux.FRAFwmask: isU32,
	linux.FRAOifname: isBytes, linux.FRAL3mdev: isU8, linux.FRAUIDRange: isBytes, linux.FRAProtocol: isU8, linux.FRAIPProto: isU8,
	linux.FRASportRange: isBytes, linux.FRADportRange: isBytes,
}

// tableByte is a table in a header of one byte.
func tableByte(table uint32) uint8 {
	if table > 255 {
		return tableCompat
	}
	return uint8(table)
}

// putRule appends a message about a rule of type typ: RTM_NEWRULE or RTM_DELRULE.
func (n *Namespace) putRule(w *builder, h header, typ uint16, r *stack.Rule) {
	h.typ = typ
	w.begin(h)
	family := uint8(unix.AF_INET)
	if r.V6 {
		family = unix.AF_INET6
	}
	length := func(p netip.Prefix) uint8 {
		if p.IsValid() {
			return uint8(p.Bits())
		}
		return 0
	}
	w.bytes(family, length(r.Destination), length(r.Source), r.TOS, tableByte(r.Table), 0, 0, r.Action)
	flags := uint32(0)
	if r.Invert {
		flags = linux.FIBRuleInvert
	}
	w.u32(flags)
	w.attrU32(linux.FRATable, r.Table)
	w.attrU32(linux.FRASuppressPrefix, ^uint32(0))
	protocol := uint8(unix.RTPROT_KERNEL)
	if r.Priority != 0 && r.Priority != 32766 && r.Priority != 32767 {
		protocol = unix.RTPROT_UNSPEC
	}
	w.attrU8(linux.FRAProtocol, protocol)
	for _, d := range []struct {
		typ uint16
		id  tcpip.NICID
	}{{linux.FRAIifname, r.InNIC}, {linux.FRAOifname, r.OutNIC}} {
		if nic := n.net.NIC(d.id); d.id != 0 && nic != nil {
			w.attrString(d.typ, nic.Name())
		}
	}
	if r.Priority != 0 {
		w.attrU32(linux.FRAPriority, r.Priority)
	}
	if r.Mark != 0 {
		w.attrU32(linux.FRAFwmark, r.Mark)
	}
	if r.MarkMask != 0 || r.Mark != 0 {
		w.attrU32(linux.FRAFwmask, r.MarkMask)
	}
	if r.Destination.IsValid() && r.Destination.Bits() > 0 {
		w.attrAddr(linux.FRADst, r.Destination.Addr())
	}
	if r.Source.IsValid() && r.Source.Bits() > 0 {
		w.attrAddr(linux.FRASrc, r.Source.Addr())
	}
	w.end()
}

// ruleDump shows rules.
type ruleDump struct {
	listDump[stack.Rule]
	ns *Namespace
}

// emit implements dumper.
func (d *ruleDump) emit(w *builder, h header) bool {
	r, ok := d.next()
	if ok {
		d.ns.putRule(w, h, unix.RTM_NEWRULE, &r)
	}
	return ok
}

func (n *Namespace) dumpRules(r *request) (dumper, error) {
	if f := r.family(); f != unix.AF_UNSPEC {
		if _, ok := isIP(f); !ok {
			return nil, unix.EAFNOSUPPORT
		}
	}
	d := &ruleDump{ns: n}
	for _, v6 := range []bool{false, true} {
		for _, e := range n.net.Rules() {
			if e.V6 == v6 && (r.family() == unix.AF_UNSPEC || (r.family() == unix.AF_INET6) == v6) {
				d.list = append(d.list, e)
			}
		}
	}
	return d, nil
}

// parseRule reads RTM_NEWRULE and RTM_DELRULE.
func (n *Namespace) parseRule(r *request) (rule stack.Rule, a attributes, err error) {
	v6, ok := isIP(r.family())
	if !ok {
		return rule, nil, unix.EAFNOSUPPORT
	}
	if a, err = r.attributes(sizeofRuleHdr, ruleShapes, false); err != nil {
		return rule, nil, err
	}
	rule = stack.Rule{V6: v6, Table: uint32(r.u8(4)), Action: r.u8(7), TOS: r.u8(3), Invert: r.u32(8)&linux.FIBRuleInvert != 0, Priority: a.u32(linux.FRAPriority)}
	if a.has(linux.FRATable) {
		rule.Table = a.u32(linux.FRATable)
	}
	for _, p := range []struct {
		to   *netip.Prefix
		typ  uint16
		bits uint8
	}{{&rule.Destination, linux.FRADst, r.u8(1)}, {&rule.Source, linux.FRASrc, r.u8(2)}} {
		if p.bits == 0 {
			continue
		}
		addr, err := a.addr(p.typ, v6)
		if err != nil {
			return rule, nil, err
		}
		if !addr.IsValid() || int(p.bits) > bitsOf(v6) {
			return rule, nil, refuse(unix.EINVAL, "a prefix has a length but no address, or is longer than an address")
		}
		*p.to = netip.PrefixFrom(addr, int(p.bits)).Masked()
	}
	for _, d := range []struct {
		to  *tcpip.NICID
		typ uint16
	}{{&rule.InNIC, linux.FRAIifname}, {&rule.OutNIC, linux.FRAOifname}} {
		if !a.has(d.typ) {
			continue
		}
		nic := n.net.NICByName(a.text(d.typ))
		if nic == nil {
			return rule, nil, a.refuse(unix.ENODEV, d.typ, "a rule here can only be about an interface that exists")
		}
		*d.to = nic.ID()
	}
	rule.Mark = a.u32(linux.FRAFwmark)
	rule.MarkMask = a.u32(linux.FRAFwmask)
	if a.has(linux.FRAFwmark) && !a.has(linux.FRAFwmask) {
		rule.MarkMask = ^uint32(0)
	}
	for _, t := range []uint16{linux.FRAGoto, linux.FRAL3mdev, linux.FRAUIDRange, linux.FRAIPProto, linux.FRASportRange, linux.FRADportRange} {
		if a.has(t) {
			return rule, nil, a.refuse(unix.EOPNOTSUPP, t, "rules do not go by that here")
		}
	}
	for _, t := range []uint16{linux.FRASuppressGroup, linux.FRASuppressPrefix} {
		if a.has(t) && a.u32(t) != ^uint32(0) {
			return rule, nil, a.refuse(unix.EOPNOTSUPP, t, "rules do not suppress anything here")
		}
	}
	return rule, a, nil
}

// maxRules bounds the rules of a namespace.
const maxRules = 4096

func (n *Namespace) newRule(r *request) error {
	rule, a, err := n.parseRule(r)
	if err != nil {
		return err
	}
	switch rule.Action {
	case ruleToTable, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
	default:
		return refuse(unix.EINVAL, "no such action")
	}
	if rule.Action == ruleToTable && rule.Table == 0 {
		return refuse(unix.EINVAL, "no table is given")
	}
	all := n.net.Rules()
	if len(all) >= maxRules {
		return refuse(unix.ENOBUFS, "there are too many rules")
	}
	if !a.has(linux.FRAPriority) {
		rule.Priority = freePriority(all, rule.V6)
	}
	if r.flags&unix.NLM_F_EXCL != 0 {
		for _, e := range all {
			if e == rule {
				return unix.EEXIST
			}
		}
	}
	return n.net.AddRule(rule)
}

// freePriority is that of a rule that says none: before all but the first.
func freePriority(all []stack.Rule, v6 bool) uint32 {
	first := true
	for _, e := range all {
		if e.V6 != v6 {
			continue
		}
		if !first && e.Priority > 0 {
			return e.Priority - 1
		}
		first = false
	}
	return 0
}

func (n *Namespace) delRule(r *request) error {
	want, a, err := n.parseRule(r)
	if err != nil {
		return err
	}
	for _, e := range n.net.Rules() {
		if e.V6 != want.V6 ||
			a.has(linux.FRAPriority) && e.Priority != want.Priority ||
			want.Table != 0 && e.Table != want.Table ||
			want.Action != 0 && e.Action != want.Action ||
			want.TOS != 0 && e.TOS != want.TOS ||
			want.Source.IsValid() && e.Source != want.Source ||
			want.Destination.IsValid() && e.Destination != want.Destination ||
			want.InNIC != 0 && e.InNIC != want.InNIC ||
			want.OutNIC != 0 && e.OutNIC != want.OutNIC ||
			a.has(linux.FRAFwmark) && e.Mark != want.Mark ||
			a.has(linux.FRAFwmask) && e.MarkMask != want.MarkMask {
			continue
		}
		return n.net.RemoveRuleExactly(e)
	}
	return unix.ENOENT
}
