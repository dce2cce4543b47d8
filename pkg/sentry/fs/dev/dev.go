// Package dev makes /dev: the memory devices (null, zero, full, random, urandom), and the
// nodes and symlinks that every container has (the OCI runtime specification, "Default
// Devices" and "Dev symbolic links").
//
// Register tells vfs which file a device number opens; it is called once per kernel.
// Populate fills the root of a new tmpfs, the one that is mounted on /dev. A device node on
// another filesystem opens the same devices.
//
// No locks but zeroFile.mu, a leaf.
package dev

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Numbers of the memory devices, major 1 (Documentation/admin-guide/devices.txt).
const (
	memMajor     = 1
	minorNull    = 3
	minorZero    = 5
	minorFull    = 7
	minorRandom  = 8
	minorURandom = 9
	minorKmsg    = 11
)

// Register makes the memory devices known to v. shared is a tmpfs without limits that holds
// what is mapped from /dev/zero with MAP_SHARED.
func Register(v *vfs.VFS, shared *tmpfs.Filesystem) {
	for minor, d := range map[uint32]vfs.DeviceOpener{
		minorNull:    nullDevice{},
		minorZero:    zeroDevice{shared},
		minorFull:    fullDevice{},
		minorRandom:  randomDevice{},
		minorURandom: randomDevice{},
		minorKmsg:    kmsgDevice{},
	} {
		v.RegisterDevice(unix.S_IFCHR, memMajor, minor, d)
	}
}

// device is what all files here have in common: no end, and a position that stays 0.
type device struct {
	vfs.FileDefaults
	waiter.AlwaysReady
}

// Seek implements vfs.File.
func (device) Seek(context.Context, int64, int32, int64) (int64, error) { return 0, nil }

type nullDevice struct{}

// OpenDevice implements vfs.DeviceOpener.
func (nullDevice) OpenDevice(context.Context, vfs.Path, uint64, uint32) (vfs.File, error) {
	return nullFile{}, nil
}

type nullFile struct{ device }

// Read implements vfs.File.
func (nullFile) Read(context.Context, usermem.Sequence, int64) (int, error) { return 0, nil }

// Write implements vfs.File.
func (nullFile) Write(_ context.Context, src usermem.Sequence, offset int64, _ bool) (int, int64, error) {
	return src.Len(), offset + int64(src.Len()), nil
}

type zeroDevice struct{ shared *tmpfs.Filesystem }

// OpenDevice implements vfs.DeviceOpener.
func (d zeroDevice) OpenDevice(context.Context, vfs.Path, uint64, uint32) (vfs.File, error) {
	return &zeroFile{shared: d.shared}, nil
}

type zeroFile struct {
	nullFile
	shared *tmpfs.Filesystem

	mu     sync.Mutex // guards the field below
	mapped []vfs.Inode
}

// Read implements vfs.File.
func (*zeroFile) Read(_ context.Context, dst usermem.Sequence, _ int64) (int, error) {
	return dst.ZeroOut(dst.Len())
}

// maxZeroMapping bounds offset and length of a mapping: all of user memory.
const maxZeroMapping = 1 << 47

// Mappable implements vfs.File: every mapping is new memory. It lives until the file, which
// its mappings keep open, is released.
func (f *zeroFile) Mappable(ctx context.Context) (memmap.Mappable, error) {
	if f.shared == nil {
		return nil, unix.ENODEV
	}
	inode, m := f.shared.NewUnlinked(ctx, 0o600, maxZeroMapping)
	f.mu.Lock()
	f.mapped = append(f.mapped, inode)
	f.mu.Unlock()
	return m, nil
}

// Release implements vfs.File.
func (f *zeroFile) Release(ctx context.Context) {
	f.mu.Lock()
	mapped := f.mapped
	f.mapped = nil
	f.mu.Unlock()
	for _, i := range mapped {
		vfs.PutInode(ctx, i)
	}
}

type fullDevice struct{}

// OpenDevice implements vfs.DeviceOpener.
func (fullDevice) OpenDevice(context.Context, vfs.Path, uint64, uint32) (vfs.File, error) {
	return fullFile{}, nil
}

type fullFile struct{ device }

// Read implements vfs.File.
func (fullFile) Read(_ context.Context, dst usermem.Sequence, _ int64) (int, error) {
	return dst.ZeroOut(dst.Len())
}

// Write implements vfs.File.
func (fullFile) Write(context.Context, usermem.Sequence, int64, bool) (int, int64, error) {
	return 0, 0, unix.ENOSPC
}

type randomDevice struct{}

// OpenDevice implements vfs.DeviceOpener.
func (randomDevice) OpenDevice(context.Context, vfs.Path, uint64, uint32) (vfs.File, error) {
	return randomFile{}, nil
}

type randomFile struct{ nullFile }

var randomBuffers = sync.Pool{New: func() any { return new([4096]byte) }}

// Read implements vfs.File.
func (randomFile) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	buf := randomBuffers.Get().(*[4096]byte)
	defer randomBuffers.Put(buf)
	done := 0
	for dst.Len() > 0 && (done == 0 || !ctx.Interrupted()) {
		b := buf[:min(dst.Len(), len(buf))]
		rand.Read(b) // never fails
		n, err := dst.CopyOut(b)
		clear(b)
		done += n
		if err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		dst = dst.DropFirst(n)
	}
	return done, nil
}

// Requests of random(4).
const (
	rndGetEntCnt   = 0x80045200
	rndAddToEntCnt = 0x40045201
	rndAddEntropy  = 0x40085203
	rndZapEntCnt   = 0x5204
	rndClearPool   = 0x5206
	rndReseedCRNG  = 0x5207
)

// Ioctl implements vfs.File. The pool is the host's and always full.
func (randomFile) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	switch request {
	case rndGetEntCnt:
		_, err := io.CopyOut(uintptr(arg), binary.LittleEndian.AppendUint32(nil, 256))
		return 0, err
	case rndAddToEntCnt, rndAddEntropy, rndZapEntCnt, rndClearPool, rndReseedCRNG:
		if !ctx.Credentials().HasCapability(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		return 0, nil
	}
	return 0, unix.ENOTTY
}

type kmsgDevice struct{}

// OpenDevice implements vfs.DeviceOpener. There is no kernel log to read; writes vanish.
func (kmsgDevice) OpenDevice(context.Context, vfs.Path, uint64, uint32) (vfs.File, error) {
	return kmsgFile{}, nil
}

type kmsgFile struct{ nullFile }

// Read implements vfs.File.
func (kmsgFile) Read(context.Context, usermem.Sequence, int64) (int, error) { return 0, unix.EAGAIN }

// Readiness implements waiter.Waitable.
func (kmsgFile) Readiness(mask waiter.EventMask) waiter.EventMask {
	return mask & (waiter.EventOut | waiter.EventWrNorm)
}

// PopulateOptions say what /dev has beyond the usual.
type PopulateOptions struct {
	// Console: the container has a terminal.
	Console bool
	// Tun: /dev/net/tun.
	Tun bool
}

type node struct {
	name         string
	mode         uint32
	major, minor uint32
}

var nodes = []node{
	{"null", unix.S_IFCHR | 0o666, memMajor, minorNull},
	{"zero", unix.S_IFCHR | 0o666, memMajor, minorZero},
	{"full", unix.S_IFCHR | 0o666, memMajor, minorFull},
	{"random", unix.S_IFCHR | 0o666, memMajor, minorRandom},
	{"urandom", unix.S_IFCHR | 0o666, memMajor, minorURandom},
	{"tty", unix.S_IFCHR | 0o666, 5, 0},
}

// Populate makes the usual devices, directories and symlinks in dir, the root of a
// filesystem that is not mounted yet. What exists already stays as it is.
func Populate(ctx context.Context, dir vfs.Directory, o PopulateOptions) error {
	list := nodes
	if o.Console {
		list = append(list[:len(list):len(list)], node{"console", unix.S_IFCHR | 0o620, 5, 1})
	}
	for _, n := range list {
		if err := put(ctx, n.name)(dir.Mknod(ctx, n.name, owner(n.mode), unix.Mkdev(n.major, n.minor))); err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm", "mqueue"} {
		mode := uint32(0o755)
		if name == "shm" {
			mode = 0o1777
		}
		if err := put(ctx, name)(dir.Mkdir(ctx, name, owner(mode))); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{
		{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
		{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
	} {
		if err := put(ctx, l[0])(dir.Symlink(ctx, l[0], l[1], owner(0o777))); err != nil {
			return err
		}
	}
	if o.Tun {
		net, err := dir.Mkdir(ctx, "net", owner(0o755))
		if err != nil {
			return fmt.Errorf("/dev/net: %w", err)
		}
		defer vfs.PutInode(ctx, net)
		return put(ctx, "net/tun")(net.(vfs.Directory).Mknod(ctx, "tun", owner(unix.S_IFCHR|0o666), unix.Mkdev(10, 200)))
	}
	return nil
}

func owner(mode uint32) vfs.NewOwner {
	return vfs.NewOwner{Mode: mode, UID: auth.RootUID, GID: auth.RootGID}
}

// put drops the reference of a new inode.
func put(ctx context.Context, name string) func(vfs.Inode, error) error {
	return func(i vfs.Inode, err error) error {
		if err == unix.EEXIST {
			return nil
		}
		if err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
		vfs.PutInode(ctx, i)
		return nil
	}
}
