package loader

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/vfs"
)

// Constants of elf(5) and bounds of what is believed.
const (
	elfHeaderSize = 64
	progHeadSize  = 56

	etExec, etDyn = 2, 3
	emX8664       = 62

	ptLoad, ptInterp, ptPhdr, ptGNUStack = 1, 3, 6, 0x6474e551
	pfExec, pfWrite, pfRead              = 1, 2, 4

	// maxHeaderTable is the most bytes of program headers that Linux reads.
	maxHeaderTable = 65536
	// maxTop bounds every address in a file: no program can use more.
	maxTop = 1 << 47
)

// segment is a checked PT_LOAD: no sum of its fields overflows or leaves user addresses.
type segment struct {
	vaddr, memsz   uint64
	offset, filesz uint64 // offset ≡ vaddr modulo the page size
	at             memmap.AccessType
}

// end is the address behind the segment.
func (s segment) end() uint64 { return s.vaddr + s.memsz }

// elfImage is a checked ELF file.
type elfImage struct {
	file        *vfs.FileDescription
	position    bool // it runs at any address (ET_DYN)
	entry       uint64
	segments    []segment // by rising address, not overlapping
	align       uint64    // the largest alignment that a segment asks for, ≥ a page
	phdr        uint64    // address of the program headers in memory; 0: not mapped
	phnum       uint64
	interpreter string
	execStack   bool
}

// span is the range of addresses from the first to behind the last segment, page-aligned.
func (e *elfImage) span() (start, end uint64) {
	return memmap.PageDown(e.segments[0].vaddr), memmap.PageUp(e.segments[len(e.segments)-1].end())
}

// elfHeader is the part of the ELF header that matters.
type elfHeader struct {
	position     bool
	entry, phoff uint64
	phnum        int
}

// parseHeader checks b, the first bytes of a file. ok is false for anything but a 64-bit
// x86-64 program.
func parseHeader(b []byte) (h elfHeader, ok bool) {
	if len(b) < elfHeaderSize || string(b[:4]) != "\x7fELF" || b[4] != 2 || b[5] != 1 {
		return h, false
	}
	le := binary.LittleEndian
	typ := le.Uint16(b[16:])
	h = elfHeader{
		position: typ == etDyn,
		entry:    le.Uint64(b[24:]),
		phoff:    le.Uint64(b[32:]),
		phnum:    int(le.Uint16(b[56:])),
	}
	return h, (typ == etExec || typ == etDyn) && le.Uint16(b[18:]) == emX8664 &&
		le.Uint16(b[54:]) == progHeadSize && h.phnum > 0 && h.phnum*progHeadSize <= maxHeaderTable &&
		h.phoff < 1<<62
}

// readELF reads the headers of a program whose first bytes are head. ENOEXEC: it is not one
// that can run.
func readELF(ctx context.Context, f *vfs.FileDescription, head []byte) (*elfImage, error) {
	h, ok := parseHeader(head)
	if !ok {
		return nil, unix.ENOEXEC
	}
	table := make([]byte, h.phnum*progHeadSize)
	n, err := readAt(ctx, f, table, int64(h.phoff))
	if err != nil {
		return nil, err
	}
	if n < len(table) {
		return nil, unix.ENOEXEC
	}
	e, interp, err := parseSegments(h, table)
	if err != nil {
		return nil, err
	}
	e.file = f
	if interp.Length() > 0 {
		path := make([]byte, interp.Length())
		n, err := readAt(ctx, f, path, int64(interp.Start))
		if err != nil {
			return nil, err
		}
		if n < len(path) {
			return nil, unix.EIO
		}
		if path[len(path)-1] != 0 {
			return nil, unix.ENOEXEC
		}
		for i, c := range path {
			if c == 0 {
				e.interpreter = string(path[:i])
				break
			}
		}
		if e.interpreter == "" {
			return nil, unix.ENOENT
		}
	}
	return e, nil
}

// readInterpreter reads the headers of a dynamic linker. ELIBBAD: it is none.
func readInterpreter(ctx context.Context, f *vfs.FileDescription) (*elfImage, error) {
	var head [elfHeaderSize]byte
	n, err := readAt(ctx, f, head[:], 0)
	if err != nil {
		return nil, err
	}
	if n < len(head) {
		return nil, unix.EIO
	}
	e, err := readELF(ctx, f, head[:])
	if err == unix.ENOEXEC {
		err = unix.ELIBBAD
	}
	return e, err
}

// parseSegments checks the program headers in table. interp is where in the file the
// interpreter's path is.
func parseSegments(h elfHeader, table []byte) (e *elfImage, interp memmap.Range, err error) {
	e = &elfImage{position: h.position, entry: h.entry, align: memmap.PageSize, phnum: uint64(h.phnum)}
	le := binary.LittleEndian
	for i := range h.phnum {
		b := table[i*progHeadSize:]
		typ, flags := le.Uint32(b), le.Uint32(b[4:])
		offset, vaddr := le.Uint64(b[8:]), le.Uint64(b[16:])
		filesz, memsz, align := le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:])
		switch typ {
		case ptInterp:
			if interp.Length() > 0 {
				continue
			}
			if filesz < 2 || filesz > unix.PathMax || offset > 1<<62 {
				return nil, interp, unix.ENOEXEC
			}
			interp = memmap.Range{Start: offset, End: offset + filesz}
		case ptPhdr:
			e.phdr = vaddr
		case ptGNUStack:
			e.execStack = flags&pfExec != 0
		case ptLoad:
			if memsz == 0 {
				continue
			}
			switch {
			case filesz > memsz, vaddr >= maxTop, memsz > maxTop-vaddr, offset > 1<<62-maxTop,
				filesz > 0 && (offset-vaddr)%memmap.PageSize != 0:
				return nil, interp, unix.ENOEXEC
			case len(e.segments) > 0 && memmap.PageDown(vaddr) < memmap.PageUp(e.segments[len(e.segments)-1].end()):
				// Linux lets a later segment cover an earlier one; linkers never make
				// such files. The last page of one and the first of the next may
				// be the same page of old binaries, though.
				if last := e.segments[len(e.segments)-1]; vaddr < last.end() {
					return nil, interp, unix.ENOEXEC
				}
			}
			if align&(align-1) == 0 && align > e.align && align <= 1<<30 {
				e.align = align
			}
			e.segments = append(e.segments, segment{vaddr, memsz, offset, filesz, memmap.AccessType{
				Read: flags&pfRead != 0, Write: flags&pfWrite != 0, Execute: flags&pfExec != 0}})
		}
	}
	if len(e.segments) == 0 {
		return nil, interp, unix.ENOEXEC
	}
	if e.phdr == 0 {
		// As Linux: where the headers are mapped by a segment that holds them.
		for _, s := range e.segments {
			if s.offset <= h.phoff && h.phoff < s.offset+s.filesz {
				e.phdr = h.phoff - s.offset + s.vaddr
				break
			}
		}
	}
	return e, interp, nil
}
