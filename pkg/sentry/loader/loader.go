package loader

import (
	"crypto/rand"
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// Opener opens the interpreters that scripts and binaries name.
type Opener interface {
	// OpenExecutable opens path, relative to the caller's root and working directory, to
	// be executed: a regular file with execute permission that is not on a noexec mount
	// (EACCES). The reference is the loader's.
	OpenExecutable(path string) (*vfs.FileDescription, error)
}

// LoadArgs says what to load.
type LoadArgs struct {
	Opener Opener
	// File is the executable, opened as by OpenExecutable; it is borrowed.
	File *vfs.FileDescription
	// Filename is the path as execve(2) got it: AT_EXECFN, the task's name, and what a
	// script's interpreter is given.
	Filename   string
	Argv, Envv []string
	// Creds are the caller's credentials.
	Creds *auth.Credentials
	// NoNewPrivs: set-id bits and file capabilities have no effect (PR_SET_NO_NEW_PRIVS, or
	// a tracer that may not follow).
	NoNewPrivs bool
	// VDSO is mapped unless it is nil.
	VDSO *vdso.Image
	// StackLimit is RLIMIT_STACK in bytes; 0 means 8 MiB.
	StackLimit uint64
	// NoRandomize is ADDR_NO_RANDOMIZE of personality(2).
	NoRandomize bool
	// CloseOnExecPath: Filename leads through a descriptor that exec closes, so a
	// script's interpreter could not open it (execveat(2)).
	CloseOnExecPath bool
}

// ImageInfo is the loaded program.
type ImageInfo struct {
	Entry        uint64 // address of the first instruction
	StackPointer uint64
	Name         string // comm
	// Creds are the credentials of the new program.
	Creds *auth.Credentials
	// SecureExec: it runs with more privilege than its caller (AT_SECURE).
	SecureExec bool
	// NotDumpable: no debugger or core dump may read it (PR_SET_DUMPABLE): it has more
	// privilege than its caller, or its file cannot be read by it.
	NotDumpable bool
	// Auxv is the auxiliary vector in memory order.
	Auxv []AuxEntry
	// Layout is where the parts are; mm knows it too.
	Layout Layout
}

// AuxEntry is one entry of the auxiliary vector.
type AuxEntry struct{ Key, Value uint64 }

// Layout is where the parts of a program are, for /proc/PID/stat, prctl(PR_SET_MM) and brk(2).
type Layout struct {
	CodeStart, CodeEnd uint64
	DataStart, DataEnd uint64
	Brk                uint64 // before randomisation
	StackStart         uint64
	ArgStart, ArgEnd   uint64
	EnvStart, EnvEnd   uint64
	VDSO               uint64 // address of the ELF image; 0: none
}

// space is the address space that a program is loaded into: mm.MemoryManager in a thin
// wrapper, or a test's. Addresses, lengths and offsets are page-aligned.
type space interface {
	usermem.IO
	// setLayout chooses stackTop, pieBase and where mappings without an address go.
	setLayout(stackLimit uint64, noRandomize bool)
	stackTop() uint64
	pieBase() uint64
	// mapFile maps length bytes of f from offset on at addr, private, where nothing is
	// mapped yet.
	mapFile(ctx context.Context, f *vfs.FileDescription, addr, length, offset uint64, at memmap.AccessType) error
	// mapAnonymous maps zeroes, private, at addr, where nothing is mapped yet.
	mapAnonymous(addr, length uint64, at memmap.AccessType) error
	// findRoom returns a free place for length bytes.
	findRoom(length, align uint64) (uint64, error)
	unmap(addr, length uint64) error
	// mapStack maps the stack, of length bytes below stackTop at first.
	mapStack(length uint64, at memmap.AccessType) error
	// mapVDSO maps parameters and image in one piece and returns where the image begins.
	mapVDSO(im *vdso.Image) (uint64, error)
	// setBrk says where the heap may begin.
	setBrk(addr uint64)
	// loaded is told when everything is done. file is what was loaded, borrowed.
	loaded(ctx context.Context, file *vfs.FileDescription, info *ImageInfo) error
}

// randomBelow is a random number below n, a power of two.
func randomBelow(n uint64) uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand crashes the program instead
	return binary.LittleEndian.Uint64(b[:]) & (n - 1)
}

const defaultStackLimit = 8 << 20

// maxInterpreters is how many `#!` lines are followed.
const maxInterpreters = 5

// load is Load for any space.
func load(ctx context.Context, m space, a LoadArgs) (ImageInfo, error) {
	var info ImageInfo
	if a.StackLimit == 0 {
		a.StackLimit = defaultStackLimit
	}
	argv := a.Argv
	if len(argv) == 0 {
		argv = []string{""} // execve(2): Linux adds one, because programs rely on it
	}
	if err := checkArguments(argv, a.Envv, a.Filename, a.StackLimit); err != nil {
		return info, err
	}

	// Scripts.
	file := a.File
	file.IncRef()
	defer func() { file.DecRef(ctx) }()
	name := a.Filename
	var head [headSize]byte
	for depth := 0; ; depth++ {
		if depth > maxInterpreters {
			return info, unix.ELOOP
		}
		n, err := readAt(ctx, file, head[:], 0)
		if err != nil {
			return info, err
		}
		clear(head[n:])
		if head[0] != '#' || head[1] != '!' {
			break
		}
		if a.CloseOnExecPath && depth == 0 {
			return info, unix.ENOENT
		}
		s, err := parseScript(&head)
		if err != nil {
			return info, err
		}
		argv = s.arguments(name, argv)
		if err := checkArguments(argv, a.Envv, a.Filename, a.StackLimit); err != nil {
			return info, err
		}
		next, err := a.Opener.OpenExecutable(s.interpreter)
		if err != nil {
			return info, err
		}
		file.DecRef(ctx)
		file, name = next, s.interpreter
	}

	img, err := readELF(ctx, file, head[:])
	if err != nil {
		return info, err
	}
	var interp *elfImage
	if img.interpreter != "" {
		f, err := a.Opener.OpenExecutable(img.interpreter)
		if err != nil {
			return info, err
		}
		defer f.DecRef(ctx)
		if interp, err = readInterpreter(ctx, f); err != nil {
			return info, err
		}
	}

	creds, secure := newCredentials(ctx, file, a.Creds, a.NoNewPrivs)
	m.setLayout(a.StackLimit, a.NoRandomize)
	l := &loading{ctx: ctx, m: m, args: &a, argv: argv}
	if err := l.build(img, interp, creds, secure); err != nil {
		return info, err
	}
	info = l.info
	info.Name = a.Filename[strings.LastIndexByte(a.Filename, '/')+1:]
	info.Creds, info.SecureExec = creds, secure
	info.NotDumpable = secure || creds.EffectiveUID != a.Creds.EffectiveUID ||
		creds.EffectiveGID != a.Creds.EffectiveGID || !mayRead(file, creds)
	return info, m.loaded(ctx, file, &info)
}

// readAt reads up to len(b) bytes of the file at offset; fewer only at the end of the file.
func readAt(ctx context.Context, f *vfs.FileDescription, b []byte, offset int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := f.PRead(ctx, usermem.BytesSequence(b[done:]), offset+int64(done))
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}
