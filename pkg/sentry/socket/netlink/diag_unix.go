package netlink

import (
	"slices"

	"golang.org/x/sys/unix"

	unixsocket "runsc/pkg/sentry/socket/unix"
)

// unix_diag.h: what to show, and the attributes that show it.
const (
	sizeofUnixDiagReq = 24
	unixShowName      = 1 << 0
	unixShowVFS       = 1 << 1
	unixShowPeer      = 1 << 2
	unixShowIcons     = 1 << 3
	unixShowRQLen     = 1 << 4
	unixShowMeminfo   = 1 << 5
	unixShowUID       = 1 << 6
	unixDiagName      = 0
	unixDiagVFS       = 1
	unixDiagPeer      = 2
	unixDiagIcons     = 3
	unixDiagRQLen     = 4
	unixDiagMeminfo   = 5
	unixDiagShutdown  = 6
	unixDiagUID       = 7
)

// unixSockets are the unix sockets of the namespace by inode number.
func (n *Namespace) unixSockets() []unixsocket.Info {
	p, err := n.sockets.Provider(unix.AF_UNIX)
	if err != nil {
		return nil
	}
	u, ok := p.(*unixsocket.Namespace)
	if !ok {
		return nil
	}
	list := u.Infos()
	slices.SortFunc(list, func(a, b unixsocket.Info) int { return int(int64(a.Inode) - int64(b.Inode)) })
	return list
}

// putUnix appends a message about a unix socket.
func putUnix(w *builder, h header, s *unixsocket.Info, show uint32) {
	h.typ = diagByFamily
	w.begin(h)
	w.bytes(unix.AF_UNIX, uint8(s.Type), uint8(s.State), 0)
	w.u32(uint32(s.Inode))
	w.cookie(s.Inode)
	if show&unixShowName != 0 && s.Name != "" {
		w.attr(unixDiagName, []byte(s.Name))
	}
	if show&unixShowVFS != 0 && s.FileInode != 0 {
		at := w.nest(unixDiagVFS)
		w.u32(uint32(s.FileInode))
		w.u32(s.FileDevice)
		w.unnest(at)
	}
	if show&unixShowPeer != 0 && s.PeerInode != 0 {
		w.attrU32(unixDiagPeer, uint32(s.PeerInode))
	}
	if show&unixShowIcons != 0 && s.State == unixsocket.StateListen {
		at := w.nest(unixDiagIcons)
		for _, ino := range s.Pending {
			w.u32(uint32(ino))
		}
		w.unnest(at)
	}
	if show&unixShowRQLen != 0 {
		at := w.nest(unixDiagRQLen)
		w.u32(uint32(s.ReceiveQueue))
		w.u32(uint32(s.SendQueue))
		w.unnest(at)
	}
	if show&unixShowMeminfo != 0 {
		w.meminfo(unixDiagMeminfo, uint32(s.ReceiveMemory), uint32(s.ReceiveBuffer), uint32(s.SendMemory), uint32(s.SendBuffer))
	}
	w.attrU8(unixDiagShutdown, s.Shutdown)
	if show&unixShowUID != 0 {
		w.attrU32(unixDiagUID, s.UID)
	}
	w.end()
}

// unixDump shows unix sockets.
type unixDump struct {
	listDump[unixsocket.Info]
	states, show uint32
}

// emit implements dumper.
func (d *unixDump) emit(w *builder, h header) bool {
	s, ok := d.next()
	if ok && d.states&(1<<s.State) != 0 {
		putUnix(w, h, &s, d.show)
	}
	return ok
}

func (n *Namespace) diagUnix(r *request, dumping bool) error {
	if len(r.payload) < sizeofUnixDiagReq {
		return unix.EINVAL
	}
	states, ino, show := r.u32(4), r.u32(8), r.u32(12)
	list := n.unixSockets()
	for i := range list {
		list[i].UID = r.ctx.Credentials().UserNS.UID(list[i].KUID)
	}
	if dumping {
		d := &unixDump{states: states, show: show}
		d.list = list
		return r.startDump(d)
	}
	if ino == 0 {
		return unix.EINVAL
	}
	for i := range list {
		if s := &list[i]; uint32(s.Inode) == ino {
			if !r.checkCookie(16, s.Inode) {
				return unix.ESTALE
			}
			var w builder
			putUnix(&w, r.reply(0), s, show)
			r.answer(w.b)
			return nil
		}
	}
	return unix.ENOENT
}
