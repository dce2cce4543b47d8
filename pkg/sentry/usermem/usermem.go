// Package usermem describes memory that system calls copy from and to.
//
// IO is such a memory: an application's address space (pkg/sentry/mm implements it) or
// plain bytes of the sentry (Bytes). A Sequence is the memory of one I/O request: an IO and
// the address ranges of read(2)'s one buffer or readv(2)'s vector. Files receive a Sequence
// and fill it in place: they pass a BlockReader whose ReadToBlocks gets slices of the
// sentry's own mapping of the application's pages, so that a host file or a socket buffer
// is copied once, straight to its destination.
//
// A block is ordinary memory of the sentry except that touching it may fault (a mapped
// host file that was truncated). Copy, Zero and the atomic helpers of this package turn
// such a fault into EFAULT; other code must pass blocks only to them or to host system
// calls, which return EFAULT themselves.
//
// Nothing here takes locks. An IO may take its address space's lock while a method runs;
// a BlockReader or BlockWriter must therefore not call back into the same IO.
package usermem

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// AddrRange is the half-open range [Start, End) of application addresses, in bytes.
type AddrRange struct{ Start, End uintptr }

// Length is the number of bytes in the range.
func (r AddrRange) Length() uintptr { return r.End - r.Start }

// Contains says whether addr lies in the range.
func (r AddrRange) Contains(addr uintptr) bool { return r.Start <= addr && addr < r.End }

// IsSupersetOf says whether o lies wholly in r.
func (r AddrRange) IsSupersetOf(o AddrRange) bool { return r.Start <= o.Start && o.End <= r.End }

// Overlaps says whether the ranges share a byte.
func (r AddrRange) Overlaps(o AddrRange) bool { return r.Start < o.End && o.Start < r.End }

// Intersect is the part that r and o share; it is empty (Start == End) if there is none.
func (r AddrRange) Intersect(o AddrRange) AddrRange {
	if r.Start < o.Start {
		r.Start = o.Start
	}
	if r.End > o.End {
		r.End = o.End
	}
	if r.End < r.Start {
		r.End = r.Start
	}
	return r
}

// IO is memory addressed by application addresses. Every method returns how many bytes
// were done before an error; a short count always comes with an error (EFAULT).
type IO interface {
	// CopyOut writes src to memory at addr.
	CopyOut(addr uintptr, src []byte) (int, error)
	// CopyIn reads len(dst) bytes of memory at addr.
	CopyIn(addr uintptr, dst []byte) (int, error)
	// ZeroOut writes n zero bytes at addr.
	ZeroOut(addr uintptr, n int) (int, error)
	// CopyOutFrom calls r with blocks that map the memory of ar, in order, until r
	// returns less than it was offered, or an error, or ar is done.
	CopyOutFrom(ar AddrRange, r BlockReader) (int, error)
	// CopyInTo is CopyOutFrom in the other direction.
	CopyInTo(ar AddrRange, w BlockWriter) (int, error)
	// LoadUint32 reads the aligned 32-bit word at addr atomically.
	LoadUint32(addr uintptr) (uint32, error)
	// SwapUint32 replaces the aligned word at addr atomically and returns the old one.
	SwapUint32(addr uintptr, new uint32) (uint32, error)
	// CompareAndSwapUint32 stores new if the aligned word at addr is old, and returns
	// what was there.
	CompareAndSwapUint32(addr uintptr, old, new uint32) (uint32, error)
}

// BlockReader is a source of bytes: a host file, a socket buffer, a tmpfs page.
type BlockReader interface {
	// ReadToBlocks fills dsts in order and returns the number of bytes. 0 and a nil
	// error mean end of file.
	ReadToBlocks(dsts [][]byte) (int, error)
}

// BlockWriter is a sink of bytes.
type BlockWriter interface {
	// WriteFromBlocks consumes srcs in order and returns the number of bytes.
	WriteFromBlocks(srcs [][]byte) (int, error)
}

// Copy copies min(len(dst), len(src)) bytes and returns their number. A fault on either
// side (memory of a truncated file) ends it with EFAULT and a count of 0.
func Copy(dst, src []byte) (n int, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &n, &err)
	return copy(dst, src), nil
}

// Zero clears dst; a fault ends it with EFAULT and a count of 0.
func Zero(dst []byte) (n int, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &n, &err)
	clear(dst)
	return len(dst), nil
}

// recoverFault turns the run-time error of a memory fault into EFAULT and restores the
// goroutine's fault mode. Any other panic goes on.
func recoverFault(old bool, n *int, err *error) {
	debug.SetPanicOnFault(old)
	r := recover()
	if r == nil {
		return
	}
	if f, ok := r.(interface{ Addr() uintptr }); ok && f != nil {
		*n, *err = 0, unix.EFAULT
		return
	}
	panic(r)
}

// CopyBlocks copies between two lists of blocks and returns the number of bytes.
func CopyBlocks(dsts, srcs [][]byte) (int, error) {
	total := 0
	di, si, doff, soff := 0, 0, 0, 0
	for di < len(dsts) && si < len(srcs) {
		d, s := dsts[di][doff:], srcs[si][soff:]
		n, err := Copy(d, s)
		total += n
		if err != nil {
			return total, err
		}
		if doff += n; doff == len(dsts[di]) {
			di, doff = di+1, 0
		}
		if soff += n; soff == len(srcs[si]) {
			si, soff = si+1, 0
		}
	}
	return total, nil
}
