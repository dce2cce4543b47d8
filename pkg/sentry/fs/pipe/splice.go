package pipe

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

// Chunk is a number of pages on their way into or out of a pipe. While it exists the pipe
// keeps slots for it.
type Chunk struct {
	pipe  *Pipe
	slots []slot
	in    bool
	seq   usermem.Sequence
}

// Sequence is the chunk's memory: for Reserve's to be filled by a file's Read, for Take's
// to be given to a file's Write.
func (c *Chunk) Sequence() usermem.Sequence { return c.seq }

// chunkIO is memory made of the used parts of pages; address 0 is the first byte of the
// first slot. Each slot has an address range of pageSize bytes.
type chunkIO struct {
	usermem.IO // never called; the methods below are those that files use
	slots      []slot
}

func (c *chunkIO) block(addr uintptr, n int) ([]byte, error) {
	i, off := int(addr/pageSize), int(addr%pageSize)
	if i >= len(c.slots) {
		return nil, unix.EFAULT
	}
	s := &c.slots[i]
	b := s.page[s.off:s.end]
	if off+n > len(b) {
		return nil, unix.EFAULT
	}
	return b[off : off+n], nil
}

// CopyOut implements usermem.IO.
func (c *chunkIO) CopyOut(addr uintptr, src []byte) (int, error) {
	b, err := c.block(addr, len(src))
	return copy(b, src), err
}

// CopyIn implements usermem.IO.
func (c *chunkIO) CopyIn(addr uintptr, dst []byte) (int, error) {
	b, err := c.block(addr, len(dst))
	return copy(dst, b), err
}

// ZeroOut implements usermem.IO.
func (c *chunkIO) ZeroOut(addr uintptr, n int) (int, error) {
	b, err := c.block(addr, n)
	clear(b)
	return len(b), err
}

// CopyOutFrom implements usermem.IO.
func (c *chunkIO) CopyOutFrom(ar usermem.AddrRange, r usermem.BlockReader) (int, error) {
	b, err := c.block(ar.Start, int(ar.Length()))
	if err != nil {
		return 0, err
	}
	return r.ReadToBlocks([][]byte{b})
}

// CopyInTo implements usermem.IO.
func (c *chunkIO) CopyInTo(ar usermem.AddrRange, w usermem.BlockWriter) (int, error) {
	b, err := c.block(ar.Start, int(ar.Length()))
	if err != nil {
		return 0, err
	}
	return w.WriteFromBlocks([][]byte{b})
}

// LoadUint32 implements usermem.IO.
func (c *chunkIO) LoadUint32(uintptr) (uint32, error) { return 0, unix.EFAULT }

// SwapUint32 implements usermem.IO.
func (c *chunkIO) SwapUint32(uintptr, uint32) (uint32, error) { return 0, unix.EFAULT }

// CompareAndSwapUint32 implements usermem.IO.
func (c *chunkIO) CompareAndSwapUint32(uintptr, uint32, uint32) (uint32, error) {
	return 0, unix.EFAULT
}

func (c *Chunk) sequence() usermem.Sequence {
	ars := make([]usermem.AddrRange, len(c.slots))
	for i := range c.slots {
		ars[i] = usermem.AddrRange{Start: uintptr(i) * pageSize, End: uintptr(i)*pageSize + uintptr(c.slots[i].len())}
	}
	return usermem.NewVectorSequence(&chunkIO{slots: c.slots}, ars)
}

// Reserve gives room for at most n bytes that a file is to be read into, to be ended by
// Commit. EAGAIN: the pipe is full. EPIPE: there is no reader.
func (p *Pipe) Reserve(n int) (*Chunk, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers == 0 {
		return nil, unix.EPIPE
	}
	if n <= 0 {
		return &Chunk{pipe: p, in: true}, nil
	}
	slots := min(p.free(), (n-1)/pageSize+1)
	if slots <= 0 {
		return nil, unix.EAGAIN
	}
	p.reserved += uint32(slots)
	c := &Chunk{pipe: p, in: true, slots: make([]slot, slots)}
	for i := range c.slots {
		m := min(n, pageSize)
		c.slots[i] = slot{page: p.getPage(), end: uint16(m)}
		n -= m
	}
	c.seq = c.sequence()
	return c, nil
}

// Commit ends a Reserve: the first n bytes of the chunk become readable.
func (c *Chunk) Commit(n int) {
	p := c.pipe
	p.mu.Lock()
	free := p.free()
	p.reserved -= uint32(len(c.slots))
	filled := n > 0
	for _, s := range c.slots {
		if n <= 0 || p.readers == 0 {
			p.putPage(s.page)
			continue
		}
		s.end = uint16(min(n, s.len()))
		n -= s.len()
		p.push(s)
	}
	wake := free <= 0 && p.free() > 0
	p.mu.Unlock()
	if filled {
		p.Notify(waiter.EventIn | waiter.EventRdNorm)
	}
	if wake {
		p.Notify(waiter.EventOut | waiter.EventWrNorm)
	}
	c.slots = nil
}

// Take removes at most n bytes that a file is to be written from, to be ended by Return.
// EAGAIN: the pipe is empty. A nil chunk without error is end of file.
func (p *Pipe) Take(n int) (*Chunk, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.empty() {
		if p.writers > 0 {
			return nil, unix.EAGAIN
		}
		return nil, nil
	}
	c := &Chunk{pipe: p}
	for n > 0 && !p.empty() {
		s := p.at(p.tail)
		m := min(n, s.len())
		n -= m
		if m < s.len() {
			// Part of a page: the chunk gets a copy, the slot keeps the rest.
			t := slot{page: p.getPage(), end: uint16(m), packet: s.packet}
			copy(t.page[:], s.page[s.off:int(s.off)+m])
			s.off += uint16(m)
			p.size -= m
			c.slots = append(c.slots, t)
			break
		}
		c.slots = append(c.slots, *s)
		p.size -= m
		*s = slot{}
		p.tail++
	}
	p.reserved += uint32(len(c.slots))
	c.seq = c.sequence()
	return c, nil
}

// Return ends a Take: the first n bytes were used, the rest goes back to the front of the
// pipe.
func (c *Chunk) Return(n int) {
	p := c.pipe
	p.mu.Lock()
	free := p.free()
	p.reserved -= uint32(len(c.slots))
	rest := 0
	for i := range c.slots {
		s := &c.slots[i]
		if m := min(n, s.len()); m > 0 {
			n -= m
			s.off += uint16(m)
		}
		if s.len() == 0 {
			p.putPage(s.page)
			rest = i + 1
		}
	}
	back := c.slots[rest:]
	// Taking a part of a page needs a slot more than before when it comes back.
	if need := int(p.head-p.tail) + len(back) + int(p.reserved); need > len(p.ring) {
		back = p.joinFront(back)
	}
	for i := len(back) - 1; i >= 0; i-- {
		p.tail--
		*p.at(p.tail) = back[i]
		p.size += back[i].len()
	}
	wake := free <= 0 && p.free() > 0
	more := len(back) > 0
	p.mu.Unlock()
	if more {
		p.Notify(waiter.EventIn | waiter.EventRdNorm)
	}
	if wake {
		p.Notify(waiter.EventOut | waiter.EventWrNorm)
	}
	c.slots = nil
}

// joinFront puts the last slot of back in front of the pipe's first one, whose page it was
// cut from and where its place is still free, and returns the slots before it.
func (p *Pipe) joinFront(back []slot) []slot {
	last := &back[len(back)-1]
	first := p.at(p.tail)
	if p.empty() || int(first.off) < last.len() {
		// Another reader was faster; there is no page to join then, but a slot more.
		p.grow()
		return back
	}
	copy(first.page[int(first.off)-last.len():], last.page[last.off:last.end])
	first.off -= uint16(last.len())
	p.size += last.len()
	p.putPage(last.page)
	return back[:len(back)-1]
}

// grow doubles the ring; only rare races of splices need it.
func (p *Pipe) grow() { p.setSlots(2 * len(p.ring)) }

// lockPair locks two different pipes in order.
func lockPair(a, b *Pipe) (unlock func()) {
	if a.id > b.id {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
	return func() { b.mu.Unlock(); a.mu.Unlock() }
}

// Move moves at most n bytes from p to dst without copying whole pages (splice(2) between
// pipes). EINVAL: they are one pipe; EAGAIN: one cannot go on (see Tee).
func (p *Pipe) Move(dst *Pipe, n int) (int, error) { return p.transfer(dst, n, true) }

// Tee copies at most n bytes from p to dst and leaves p as it is (tee(2)). 0: p is empty
// and has no writers. EAGAIN: p is empty or dst is full; wait for p to be readable and dst
// writable.
func (p *Pipe) Tee(dst *Pipe, n int) (int, error) { return p.transfer(dst, n, false) }

func (p *Pipe) transfer(dst *Pipe, n int, move bool) (int, error) {
	if p == dst {
		return 0, unix.EINVAL
	}
	if n <= 0 {
		return 0, nil
	}
	unlock := lockPair(p, dst)
	if dst.readers == 0 {
		unlock()
		return 0, unix.EPIPE
	}
	if p.empty() && p.writers == 0 {
		unlock()
		return 0, nil
	}
	wasFull := p.free() <= 0
	done := 0
	for i := p.tail; i != p.head && done < n && dst.free() > 0; i++ {
		s := p.at(i)
		m := min(n-done, s.len())
		if move && m == s.len() {
			dst.push(*s)
			p.size -= m
			*s = slot{}
			p.tail++
		} else {
			t := slot{page: dst.getPage(), end: uint16(m), packet: s.packet}
			copy(t.page[:], s.page[s.off:int(s.off)+m])
			dst.push(t)
			if move {
				s.off += uint16(m)
				p.size -= m
			}
		}
		done += m
	}
	wake := wasFull && p.free() > 0
	unlock()
	if done == 0 {
		return 0, unix.EAGAIN
	}
	dst.Notify(waiter.EventIn | waiter.EventRdNorm)
	if wake {
		p.Notify(waiter.EventOut | waiter.EventWrNorm)
	}
	return done, nil
}
