package fdbased

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
)

const (
	// sendBatch is how many frames are sent by one call.
	sendBatch = 32
	// sendPieces is of how many pieces a frame is sent; one that has more is copied together.
	sendPieces = 64
	// sendPatience is how long a call of WritePackets waits for room in all, before it drops.
	sendPatience = 10 * time.Millisecond
)

// sender is what a call of WritePackets needs.
type sender struct {
	msgs   [sendBatch]mmsghdr
	vnet   [sendBatch]vnetHeader
	iov    []unix.Iovec
	ends   [sendBatch]int // where in iov the pieces of a frame end
	pieces [][]byte
	copies []buffer.View // of frames with too many pieces
}

var senders = sync.Pool{New: func() any {
	return &sender{iov: make([]unix.Iovec, 0, sendBatch*4), pieces: make([][]byte, 0, sendPieces)}
}}

// WritePackets implements stack.LinkEndpoint. Frames go out before it returns, in order; no
// packet is kept. If the host has no room, it waits for at most sendPatience and drops the rest.
// ENOBUFS: some were dropped.
func (e *Endpoint) WritePackets(pkts []*buffer.Packet) error {
	e.use.RLock()
	defer e.use.RUnlock()
	var err error
	if !e.open {
		for _, p := range pkts {
			p.Release()
		}
		return nil
	}
	s := senders.Get().(*sender)
	patience := sendPatience
	for len(pkts) > 0 {
		n := min(len(pkts), sendBatch)
		s.gather(pkts[:n], e.vnet)
		var dropped bool
		if e.kind == KindPacket {
			dropped = e.writeSocket(s, pkts[:n], &patience)
		} else {
			dropped = e.writeDevice(s, pkts[:n], &patience)
		}
		if dropped {
			err = unix.ENOBUFS
		}
		s.release()
		for _, p := range pkts[:n] {
			p.Release()
		}
		pkts = pkts[n:]
	}
	senders.Put(s)
	return err
}

// gather describes pkts.
func (s *sender) gather(pkts []*buffer.Packet, vnet bool) {
	for i, p := range pkts {
		if vnet {
			s.vnet[i].encode(p)
			s.iov = append(s.iov, iovec(s.vnet[i][:]))
		}
		s.pieces = p.Slices(s.pieces[:0])
		if len(s.pieces) > sendPieces {
			v := buffer.NewView(p.Len())
			p.CopyTo(v.Bytes(), 0)
			s.copies = append(s.copies, v)
			s.pieces = append(s.pieces[:0], v.Bytes())
		}
		for _, b := range s.pieces {
			if len(b) > 0 {
				s.iov = append(s.iov, iovec(b))
			}
		}
		s.ends[i] = len(s.iov)
	}
}

// frame returns the pieces of frame i.
func (s *sender) frame(i int) []unix.Iovec {
	start := 0
	if i > 0 {
		start = s.ends[i-1]
	}
	return s.iov[start:s.ends[i]]
}

// release lets go of the packets' memory.
func (s *sender) release() {
	clear(s.iov)
	clear(s.pieces[:cap(s.pieces)])
	s.iov = s.iov[:0]
	for i := range s.copies {
		s.copies[i].Release()
	}
	s.copies = s.copies[:0]
}

// writeSocket sends what s describes by a packet socket, and says whether frames were dropped.
func (e *Endpoint) writeSocket(s *sender, pkts []*buffer.Packet, patience *time.Duration) (dropped bool) {
	for i := range pkts {
		iov := s.frame(i)
		if len(iov) == 0 {
			// A packet without a byte: the host refuses it like one that is too short.
			s.msgs[i].hdr = unix.Msghdr{}
			continue
		}
		s.msgs[i].hdr.Iov, s.msgs[i].hdr.Iovlen = &iov[0], uint64(len(iov))
	}
	for at := 0; at < len(pkts); {
		n, errno := sendmmsg(e.fd, s.msgs[at:len(pkts)])
		if errno == 0 {
			at += n
			continue
		}
		if e.sendAgain(errno, patience) {
			continue
		}
		dropped = true
		if errno == unix.EAGAIN { // nor will the others find room
			e.stats.TXDropped.Add(uint64(len(pkts) - at))
			break
		}
		e.refused(errno, pkts[at])
		at++
	}
	return dropped
}

// writeDevice sends what s describes by a TAP or TUN device.
func (e *Endpoint) writeDevice(s *sender, pkts []*buffer.Packet, patience *time.Duration) (dropped bool) {
	for at := 0; at < len(pkts); {
		iov := s.frame(at)
		errno := unix.EINVAL
		if len(iov) > 0 {
			_, errno = writev(e.fd, iov)
		}
		if errno != 0 {
			if e.sendAgain(errno, patience) {
				continue
			}
			dropped = true
			e.refused(errno, pkts[at])
		}
		at++
	}
	return dropped
}

// sendAgain says whether a frame should be tried again, after having waited for room.
func (e *Endpoint) sendAgain(errno unix.Errno, patience *time.Duration) bool {
	if errno == unix.EINTR {
		return true
	}
	if errno != unix.EAGAIN || *patience <= 0 {
		return false
	}
	start := time.Now()
	timeout := unix.NsecToTimespec(int64(*patience))
	fds := [1]unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLOUT}}
	ppoll(fds[:], &timeout)
	// Not less than a tenth each time: room that the poll sees and the send does not must not
	// make this a busy loop.
	*patience -= max(time.Since(start), sendPatience/10)
	return true
}

// refused counts a frame that the host did not take.
func (e *Endpoint) refused(errno unix.Errno, p *buffer.Packet) {
	switch {
	case errno == unix.EAGAIN || errno == unix.ENOBUFS:
		e.stats.TXDropped.Add(1)
		return
	case errno == unix.EINVAL && p.Segmentation.Type == buffer.SegmentUDP:
		// A host before Linux 6.2. The NIC cuts up the next ones itself.
		e.noUDP.Store(true)
	}
	e.stats.TXErrors.Add(1)
}
