package fdbased

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/link/internal/frame"
	"runsc/pkg/tcpip/stack"
)

const (
	// receiveBatch is how many frames are received and delivered at once.
	receiveBatch = 32
	// smallSize is the memory that every frame gets; one that is longer gets spareSize more,
	// which is enough for all.
	smallSize = 2048
	spareSize = buffer.MaxPacket + buffer.MaxHeader - smallSize
	// errorPause is how long the receiver waits after each error when more than tolerance came
	// in a row.
	errorPause = 10 * time.Millisecond
	tolerance  = 8
)

// receiver reads frames and delivers them, on one goroutine.
type receiver struct {
	e    *Endpoint
	d    stack.LinkDispatcher
	stop atomic.Bool

	// The rest belongs to the goroutine.

	msgs  [receiveBatch]mmsghdr
	slots [receiveBatch]slot
	pkts  [receiveBatch]*buffer.Packet
	gro   gro
}

// slot is where one frame is received to.
type slot struct {
	vnet vnetHeader
	// small and spare are empty if they have to be made first.
	small, spare buffer.View
	iov          [3]unix.Iovec
}

// run ends when stop is set and file's read deadline is over. It waits in Go's poller: measured on
// a pair of packet sockets, a frame there and back took a quarter less time than with a thread in
// ppoll(2), which on top holds a P of Go's scheduler for some time whenever it waits.
func (r *receiver) run(file *os.File) {
	defer r.release()
	conn, err := file.SyscallConn()
	if err != nil {
		return // closed
	}
	var n, failures int
	var errno unix.Errno
	read := func(fd uintptr) bool {
		if r.e.kind == KindPacket {
			n, errno = r.readSocket(int(fd))
		} else {
			n, errno = r.readDevice(int(fd))
		}
		return n > 0 || errno != unix.EAGAIN
	}
	for !r.stop.Load() {
		if conn.Read(read) != nil {
			continue // the deadline is over: stop is set
		}
		if n > 0 {
			r.deliver(n)
		}
		if n > 0 || errno == unix.EAGAIN || errno == unix.EINTR {
			failures = 0
			continue
		}
		// ENETDOWN: the interface went down, which is told once. EINVAL: there was a frame
		// that a virtio_net_hdr cannot describe, which is gone. Others should not be. What
		// does not go away must not make this a busy loop.
		r.e.stats.RXErrors.Add(1)
		if failures++; failures > tolerance {
			time.Sleep(errorPause)
		}
	}
}

// release gives the memory back.
func (r *receiver) release() {
	for i := range r.slots {
		r.slots[i].small.Release()
		r.slots[i].spare.Release()
	}
}

// prepare makes a slot ready and returns what to read to.
func (s *slot) prepare(vnet bool) []unix.Iovec {
	if s.small.Len() == 0 {
		s.small = buffer.NewView(smallSize)
		s.iov[1] = iovec(s.small.Bytes())
	}
	if s.spare.Len() == 0 {
		s.spare = buffer.NewView(spareSize)
		s.iov[2] = iovec(s.spare.Bytes())
	}
	if !vnet {
		return s.iov[1:]
	}
	s.iov[0] = iovec(s.vnet[:])
	return s.iov[:]
}

// readSocket fills pkts from a packet socket. Frames that make no sense are nil.
func (r *receiver) readSocket(fd int) (int, unix.Errno) {
	vnet := r.e.vnet
	for i := range r.msgs {
		h := &r.msgs[i].hdr
		if h.Iov == nil || r.slots[i].small.Len() == 0 || r.slots[i].spare.Len() == 0 {
			iov := r.slots[i].prepare(vnet)
			h.Iov, h.Iovlen = &iov[0], uint64(len(iov))
		}
	}
	n, errno := recvmmsg(fd, r.msgs[:])
	if errno != 0 {
		return 0, errno
	}
	for i := range n {
		m := &r.msgs[i]
		size := int(m.len)
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			size = -1
		}
		r.pkts[i] = r.packet(&r.slots[i], size)
	}
	return n, 0
}

// readDevice fills pkts from a TAP or TUN device.
func (r *receiver) readDevice(fd int) (int, unix.Errno) {
	for n := range r.pkts {
		s := &r.slots[n]
		size, errno := readv(fd, s.prepare(r.e.vnet))
		if errno != 0 {
			return n, errno
		}
		r.pkts[n] = r.packet(s, size)
	}
	return len(r.pkts), 0
}

// packet makes a packet of what was received to s: size bytes, or -1 for too many. nil: it makes
// no sense.
func (r *receiver) packet(s *slot, size int) *buffer.Packet {
	if r.e.vnet {
		size -= vnetSize
	}
	if size <= 0 || size > smallSize+spareSize {
		r.e.stats.RXMalformed.Add(1)
		return nil
	}
	v := s.small
	s.small = buffer.View{}
	v.Truncate(min(size, smallSize))
	p := buffer.NewWith(v)
	if size > smallSize {
		v, s.spare = s.spare, buffer.View{}
		v.Truncate(size - smallSize)
		p.AppendView(v)
	}
	if r.e.vnet {
		s.vnet.decode(p)
	}
	ok := false
	if r.e.kind == KindTUN {
		ok = frame.OpenIP(p)
	} else {
		ok = frame.Open(p)
	}
	if !ok {
		r.e.stats.RXMalformed.Add(1)
		p.Release()
		return nil
	}
	return p
}

// deliver hands the first n of pkts on.
func (r *receiver) deliver(n int) {
	pkts := r.pkts[:0]
	for _, p := range r.pkts[:n] {
		if p != nil {
			pkts = append(pkts, p)
		}
	}
	if !r.e.noGRO && len(pkts) > 1 {
		before := len(pkts)
		pkts = r.gro.coalesce(pkts)
		if d := before - len(pkts); d > 0 {
			r.e.stats.RXCoalesced.Add(uint64(d))
		}
	}
	if len(pkts) > 0 {
		r.d.DeliverPackets(pkts)
	}
	clear(r.pkts[:n])
}
