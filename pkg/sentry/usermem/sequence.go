package usermem

import "golang.org/x/sys/unix"

// Sequence is the memory of one I/O request: ranges of one IO, used in order. It is a
// value; DropFirst and TakeFirst return new ones and share the ranges. The zero Sequence
// is empty.
type Sequence struct {
	io    IO
	first AddrRange   // the range that DropFirst shortens; kept out of rest so that one buffer needs no slice
	rest  []AddrRange // never modified
	limit int         // bytes of first+rest that count
}

// NewSequence describes ar in io.
func NewSequence(io IO, ar AddrRange) Sequence {
	return Sequence{io: io, first: ar, limit: int(ar.Length())}
}

// NewVectorSequence describes the ranges ars in io, which the caller no longer changes.
func NewVectorSequence(io IO, ars []AddrRange) Sequence {
	if len(ars) == 0 {
		return Sequence{}
	}
	n := 0
	for _, ar := range ars {
		n += int(ar.Length())
	}
	return Sequence{io: io, first: ars[0], rest: ars[1:], limit: n}
}

// BytesSequence describes the sentry's own bytes b.
func BytesSequence(b []byte) Sequence {
	return NewSequence(&Bytes{b}, AddrRange{0, uintptr(len(b))})
}

// Len is the number of bytes in the sequence.
func (s Sequence) Len() int { return s.limit }

// DropFirst returns the sequence without its first n bytes (all of them if n > Len).
func (s Sequence) DropFirst(n int) Sequence {
	if n >= s.limit {
		return Sequence{io: s.io}
	}
	s.limit -= n
	for n > 0 || s.first.Length() == 0 {
		l := int(s.first.Length())
		if n < l {
			s.first.Start += uintptr(n)
			break
		}
		n -= l
		s.first, s.rest = s.rest[0], s.rest[1:]
	}
	return s
}

// TakeFirst returns the first n bytes of the sequence.
func (s Sequence) TakeFirst(n int) Sequence {
	if n < s.limit {
		s.limit = max(n, 0)
	}
	return s
}

// each calls f for each range in order until f does less than the range or fails.
func (s Sequence) each(f func(AddrRange) (int, error)) (int, error) {
	done := 0
	ar, rest := s.first, s.rest
	for done < s.limit {
		if l := s.limit - done; int(ar.Length()) > l {
			ar.End = ar.Start + uintptr(l)
		}
		if ar.Length() > 0 {
			n, err := f(ar)
			done += n
			if err != nil || n < int(ar.Length()) {
				return done, err
			}
		}
		if len(rest) == 0 {
			break
		}
		ar, rest = rest[0], rest[1:]
	}
	return done, nil
}

// CopyOut writes src to the start of the sequence, as much as fits.
func (s Sequence) CopyOut(src []byte) (int, error) {
	return s.each(func(ar AddrRange) (int, error) {
		n := min(int(ar.Length()), len(src))
		m, err := s.io.CopyOut(ar.Start, src[:n])
		src = src[m:]
		return m, err
	})
}

// CopyIn reads from the start of the sequence into dst, as much as there is.
func (s Sequence) CopyIn(dst []byte) (int, error) {
	return s.each(func(ar AddrRange) (int, error) {
		n := min(int(ar.Length()), len(dst))
		m, err := s.io.CopyIn(ar.Start, dst[:n])
		dst = dst[m:]
		return m, err
	})
}

// ZeroOut clears the first n bytes of the sequence.
func (s Sequence) ZeroOut(n int) (int, error) {
	return s.TakeFirst(n).each(func(ar AddrRange) (int, error) {
		return s.io.ZeroOut(ar.Start, int(ar.Length()))
	})
}

// CopyOutFrom fills the sequence from r until r returns less than it was offered. If some
// bytes were done and then an error came, both are returned; syscalls report the bytes.
func (s Sequence) CopyOutFrom(r BlockReader) (int, error) {
	return s.each(func(ar AddrRange) (int, error) { return s.io.CopyOutFrom(ar, r) })
}

// CopyInTo feeds the sequence to w until w takes less than it was offered.
func (s Sequence) CopyInTo(w BlockWriter) (int, error) {
	return s.each(func(ar AddrRange) (int, error) { return s.io.CopyInTo(ar, w) })
}

// Bytes is an IO over bytes of the sentry; address 0 is the first byte.
type Bytes struct{ B []byte }

func (b *Bytes) at(addr uintptr, n int) ([]byte, error) {
	if addr > uintptr(len(b.B)) {
		return nil, unix.EFAULT
	}
	s := b.B[addr:]
	if n > len(s) {
		return s, unix.EFAULT
	}
	return s[:n], nil
}

// CopyOut implements IO.
func (b *Bytes) CopyOut(addr uintptr, src []byte) (int, error) {
	d, err := b.at(addr, len(src))
	return copy(d, src), err
}

// CopyIn implements IO.
func (b *Bytes) CopyIn(addr uintptr, dst []byte) (int, error) {
	s, err := b.at(addr, len(dst))
	return copy(dst, s), err
}

// ZeroOut implements IO.
func (b *Bytes) ZeroOut(addr uintptr, n int) (int, error) {
	d, err := b.at(addr, n)
	clear(d)
	return len(d), err
}

// CopyOutFrom implements IO.
func (b *Bytes) CopyOutFrom(ar AddrRange, r BlockReader) (int, error) {
	d, err := b.at(ar.Start, int(ar.Length()))
	if err != nil {
		return 0, err
	}
	return r.ReadToBlocks([][]byte{d})
}

// CopyInTo implements IO.
func (b *Bytes) CopyInTo(ar AddrRange, w BlockWriter) (int, error) {
	s, err := b.at(ar.Start, int(ar.Length()))
	if err != nil {
		return 0, err
	}
	return w.WriteFromBlocks([][]byte{s})
}

// LoadUint32 implements IO.
func (b *Bytes) LoadUint32(addr uintptr) (uint32, error) {
	d, err := b.at(addr, 4)
	if err != nil {
		return 0, err
	}
	return LoadUint32(d)
}

// SwapUint32 implements IO.
func (b *Bytes) SwapUint32(addr uintptr, new uint32) (uint32, error) {
	d, err := b.at(addr, 4)
	if err != nil {
		return 0, err
	}
	return SwapUint32(d, new)
}

// CompareAndSwapUint32 implements IO.
func (b *Bytes) CompareAndSwapUint32(addr uintptr, old, new uint32) (uint32, error) {
	d, err := b.at(addr, 4)
	if err != nil {
		return 0, err
	}
	return CompareAndSwapUint32(d, old, new)
}

// ReaderFromBytes is a BlockReader over bytes that are consumed as they are read.
type ReaderFromBytes struct{ B []byte }

// ReadToBlocks implements BlockReader.
func (r *ReaderFromBytes) ReadToBlocks(dsts [][]byte) (int, error) {
	done := 0
	for _, d := range dsts {
		n, err := Copy(d, r.B)
		done += n
		r.B = r.B[n:]
		if err != nil || n < len(d) {
			return done, err
		}
	}
	return done, nil
}
