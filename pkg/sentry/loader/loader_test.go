package loader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var testUserNS = auth.NewRootUserNamespace()

func testContext() context.Context {
	return &context.Background{Creds: auth.NewRootCredentials(testUserNS)}
}

// memFile is a file of bytes, and its inode.
type memFile struct {
	vfs.InodeBase
	vfs.FileDefaults
	waiter.AlwaysReady
	data   []byte
	mode   uint32
	uid    auth.KUID
	gid    auth.KGID
	xattrs map[string]string
}

type memInode struct{ *memFile }

func (i memInode) FS() vfs.Filesystem { return nil }
func (i memInode) Owner() (uint32, auth.KUID, auth.KGID) {
	return unix.S_IFREG | i.mode, i.uid, i.gid
}
func (i memInode) Stat(context.Context) (vfs.Attr, error) {
	return vfs.Attr{Size: uint64(len(i.data))}, nil
}
func (i memInode) SetAttr(context.Context, vfs.SetAttr) error             { return unix.EPERM }
func (i memInode) Open(context.Context, uint32) (vfs.File, error)         { return i.memFile, nil }
func (i memInode) Release(context.Context)                                {}
func (i memInode) ListXattr(context.Context) ([]string, error)            { return nil, nil }
func (i memInode) RemoveXattr(context.Context, string) error              { return unix.EPERM }
func (i memInode) SetXattr(context.Context, string, string, uint32) error { return unix.EPERM }
func (i memInode) GetXattr(_ context.Context, n string) (string, error) {
	if v, ok := i.xattrs[n]; ok {
		return v, nil
	}
	return "", unix.ENODATA
}

func (f *memFile) Read(_ context.Context, dst usermem.Sequence, offset int64) (int, error) {
	if offset >= int64(len(f.data)) {
		return 0, nil
	}
	return dst.CopyOut(f.data[offset:][:min(len(f.data)-int(offset), dst.Len())])
}

func open(f *memFile) *vfs.FileDescription {
	return vfs.NewFileDescription(vfs.AnonPath("program", memInode{f}), f, unix.O_RDONLY)
}

type files map[string]*memFile

func (fs files) OpenExecutable(path string) (*vfs.FileDescription, error) {
	f := fs[path]
	if f == nil {
		return nil, unix.ENOENT
	}
	f.IncRef() // the map's
	return open(f), nil
}

// testSpace is an address space of pages.
type testSpace struct {
	pages map[uint64]*testPage
	base  uint64
	brk   uint64
	vdso  uint64
	file  *vfs.FileDescription
}

type testPage struct {
	b    [memmap.PageSize]byte
	at   memmap.AccessType
	kind string
}

func newSpace() *testSpace {
	return &testSpace{pages: map[uint64]*testPage{}, base: 0x7fff_0000_0000}
}

func (s *testSpace) setLayout(uint64, bool) {}
func (s *testSpace) stackTop() uint64       { return 0x7fff_ffff_0000 }
func (s *testSpace) pieBase() uint64        { return 0x5555_5555_5000 }

func (s *testSpace) findRoom(length, align uint64) (uint64, error) {
	if length > s.base/2 {
		return 0, unix.ENOMEM
	}
	s.base = (s.base - length) &^ (align - 1)
	return s.base, nil
}

func (s *testSpace) place(addr, length uint64, at memmap.AccessType, kind string) error {
	if addr%memmap.PageSize != 0 || length%memmap.PageSize != 0 || length == 0 {
		return unix.EINVAL
	}
	if length > 256<<20 || addr+length > s.stackTop() {
		return unix.ENOMEM
	}
	for p := addr; p < addr+length; p += memmap.PageSize {
		if s.pages[p] != nil {
			return unix.EEXIST
		}
	}
	for p := addr; p < addr+length; p += memmap.PageSize {
		s.pages[p] = &testPage{at: at, kind: kind}
	}
	return nil
}

func (s *testSpace) mapFile(_ context.Context, f *vfs.FileDescription, addr, length, offset uint64, at memmap.AccessType) error {
	if offset%memmap.PageSize != 0 {
		return unix.EINVAL
	}
	if err := s.place(addr, length, at, "file"); err != nil {
		return err
	}
	data := f.File().(*memFile).data
	for p := uint64(0); p < length; p += memmap.PageSize {
		if o := offset + p; o < uint64(len(data)) {
			copy(s.pages[addr+p].b[:], data[o:])
		}
	}
	return nil
}

func (s *testSpace) mapAnonymous(addr, length uint64, at memmap.AccessType) error {
	return s.place(addr, length, at, "anon")
}

func (s *testSpace) unmap(addr, length uint64) error {
	for p := addr; p < addr+length; p += memmap.PageSize {
		delete(s.pages, p)
	}
	return nil
}

func (s *testSpace) mapStack(length uint64, at memmap.AccessType) error {
	return s.place(s.stackTop()-length, length, at, "stack")
}

func (s *testSpace) mapVDSO(im *vdso.Image) (uint64, error) {
	addr, err := s.findRoom(vdso.VVarSize+im.ELFSize(), memmap.PageSize)
	s.vdso = addr + vdso.VVarSize
	return s.vdso, err
}

func (s *testSpace) setBrk(addr uint64) { s.brk = addr }

func (s *testSpace) loaded(_ context.Context, f *vfs.FileDescription, info *ImageInfo) error {
	s.file = f
	return nil
}

func (s *testSpace) each(addr uint64, n int, f func(b []byte) int) (int, error) {
	done := 0
	for done < n {
		a := addr + uint64(done)
		p := s.pages[memmap.PageDown(a)]
		if p == nil {
			return done, unix.EFAULT
		}
		o := a % memmap.PageSize
		done += f(p.b[o:min(uint64(memmap.PageSize), o+uint64(n-done))])
	}
	return done, nil
}

func (s *testSpace) CopyOut(addr uintptr, src []byte) (int, error) {
	return s.each(uint64(addr), len(src), func(b []byte) int { n := copy(b, src); src = src[n:]; return n })
}
func (s *testSpace) CopyIn(addr uintptr, dst []byte) (int, error) {
	return s.each(uint64(addr), len(dst), func(b []byte) int { n := copy(dst, b); dst = dst[n:]; return n })
}
func (s *testSpace) ZeroOut(addr uintptr, n int) (int, error) {
	return s.each(uint64(addr), n, func(b []byte) int { clear(b); return len(b) })
}
func (s *testSpace) CopyOutFrom(usermem.AddrRange, usermem.BlockReader) (int, error) { panic("unused") }
func (s *testSpace) CopyInTo(usermem.AddrRange, usermem.BlockWriter) (int, error)    { panic("unused") }
func (s *testSpace) LoadUint32(uintptr) (uint32, error)                              { panic("unused") }
func (s *testSpace) SwapUint32(uintptr, uint32) (uint32, error)                      { panic("unused") }
func (s *testSpace) CompareAndSwapUint32(uintptr, uint32, uint32) (uint32, error)    { panic("unused") }

func (s *testSpace) word(t *testing.T, addr uint64) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := s.CopyIn(uintptr(addr), b[:]); err != nil {
		t.Fatalf("read %#x: %v", addr, err)
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (s *testSpace) cstring(t *testing.T, addr uint64) string {
	t.Helper()
	var out []byte
	for {
		var b [1]byte
		if _, err := s.CopyIn(uintptr(addr), b[:]); err != nil {
			t.Fatalf("read %#x: %v", addr, err)
		}
		if b[0] == 0 {
			return string(out)
		}
		out = append(out, b[0])
		addr++
	}
}

// maps describes the mappings like /proc/PID/maps.
func (s *testSpace) maps() string {
	var addrs []uint64
	for a := range s.pages {
		addrs = append(addrs, a)
	}
	sort.Slice(addrs, func(i, j int) bool { return addrs[i] < addrs[j] })
	var out strings.Builder
	for i := 0; i < len(addrs); {
		j := i + 1
		p := s.pages[addrs[i]]
		for j < len(addrs) && addrs[j] == addrs[j-1]+memmap.PageSize && s.pages[addrs[j]].at == p.at && s.pages[addrs[j]].kind == p.kind {
			j++
		}
		fmt.Fprintf(&out, "%x-%x %v %s\n", addrs[i], addrs[j-1]+memmap.PageSize, p.at, p.kind)
		i = j
	}
	return out.String()
}

type seg struct {
	typ, flags                          uint32
	offset, vaddr, filesz, memsz, align uint64
}

// makeELF builds an ELF file with the headers given; content is a counting pattern.
func makeELF(typ uint16, entry uint64, size int, segs ...seg) []byte {
	b := make([]byte, max(size, elfHeaderSize+progHeadSize*len(segs)))
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i) | 1
	}
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	le.PutUint16(b[16:], typ)
	le.PutUint16(b[18:], emX8664)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], entry)
	le.PutUint64(b[32:], elfHeaderSize)
	le.PutUint16(b[52:], elfHeaderSize)
	le.PutUint16(b[54:], progHeadSize)
	le.PutUint16(b[56:], uint16(len(segs)))
	for i, s := range segs {
		h := b[elfHeaderSize+i*progHeadSize:]
		le.PutUint32(h, s.typ)
		le.PutUint32(h[4:], s.flags)
		for j, v := range []uint64{s.offset, s.vaddr, s.vaddr, s.filesz, s.memsz, s.align} {
			le.PutUint64(h[8+8*j:], v)
		}
	}
	return b
}

func static() []byte {
	return makeELF(etExec, 0x401000, 0x3000,
		seg{ptLoad, pfRead | pfExec, 0, 0x400000, 0x2000, 0x2000, 0x1000},
		seg{ptLoad, pfRead | pfWrite, 0x2010, 0x403010, 0x100, 0x3000, 0x1000},
		seg{ptGNUStack, pfRead | pfWrite, 0, 0, 0, 0, 16})
}

func dynamic(interp string) []byte {
	b := makeELF(etDyn, 0x1000, 0x3000,
		seg{ptPhdr, pfRead, 64, 64, 3 * 56, 3 * 56, 8},
		seg{ptInterp, pfRead, 0x800, 0x800, uint64(len(interp) + 1), uint64(len(interp) + 1), 1},
		seg{ptLoad, pfRead | pfExec, 0, 0, 0x2000, 0x2000, 0x200000})
	copy(b[0x800:], interp+"\x00")
	return b
}

func linker() []byte {
	return makeELF(etDyn, 0x1234, 0x3000, seg{ptLoad, pfRead | pfExec, 0, 0, 0x3000, 0x3000, 0x1000})
}

func args(file []byte, fs files) LoadArgs {
	return LoadArgs{
		Opener: fs, File: open(&memFile{data: file, mode: 0o755}), Filename: "/bin/program",
		Argv: []string{"program", "one", "two"}, Envv: []string{"A=1", "B=2"},
		Creds: auth.NewRootCredentials(testUserNS), StackLimit: 8 << 20,
	}
}

func TestStaticProgram(t *testing.T) {
	s := newSpace()
	file := static()
	info, err := load(testContext(), s, args(file, nil))
	if err != nil {
		t.Fatal(err)
	}
	if info.Entry != 0x401000 || info.Name != "program" || s.file == nil || info.SecureExec || info.NotDumpable {
		t.Errorf("%+v", info)
	}
	got := make([]byte, 0x2ff0)
	if _, err := s.CopyIn(0x403010, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:0x100], file[0x2010:0x2110]) || len(bytes.Trim(got[0x100:], "\x00")) > 0 {
		t.Error("data or bss are wrong")
	}
	if s.brk != 0x407000 {
		t.Errorf("brk %#x", s.brk)
	}
	maps := s.maps()
	for _, want := range []string{"400000-402000 r-x file\n", "403000-404000 rw- file\n", "404000-407000 rw- anon\n"} {
		if !strings.Contains(maps, want) {
			t.Errorf("no %q in\n%s", want, maps)
		}
	}
}

func TestInitialStack(t *testing.T) {
	s := newSpace()
	clock, err := vdso.New(vdso.Options{NumCPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Release()
	a := args(static(), nil)
	a.VDSO = clock.Image()
	a.Creds = auth.NewUserCredentials(1000, 100, nil, 0, 0, 0, 0, 0, testUserNS)
	info, err := load(testContext(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	sp := info.StackPointer
	if sp%16 != 0 {
		t.Errorf("stack pointer %#x is not aligned", sp)
	}
	if n := s.word(t, sp); n != 3 {
		t.Fatalf("argc %d", n)
	}
	p := sp + 8
	list := func() []string {
		var l []string
		for ; s.word(t, p) != 0; p += 8 {
			l = append(l, s.cstring(t, s.word(t, p)))
		}
		p += 8
		return l
	}
	if got := list(); strings.Join(got, " ") != "program one two" {
		t.Errorf("argv %q", got)
	}
	if got := list(); strings.Join(got, " ") != "A=1 B=2" {
		t.Errorf("envp %q", got)
	}
	aux := map[uint64]uint64{}
	for i := 0; ; i++ {
		k, v := s.word(t, p), s.word(t, p+8)
		if info.Auxv[i] != (AuxEntry{k, v}) {
			t.Errorf("entry %d: {%d %#x} on the stack, %v reported", i, k, v, info.Auxv[i])
		}
		if k == atNull {
			break
		}
		aux[k] = v
		p += 16
	}
	for k, want := range map[uint64]uint64{
		atPhdr: 0x400040, atPhent: 56, atPhnum: 3, atBase: 0, atEntry: 0x401000, atUID: 1000, atEUID: 1000,
		atGID: 100, atEGID: 100, atSecure: 0, atPagesz: 4096, atClkTck: 100, atFlags: 0, atSysinfoEhdr: s.vdso,
	} {
		if got, ok := aux[k]; !ok || got != want {
			t.Errorf("auxv[%d] = %#x, %v, want %#x", k, got, ok, want)
		}
	}
	if got := s.cstring(t, aux[atExecfn]); got != "/bin/program" {
		t.Errorf("AT_EXECFN %q", got)
	}
	if got := s.cstring(t, aux[atPlatform]); got != "x86_64" {
		t.Errorf("AT_PLATFORM %q", got)
	}
	if s.word(t, aux[atRandom]) == 0 && s.word(t, aux[atRandom]+8) == 0 {
		t.Error("AT_RANDOM is not random")
	}
	lay := info.Layout
	read := func(from, to uint64) string {
		b := make([]byte, to-from)
		s.CopyIn(uintptr(from), b)
		return string(b)
	}
	if got := read(lay.ArgStart, lay.ArgEnd); got != "program\x00one\x00two\x00" {
		t.Errorf("argument area %q", got)
	}
	if got := read(lay.EnvStart, lay.EnvEnd); got != "A=1\x00B=2\x00" {
		t.Errorf("environment area %q", got)
	}
}

func TestDynamicProgram(t *testing.T) {
	s := newSpace()
	a := args(dynamic("/lib/ld.so"), files{"/lib/ld.so": {data: linker()}})
	info, err := load(testContext(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	var base, entry, phdr uint64
	for _, e := range info.Auxv {
		switch e.Key {
		case atBase:
			base = e.Value
		case atEntry:
			entry = e.Value
		case atPhdr:
			phdr = e.Value
		}
	}
	if info.Entry != base+0x1234 || base%4096 != 0 || base < 0x7000_0000_0000 {
		t.Errorf("entry %#x, linker at %#x", info.Entry, base)
	}
	if prog := entry - 0x1000; prog%0x200000 != 0 || prog < 0x5500_0000_0000 || prog > 0x5700_0000_0000 || phdr != prog+64 {
		t.Errorf("program entry %#x, headers %#x", entry, phdr)
	}
}

func TestStaticPIEProgram(t *testing.T) {
	s := newSpace()
	info, err := load(testContext(), s, args(linker(), nil))
	if err != nil {
		t.Fatal(err)
	}
	if info.Entry < 0x7000_0000_0000 || s.brk != s.pieBase() {
		t.Errorf("entry %#x brk %#x", info.Entry, s.brk)
	}
}

func TestErrors(t *testing.T) {
	mod := func(b []byte, off int, v ...byte) []byte { copy(b[off:], v); return b }
	long := strings.Repeat("x", 200)
	fs := files{
		"/lib/ld.so":    {data: linker()},
		"/lib/bad":      {data: []byte(strings.Repeat("no ELF file ", 20))},
		"/lib/arm":      {data: mod(linker(), 18, 183)},
		"/lib/short":    {data: []byte("\x7fELF")},
		"/loop":         {data: []byte("#!/loop\n")},
		"/bin/program2": {data: static()},
	}
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, unix.ENOEXEC},
		{"text", []byte("hello\n"), unix.ENOEXEC},
		{"other architecture", mod(static(), 18, 183), unix.ENOEXEC},
		{"32 bit", mod(static(), 4, 1), unix.ENOEXEC},
		{"big endian", mod(static(), 5, 2), unix.ENOEXEC},
		{"relocatable", mod(static(), 16, 1), unix.ENOEXEC},
		{"header size", mod(static(), 54, 32), unix.ENOEXEC},
		{"no headers", mod(static(), 56, 0, 0), unix.ENOEXEC},
		{"too many headers", mod(static(), 56, 0xff, 0xff), unix.ENOEXEC},
		{"headers beyond the end", mod(static(), 32, 0, 0, 1), unix.ENOEXEC},
		{"no segments", makeELF(etExec, 0, 100, seg{typ: ptGNUStack}), unix.ENOEXEC},
		{"file part larger than memory", makeELF(etExec, 0x400000, 8192, seg{ptLoad, 5, 0, 0x400000, 0x1000, 0x800, 0x1000}), unix.ENOEXEC},
		{"unaligned", makeELF(etExec, 0x400000, 8192, seg{ptLoad, 5, 0x10, 0x400000, 0x800, 0x800, 0x1000}), unix.ENOEXEC},
		{"address overflow", makeELF(etExec, 0x400000, 8192, seg{ptLoad, 5, 0, 1<<64 - 4096, 0x1000, 0x2000, 0x1000}), unix.ENOEXEC},
		{"size overflow", makeELF(etExec, 0x400000, 8192, seg{ptLoad, 5, 0, 0x400000, 0x1000, 1<<64 - 1, 0x1000}), unix.ENOEXEC},
		{"overlap", makeELF(etExec, 0x400000, 8192, seg{ptLoad, 5, 0, 0x400000, 0x1000, 0x3000, 0x1000},
			seg{ptLoad, 6, 0, 0x402000, 0x1000, 0x1000, 0x1000}), unix.ENOEXEC},
		{"missing linker", dynamic("/lib/none"), unix.ENOENT},
		{"linker is no program", dynamic("/lib/bad"), unix.ELIBBAD},
		{"linker of another architecture", dynamic("/lib/arm"), unix.ELIBBAD},
		{"linker cut off", dynamic("/lib/short"), unix.EIO},
		{"empty linker name", dynamic(""), unix.ENOEXEC},
		{"linker name without end", mod(dynamic("/lib/ld.so"), 0x800+10, 'x'), unix.ENOEXEC},
		{"script loop", []byte("#!/loop\n"), unix.ELOOP},
		{"script without interpreter", []byte("#! \n"), unix.ENOEXEC},
		{"missing script interpreter", []byte("#!/none\n"), unix.ENOENT},
		{"name cut off", []byte("#!/" + long + long), unix.ENOEXEC},
		{"script", []byte("#!/bin/program2 -x y\n"), nil},
	} {
		if _, err := load(testContext(), newSpace(), args(c.file, fs)); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestNestedScripts(t *testing.T) {
	fs := files{"/s5": {data: static()}}
	for i := range 5 {
		fs[fmt.Sprintf("/s%d", i)] = &memFile{data: fmt.Appendf(nil, "#!/s%d a%d\n", i+1, i)}
	}
	s := newSpace()
	a := args(fs["/s0"].data, fs)
	a.Filename = "/s0"
	info, err := load(testContext(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	var argv []string
	for i := range s.word(t, info.StackPointer) {
		argv = append(argv, s.cstring(t, s.word(t, info.StackPointer+8+8*i)))
	}
	want := "/s5 a4 /s4 a3 /s3 a2 /s2 a1 /s1 a0 /s0 one two"
	if got := strings.Join(argv, " "); got != want || info.Name != "s0" {
		t.Errorf("argv %q name %q, want %q", got, info.Name, want)
	}
	a.File = open(&memFile{data: []byte("#!/s0\n")})
	if _, err := load(testContext(), newSpace(), a); err != unix.ELOOP {
		t.Errorf("six scripts: %v", err)
	}
	a.CloseOnExecPath = true
	if _, err := load(testContext(), newSpace(), a); err != unix.ENOENT {
		t.Errorf("through a close-on-exec descriptor: %v", err)
	}
}

func TestParseScript(t *testing.T) {
	for _, c := range []struct {
		line, interp, arg string
		err               error
	}{
		{"#!/bin/sh\n", "/bin/sh", "", nil},
		{"#!/bin/sh", "/bin/sh", "", nil},
		{"#! \t/bin/sh \t -e  -x \t\nrest", "/bin/sh", "-e  -x", nil},
		{"#!sh\n", "sh", "", nil},
		{"#!\n", "", "", unix.ENOEXEC},
		{"#!/" + strings.Repeat("a", 252) + "\n", "/" + strings.Repeat("a", 252), "", nil},
		{"#!/" + strings.Repeat("a", 300) + "\n", "", "", unix.ENOEXEC},
		{"#!/bin/sh " + strings.Repeat("a", 300) + "\n", "/bin/sh", strings.Repeat("a", 246), nil},
	} {
		var head [headSize]byte
		copy(head[:], c.line)
		s, err := parseScript(&head)
		if s.interpreter != c.interp || s.arg != c.arg || err != c.err {
			t.Errorf("%.40q: %+v, %v", c.line, s, err)
		}
	}
}

func TestArgumentLimits(t *testing.T) {
	kb := strings.Repeat("x", 1023)
	many := func(n int) []string {
		var l []string
		for range n {
			l = append(l, kb)
		}
		return l
	}
	for _, c := range []struct {
		name  string
		argv  []string
		stack uint64
		want  error
	}{
		{"longest string", []string{strings.Repeat("x", 131071)}, 8 << 20, nil},
		{"string too long", []string{strings.Repeat("x", 131072)}, 8 << 20, unix.E2BIG},
		{"within a quarter of the stack", many(2000), 8 << 20, nil},
		{"beyond a quarter of the stack", many(2100), 8 << 20, unix.E2BIG},
		{"never less than 128 KiB", many(126), 4096, nil},
		{"beyond 128 KiB of a tiny stack", many(128), 4096, unix.E2BIG},
		{"never more than 6 MiB", many(6200), unix.RLIM_INFINITY, unix.E2BIG},
	} {
		if err := checkArguments(c.argv, nil, "f", c.stack); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	s := newSpace()
	a := args(static(), nil)
	a.Argv = nil
	info, err := load(testContext(), s, a)
	if err != nil || s.word(t, info.StackPointer) != 1 || s.cstring(t, s.word(t, info.StackPointer+8)) != "" {
		t.Errorf("no arguments: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	user := func() *auth.Credentials {
		return auth.NewUserCredentials(1000, 1000, nil, 0, 0, 0, auth.AllCaps, 0, testUserNS)
	}
	netCaps := fileCaps{auth.CapSetOf(unix.CAP_NET_RAW), 0, true}
	ambient := user()
	ambient.Permitted, ambient.Inheritable = auth.CapSetOf(unix.CAP_CHOWN), auth.CapSetOf(unix.CAP_CHOWN)
	ambient.Ambient = auth.CapSetOf(unix.CAP_CHOWN)
	limitedRoot := auth.NewRootCredentials(testUserNS)
	limitedRoot.Permitted = auth.CapSetOf(unix.CAP_KILL)
	limitedRoot.Effective = limitedRoot.Permitted
	for _, c := range []struct {
		name      string
		old       *auth.Credentials
		mode      uint32
		caps      *fileCaps
		nnp       bool
		euid      auth.KUID
		perm, eff auth.CapSet
		secure    bool
	}{
		{"plain user", user(), 0o755, nil, false, 1000, 0, 0, false},
		{"root", auth.NewRootCredentials(testUserNS), 0o755, nil, false, 0, auth.AllCaps, auth.AllCaps, false},
		{"set-user-ID root", user(), 0o4755, nil, false, 0, auth.AllCaps, auth.AllCaps, true},
		{"file capabilities", user(), 0o755, &netCaps, false, 1000, netCaps.permitted, netCaps.permitted, true},
		{"file capabilities without new privileges", user(), 0o755, &netCaps, true, 1000, 0, 0, true},
		{"ambient", ambient, 0o755, nil, false, 1000, ambient.Ambient, ambient.Ambient, false},
		{"ambient lost with set-user-ID", ambient, 0o4755, nil, false, 0, auth.AllCaps, auth.AllCaps, true},
		{"root without new privileges", limitedRoot, 0o755, nil, true, 0, limitedRoot.Permitted, limitedRoot.Permitted, false},
	} {
		var caps fileCaps
		if c.caps != nil {
			caps = *c.caps
		}
		mode := c.mode
		got, secure := transform(c.old, mode, 0, 0, caps, c.caps != nil, c.nnp)
		if got.EffectiveUID != c.euid || got.SavedUID != c.euid || got.FSUID != c.euid ||
			got.Permitted != c.perm || got.Effective != c.eff || secure != c.secure {
			t.Errorf("%s: euid %d permitted %x effective %x secure %v", c.name, got.EffectiveUID, got.Permitted, got.Effective, secure)
		}
	}
}

func TestFileCapabilitiesAttribute(t *testing.T) {
	attr := func(words ...uint32) string {
		var b []byte
		for _, w := range words {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		return string(b)
	}
	c, ok := parseFileCaps(attr(capRevision2|1, 1<<13, 2, 1, 0), testUserNS)
	if !ok || c.permitted != 1<<13|1<<32 || c.inheritable != 2 || !c.effective {
		t.Errorf("%+v %v", c, ok)
	}
	for _, bad := range []string{"", "abc", attr(capRevision2), attr(capRevision3, 1, 0, 0, 0, 5), attr(1<<24, 1, 1)} {
		if _, ok := parseFileCaps(bad, testUserNS); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestHostPrograms(t *testing.T) {
	fs := files{}
	for _, p := range []string{"/lib64/ld-linux-x86-64.so.2"} {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Skip(err)
		}
		fs[p] = &memFile{data: b}
	}
	for _, p := range []string{"/bin/true", "/bin/bash", "/lib64/ld-linux-x86-64.so.2", "/proc/self/exe"} {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Skip(err)
		}
		s := newSpace()
		info, err := load(testContext(), s, args(b, fs))
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		if p := s.pages[memmap.PageDown(info.Entry)]; p == nil || !p.at.Execute {
			t.Errorf("entry %#x is not executable\n%s", info.Entry, s.maps())
		}
	}
}

func FuzzELF(f *testing.F) {
	f.Add(static())
	f.Add(dynamic("/lib/ld.so"))
	f.Add(linker())
	f.Add([]byte("#!/lib/ld.so x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		s := newSpace()
		info, err := load(testContext(), s, args(b, files{"/lib/ld.so": {data: linker()}}))
		if err == nil && s.word(t, info.StackPointer) < 3 {
			t.Error("arguments are missing")
		}
		load(testContext(), newSpace(), args(dynamic("/x"), files{"/x": {data: b}}))
	})
}

func FuzzScript(f *testing.F) {
	f.Add([]byte("#!/bin/sh -e\n"))
	f.Add([]byte("#! "))
	f.Fuzz(func(t *testing.T, b []byte) {
		var head [headSize]byte
		copy(head[:], b)
		s, err := parseScript(&head)
		if err == nil && (s.interpreter == "" || strings.ContainsAny(s.interpreter, " \t\n\x00")) {
			t.Errorf("%q", s.interpreter)
		}
	})
}
