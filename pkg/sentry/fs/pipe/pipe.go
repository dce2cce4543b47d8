package pipe

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

const (
	pageSize = 4096
	// AtomicSize is PIPE_BUF: writes up to it are not mixed with others.
	AtomicSize = pageSize
	// DefaultSlots is the capacity of a new pipe in pages.
	DefaultSlots = 16
)

type page [pageSize]byte

// pages is a cache only; it holds nothing that belongs to a kernel.
var pages = sync.Pool{New: func() any { return new(page) }}

// slot is a filled part of a page. Pages are not shared between slots.
type slot struct {
	page *page
	off  uint16 // first unread byte
	end  uint16 // behind the last byte
	// packet: a read returns at most this slot, and drops what it has no room for
	// (O_DIRECT).
	packet bool
}

func (s *slot) len() int { return int(s.end - s.off) }

// Pipe is the buffer between writers and readers.
type Pipe struct {
	// Queue has those who wait at either end; readers wait for EventIn, writers for
	// EventOut.
	waiter.Queue

	id     uint64 // orders the locks of two pipes
	fifo   bool
	limits *Limits
	owner  auth.KUID // whose pages are counted

	opens waiter.Queue // those who wait in open(2) for the other side

	mu       sync.Mutex // guards the fields below
	ring     []slot     // length is a power of two
	head     uint32     // next slot to fill; slots in use are tail…head-1, modulo len(ring)
	tail     uint32     // first slot to read
	reserved uint32     // slots promised to a splice
	size     int        // bytes in all slots
	spare    *page
	readers  int
	writers  int
	// readerOpens and writerOpens count how often the pipe was opened, so that an open
	// that waits for a partner also notices one that came and went.
	readerOpens, writerOpens uint64
}

var lastID atomic.Uint64

func newPipe(l *Limits, owner auth.KUID, fifo bool) *Pipe {
	p := &Pipe{id: lastID.Add(1), fifo: fifo, limits: l, owner: owner}
	p.ring = make([]slot, l.charge(owner, DefaultSlots))
	return p
}

func (p *Pipe) used() int   { return int(p.head - p.tail + p.reserved) }
func (p *Pipe) free() int   { return len(p.ring) - p.used() }
func (p *Pipe) empty() bool { return p.head == p.tail }

func (p *Pipe) at(i uint32) *slot { return &p.ring[i&uint32(len(p.ring)-1)] }

func (p *Pipe) getPage() *page {
	if pg := p.spare; pg != nil {
		p.spare = nil
		return pg
	}
	return pages.Get().(*page)
}

func (p *Pipe) putPage(pg *page) {
	if p.spare == nil {
		p.spare = pg
		return
	}
	pages.Put(pg)
}

// push fills the next free slot.
func (p *Pipe) push(s slot) {
	*p.at(p.head) = s
	p.head++
	p.size += s.len()
}

// pop drops the first slot and its page.
func (p *Pipe) pop() {
	s := p.at(p.tail)
	p.size -= s.len()
	p.putPage(s.page)
	*s = slot{}
	p.tail++
}

// consume takes n bytes off the first slot, and the slot if nothing is left of it.
func (p *Pipe) consume(n int) {
	s := p.at(p.tail)
	s.off += uint16(n)
	p.size -= n
	if s.off == s.end || s.packet {
		p.pop()
	}
}

// Len is the number of bytes that can be read.
func (p *Pipe) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

// read fills dst with what there is. EAGAIN: nothing, but writers exist. 0: end of file.
func (p *Pipe) read(dst usermem.Sequence) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	p.mu.Lock()
	if p.empty() {
		writers := p.writers
		p.mu.Unlock()
		if writers > 0 {
			return 0, unix.EAGAIN
		}
		return 0, nil
	}
	wasFull := p.free() <= 0
	n, err := p.readLocked(dst)
	wake := wasFull && p.free() > 0
	p.mu.Unlock()
	if wake {
		p.Notify(waiter.EventOut | waiter.EventWrNorm)
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

func (p *Pipe) readLocked(dst usermem.Sequence) (int, error) {
	s := p.at(p.tail)
	if s.packet || p.head-p.tail == 1 || s.len() >= dst.Len() {
		// One copy does it.
		n, err := dst.CopyOut(s.page[s.off:s.end])
		if err == nil || n > 0 {
			p.consume(n)
		}
		return n, err
	}
	return dst.CopyOutFrom((*blockReader)(p))
}

// blockReader is the Pipe as a source of bytes, with mu held.
type blockReader Pipe

// ReadToBlocks implements usermem.BlockReader.
func (b *blockReader) ReadToBlocks(dsts [][]byte) (int, error) {
	p := (*Pipe)(b)
	done := 0
	for _, d := range dsts {
		for len(d) > 0 {
			if p.empty() || p.at(p.tail).packet {
				return done, nil
			}
			s := p.at(p.tail)
			n, err := usermem.Copy(d, s.page[s.off:s.end])
			if err != nil {
				return done, err
			}
			d = d[n:]
			done += n
			p.consume(n)
		}
	}
	return done, nil
}

// write appends src: all of it, or as much as there is room for if it is longer than
// AtomicSize. EAGAIN: nothing was written. EPIPE: there is no reader.
func (p *Pipe) write(src usermem.Sequence, packet bool) (int, error) {
	total := src.Len()
	if total == 0 {
		return 0, nil
	}
	p.mu.Lock()
	if p.readers == 0 {
		p.mu.Unlock()
		return 0, unix.EPIPE
	}
	n, err := p.writeLocked(src, packet)
	p.mu.Unlock()
	if n > 0 {
		p.Notify(waiter.EventIn | waiter.EventRdNorm)
		return n, nil
	}
	return n, err
}

func (p *Pipe) writeLocked(src usermem.Sequence, packet bool) (int, error) {
	total := src.Len()
	done := 0
	// The part that does not fill a page goes behind the last byte if it fits there.
	if tail := total & (pageSize - 1); tail != 0 && !packet && !p.empty() {
		if s := p.at(p.head - 1); !s.packet && int(s.end)+tail <= pageSize {
			n, err := src.CopyIn(s.page[s.end : int(s.end)+tail])
			if err != nil {
				return 0, err // what was copied of a page that is not whole does not count
			}
			s.end += uint16(n)
			p.size += n
			if done = n; done == total {
				return done, nil
			}
			src = src.DropFirst(n)
		}
	}
	if p.free() <= 0 {
		if done > 0 {
			return done, nil
		}
		return 0, unix.EAGAIN
	}
	if !packet && total-done > pageSize {
		n, err := src.CopyInTo((*blockWriter)(p))
		return done + n, err
	}
	for done < total && p.free() > 0 {
		pg := p.getPage()
		n, err := src.CopyIn(pg[:min(total-done, pageSize)])
		if err != nil {
			p.putPage(pg)
			return done, err
		}
		p.push(slot{page: pg, end: uint16(n), packet: packet})
		done += n
		src = src.DropFirst(n)
	}
	return done, nil
}

// blockWriter is the Pipe as a sink of bytes, with mu held. What one call leaves of a page
// the next one fills.
type blockWriter Pipe

// WriteFromBlocks implements usermem.BlockWriter.
func (b *blockWriter) WriteFromBlocks(srcs [][]byte) (int, error) {
	p := (*Pipe)(b)
	done := 0
	for _, src := range srcs {
		for len(src) > 0 {
			if !p.empty() {
				if s := p.at(p.head - 1); !s.packet && s.end < pageSize {
					n, err := usermem.Copy(s.page[s.end:], src)
					if err != nil {
						return done, err
					}
					s.end += uint16(n)
					p.size += n
					done += n
					src = src[n:]
					continue
				}
			}
			if p.free() <= 0 {
				return done, nil
			}
			pg := p.getPage()
			n, err := usermem.Copy(pg[:], src)
			if err != nil {
				p.putPage(pg)
				return done, err
			}
			p.push(slot{page: pg, end: uint16(n)})
			done += n
			src = src[n:]
		}
	}
	return done, nil
}

// Size is the capacity in bytes (F_GETPIPE_SZ).
func (p *Pipe) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ring) * pageSize
}

// Resize sets the capacity to at least size bytes (F_SETPIPE_SZ) and returns what it is
// then. EBUSY: more is in use; EPERM: creds may not have so much; EINVAL: no such size.
func (p *Pipe) Resize(creds *auth.Credentials, size uint64) (int, error) {
	if size > 1<<31 {
		return 0, unix.EINVAL
	}
	slots := 1
	if size > pageSize {
		slots = 1 << bits.Len64((size-1)/pageSize)
	}
	privileged := creds.HasCapability(unix.CAP_SYS_RESOURCE)
	p.mu.Lock()
	defer p.mu.Unlock()
	old := len(p.ring)
	if slots > old && !privileged && (slots*pageSize > p.limits.maxSize() || !p.limits.allows(p.owner, slots-old)) {
		return 0, unix.EPERM
	}
	// A sandbox with many privileged pipes must not eat the sentry's memory.
	if slots*pageSize > hardMaxSize {
		return 0, unix.ENOMEM
	}
	if slots < p.used() {
		return 0, unix.EBUSY
	}
	p.setSlots(slots)
	if slots > old {
		p.Notify(waiter.EventOut | waiter.EventWrNorm)
	}
	return slots * pageSize, nil
}

// setSlots replaces the ring by one of slots slots, into which all that is used fits.
func (p *Pipe) setSlots(slots int) {
	if slots == len(p.ring) {
		return
	}
	p.limits.adjust(p.owner, slots-len(p.ring))
	ring := make([]slot, slots)
	n := p.head - p.tail
	for i := range n {
		ring[i] = *p.at(p.tail + i)
	}
	p.ring, p.tail, p.head = ring, 0, n
}

// reset frees everything once nobody has the pipe open.
func (p *Pipe) reset() {
	for !p.empty() {
		p.pop()
	}
	if p.spare != nil {
		pages.Put(p.spare)
		p.spare = nil
	}
	if p.fifo {
		p.setSlots(p.limits.initialSlots())
		return
	}
	p.limits.adjust(p.owner, -len(p.ring))
	p.ring, p.head, p.tail = p.ring[:1], 0, 0
	p.ring[0] = slot{}
}
