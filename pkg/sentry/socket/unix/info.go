package unix

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// States as sock_diag(7) numbers them: those of TCP.
const (
	StateEstablished = 1
	StateClose       = 7
	StateListen      = 10
)

// Info is what sock_diag(7) tells of a socket.
type Info struct {
	Type, State int
	Inode       uint64
	// Name is what the socket is bound to, with a zero in front if it is abstract; "": not
	// bound.
	Name string
	// FileInode is the node of a pathname, 0 if there is none; FileDevice its device.
	FileInode  uint64
	FileDevice uint32
	// PeerInode is the other end, 0 if there is none. A connection that was not accepted yet
	// has no inode.
	PeerInode uint64
	// Pending are the inodes of those who wait to be accepted.
	Pending []uint64
	// ReceiveQueue and SendQueue are bytes; of a listener: how many wait, and may wait.
	ReceiveQueue, SendQueue   int
	ReceiveMemory, SendMemory int
	ReceiveBuffer, SendBuffer int
	// Shutdown has bit 0 for SHUT_RD and bit 1 for SHUT_WR.
	Shutdown uint8
	// KUID made the socket; UID is for the caller to fill in.
	KUID auth.KUID
	UID  uint32
}

// Infos tells of all sockets, in no order.
func (n *Namespace) Infos() []Info {
	n.mu.Lock()
	list := make([]*Socket, 0, len(n.sockets))
	for s := range n.sockets {
		list = append(list, s)
	}
	n.mu.Unlock()
	out := make([]Info, 0, len(list))
	for _, s := range list {
		out = append(out, s.info())
	}
	return out
}

func (s *Socket) info() Info {
	i := Info{Type: s.Type(), State: StateClose, Inode: s.InodeNumber(), ReceiveBuffer: s.RecvBuffer(), SendBuffer: s.SendBuffer(), KUID: s.owner}
	if a := s.addr.Load(); a != nil {
		i.Name = a.name()
		if a.abstract {
			i.Name = "\x00" + i.Name
		} else if a.owner != nil && a.path.Ok() && !a.owner.gone.Load() {
			if n, ok := a.path.Inode().(vfs.InodeNumberer); ok {
				i.FileInode = n.InodeNumber()
			}
			i.FileDevice = uint32(a.path.Inode().FS().Dev())
		}
	}
	peer := s.peer.Load()
	if peer != nil && !peer.gone.Load() {
		i.PeerInode = peer.InodeNumber()
	}
	s.mu.Lock()
	state, backlog, limit := s.state, append([]*Socket(nil), s.backlog...), s.maxPending
	s.mu.Unlock()
	if s.recvShut() {
		i.Shutdown |= 1
	}
	if s.sendShut.Load() || peer != nil && s.connectionBased() && peer.recvShut() {
		i.Shutdown |= 2
	}
	switch state {
	case connected:
		i.State = StateEstablished
	case listening:
		i.State = StateListen
		i.ReceiveQueue, i.SendQueue = len(backlog), limit
		for _, c := range backlog {
			if p := c.peer.Load(); p != nil {
				i.Pending = append(i.Pending, p.InodeNumber())
			}
		}
		return i
	}
	s.in.mu.Lock()
	i.ReceiveQueue = s.in.bytes
	if s.Type() == unix.SOCK_DGRAM && s.in.head != nil {
		i.ReceiveQueue = s.in.head.size
	}
	i.ReceiveMemory = s.in.bytes
	s.in.mu.Unlock()
	i.SendQueue = int(s.wmem.Load())
	i.SendMemory = i.SendQueue
	return i
}
