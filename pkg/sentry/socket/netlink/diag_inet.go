package netlink

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

// IPSocket is what sock_diag(7) tells of a socket of AF_INET, AF_INET6 or AF_PACKET.
type IPSocket struct {
	Family, Type, Protocol int
	// State is that of TCP (1: established … 11); other sockets are established if they are
	// connected, else closed (7).
	State uint8
	// Timer is the pending one (1: retransmission, 2: keep-alive, 3: TIME-WAIT, 4: zero
	// window), which ends in Expires milliseconds; Retransmits counts its rounds.
	Timer, Retransmits uint8
	Expires            uint32
	// Local and Remote are as the stack has them: IPv4 is four bytes. Invalid addresses are
	// not bound or not connected.
	Local, Remote netip.AddrPort
	// Device is the interface that the socket is bound to.
	Device tcpip.NICID
	// ReceiveQueue and SendQueue are bytes; of a listener: connections that wait, and the
	// backlog.
	ReceiveQueue, SendQueue   uint32
	ReceiveBuffer, SendBuffer uint32
	UID                       uint32
	Inode, Cookie             uint64
	Mark                      uint32
	TOS, TrafficClass         uint8
	Shutdown                  uint8
	V6Only                    bool
	// Congestion is the name of TCP's algorithm, Info struct tcp_info.
	Congestion string
	Info       []byte
}

// IPSockets lists the sockets of a namespace's stack.
type IPSockets interface {
	// Each calls f for the sockets of a family (AF_UNSPEC: AF_INET and AF_INET6) and a
	// protocol; 0: all.
	Each(family, protocol int, f func(*IPSocket))
	// Destroy ends a socket of TCP or UDP that Each told of, with an error for its user.
	Destroy(s *IPSocket) error
}

// ipSockets are the sockets of a family and a protocol, by inode, as the caller may see them.
func (n *Namespace) ipSockets(r *request, family, protocol int) []IPSocket {
	var list []IPSocket
	if n.ip == nil {
		return nil
	}
	n.ip.Each(family, protocol, func(s *IPSocket) { list = append(list, *s) })
	slices.SortStableFunc(list, func(a, b IPSocket) int { return cmp.Compare(a.Cookie, b.Cookie) })
	return list
}

// inet_diag.h.
const (
	sizeofInetDiagReq = 56 // struct inet_diag_req_v2
	sizeofInetDiagOld = 60 // struct inet_diag_req
	sizeofInetDiagID  = 48
	inetReqBytecode   = 1
	inetReqProtocol   = 3
	inetDiagMeminfo   = 1
	inetDiagInfo      = 2
	inetDiagCong      = 4
	inetDiagTOS       = 5
	inetDiagTClass    = 6
	inetDiagSKMeminfo = 7
	inetDiagShutdown  = 8
	inetDiagProtocol  = 10
	inetDiagSKV6Only  = 11
	inetDiagMark      = 15
	tcpListen         = 10
	tcpSynReceived    = 3
	tcpNewSynReceived = 12
	maxIPProtocol     = 262
	diagIDInReq       = 8  // where the id is in the request
	diagIDInOld       = 4  // and in the old one
	diagIDCookie      = 40 // where in the id the cookie is
	diagIDInterface   = 36
	diagIDDestination = 20
	diagIDSource      = 4
	diagIDDestPort    = 2
)

// inetRequest is a request about sockets of IP.
type inetRequest struct {
	family, protocol int
	ext              uint32 // bit n: attribute n+1
	states           uint32
	id               []byte // struct inet_diag_sockid
	filter           *bytecode
}

// wantsExt says whether an attribute is asked for.
func (q *inetRequest) wantsExt(typ uint16) bool { return q.ext&(1<<(typ-1)) != 0 }

// diagInet is SOCK_DIAG_BY_FAMILY and SOCK_DESTROY of AF_INET and AF_INET6.
func (n *Namespace) diagInet(r *request, dumping bool) error {
	if len(r.payload) < sizeofInetDiagReq {
		return unix.EINVAL
	}
	q := &inetRequest{
		family: int(r.u8(0)), protocol: int(r.u8(1)), ext: uint32(r.u8(2)), states: r.u32(4),
		id: r.payload[diagIDInReq : diagIDInReq+sizeofInetDiagID],
	}
	shapes := []shape{inetReqBytecode: isBytes, 2: isNested, inetReqProtocol: isU32}
	a, err := r.attributes(sizeofInetDiagReq, shapes, false)
	if err != nil {
		return err
	}
	if a.has(inetReqProtocol) {
		q.protocol = int(a.u32(inetReqProtocol))
	}
	return n.inet(r, q, a, dumping)
}

// diagOld is a request of the kind that there was before the families.
func (n *Namespace) diagOld(r *request, dumping bool) error {
	if r.typ == diagOldDCCP {
		return unix.ENOENT
	}
	if len(r.payload) < sizeofInetDiagOld {
		return unix.EINVAL
	}
	q := &inetRequest{
		family: int(r.u8(0)), protocol: unix.IPPROTO_TCP, ext: uint32(r.u8(3)),
		states: r.u32(diagIDInOld + sizeofInetDiagID),
		id:     r.payload[diagIDInOld : diagIDInOld+sizeofInetDiagID],
	}
	a, err := r.attributes(sizeofInetDiagOld, []shape{inetReqBytecode: isBytes}, false)
	if err != nil {
		return err
	}
	return n.inet(r, q, a, dumping)
}

func (n *Namespace) inet(r *request, q *inetRequest, a attributes, dumping bool) error {
	switch q.protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_RAW, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
	default:
		if q.protocol > maxIPProtocol {
			return unix.EINVAL
		}
		return unix.ENOENT
	}
	if !dumping {
		return n.inetOne(r, q)
	}
	if a.has(inetReqBytecode) {
		f, err := newBytecode(a.bytes(inetReqBytecode))
		if err != nil {
			return err
		}
		q.filter = f
	}
	d := &inetDump{q: *q}
	family, protocol := q.family, q.protocol
	if protocol == unix.IPPROTO_RAW {
		protocol = 0
	}
	for _, s := range n.ipSockets(r, family, protocol) {
		if protocol == 0 && s.Type != unix.SOCK_RAW || protocol != 0 && s.Type == unix.SOCK_RAW {
			continue
		}
		if q.wants(&s) {
			s.UID = r.ctx.Credentials().UserNS.UID(kuid(s.UID))
			d.list = append(d.list, s)
		}
	}
	return r.startDump(d)
}

// wants says whether a dump shows s.
func (q *inetRequest) wants(s *IPSocket) bool {
	state := uint32(1) << s.State
	if s.State == tcpSynReceived {
		state |= 1 << tcpNewSynReceived
	}
	if q.states&state == 0 {
		return false
	}
	sport, dport := binary.BigEndian.Uint16(q.id), binary.BigEndian.Uint16(q.id[diagIDDestPort:])
	if sport != 0 && sport != s.Local.Port() || dport != 0 && dport != s.Remote.Port() {
		return false
	}
	if dev := binary.NativeEndian.Uint32(q.id[diagIDInterface:]); dev != 0 && dev != uint32(s.Device) {
		return false
	}
	return q.filter == nil || q.filter.run(s)
}

// inetDump shows sockets of IP.
type inetDump struct {
	listDump[IPSocket]
	q inetRequest
}

// emit implements dumper.
func (d *inetDump) emit(w *builder, h header) bool {
	s, ok := d.next()
	if ok {
		putInet(w, h, &s, &d.q)
	}
	return ok
}

// inetOne finds the socket of an id, or destroys it.
func (n *Namespace) inetOne(r *request, q *inetRequest) error {
	local, remote := q.endpoints()
	list := n.ipSockets(r, 0, q.protocol)
	var best *IPSocket
	score := -1
	for i := range list {
		s := &list[i]
		if s.Local.Port() != local.Port() {
			continue
		}
		points := 0
		if s.Remote.Port() != 0 || s.Remote.Addr().IsValid() && !s.Remote.Addr().IsUnspecified() {
			if s.Remote != remote {
				continue
			}
			points += 2
		}
		if a := s.Local.Addr(); a.IsValid() && !a.IsUnspecified() {
			if a != local.Addr() {
				continue
			}
			points++
		}
		if points > score {
			best, score = s, points
		}
	}
	if best == nil {
		return unix.ENOENT
	}
	if lo, hi := binary.NativeEndian.Uint32(q.id[diagIDCookie:]), binary.NativeEndian.Uint32(q.id[diagIDCookie+4:]); (lo != noCookie || hi != noCookie) &&
		(lo != uint32(best.Cookie) || hi != uint32(best.Cookie>>32)) {
		return unix.ENOENT
	}
	if r.typ == diagDestroy {
		if !n.capable(r.ctx) {
			return unix.EPERM
		}
		return n.ip.Destroy(best)
	}
	best.UID = r.ctx.Credentials().UserNS.UID(kuid(best.UID))
	var w builder
	putInet(&w, r.reply(0), best, q)
	r.answer(w.b)
	return nil
}

// endpoints are the two ends of an id. A mapped address is one of IPv4.
func (q *inetRequest) endpoints() (local, remote netip.AddrPort) {
	read := func(port, addr int) netip.AddrPort {
		var a netip.Addr
		if q.family == unix.AF_INET {
			a = netip.AddrFrom4([4]byte(q.id[addr : addr+4]))
		} else {
			a = netip.AddrFrom16([16]byte(q.id[addr : addr+16])).Unmap()
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(q.id[port:]))
	}
	return read(0, diagIDSource), read(diagIDDestPort, diagIDDestination)
}

// putInet appends a message about a socket of IP.
func putInet(w *builder, h header, s *IPSocket, q *inetRequest) {
	h.typ = diagByFamily
	w.begin(h)
	w.bytes(uint8(s.Family), s.State, s.Timer, s.Retransmits)
	var id [sizeofInetDiagID]byte
	binary.BigEndian.PutUint16(id[:], s.Local.Port())
	binary.BigEndian.PutUint16(id[diagIDDestPort:], s.Remote.Port())
	putAddr := func(to []byte, a netip.Addr) {
		switch {
		case !a.IsValid():
		case s.Family == unix.AF_INET6:
			v := a.As16() // IPv4 becomes a mapped address
			copy(to, v[:])
		case a.Is4():
			v := a.As4()
			copy(to, v[:])
		}
	}
	local := s.Local.Addr()
	if local.Is4() && local.IsUnspecified() && s.Family == unix.AF_INET6 && !s.Remote.Addr().Is4() {
		local = netip.Addr{}
	}
	putAddr(id[diagIDSource:], local)
	putAddr(id[diagIDDestination:], s.Remote.Addr())
	binary.NativeEndian.PutUint32(id[diagIDInterface:], uint32(s.Device))
	binary.NativeEndian.PutUint64(id[diagIDCookie:], s.Cookie)
	w.bytes(id[:]...)
	w.u32(s.Expires)
	w.u32(s.ReceiveQueue)
	w.u32(s.SendQueue)
	w.u32(s.UID)
	w.u32(uint32(s.Inode))
	w.attrU8(inetDiagShutdown, s.Shutdown)
	if q.wantsExt(inetDiagTOS) {
		w.attrU8(inetDiagTOS, s.TOS)
	}
	if s.Family == unix.AF_INET6 {
		if q.wantsExt(inetDiagTClass) {
			w.attrU8(inetDiagTClass, s.TrafficClass)
		}
		w.attrU8(inetDiagSKV6Only, uint8(bit(s.V6Only)))
	}
	if s.Mark != 0 {
		w.attrU32(inetDiagMark, s.Mark)
	}
	if s.Type == unix.SOCK_RAW {
		w.attrU8(inetDiagProtocol, uint8(s.Protocol))
	}
	if q.wantsExt(inetDiagMeminfo) {
		at := w.nest(inetDiagMeminfo)
		for _, v := range [4]uint32{s.ReceiveQueue, s.SendQueue, 0, s.SendQueue} {
			w.u32(v)
		}
		w.unnest(at)
	}
	if q.wantsExt(inetDiagSKMeminfo) {
		rq, wq := s.ReceiveQueue, s.SendQueue
		if s.State == tcpListen {
			rq, wq = 0, 0
		}
		w.meminfo(inetDiagSKMeminfo, rq, s.ReceiveBuffer, wq, s.SendBuffer)
	}
	if q.wantsExt(inetDiagInfo) && s.Info != nil {
		w.attr(inetDiagInfo, s.Info)
	}
	if q.wantsExt(inetDiagCong) && s.Congestion != "" {
		w.attrString(inetDiagCong, s.Congestion)
	}
	w.end()
}
