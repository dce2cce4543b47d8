package loader

import (
	"encoding/binary"
	"sync/atomic"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// Load fills m, a new address space without mappings, with the program that a names, and
// records in it what /proc shows. The caller starts the program at ImageInfo's addresses, as
// ImageInfo.Creds. After an error m is to be thrown away.
//
// Errors are execve(2)'s: ENOEXEC, ELIBBAD, EACCES, E2BIG, ELOOP, ENOENT, ENOMEM, ETXTBSY, EIO.
func Load(ctx context.Context, m *mm.MemoryManager, a LoadArgs) (ImageInfo, error) {
	return load(ctx, memory{m}, a)
}

// Executable is the program that a process runs: what mm.MemoryManager.Executable returns. The
// file cannot be opened for writing while it exists (ETXTBSY).
type Executable struct {
	file *vfs.FileDescription
	refs atomic.Int64
}

// background is the context of letting go of files: nobody in particular does it.
var background = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// NewExecutable takes a reference on f, and one of its own for the caller. ETXTBSY: somebody
// has the file open for writing.
func NewExecutable(f *vfs.FileDescription) (*Executable, error) {
	if err := f.Inode().Base().DenyWriteAccess(); err != nil {
		return nil, err
	}
	f.IncRef()
	e := &Executable{file: f}
	e.refs.Store(1)
	return e, nil
}

// File is the open file; the reference is e's.
func (e *Executable) File() *vfs.FileDescription { return e.file }

// IncRef implements memmap.Executable.
func (e *Executable) IncRef() { e.refs.Add(1) }

// DecRef implements memmap.Executable.
func (e *Executable) DecRef() {
	if e.refs.Add(-1) == 0 {
		e.file.Inode().Base().AllowWriteAccess()
		e.file.DecRef(background)
	}
}

// identity is the file of a mapping that the loader made.
type identity struct{ *vfs.FileDescription }

// DecRef implements memmap.Identity.
func (i identity) DecRef() { i.FileDescription.DecRef(background) }

// memory is the space that is an mm.MemoryManager.
type memory struct{ *mm.MemoryManager }

func (m memory) setLayout(stackLimit uint64, noRandomize bool) {
	m.SetLayout(mm.LayoutOptions{StackLimit: stackLimit, NoRandomize: noRandomize})
}

func (m memory) stackTop() uint64 { return uint64(m.StackTop()) }
func (m memory) pieBase() uint64  { return uint64(m.PIEBase()) }

func (m memory) mapFile(ctx context.Context, f *vfs.FileDescription, addr, length, offset uint64, at memmap.AccessType) error {
	mappable, err := f.Mappable(ctx)
	if err != nil {
		return err
	}
	_, err = m.MMap(mm.MMapOpts{
		Addr: uintptr(addr), Length: length, Fixed: true, NoReplace: true,
		Perms: at, MaxPerms: memmap.AnyAccess, Private: true,
		Mappable: mappable, Offset: offset, Identity: identity{f},
	})
	return err
}

func (m memory) mapAnonymous(addr, length uint64, at memmap.AccessType) error {
	_, err := m.MMap(mm.MMapOpts{
		Addr: uintptr(addr), Length: length, Fixed: true, NoReplace: true,
		Perms: at, MaxPerms: memmap.AnyAccess, Private: true,
	})
	return err
}

func (m memory) findRoom(length, align uint64) (uint64, error) {
	addr, err := m.MMap(mm.MMapOpts{
		Length: length, Align: uintptr(align), MaxPerms: memmap.AnyAccess, Private: true, NoReserve: true,
	})
	if err != nil {
		return 0, err
	}
	// Nobody else maps into this address space meanwhile.
	return uint64(addr), m.MUnmap(addr, length)
}

func (m memory) unmap(addr, length uint64) error { return m.MUnmap(uintptr(addr), length) }

func (m memory) mapStack(length uint64, at memmap.AccessType) error {
	_, err := m.MMap(mm.MMapOpts{
		Addr: m.StackTop() - uintptr(length), Length: length, Fixed: true, NoReplace: true,
		Perms: at, MaxPerms: memmap.AnyAccess, Private: true, GrowsDown: true, Stack: true,
	})
	return err
}

func (m memory) mapVDSO(im *vdso.Image) (uint64, error) {
	addr, err := m.findRoom(vdso.VVarSize+im.ELFSize(), memmap.PageSize)
	if err != nil {
		return 0, err
	}
	// The parameters change under their readers, so they are shared; the text is private,
	// so that a debugger may set a breakpoint.
	if _, err := m.MMap(mm.MMapOpts{
		Addr: uintptr(addr), Length: vdso.VVarSize, Fixed: true, NoReplace: true,
		Perms: memmap.Read, MaxPerms: memmap.Read,
		Mappable: im, Name: "[vvar]",
	}); err != nil {
		return 0, err
	}
	elf, err := m.MMap(mm.MMapOpts{
		Addr: uintptr(addr) + vdso.VVarSize, Length: im.ELFSize(), Fixed: true, NoReplace: true,
		Perms: memmap.AccessType{Read: true, Execute: true}, MaxPerms: memmap.AnyAccess, Private: true,
		Mappable: im, Offset: vdso.VVarSize, Name: "[vdso]",
	})
	return uint64(elf), err
}

func (m memory) setBrk(addr uint64) { m.SetBrkStart(uintptr(addr)) }

func (m memory) loaded(ctx context.Context, file *vfs.FileDescription, info *ImageInfo) error {
	exe, err := NewExecutable(file)
	if err != nil {
		return err
	}
	m.SetExecutable(exe)
	dumpable := 1
	if info.NotDumpable {
		dumpable = 0
	}
	m.SetDumpable(dumpable)
	var auxv []byte
	for _, e := range info.Auxv {
		auxv = binary.LittleEndian.AppendUint64(auxv, e.Key)
		auxv = binary.LittleEndian.AppendUint64(auxv, e.Value)
	}
	ar := func(start, end uint64) usermem.AddrRange {
		return usermem.AddrRange{Start: uintptr(start), End: uintptr(end)}
	}
	l := &info.Layout
	m.SetImageInfo(mm.ImageInfo{
		Code: ar(l.CodeStart, l.CodeEnd), Data: ar(l.DataStart, l.DataEnd),
		StartStack: uintptr(l.StackStart), Argv: ar(l.ArgStart, l.ArgEnd), Envv: ar(l.EnvStart, l.EnvEnd),
		Auxv: auxv, VDSO: uintptr(l.VDSO),
	})
	return m.Settle()
}

var _ memmap.Identity = identity{}
