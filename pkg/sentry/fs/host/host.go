// Package host makes open files of descriptors that the runtime was given by its client: the
// standard input, output and error of containers.
//
// Such a descriptor is shared with processes outside of the sandbox, so it is used as it is:
// its O_NONBLOCK flag is left alone, a regular file keeps the host's own position and
// O_APPEND. Reads and writes nevertheless never hold a thread of the sentry for long: they
// ask for RWF_NOWAIT, or, where the host's file cannot do that, poll first.
//
// A Filesystem is where the inodes of such files live; it is mounted nowhere. It has one
// goroutine that waits in epoll for all files that somebody sleeps for; a file is only armed,
// edge-triggered, while there are waiters, and the goroutine only exists once one was, so
// that idle files cost nothing.
//
// The host system calls made here are fstat, fcntl(F_GETFL), preadv2, pwritev2, lseek,
// poll, ftruncate, fallocate, fsync, epoll and, on terminals, the ioctls in tty.go.
//
// Lock order: Watched.mu → poller.mu and the waiter queue.
package host

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// Filesystem holds the inodes of donated files.
type Filesystem struct {
	dev    uint64
	poller poller
}

// New makes a Filesystem for the files that v is to see.
func New(v *vfs.VFS) *Filesystem { return &Filesystem{dev: v.AnonDev()} }

// TypeName implements vfs.Filesystem.
func (*Filesystem) TypeName() string { return "hostfs" }

// Root implements vfs.Filesystem.
func (*Filesystem) Root() vfs.Inode { return nil }

// Dev implements vfs.Filesystem.
func (fs *Filesystem) Dev() uint64 { return fs.dev }

// StatFS implements vfs.Filesystem.
func (*Filesystem) StatFS(context.Context) (vfs.StatFS, error) {
	return vfs.StatFS{Type: unix.TMPFS_MAGIC, BlockSize: 4096, NameLength: 255}, nil
}

// Options implements vfs.Filesystem.
func (*Filesystem) Options() string { return "" }

// Sync implements vfs.Filesystem.
func (*Filesystem) Sync(context.Context) error { return nil }

// Release implements vfs.Filesystem: it ends the goroutine. The files are closed before.
func (fs *Filesystem) Release(context.Context) { fs.poller.stop() }

// Options say how a file looks inside the sandbox.
type Options struct {
	UID auth.KUID // owner
	GID auth.KGID
	// TTY allows the terminal requests of tty.go, if it is a terminal.
	TTY bool
}

// NewFile makes an open file of f, which it takes over. The access mode and O_APPEND are the
// host's. The error is for the operator.
func (fs *Filesystem) NewFile(f *fd.FD, o Options) (*vfs.FileDescription, error) {
	var st unix.Stat_t
	if err := fstat(f.Num(), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("host file: fstat: %w", err)
	}
	flags, err := unix.FcntlInt(uintptr(f.Num()), unix.F_GETFL, 0)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("host file: get flags: %w", err)
	}
	if flags&unix.O_PATH != 0 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		f.Close()
		return nil, fmt.Errorf("host file: directories and O_PATH descriptors are refused: %w", unix.EINVAL)
	}
	i := &inode{fs: fs, access: uint32(flags) & unix.O_ACCMODE, typ: st.Mode & unix.S_IFMT, ino: st.Ino, rdev: st.Rdev}
	i.Init(fs, f)
	i.ready = i.typ == unix.S_IFREG
	i.uid.Store(uint32(o.UID))
	i.gid.Store(uint32(o.GID))
	i.mode.Store(st.Mode & 0o7777)
	if i.typ == unix.S_IFCHR {
		_, err := unix.IoctlGetTermios(f.Num(), unix.TCGETS)
		i.terminal = err == nil
		i.ttyAllowed = o.TTY
	}
	name := fmt.Sprintf("host:[%d]", st.Ino)
	switch i.typ {
	case unix.S_IFIFO:
		name = fmt.Sprintf("pipe:[%d]", st.Ino)
	case unix.S_IFSOCK:
		name = fmt.Sprintf("socket:[%d]", st.Ino)
	case unix.S_IFCHR:
		if st.Rdev == unix.Mkdev(1, 3) {
			name = "/dev/null"
		}
	}
	flags &= unix.O_ACCMODE | unix.O_APPEND
	return vfs.NewFileDescription(vfs.NamedAnonPath(name, i), i.newFile(), uint32(flags)), nil
}

// inode is a donated file.
type inode struct {
	vfs.InodeBase
	fs         *Filesystem
	access     uint32 // O_RDONLY, O_WRONLY, O_RDWR
	typ        uint32
	ino, rdev  uint64
	terminal   bool
	ttyAllowed bool

	// Owner and mode are the sandbox's own: the host's file is not changed.
	mode     atomic.Uint32
	uid, gid atomic.Uint32

	Watched
}

// OpensItself implements vfs.SpecialOpener.
func (*inode) OpensItself() {}

// FS implements vfs.Inode.
func (i *inode) FS() vfs.Filesystem { return i.fs }

// InodeNumber implements vfs.InodeNumberer.
func (i *inode) InodeNumber() uint64 { return i.ino }

// Owner implements vfs.Inode.
func (i *inode) Owner() (uint32, auth.KUID, auth.KGID) {
	return i.typ | i.mode.Load(), auth.KUID(i.uid.Load()), auth.KGID(i.gid.Load())
}

// Stat implements vfs.Inode.
func (i *inode) Stat(context.Context) (vfs.Attr, error) {
	var st unix.Stat_t
	if err := fstat(i.fd.Num(), &st); err != nil {
		return vfs.Attr{}, err
	}
	mode, uid, gid := i.Owner()
	return vfs.Attr{
		Ino: i.ino, Mode: mode, Nlink: uint32(st.Nlink), UID: uid, GID: gid, Rdev: i.rdev,
		Size: uint64(st.Size), Blocks: uint64(st.Blocks), Blksize: uint32(st.Blksize),
		Atime: st.Atim.Nano(), Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}, nil
}

// SetAttr implements vfs.Inode. Only the size of a regular file reaches the host.
func (i *inode) SetAttr(_ context.Context, a vfs.SetAttr) error {
	if a.Mask&vfs.SetSize != 0 {
		if err := fd.Retry(func() error { return unix.Ftruncate(i.fd.Num(), int64(a.Size)) }); err != nil {
			return err
		}
	}
	if a.Mask&vfs.SetMode != 0 {
		i.mode.Store(a.Mode)
	}
	if a.Mask&vfs.SetUID != 0 {
		i.uid.Store(uint32(a.UID))
	}
	if a.Mask&vfs.SetGID != 0 {
		i.gid.Store(uint32(a.GID))
	}
	return nil
}

// Open implements vfs.Inode: by /proc/PID/fd, as programs do that open /dev/stdout. The new
// description uses the same descriptor of the host, so it may do what that one may.
func (i *inode) Open(_ context.Context, flags uint32) (vfs.File, error) {
	want := flags & unix.O_ACCMODE
	if i.access != unix.O_RDWR && want != i.access {
		return nil, unix.EACCES
	}
	return i.newFile(), nil
}

// Release implements vfs.Inode.
func (i *inode) Release(context.Context) {
	i.Forget()
	i.fd.Close()
}

func fstat(n int, st *unix.Stat_t) error {
	return fd.Retry(func() error { return unix.Fstat(n, st) })
}
