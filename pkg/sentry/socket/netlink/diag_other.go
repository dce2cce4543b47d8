package netlink

import (
	"golang.org/x/sys/unix"
)

// netlink_diag.h.
const (
	sizeofNetlinkDiagReq = 20
	netlinkAllProtocols  = 0xff
	netlinkShowMeminfo   = 1 << 0
	netlinkShowGroups    = 1 << 1
	netlinkDiagMeminfo   = 0
	netlinkDiagGroups    = 1
)

// netlinkInfo is a netlink socket at one moment.
type netlinkInfo struct {
	typ, protocol   int
	port            uint32
	peer, peerGroup uint32
	inode           uint64
	queued          int
	rcvbuf, sndbuf  int
	groups          groupSet
}

// netlinkDump shows netlink sockets.
type netlinkDump struct {
	listDump[netlinkInfo]
	show uint32
}

// emit implements dumper.
func (d *netlinkDump) emit(w *builder, h header) bool {
	s, ok := d.next()
	if !ok {
		return false
	}
	h.typ = diagByFamily
	w.begin(h)
	w.bytes(unix.AF_NETLINK, uint8(s.typ), uint8(s.protocol), 0)
	w.u32(s.port)
	w.u32(s.peer)
	w.u32(s.peerGroup)
	w.u32(uint32(s.inode))
	w.cookie(s.inode)
	if d.show&netlinkShowMeminfo != 0 {
		w.meminfo(netlinkDiagMeminfo, uint32(s.queued), uint32(s.rcvbuf), 0, uint32(s.sndbuf))
	}
	if d.show&netlinkShowGroups != 0 {
		at := w.nest(netlinkDiagGroups)
		w.u64(s.groups.bits[0])
		w.unnest(at)
	}
	w.end()
	return true
}

func (n *Namespace) diagNetlink(r *request) error {
	if len(r.payload) < sizeofNetlinkDiagReq {
		return unix.EINVAL
	}
	protocol := r.u8(1)
	d := &netlinkDump{show: r.u32(8)}
	n.each(func(s *Socket) {
		if protocol != netlinkAllProtocols && int(protocol) != s.Protocol() {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			return
		}
		d.list = append(d.list, netlinkInfo{
			typ: s.Type(), protocol: s.Protocol(), port: s.port, peer: s.peer, peerGroup: s.peerGroup,
			inode: s.InodeNumber(), queued: s.queued, rcvbuf: s.RecvBuffer(), sndbuf: s.SendBuffer(), groups: s.groups,
		})
	})
	return r.startDump(d)
}

// packet_diag.h.
const (
	sizeofPacketDiagReq = 20
	packetShowInfo      = 1 << 0
	packetDiagInfo      = 0
	packetDiagUID       = 5
)

// packetDump shows packet sockets.
type packetDump struct {
	listDump[IPSocket]
	show uint32
}

// emit implements dumper.
func (d *packetDump) emit(w *builder, h header) bool {
	s, ok := d.next()
	if !ok {
		return false
	}
	h.typ = diagByFamily
	w.begin(h)
	w.bytes(unix.AF_PACKET, uint8(s.Type))
	w.u16(uint16(s.Protocol))
	w.u32(uint32(s.Inode))
	w.cookie(s.Cookie)
	if d.show&packetShowInfo != 0 {
		at := w.nest(packetDiagInfo) // index, then version, reserve, threshold, time stamps and flags
		for _, v := range [6]uint32{uint32(s.Device)} {
			w.u32(v)
		}
		w.unnest(at)
		w.attrU32(packetDiagUID, s.UID)
	}
	w.end()
	return true
}

func (n *Namespace) diagPacket(r *request) error {
	if len(r.payload) < sizeofPacketDiagReq {
		return unix.EINVAL
	}
	d := &packetDump{show: r.u32(8)}
	d.list = n.ipSockets(r, unix.AF_PACKET, 0)
	return r.startDump(d)
}
