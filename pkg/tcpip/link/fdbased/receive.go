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
	// pieces is of how many pieces of memory a frame is at most.
	pieces = 4
	// errorPause is how long the receiver waits after each error when more than tolerance came
	// in a row.
	errorPause = 10 * time.Millisecond
	tolerance  = 8
)

// pieceSizes are the sizes of the pieces that a frame is received to, one after the other. A frame
// keeps only those that it reaches into, so that it takes no more than about twice the memory that
// it needs; together they hold the largest. They are what buffer hands memory out in, and no more
// than a Packet has room for.
var pieceSizes = [pieces]int{2048, 8192, 32768, 32768}

// frameMax is the sum of pieceSizes.
const frameMax = 2048 + 8192 + 32768 + 32768

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
	// views are the pieces; those that were given away are empty.
	views [pieces]buffer.View
	iov   [1 + pieces]unix.Iovec
	// used is how many of views were given away, from the first on; all in the beginning.
	used int
}

// run ends when stop is set and file's read deadline is over. It waits in Go's poller: measured on
// a pair of packet sockets, a frame there and back took a quarter less time than with a thread in
// ppoll(2), which on top holds a P of Go's scheduler for some time whenever it waits.
//
// All is done within one call of conn.Read, whose function is called again whenever the poller has
// seen the link's descriptor become readable since it was called last. So it may return as soon as
// the descriptor was seen empty, and a batch that is not full says that: the call that would say
// EAGAIN is saved. (If recvmmsg(2) ended early for an error, which it tells in the next call, that
// next call may be as late as the next frame.)
func (r *receiver) run(file *os.File) {
	defer r.release()
	fd := r.e.fd // it stays until run has ended
	conn, err := file.SyscallConn()
	if err != nil {
		return // closed
	}
	for !r.stop.Load() {
		// An error is the deadline, which is over: stop is set.
		conn.Read(func(uintptr) bool { return r.drain(fd) })
	}
}

// drain receives and delivers until fd is empty, and says whether stop is set.
func (r *receiver) drain(fd int) (stop bool) {
	failures := 0
	for !r.stop.Load() {
		var n int
		var errno unix.Errno
		if r.e.kind == KindPacket {
			n, errno = r.readSocket(fd)
		} else {
			n, errno = r.readDevice(fd)
		}
		if n > 0 {
			r.deliver(n)
			failures = 0
		}
		switch {
		case n == receiveBatch || errno == unix.EINTR:
		case errno == unix.EAGAIN || errno == 0:
			return false
		default:
			// ENETDOWN: the interface went down, which is told once. EINVAL: there was a
			// frame that a virtio_net_hdr cannot describe, which is gone. Others should not
			// be. What does not go away must not make this a busy loop.
			r.e.stats.RXErrors.Add(1)
			if failures++; failures > tolerance {
				time.Sleep(errorPause)
			}
		}
	}
	return true
}

func newReceiver(e *Endpoint, d stack.LinkDispatcher) *receiver {
	r := &receiver{e: e, d: d}
	for i := range r.slots {
		r.slots[i].used = pieces
	}
	return r
}

// release gives the memory back.
func (r *receiver) release() {
	for i := range r.slots {
		for j := range r.slots[i].views {
			r.slots[i].views[j].Release()
		}
	}
}

// prepare makes a slot ready that prepare or packet was called with before, and returns what to read
// to.
func (s *slot) prepare(vnet bool) []unix.Iovec {
	for i := range s.used {
		s.views[i] = buffer.NewView(pieceSizes[i])
		s.iov[1+i] = iovec(s.views[i].Bytes())
	}
	s.used = 0
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
		if r.slots[i].used > 0 {
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
	if size <= 0 || size > frameMax {
		r.e.stats.RXMalformed.Add(1)
		return nil
	}
	p := buffer.New()
	for i := 0; size > 0; i++ {
		v := s.views[i]
		s.views[i] = buffer.View{}
		s.used = i + 1
		v.Truncate(min(size, v.Len()))
		size -= v.Len()
		p.AppendView(v)
	}
	if r.e.vnet {
		s.vnet.decode(p)
		if r.e.noRXChecksum && p.Checksum == buffer.ChecksumVerified {
			p.Checksum = buffer.ChecksumUnknown
		}
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
