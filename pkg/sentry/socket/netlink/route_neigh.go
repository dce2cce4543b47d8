package netlink

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

var neighShapes = []shape{
	unix.NDA_DST: isBytes, unix.NDA_LLADDR: isBytes, unix.NDA_CACHEINFO: isBytes, unix.NDA_PROBES: isU32,
	unix.NDA_VLAN: isU16, unix.NDA_PORT: isU16, unix.NDA_VNI: isU32, unix.NDA_IFINDEX: isU32, unix.NDA_MASTER: isU32,
	10: isU32, 11: isU32, 12: isU8, 13: isU32, 14: isNested, 15: isU32, 16: isU8,
}

var neighDumpShapes = []shape{unix.NDA_IFINDEX: isU32, unix.NDA_MASTER: isU32, 16: unknown}

var neighGetShapes = []shape{unix.NDA_DST: isBytes, 16: unknown}

// withLink are the states in which an entry has a link address.
const withLink = stack.NeighbourReachable | stack.NeighbourStale | stack.NeighbourDelay | stack.NeighbourProbe |
	stack.NeighbourNoARP | stack.NeighbourPermanent

// ticks is the unit of times in neighbour entries, per second (USER_HZ).
const ticks = 100

// putNeigh appends a message about a neighbour of type typ: RTM_NEWNEIGH or RTM_DELNEIGH.
func (n *Namespace) putNeigh(w *builder, h header, typ uint16, nic *stack.NIC, e *stack.Neighbour) {
	h.typ = typ
	w.begin(h)
	w.bytes(familyOf(e.Addr), 0, 0, 0)
	w.u32(uint32(nic.ID()))
	w.u16(uint16(e.State))
	flags := uint8(0)
	if e.Router {
		flags = unix.NTF_ROUTER
	}
	w.bytes(flags, unix.RTN_UNICAST)
	w.attrAddr(unix.NDA_DST, e.Addr)
	if e.State&withLink != 0 {
		w.attr(unix.NDA_LLADDR, e.Link[:])
	}
	w.attrU32(unix.NDA_PROBES, 0)
	age := uint32(max(0, (n.net.Clock().Monotonic()-e.Updated).Seconds()) * ticks)
	// struct nda_cacheinfo: ages of confirmation, use and change, and references.
	info := w.nest(unix.NDA_CACHEINFO)
	w.u32(age)
	w.u32(age)
	w.u32(age)
	w.u32(0)
	w.unnest(info)
	w.end()
}

// neighOf is an entry of an interface.
type neighOf struct {
	nic   *stack.NIC
	entry stack.Neighbour
}

// neighDump shows neighbours.
type neighDump struct {
	listDump[neighOf]
	ns *Namespace
}

// emit implements dumper.
func (d *neighDump) emit(w *builder, h header) bool {
	e, ok := d.next()
	if ok {
		d.ns.putNeigh(w, h, unix.RTM_NEWNEIGH, e.nic, &e.entry)
	}
	return ok
}

func (n *Namespace) dumpNeighs(r *request) (dumper, error) {
	d := &neighDump{ns: n}
	size, shapes := sizeofNdmsg, neighShapes
	if r.strict {
		if r.u8(1) != 0 || r.u16(2) != 0 || r.u32(4) != 0 || r.u16(8) != 0 || r.u8(11) != 0 || r.u8(10)&^unix.NTF_PROXY != 0 {
			return nil, refuse(unix.EINVAL, "a dump of neighbours is by family, and by the interface of an attribute")
		}
		shapes = neighDumpShapes
	}
	if len(r.payload) < sizeofNdmsg {
		size = sizeofRtgenmsg
	}
	a, err := r.attributes(size, shapes, r.strict)
	if err != nil {
		return nil, err
	}
	if r.u8(10)&unix.NTF_PROXY != 0 || a.u32(unix.NDA_MASTER) != 0 || r.family() == unix.AF_BRIDGE {
		return d, nil // there are none
	}
	for _, v6 := range []bool{false, true} {
		for _, nic := range n.net.NICs() {
			if i := a.u32(unix.NDA_IFINDEX); i != 0 && i != uint32(nic.ID()) {
				continue
			}
			for _, e := range nic.Neighbours() {
				if e.Addr.Is6() == v6 && wants(r.family(), e.Addr) {
					d.list = append(d.list, neighOf{nic, e})
				}
			}
		}
	}
	return d, nil
}

// parseNeigh reads what a request says about a neighbour.
func (n *Namespace) parseNeigh(r *request, shapes []shape, strict bool) (nic *stack.NIC, addr netip.Addr, a attributes, err error) {
	v6, ok := isIP(r.family())
	if !ok {
		return nil, addr, nil, unix.EOPNOTSUPP
	}
	if a, err = r.attributes(sizeofNdmsg, shapes, strict); err != nil {
		return nil, addr, nil, err
	}
	if !a.has(unix.NDA_DST) {
		return nil, addr, nil, refuse(unix.EINVAL, "no network address is given")
	}
	if addr, err = a.addr(unix.NDA_DST, v6); err != nil {
		return nil, addr, nil, a.refuse(unix.EINVAL, unix.NDA_DST, "the network address is too short")
	}
	if r.u32(4) == 0 {
		return nil, addr, nil, refuse(unix.EINVAL, "no interface is given")
	}
	if nic, err = n.nic(r.u32(4)); err != nil {
		return nil, addr, nil, unix.ENODEV
	}
	if r.u8(10)&unix.NTF_PROXY != 0 {
		return nil, addr, nil, refuse(unix.EOPNOTSUPP, "there are no proxy entries")
	}
	return nic, addr, a, nil
}

func (n *Namespace) getNeigh(r *request) error {
	nic, addr, _, err := n.parseNeigh(r, neighGetShapes, true)
	if err != nil {
		return err
	}
	e, ok := nic.Neighbour(addr)
	if !ok {
		return refuse(unix.ENOENT, "there is no such neighbour")
	}
	var w builder
	n.putNeigh(&w, r.reply(0), unix.RTM_NEWNEIGH, nic, &e)
	r.answer(w.b)
	return nil
}

func (n *Namespace) newNeigh(r *request) error {
	nic, addr, a, err := n.parseNeigh(r, neighShapes, false)
	if err != nil {
		return err
	}
	old, exists := nic.Neighbour(addr)
	switch {
	case !exists && r.flags&unix.NLM_F_CREATE == 0:
		return unix.ENOENT
	case exists && r.flags&unix.NLM_F_EXCL != 0:
		return unix.EEXIST
	}
	e := stack.Neighbour{Addr: addr, State: stack.NeighbourState(r.u16(8)), Router: r.u8(10)&unix.NTF_ROUTER != 0}
	if a.has(unix.NDA_LLADDR) {
		if e.Link, err = linkAddress(a, unix.NDA_LLADDR); err != nil {
			return err
		}
	} else if exists {
		e.Link = old.Link
	}
	if exists && r.flags&unix.NLM_F_REPLACE == 0 && old.State&withLink != 0 {
		// Without leave to replace, another link address makes the old one doubtful at most.
		e.Link = old.Link
	}
	if e.State == 0 {
		e.State = stack.NeighbourPermanent
	}
	if e.State&withLink != 0 && e.State != stack.NeighbourNoARP && e.Link == (tcpip.LinkAddress{}) && !nic.IsLoopback() {
		return refuse(unix.EINVAL, "no link address is given")
	}
	return nic.SetNeighbour(e)
}

func (n *Namespace) delNeigh(r *request) error {
	nic, addr, _, err := n.parseNeigh(r, neighShapes, false)
	if err != nil {
		return err
	}
	return nic.RemoveNeighbour(addr)
}
