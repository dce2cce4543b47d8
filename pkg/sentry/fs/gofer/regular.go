package gofer

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// regular is a regular file.
//
// reader and writer are the descriptors in use, often the same. They are read without a
// lock by whoever has the file open, because none is closed while opens is not 0.
type regular struct {
	inode

	reader, writer atomic.Pointer[hostFile]

	dirty atomic.Bool // written to since the last sync

	appendMu sync.Mutex // held while the end of the file is written to

	hostMu  sync.Mutex // guards the fields below, and changes of reader and writer
	opens   int        // open descriptions, operations that need a descriptor, 1 if mapped
	retired []*hostFile

	mapMu    sync.Mutex // guards the field below
	mappings map[memmap.MappingSpace][]mapping
}

// acquire makes sure that there are descriptors for what the caller is going to do, and that
// they stay until release.
func (r *regular) acquire(read, write bool) error {
	r.hostMu.Lock()
	var retired *hostFile
	var err error
	if read && r.reader.Load() == nil || write && r.writer.Load() == nil {
		retired, err = r.openHostLocked(read, write)
	}
	if err == nil {
		r.opens++
	}
	r.hostMu.Unlock()
	if retired != nil {
		r.invalidate(0, false)
	}
	return err
}

// openHostLocked asks the gofer for a descriptor. It returns the one that was replaced, if
// any, of which mappings may exist. The caller holds hostMu.
func (r *regular) openHostLocked(read, write bool) (retired *hostFile, err error) {
	if !write {
		host, err := r.openFD(unix.O_RDONLY)
		if err != nil {
			return nil, err
		}
		if err := checkHost(host); err != nil {
			return nil, err
		}
		r.reader.Store(r.fs.newHostFile(host, unix.O_RDONLY))
		return nil, nil
	}
	flags := uint32(unix.O_RDWR)
	host, err := r.openFD(flags)
	if (err == unix.EACCES || err == unix.EPERM) && !read {
		flags = unix.O_WRONLY
		host, err = r.openFD(flags)
	}
	if err != nil {
		return nil, err
	}
	if err := checkHost(host); err != nil {
		return nil, err
	}
	r.touched.Store(true)
	h := r.fs.newHostFile(host, flags)
	if old := r.writer.Swap(h); old != nil {
		r.retired = append(r.retired, old)
	}
	if h.readable {
		if old := r.reader.Swap(h); old != nil {
			r.retired = append(r.retired, old)
			retired = old
		}
	}
	return retired, nil
}

// give hands in the descriptor that came when the file was created.
func (r *regular) give(host *fd.FD) {
	r.hostMu.Lock()
	defer r.hostMu.Unlock()
	if r.writer.Load() != nil || r.reader.Load() != nil {
		host.Close()
		return
	}
	if checkHost(host) != nil {
		return // the open that follows fails
	}
	r.touched.Store(true)
	h := r.fs.newHostFile(host, unix.O_RDWR)
	r.writer.Store(h)
	r.reader.Store(h)
}

// release undoes acquire.
func (r *regular) release() {
	r.hostMu.Lock()
	defer r.hostMu.Unlock()
	r.opens--
	if r.opens > 0 {
		return
	}
	for _, h := range r.retired {
		h.drop(1)
	}
	r.retired = nil
	if r.fs.shared || r.fs.hostFDs.Load() > r.fs.idleFDs {
		r.closeHostLocked()
	}
}

// closeHostLocked gives up the descriptors; nobody has the file open. The caller holds hostMu.
func (r *regular) closeHostLocked() {
	reader, writer := r.reader.Swap(nil), r.writer.Swap(nil)
	if reader == nil && writer == nil {
		return
	}
	if writer != nil {
		r.outdated() // size and times were the descriptor's to know
		writer.drop(1)
	}
	if reader != nil && reader != writer {
		reader.drop(1)
	}
}

// Release implements vfs.Inode.
func (r *regular) Release(ctx context.Context) {
	r.hostMu.Lock()
	r.closeHostLocked()
	r.hostMu.Unlock()
	r.inode.Release(ctx)
}

// Open implements vfs.Inode.
func (r *regular) Open(_ context.Context, flags uint32) (vfs.File, error) {
	acc := flags & unix.O_ACCMODE
	f := &regularFile{r: r}
	switch {
	case flags&unix.O_SYNC == unix.O_SYNC:
		f.writeFlags = unix.RWF_SYNC
	case flags&unix.O_DSYNC != 0:
		f.writeFlags = unix.RWF_DSYNC
	}
	if err := r.acquire(acc != unix.O_WRONLY, acc != unix.O_RDONLY); err != nil {
		return nil, err
	}
	return f, nil
}

// Stat implements vfs.Inode. A descriptor knows better than the cache. Owner and group are not
// taken from it: the sentry's user namespace may not know them.
func (r *regular) Stat(context.Context) (vfs.Attr, error) {
	var st unix.Stat_t
	open := r.fstat(&st)
	var a p9.Attr
	if !open || r.fs.shared {
		var err error
		if a, err = r.getAttr(); err != nil && !open {
			return vfs.Attr{}, err
		}
	}
	if !open {
		return r.vfsAttr(&a), nil
	}
	r.mu.Lock()
	a = r.attr
	r.mu.Unlock()
	v := r.vfsAttr(&a)
	v.Mode = st.Mode
	v.Nlink = uint32(st.Nlink)
	v.Size = uint64(st.Size)
	v.Blocks = uint64(st.Blocks)
	v.Atime, v.Mtime, v.Ctime = st.Atim.Nano(), st.Mtim.Nano(), st.Ctim.Nano()
	return v, nil
}

// fstat asks a descriptor for attributes; false if there is none.
func (r *regular) fstat(st *unix.Stat_t) bool {
	r.hostMu.Lock()
	defer r.hostMu.Unlock()
	h := r.writer.Load()
	if h == nil {
		if h = r.reader.Load(); h == nil {
			return false
		}
	}
	return unix.Fstat(h.fd.Num(), st) == nil
}

// size returns the size of the file, which the caller has open.
func (r *regular) size() (int64, error) {
	h := r.writer.Load()
	if h == nil {
		h = r.reader.Load()
	}
	if h != nil {
		var st unix.Stat_t
		if err := unix.Fstat(h.fd.Num(), &st); err != nil {
			return 0, err
		}
		return st.Size, nil
	}
	a, err := r.getAttr()
	return int64(a.Size), err
}

// SetAttr implements vfs.Inode. The size is set through the descriptor, so that what has the
// file open and what has it mapped sees the change.
func (r *regular) SetAttr(_ context.Context, a vfs.SetAttr) error {
	if a.Mask&vfs.SetSize != 0 {
		if err := r.truncate(int64(a.Size)); err != nil {
			return err
		}
		a.Mask &^= vfs.SetSize
		if a.Mask&vfs.SetMtimeNow != 0 { // the host has done that
			a.Mask &^= vfs.SetMtime | vfs.SetMtimeNow
		}
		if a.Mask == 0 {
			return nil
		}
	}
	err := r.setAttr(a)
	if err == nil && a.Mask&vfs.SetMode != 0 {
		r.PrivilegesChanged()
	}
	return err
}

func (r *regular) truncate(size int64) error {
	if err := r.acquire(false, true); err != nil {
		return err
	}
	defer r.release()
	r.appendMu.Lock()
	defer r.appendMu.Unlock()
	old, err := r.size()
	if err != nil {
		return err
	}
	err = fd.Retry(func() error { return unix.Ftruncate(r.writer.Load().fd.Num(), size) })
	if err != nil {
		return err
	}
	r.outdated()
	r.dirty.Store(true)
	if size < old {
		// The host takes its own pages away; private copies behind the end go here.
		r.invalidate(memmap.PageUp(uint64(size)), true)
	}
	return nil
}

// sync flushes the file to the host's disk.
func (r *regular) sync(dataOnly bool) error {
	if err := r.acquire(r.writer.Load() == nil, false); err != nil {
		return err
	}
	defer r.release()
	h := r.writer.Load()
	if h == nil {
		h = r.reader.Load()
	}
	r.dirty.Store(false)
	flush := unix.Fsync
	if dataOnly {
		flush = unix.Fdatasync
	}
	err := fd.Retry(func() error { return flush(h.fd.Num()) })
	if err != nil {
		r.dirty.Store(true)
	}
	return err
}

// regularFile implements vfs.File.
type regularFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	r          *regular
	writeFlags int // RWF_SYNC or RWF_DSYNC
}

// Release implements vfs.File.
func (f *regularFile) Release(context.Context) { f.r.release() }

// Read implements vfs.File.
func (f *regularFile) Read(_ context.Context, dst usermem.Sequence, offset int64) (int, error) {
	io := newHostIO(f.r.reader.Load().fd.Num(), offset, 0)
	n, err := dst.CopyOutFrom(io)
	io.free()
	return n, err
}

// Write implements vfs.File.
func (f *regularFile) Write(_ context.Context, src usermem.Sequence, offset int64, appendMode bool) (int, int64, error) {
	r := f.r
	flags := f.writeFlags
	if appendMode {
		r.appendMu.Lock()
		defer r.appendMu.Unlock()
		flags |= unix.RWF_APPEND
	}
	if !r.dirty.Load() {
		r.dirty.Store(true)
	}
	io := newHostIO(r.writer.Load().fd.Num(), offset, flags)
	n, err := src.CopyInTo(io)
	io.free()
	if appendMode && n > 0 {
		end, serr := r.size()
		if serr != nil {
			return n, offset, serr
		}
		return n, end, err
	}
	return n, offset + int64(n), err
}

// Seek implements vfs.File.
func (f *regularFile) Seek(_ context.Context, offset int64, whence int32, _ int64) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, vfs.ErrDefault
	}
	h := f.r.reader.Load()
	if h == nil {
		h = f.r.writer.Load()
	}
	// The position of the descriptor, which this moves, is never used.
	return unix.Seek(h.fd.Num(), offset, int(whence))
}

// Sync implements vfs.File.
func (f *regularFile) Sync(_ context.Context, dataOnly bool) error { return f.r.sync(dataOnly) }

// Allocate implements vfs.File.
func (f *regularFile) Allocate(_ context.Context, mode uint32, offset, length int64) error {
	r := f.r
	r.dirty.Store(true)
	r.appendMu.Lock()
	defer r.appendMu.Unlock()
	err := fd.Retry(func() error { return unix.Fallocate(r.writer.Load().fd.Num(), mode, offset, length) })
	if err == nil && mode&(unix.FALLOC_FL_COLLAPSE_RANGE|unix.FALLOC_FL_INSERT_RANGE) != 0 {
		// The end comes nearer, or everything moves: what was translated and copied of that
		// goes, as by truncation.
		r.invalidate(memmap.PageDown(uint64(offset)), true)
	}
	return err
}

// Mappable implements vfs.File.
func (f *regularFile) Mappable(context.Context) (memmap.Mappable, error) {
	if f.r.reader.Load() == nil {
		return nil, unix.EACCES
	}
	return f.r, nil
}

var (
	_ vfs.TmpfileDirectory = (*directory)(nil)
	_ vfs.BatchLooker      = (*directory)(nil)
	_ vfs.BatchRevalidator = (*directory)(nil)
	_ vfs.Revalidator      = (*directory)(nil)
	_ vfs.Symlink          = (*symlink)(nil)
	_ vfs.Xattrs           = (*regular)(nil)
	_ memmap.Mappable      = (*regular)(nil)
	_ memmap.File          = (*hostFile)(nil)
)
