package vdso

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// VVarSize is the size of the parameter area that lies in front of the ELF image, in bytes.
const VVarSize = memmap.PageSize

// soname is the image's name, as debuggers and dynamic linkers show it.
const soname = "linux-vdso.so.1"

// version is the symbol version of everything that the image exports.
const version = "LINUX_2.6"

// functionNames are the exported functions in the order of textAddresses.
var functionNames = [5]string{"clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu"}

// functionTexts returns the code of the functions: from its start, all that the Go run-time's
// own tables say belongs to it, less the padding.
func functionTexts() ([5][]byte, error) {
	var addrs [5]uintptr
	textAddresses(&addrs)
	var texts [5][]byte
	for i, start := range addrs {
		end := start
		for f := runtime.FuncForPC(end); f != nil && f.Entry() == start; f = runtime.FuncForPC(end) {
			end++
		}
		if end == start || end-start > 2048 {
			return texts, fmt.Errorf("vdso: %s has %d bytes of code", functionNames[i], end-start)
		}
		code := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), start)), end-start)
		for code[len(code)-1] == 0xcc {
			code = code[:len(code)-1]
		}
		texts[i] = code
	}
	return texts, nil
}

// elfHash is the hash function of DT_HASH and of version names, gnuHash that of
// DT_GNU_HASH.
func elfHash(name string) uint32 {
	var h uint32
	for i := 0; i < len(name); i++ {
		h = h<<4 + uint32(name[i])
		g := h & 0xf0000000
		h ^= g>>24 ^ g
	}
	return h
}

func gnuHash(name string) uint32 {
	h := uint32(5381)
	for i := 0; i < len(name); i++ {
		h = h*33 + uint32(name[i])
	}
	return h
}

// ELF constants that the image is made of.
const (
	ptLoad, ptDynamic, ptEHFrame = 1, 2, 0x6474e550
	pfX, pfR                     = 1, 4

	dtHash, dtStrtab, dtSymtab, dtStrsz, dtSyment, dtSoname       = 4, 5, 6, 10, 11, 14
	dtGNUHash, dtVersym, dtVerdef, dtVerdefnum                    = 0x6ffffef5, 0x6ffffff0, 0x6ffffffc, 0x6ffffffd
	symGlobalFunc, symWeakFunc                              uint8 = 0x12, 0x22
)

type symbol struct {
	Name  uint32
	Info  uint8
	Other uint8
	Shndx uint16
	Value uint64
	Size  uint64
}

// imageWriter lays parts of the image out one behind the other, at file offset = address.
type imageWriter struct{ b []byte }

func (w *imageWriter) align(n int) int {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
	return len(w.b)
}

// put appends fixed-size values, little endian, and returns their offset.
func (w *imageWriter) put(align int, values ...any) int {
	off := w.align(align)
	for _, v := range values {
		var err error
		if w.b, err = binary.Append(w.b, binary.LittleEndian, v); err != nil {
			panic(err) // a value of no fixed size: a mistake in this file
		}
	}
	return off
}

// buildELF makes the ELF file. It fits into a page; the code relies on it.
func buildELF() ([]byte, error) {
	texts, err := functionTexts()
	if err != nil {
		return nil, err
	}
	const (
		ehdrSize, phdrSize = 64, 56
		phdrs              = 3
	)
	w := &imageWriter{b: make([]byte, ehdrSize+phdrs*phdrSize, memmap.PageSize)}

	// Text.
	textStart := w.align(16)
	var offs [5]int
	for i, t := range texts {
		offs[i] = w.put(16, t)
	}
	textEnd := len(w.b)

	// Names and symbols: the plain names are weak, as Linux has them.
	strtab := []byte{0}
	str := func(s string) uint32 {
		off := uint32(len(strtab))
		strtab = append(append(strtab, s...), 0)
		return off
	}
	names := []string{""}
	syms := []symbol{{}}
	for i, n := range functionNames {
		for _, p := range []string{"__vdso_", ""} {
			info := symGlobalFunc
			if p == "" {
				info = symWeakFunc
			}
			names = append(names, p+n)
			// There are no sections, but a symbol must not say SHN_UNDEF.
			syms = append(syms, symbol{Name: str(p + n), Info: info, Shndx: 1,
				Value: uint64(offs[i]), Size: uint64(len(texts[i]))})
		}
	}
	sonameOff, versionOff := str(soname), str(version)

	// DT_HASH: one bucket chains every symbol; DT_GNU_HASH: one bucket too, so that the
	// symbols need no sorting, and a filter that lets all names pass.
	n := uint32(len(syms))
	chain := make([]uint32, n)
	for i := uint32(1); i < n; i++ {
		chain[i] = (i + 1) % n
	}
	hash := w.put(8, uint32(1), n, uint32(1), chain)
	gnu := make([]uint32, 0, n)
	for _, name := range names[1:] {
		gnu = append(gnu, gnuHash(name)&^1)
	}
	gnu[len(gnu)-1] |= 1 // the end of the chain
	gnuOff := w.put(8, uint32(1), uint32(1), uint32(1), uint32(0), ^uint64(0), uint32(1), gnu)

	symtab := w.put(8, syms)
	strOff := w.put(1, strtab)

	versym := make([]uint16, n)
	for i := range versym[1:] {
		versym[i+1] = 2
	}
	versymOff := w.put(2, versym)
	// struct Verdef {version, flags, ndx, cnt uint16; hash, aux, next uint32}, Verdaux
	// {name, next uint32}: the base definition, and LINUX_2.6.
	verdef := w.put(8,
		[]uint16{1, 1, 1, 1}, []uint32{elfHash(soname), 20, 28}, []uint32{sonameOff, 0},
		[]uint16{1, 0, 2, 1}, []uint32{elfHash(version), 20, 0}, []uint32{versionOff, 0})

	dynamic := w.put(8, []uint64{
		dtSoname, uint64(sonameOff),
		dtHash, uint64(hash),
		dtGNUHash, uint64(gnuOff),
		dtStrtab, uint64(strOff),
		dtSymtab, uint64(symtab),
		dtStrsz, uint64(len(strtab)),
		dtSyment, 24,
		dtVersym, uint64(versymOff),
		dtVerdef, uint64(verdef),
		dtVerdefnum, 2,
		0, 0,
	})
	dynamicEnd := len(w.b)

	ehHdr, ehHdrEnd := w.unwindInfo(textStart, textEnd)

	// Headers.
	h := &imageWriter{}
	h.put(1, []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		uint16(3), uint16(62), uint32(1), // ET_DYN, EM_X86_64, EV_CURRENT
		uint64(0), uint64(ehdrSize), uint64(0), uint32(0),
		uint16(ehdrSize), uint16(phdrSize), uint16(phdrs), uint16(64), uint16(0), uint16(0))
	phdr := func(typ, flags uint32, start, end, align int) {
		h.put(1, typ, flags, uint64(start), uint64(start), uint64(start),
			uint64(end-start), uint64(end-start), uint64(align))
	}
	phdr(ptLoad, pfR|pfX, 0, len(w.b), memmap.PageSize)
	phdr(ptDynamic, pfR, dynamic, dynamicEnd, 8)
	phdr(ptEHFrame, pfR, ehHdr, ehHdrEnd, 4)
	copy(w.b, h.b)

	if len(w.b) > memmap.PageSize {
		return nil, fmt.Errorf("vdso: the image has %d bytes, more than a page", len(w.b))
	}
	return w.b, nil
}

// unwindInfo appends .eh_frame and .eh_frame_hdr for the text, which never moves the stack
// pointer: the caller's frame is at rsp+8 and the return address below it, everywhere.
func (w *imageWriter) unwindInfo(textStart, textEnd int) (start, end int) {
	cie := w.put(8, uint32(20), uint32(0), []byte{
		1, 'z', 'R', 0, // version, augmentation: encoding of pointers follows
		1, 0x78, 16, // code and data alignment (-8), return address column
		1, 0x1b, // pointers are 32-bit, relative to their place
		0x0c, 7, 8, // DW_CFA_def_cfa rsp+8
		0x90, 1, // DW_CFA_offset: return address at cfa-8
		0, 0}) // padding
	fde := w.align(4)
	w.put(4, uint32(16), uint32(fde+4-cie),
		int32(textStart-(fde+8)), uint32(textEnd-textStart), []byte{0, 0, 0, 0})
	w.put(4, uint32(0)) // terminator
	hdr := w.align(4)
	w.put(4, []byte{1, 0x1b, 3, 0x3b}, // table: count is udata4, entries datarel sdata4
		int32(cie-(hdr+4)), uint32(1), int32(textStart-hdr), int32(fde-hdr))
	return hdr, len(w.b)
}

// Image is the memory of the vDSO: a host memory file of VVarSize bytes of parameters and,
// behind them, the ELF image. It is the memmap.Mappable and the memmap.File of both. It lives
// as long as the kernel.
type Image struct {
	fd   int    `state:"nosave"` // host memfd; a new one is made on restore
	mem  []byte `state:"nosave"` // the sentry's mapping of the whole file
	size uint64 // bytes of ELF image, a multiple of the page size
}

// newImage makes the memory file. It must run before the sandbox gives up memfd_create.
func newImage() (*Image, error) {
	elf, err := buildELF()
	if err != nil {
		return nil, err
	}
	size := uint64(memmap.PageUp(uintptr(len(elf))))
	fd, err := unix.MemfdCreate("vdso", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("vdso: memfd_create: %w", err)
	}
	im := &Image{fd: fd, size: size}
	if err := unix.Ftruncate(fd, int64(VVarSize+size)); err != nil {
		im.release()
		return nil, fmt.Errorf("vdso: ftruncate: %w", err)
	}
	im.mem, err = unix.Mmap(fd, 0, int(VVarSize+size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		im.release()
		return nil, fmt.Errorf("vdso: mmap: %w", err)
	}
	copy(im.mem[VVarSize:], elf)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		im.release()
		return nil, fmt.Errorf("vdso: seal: %w", err)
	}
	return im, nil
}

func (im *Image) release() {
	if im.mem != nil {
		unix.Munmap(im.mem)
		im.mem = nil
	}
	if im.fd >= 0 {
		unix.Close(im.fd)
		im.fd = -1
	}
}

// ELFSize is the size of the ELF image, in whole pages. It follows VVarSize bytes of
// parameters in the Mappable.
func (im *Image) ELFSize() uint64 { return im.size }

// ELF is the image's content, not to be changed.
func (im *Image) ELF() []byte { return im.mem[VVarSize:] }

// FD implements memmap.File.
func (im *Image) FD() int { return im.fd }

// Blocks implements memmap.File.
func (im *Image) Blocks(fr memmap.Range, _ memmap.AccessType, dst [][]byte) ([][]byte, error) {
	if fr.Start > fr.End || fr.End > uint64(len(im.mem)) {
		return dst, unix.EFAULT
	}
	return append(dst, im.mem[fr.Start:fr.End]), nil
}

// IncRef and DecRef implement memmap.File: the memory outlives every mapping.
func (*Image) IncRef(memmap.Range) {}

// DecRef implements memmap.File.
func (*Image) DecRef(memmap.Range) {}

// AddMapping implements memmap.Mappable: nothing is ever invalidated, so nobody is noted.
func (*Image) AddMapping(memmap.MappingSpace, usermem.AddrRange, uint64, bool) error { return nil }

// RemoveMapping implements memmap.Mappable.
func (*Image) RemoveMapping(memmap.MappingSpace, usermem.AddrRange, uint64, bool) {}

// CopyMapping implements memmap.Mappable.
func (*Image) CopyMapping(memmap.MappingSpace, usermem.AddrRange, usermem.AddrRange, uint64, bool) error {
	return nil
}

// Translate implements memmap.Mappable. Writes reach the memory of no application: a private
// mapping of the text copies it (debuggers set breakpoints), the parameters refuse.
func (im *Image) Translate(required, optional memmap.Range, at memmap.AccessType, dst []memmap.Translation) ([]memmap.Translation, error) {
	all := memmap.Range{End: VVarSize + im.size}
	if !all.IsSupersetOf(required) || at.Write {
		return dst, unix.EFAULT
	}
	src := optional.Intersect(all)
	perms := memmap.AccessType{Read: true, Execute: true}
	return append(dst, memmap.Translation{Source: src, File: im, Offset: src.Start, Perms: perms}), nil
}
