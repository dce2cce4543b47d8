// Package tmpfs is the filesystem whose files live in the sandbox's memory (tmpfs(5)): for
// /tmp and /dev/shm, for the upper layer of overlays, for memfd_create(2) and shared
// anonymous memory.
//
// A Filesystem holds nodes: regular, directory, symlink and special ones. Content of
// regular files lies in pages of the memory file (pgalloc), each file's a set of ranges, so
// that read(2), write(2) and shared mappings are views of the same bytes. Names are kept in
// the directories' own tables; a name holds a reference on its node, and vfs's dentries come
// on top.
//
// Lock order: regular.ioMu (held by reads and writes of a whole request, while application
// memory is copied) → the address space's locks → regular.mu (content, size) or
// the list of mappings; directory.mu, node.mu are leaves. Fault handling comes in by
// Translate, which takes regular.mu only; hence mu is never held while application memory is
// copied.
package tmpfs

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/vfs"
)

const pageSize = 4096

// Options are the mount options of tmpfs(5).
type Options struct {
	Size     uint64 // bytes, rounded up to pages; 0: no limit
	Inodes   uint64 // 0: no limit
	Mode     uint32 // of the root directory; 0 is 01777 unless ModeSet
	ModeSet  bool
	UID      auth.KUID
	GID      auth.KGID
	TypeName string // in /proc/mounts; "tmpfs" if empty
}

// Filesystem is a tmpfs.
type Filesystem struct {
	dev  uint64
	mf   *pgalloc.MemoryFile
	typ  string
	root *directory
	mode uint32 // as mounted, for Options

	lastIno atomic.Uint64
	inodes  atomic.Int64
	pages   atomic.Int64

	mu        sync.Mutex // guards the fields below for writing
	maxPages  atomic.Int64
	maxInodes atomic.Int64
	uid       auth.KUID
	gid       auth.KGID
}

// New makes a tmpfs of v with content in mf.
func New(ctx context.Context, v *vfs.VFS, mf *pgalloc.MemoryFile, o Options) *Filesystem {
	fs := &Filesystem{dev: v.AnonDev(), mf: mf, typ: o.TypeName, uid: o.UID, gid: o.GID}
	if fs.typ == "" {
		fs.typ = "tmpfs"
	}
	fs.maxPages.Store(int64((o.Size + pageSize - 1) / pageSize))
	fs.maxInodes.Store(int64(o.Inodes))
	fs.mode = o.Mode & 0o7777
	if fs.mode == 0 && !o.ModeSet {
		fs.mode = 0o1777
	}
	fs.root = fs.newDirectory(ctx, vfs.NewOwner{Mode: fs.mode, UID: o.UID, GID: o.GID})
	fs.inodes.Add(1)
	return fs
}

// Type is tmpfs for mount(2).
type Type struct {
	MemoryFile *pgalloc.MemoryFile
	// TotalMemory is what "size=50%" is a part of, and twice the default size.
	TotalMemory uint64
}

// NewFilesystem implements vfs.FilesystemType.
func (t *Type) NewFilesystem(ctx context.Context, v *vfs.VFS, _, data string) (vfs.Filesystem, error) {
	o := Options{Size: t.TotalMemory / 2}
	c := ctx.Credentials()
	o.UID, o.GID = c.FSUID, c.FSGID
	if err := ParseOptions(data, t.TotalMemory, c.UserNS, &o); err != nil {
		return nil, err
	}
	return New(ctx, v, t.MemoryFile, o), nil
}

// NeedsDevice implements vfs.FilesystemType.
func (*Type) NeedsDevice() bool { return false }

// UserMountable implements vfs.FilesystemType.
func (*Type) UserMountable() bool { return true }

// ParseOptions reads mount options such as "size=64k,mode=755" into o. EINVAL: an option
// is unknown or bad.
func ParseOptions(data string, total uint64, ns *auth.UserNamespace, o *Options) error {
	for opt := range strings.SplitSeq(data, ",") {
		key, value, _ := strings.Cut(opt, "=")
		var n uint64
		var err error
		switch key {
		case "", "huge", "mpol", "noswap", "inode32", "inode64", "rw", "ro", "usrquota", "grpquota":
		case "size":
			o.Size, err = parseSize(value, total)
		case "nr_blocks":
			n, err = parseSize(value, 0)
			o.Size = n * pageSize
			if n > 1<<50 {
				err = unix.EINVAL
			}
		case "nr_inodes":
			o.Inodes, err = parseSize(value, 0)
		case "mode":
			n, err = strconv.ParseUint(value, 8, 32)
			o.Mode, o.ModeSet = uint32(n)&0o7777, true
		case "uid":
			n, err = strconv.ParseUint(value, 10, 32)
			if o.UID = ns.KUID(uint32(n)); uint32(o.UID) == auth.NoID {
				err = unix.EINVAL
			}
		case "gid":
			n, err = strconv.ParseUint(value, 10, 32)
			if o.GID = ns.KGID(uint32(n)); uint32(o.GID) == auth.NoID {
				err = unix.EINVAL
			}
		default:
			err = unix.EINVAL
		}
		if err != nil {
			return unix.EINVAL
		}
	}
	return nil
}

// parseSize reads a number with a suffix k, m, g or t, or a percentage of total.
func parseSize(s string, total uint64) (uint64, error) {
	shift := 0
	if s != "" {
		switch s[len(s)-1] {
		case '%':
			n, err := strconv.ParseUint(s[:len(s)-1], 10, 16)
			return total / 100 * n, err
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		case 't', 'T':
			shift = 40
		}
	}
	if shift > 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err == nil && n > 1<<62>>shift {
		err = unix.EINVAL
	}
	return n << shift, err
}

// TypeName implements vfs.Filesystem.
func (fs *Filesystem) TypeName() string { return fs.typ }

// Root implements vfs.Filesystem.
func (fs *Filesystem) Root() vfs.Inode { return fs.root }

// Dev implements vfs.Filesystem.
func (fs *Filesystem) Dev() uint64 { return fs.dev }

// StatFS implements vfs.Filesystem.
func (fs *Filesystem) StatFS(context.Context) (vfs.StatFS, error) {
	s := vfs.StatFS{Type: unix.TMPFS_MAGIC, BlockSize: pageSize, NameLength: vfs.NameMax}
	if m := fs.maxPages.Load(); m > 0 {
		s.Blocks = uint64(m)
		s.BlocksFree = uint64(max(m-fs.pages.Load(), 0))
		s.BlocksAvail = s.BlocksFree
	}
	if m := fs.maxInodes.Load(); m > 0 {
		s.Files = uint64(m)
		s.FilesFree = uint64(max(m-fs.inodes.Load(), 0))
	}
	return s, nil
}

// Options implements vfs.Filesystem.
func (fs *Filesystem) Options() string {
	var o []string
	if m := fs.maxPages.Load(); m > 0 {
		o = append(o, fmt.Sprintf("size=%dk", m*4))
	}
	if m := fs.maxInodes.Load(); m > 0 {
		o = append(o, fmt.Sprintf("nr_inodes=%d", m))
	}
	if fs.mode != 0o1777 {
		o = append(o, fmt.Sprintf("mode=%03o", fs.mode))
	}
	if fs.uid != 0 {
		o = append(o, fmt.Sprintf("uid=%d", fs.uid))
	}
	if fs.gid != 0 {
		o = append(o, fmt.Sprintf("gid=%d", fs.gid))
	}
	return strings.Join(o, ",")
}

// Remount implements vfs.Remounter: limits may change.
func (fs *Filesystem) Remount(ctx context.Context, data string) error {
	o := Options{Size: uint64(fs.maxPages.Load()) * pageSize, Inodes: uint64(fs.maxInodes.Load())}
	if err := ParseOptions(data, 0, ctx.Credentials().UserNS, &o); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	pages := int64((o.Size + pageSize - 1) / pageSize)
	if pages > 0 && pages < fs.pages.Load() || o.Inodes > 0 && int64(o.Inodes) < fs.inodes.Load() {
		return unix.EINVAL
	}
	fs.maxPages.Store(pages)
	fs.maxInodes.Store(int64(o.Inodes))
	return nil
}

// Sync implements vfs.Filesystem.
func (fs *Filesystem) Sync(context.Context) error { return nil }

// Release implements vfs.Filesystem: all content goes.
func (fs *Filesystem) Release(ctx context.Context) { fs.root.empty(ctx) }

// chargePages counts up to n more pages and returns how many there was room for.
func (fs *Filesystem) chargePages(n int64) int64 {
	used, limit := fs.pages.Add(n), fs.maxPages.Load()
	if limit == 0 || used <= limit {
		return n
	}
	over := min(used-limit, n)
	fs.pages.Add(-over)
	return n - over
}

// room says whether n more pages fit.
func (fs *Filesystem) room(n int64) bool {
	limit := fs.maxPages.Load()
	return limit == 0 || fs.pages.Load()+n <= limit
}

func (fs *Filesystem) chargeInode() error {
	if m := fs.maxInodes.Load(); fs.inodes.Add(1) > m && m > 0 {
		fs.inodes.Add(-1)
		return unix.ENOSPC
	}
	return nil
}
