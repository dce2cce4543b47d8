package mm

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// blockList is a slice of blocks that is used again and again, and the I/O on them.
type blockList struct {
	b [][]byte
	t ticket
}

var blockLists = sync.Pool{New: func() any { return &blockList{b: make([][]byte, 0, 16)} }}

func getBlocks() *blockList { return blockLists.Get().(*blockList) }

func (l *blockList) put() {
	clear(l.b)
	l.b = l.b[:0]
	blockLists.Put(l)
}

// fillTries bounds how often an access tries again because pages that were made present
// have gone meanwhile.
const fillTries = 64

// resident copies between b and memory at addr as far as PMAs allow at. activeMu is held
// at least for reading. A nil error with a short count means that a PMA is missing. It is
// the hot path of every system call that takes a pointer.
func (m *MemoryManager) resident(addr uintptr, b []byte, at memmap.AccessType) (int, error) {
	done := 0
	it := m.pmas.Find(addr)
	for it.Ok() && it.Start() <= addr {
		p := it.Value()
		if !p.eff.SupersetOf(at) {
			break
		}
		n := min(uintptr(len(b)-done), it.End()-addr)
		var got int
		var err error
		if p.file == memmap.File(m.mf) {
			off := p.off + uint64(addr-it.Start())
			mem := m.mf.Bytes(memmap.Range{Start: off, End: off + uint64(n)})
			if at.Write {
				got, err = usermem.Copy(mem, b[done:done+int(n)])
			} else {
				got, err = usermem.Copy(b[done:done+int(n)], mem)
			}
		} else {
			got, err = m.residentBlocks(it, addr, b[done:done+int(n)], at)
		}
		done += got
		if err != nil || done == len(b) {
			return done, err
		}
		addr += uintptr(got)
		it = it.Next()
	}
	return done, nil
}

// residentBlocks is resident's part for files whose pages may be in several blocks.
func (m *MemoryManager) residentBlocks(it pmaIter, addr uintptr, b []byte, at memmap.AccessType) (int, error) {
	bl := getBlocks()
	defer bl.put()
	if err := m.appendBlocks(bl, it, usermem.AddrRange{Start: addr, End: addr + uintptr(len(b))}, at); err != nil {
		return 0, err
	}
	done := 0
	for _, mem := range bl.b {
		var n int
		var err error
		if at.Write {
			n, err = usermem.Copy(mem, b[done:])
		} else {
			n, err = usermem.Copy(b[done:], mem)
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// appendBlocks adds the blocks of ar, which lies in the PMA, to bl.
func (m *MemoryManager) appendBlocks(bl *blockList, it pmaIter, ar usermem.AddrRange, at memmap.AccessType) error {
	p := it.Value()
	fr := p.fileRange(it.Start(), ar)
	if p.file == memmap.File(m.mf) {
		bl.b = append(bl.b, m.mf.Bytes(fr))
		return nil
	}
	// Files deal in pages.
	whole := memmap.Range{Start: memmap.PageDown(fr.Start), End: memmap.PageUp(fr.End)}
	first := len(bl.b)
	var err error
	if bl.b, err = p.file.Blocks(whole, at, bl.b); err != nil {
		return err
	}
	skip, n := int(fr.Start-whole.Start), int(fr.Length())
	out := first
	for _, b := range bl.b[first:] {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		b = b[skip:]
		skip = 0
		if len(b) > n {
			b = b[:n]
		}
		if n -= len(b); len(b) > 0 {
			bl.b[out] = b
			out++
		}
	}
	bl.b = bl.b[:out]
	if n > 0 {
		return unix.EFAULT
	}
	return nil
}

// copy is CopyIn and CopyOut.
func (m *MemoryManager) copy(addr uintptr, b []byte, at memmap.AccessType) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	m.activeMu.RLock()
	done, err := m.resident(addr, b, at)
	m.activeMu.RUnlock()
	for tries := 0; err == nil && done < len(b) && tries < fillTries; tries++ {
		ar, ok := toRange(addr+uintptr(done), len(b)-done)
		if !ok {
			return done, unix.EFAULT
		}
		upTo, ferr := m.fill(ar, at)
		if upTo == ar.Start {
			return done, ferr
		}
		var n int
		m.activeMu.RLock()
		n, err = m.resident(ar.Start, b[done:done+int(upTo-ar.Start)], at)
		m.activeMu.RUnlock()
		if n > 0 {
			tries = 0
		}
		done += n
		if err == nil && ferr != nil && done < len(b) && ar.Start+uintptr(n) == upTo {
			return done, ferr
		}
	}
	if err == nil && done < len(b) {
		err = unix.EFAULT
	}
	return done, err
}

// toRange is the range of n bytes at addr, if it does not wrap.
func toRange(addr uintptr, n int) (usermem.AddrRange, bool) {
	end := addr + uintptr(n)
	return usermem.AddrRange{Start: addr, End: end}, n >= 0 && end >= addr
}

// fill makes the pages of ar present for at and returns how far it came (ar.End, or the
// address in ar that is wrong) with the error, EFAULT.
func (m *MemoryManager) fill(ar usermem.AddrRange, at memmap.AccessType) (uintptr, error) {
	for {
		pos, err := m.fillMapped(ar, at)
		if err == nil || !m.growStack(pos) {
			return pos, err
		}
	}
}

func (m *MemoryManager) fillMapped(ar usermem.AddrRange, at memmap.AccessType) (uintptr, error) {
	c := newChange()
	m.mappingMu.RLock()
	defer m.drop(c)
	defer m.mappingMu.RUnlock()
	pages := usermem.AddrRange{Start: memmap.PageDown(ar.Start), End: memmap.PageUp(ar.End)}
	if pages.End < pages.Start {
		return ar.Start, unix.EFAULT
	}
	pos := pages.Start
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	var err error
	for pos < pages.End {
		it := m.vmas.Find(pos)
		if !it.Ok() {
			err = unix.EFAULT
			break
		}
		v := it.Value()
		if !v.eff().SupersetOf(at) {
			err = unix.EFAULT
			break
		}
		part := vmaRange(it).Intersect(usermem.AddrRange{Start: pos, End: pages.End})
		if err = m.ensure(vmaRange(it), v, part, around(it, part), at, c); err != nil {
			err = unix.EFAULT
			// What came before the bad page is there all the same.
			pos = m.presentUpTo(part, at)
			break
		}
		pos = part.End
	}
	if m.apply(c) != nil {
		err = unix.EFAULT
	}
	return min(max(pos, ar.Start), ar.End), err
}

// presentUpTo is how far from ar.Start on PMAs allow at.
func (m *MemoryManager) presentUpTo(ar usermem.AddrRange, at memmap.AccessType) uintptr {
	pos := ar.Start
	for it := m.pmas.Find(pos); it.Ok() && it.Start() <= pos && pos < ar.End && it.Value().eff.SupersetOf(at); it = it.Next() {
		pos = it.End()
	}
	return min(pos, ar.End)
}

// around is the part of the VMA that is made present along with ar.
func around(it vmaIter, ar usermem.AddrRange) usermem.AddrRange {
	vr := vmaRange(it)
	v := it.Value()
	chunk := uintptr(faultAround)
	if v.mappable == nil {
		switch {
		case vr.Length() <= eagerMax:
			return vr
		case vr.Length() < hugeVMA:
			chunk = lazyChunk
		default:
			chunk = lazyChunkHuge
		}
	}
	o := usermem.AddrRange{Start: ar.Start &^ (chunk - 1), End: (ar.End + chunk - 1) &^ (chunk - 1)}
	if o.End < ar.End {
		o.End = vr.End
	}
	return o.Intersect(vr)
}

// CopyOut implements usermem.IO.
func (m *MemoryManager) CopyOut(addr uintptr, src []byte) (int, error) {
	return m.copy(addr, src, memmap.Write)
}

// CopyIn implements usermem.IO.
func (m *MemoryManager) CopyIn(addr uintptr, dst []byte) (int, error) {
	return m.copy(addr, dst, memmap.Read)
}

// zeros is what ZeroOut copies from.
var zeros [64 << 10]byte

// ZeroOut implements usermem.IO.
func (m *MemoryManager) ZeroOut(addr uintptr, n int) (int, error) {
	done := 0
	for done < n {
		c, err := m.copy(addr+uintptr(done), zeros[:min(n-done, len(zeros))], memmap.Write)
		done += c
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// blocks appends the blocks of ar to bl as far as PMAs allow at, and returns how far that
// is. activeMu is held at least for reading.
func (m *MemoryManager) blocks(bl *blockList, ar usermem.AddrRange, at memmap.AccessType) (uintptr, error) {
	pos := ar.Start
	for it := m.pmas.Find(pos); it.Ok() && it.Start() <= pos && pos < ar.End && it.Value().eff.SupersetOf(at); it = it.Next() {
		part := usermem.AddrRange{Start: pos, End: min(it.End(), ar.End)}
		if err := m.appendBlocks(bl, it, part, at); err != nil {
			return pos, err
		}
		pos = part.End
	}
	return pos, nil
}

// withBlocks calls f once with the blocks of all of ar; of the part before the first bad
// address if there is one. f's blocks hold while it runs.
func (m *MemoryManager) withBlocks(ar usermem.AddrRange, at memmap.AccessType, f func([][]byte) (int, error)) (int, error) {
	if ar.Length() == 0 {
		return 0, nil
	}
	if ar.End < ar.Start {
		return 0, unix.EFAULT
	}
	bl := getBlocks()
	defer bl.put()
	want := ar
	var ferr error
	for tries := 0; ; tries++ {
		m.activeMu.RLock()
		upTo, err := m.blocks(bl, want, at)
		if err == nil && upTo < want.End && tries < fillTries {
			m.activeMu.RUnlock()
			clear(bl.b)
			bl.b = bl.b[:0]
			var end uintptr
			if end, ferr = m.fill(want, at); end == ar.Start {
				return 0, ferr
			} else {
				want.End = end
			}
			continue
		}
		if upTo == ar.Start {
			m.activeMu.RUnlock()
			return 0, unix.EFAULT
		}
		m.inflight.begin(&bl.t, usermem.AddrRange{Start: ar.Start, End: upTo}, at.Write)
		m.activeMu.RUnlock()
		n, err := m.lend(bl, f)
		if err == nil && uintptr(n) == upTo-ar.Start && upTo < ar.End {
			err = unix.EFAULT
		}
		return n, err
	}
}

// lend calls f with the blocks of an I/O that has begun, and ends it.
func (m *MemoryManager) lend(bl *blockList, f func([][]byte) (int, error)) (int, error) {
	defer m.inflight.end(&bl.t)
	return f(bl.b)
}

// CopyOutFrom implements usermem.IO. All of ar is made present before r is called, so that
// a reader of messages sees the whole buffer.
func (m *MemoryManager) CopyOutFrom(ar usermem.AddrRange, r usermem.BlockReader) (int, error) {
	return m.withBlocks(ar, memmap.Write, r.ReadToBlocks)
}

// CopyInTo implements usermem.IO.
func (m *MemoryManager) CopyInTo(ar usermem.AddrRange, w usermem.BlockWriter) (int, error) {
	return m.withBlocks(ar, memmap.Read, w.WriteFromBlocks)
}

// wordOp is an atomic operation on a word.
type wordOp uint8

const (
	wordLoad wordOp = iota
	wordSwap
	wordCAS
)

func (op wordOp) do(b []byte, old, new uint32) (uint32, error) {
	switch op {
	case wordSwap:
		return usermem.SwapUint32(b, new)
	case wordCAS:
		return usermem.CompareAndSwapUint32(b, old, new)
	}
	return usermem.LoadUint32(b)
}

// word does op on the word at addr.
func (m *MemoryManager) word(addr uintptr, op wordOp, old, new uint32) (uint32, error) {
	at := memmap.ReadWrite
	if op == wordLoad {
		at = memmap.Read
	}
	if addr%4 != 0 {
		return 0, unix.EINVAL
	}
	ar, ok := toRange(addr, 4)
	if !ok {
		return 0, unix.EFAULT
	}
	for tries := 0; tries < fillTries; tries++ {
		if v, ok, err := m.residentWord(ar, at, op, old, new); ok {
			return v, err
		}
		if upTo, err := m.fill(ar, at); upTo != ar.End {
			return 0, err
		}
	}
	return 0, unix.EFAULT
}

// residentWord is word if a PMA allows at; ok says so.
func (m *MemoryManager) residentWord(ar usermem.AddrRange, at memmap.AccessType, op wordOp, old, new uint32) (v uint32, ok bool, err error) {
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	it := m.pmas.Find(ar.Start)
	if !it.Ok() || !it.Value().eff.SupersetOf(at) {
		return 0, false, nil
	}
	p := it.Value()
	if p.file == memmap.File(m.mf) {
		v, err = op.do(m.mf.Bytes(p.fileRange(it.Start(), ar)), old, new)
		return v, true, err
	}
	bl := getBlocks()
	defer bl.put()
	if err = m.appendBlocks(bl, it, ar, at); err == nil {
		v, err = op.do(bl.b[0], old, new)
	}
	return v, true, err
}

// LoadUint32 implements usermem.IO.
func (m *MemoryManager) LoadUint32(addr uintptr) (uint32, error) {
	return m.word(addr, wordLoad, 0, 0)
}

// SwapUint32 implements usermem.IO.
func (m *MemoryManager) SwapUint32(addr uintptr, new uint32) (uint32, error) {
	return m.word(addr, wordSwap, 0, new)
}

// CompareAndSwapUint32 implements usermem.IO.
func (m *MemoryManager) CompareAndSwapUint32(addr uintptr, old, new uint32) (uint32, error) {
	return m.word(addr, wordCAS, old, new)
}
