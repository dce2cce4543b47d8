package tmpfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/mappings"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// extent is where a range of a file lies in the memory file. Neighbours that are so in both
// join.
type extent uint64

// Merge implements segment.Value.
func (e extent) Merge(r, _ segment.Range[uint64], next extent) (extent, bool) {
	return e, uint64(e)+r.Length() == uint64(next)
}

// Split implements segment.Value.
func (e extent) Split(r segment.Range[uint64], at uint64) (extent, extent) {
	return e, e + extent(at-r.Start)
}

// regular is a regular file.
type regular struct {
	node
	file     regularFile
	linkable bool // made by O_TMPFILE: may get its first name

	// ioMu is held shared by reads and exclusively by what changes size or content,
	// for as long as that takes.
	ioMu sync.RWMutex

	// size is changed with mu held.
	size atomic.Int64

	mu    sync.RWMutex // guards the fields below
	data  segment.Set[uint64, extent]
	spare memmap.Range // of the memory file, ours, behind the extent allocated last
	pages int64        // in data
	seals uint32       // F_SEAL_* of memfds
	// writable counts writable shared mappings, which F_SEAL_WRITE refuses to meet.
	writable int

	mappings mappings.List
}

// maxFileSize bounds files so that page arithmetic does not overflow.
const maxFileSize = 1<<63 - pageSize

// maxSpare bounds how much of the memory file is held ready for a growing file.
const maxSpare = 1 << 20

func (fs *Filesystem) newRegular(ctx context.Context, o vfs.NewOwner) *regular {
	r := &regular{seals: unix.F_SEAL_SEAL}
	r.init(ctx, fs, unix.S_IFREG|o.Mode, o)
	r.file.r = r
	return r
}

// Release implements vfs.Inode.
func (r *regular) Release(ctx context.Context) {
	r.mu.Lock()
	r.free(0, ^uint64(0)&^(pageSize-1))
	r.dropSpare()
	r.mu.Unlock()
	r.node.Release(ctx)
}

func (r *regular) dropSpare() {
	if r.spare.Length() > 0 {
		r.fs.mf.DecRef(r.spare)
		r.spare = memmap.Range{}
	}
}

// free drops the pages of [start, end). mu is held.
func (r *regular) free(start, end uint64) {
	if start >= end {
		return
	}
	g := segment.Range[uint64]{Start: start, End: end}
	for it := r.data.LowerBound(start); it.Ok() && it.Start() < end; it = it.Next() {
		part := it.Range().Intersect(g)
		at := uint64(*it.Value()) + part.Start - it.Start()
		r.fs.mf.DecRef(memmap.Range{Start: at, End: at + part.Length()})
		n := int64(part.Length() / pageSize)
		r.pages -= n
		r.fs.pages.Add(-n)
	}
	r.data.RemoveRange(g)
}

// fill allocates the holes in the page-aligned range [start, end) and returns where it
// stopped and why. mu is held.
func (r *regular) fill(start, end uint64) (uint64, error) {
	for start < end {
		it := r.data.LowerBound(start)
		hole := end
		if it.Ok() && it.Start() < end {
			if it.Start() <= start {
				start = it.End()
				continue
			}
			hole = it.Start()
		}
		n := r.fs.chargePages(int64((hole - start) / pageSize))
		if n == 0 {
			return start, unix.ENOSPC
		}
		part := start + uint64(n)*pageSize
		if err := r.fillHole(start, part); err != nil {
			return start, err
		}
		start = part
	}
	return end, nil
}

// fillHole allocates the hole [start, end), whose pages are charged.
func (r *regular) fillHole(start, end uint64) error {
	length := end - start
	var fr memmap.Range
	// Pages go behind those of the bytes before them, so that they are mapped as one.
	var near uint64
	if it := r.data.LowerBound(start - min(start, 1)); start > 0 && it.Ok() && it.End() == start {
		near = uint64(*it.Value()) + it.Range().Length()
	}
	if near != 0 && near == r.spare.Start && length <= r.spare.Length() {
		fr = memmap.Range{Start: near, End: near + length}
		r.spare.Start = fr.End
	} else {
		r.dropSpare()
		extra := uint64(0)
		if near != 0 {
			extra = min(uint64(r.pages)*pageSize, maxSpare)
		}
		all, err := r.fs.mf.Allocate(length+extra, pgalloc.AllocOpts{At: near})
		if err != nil {
			r.fs.pages.Add(-int64(length / pageSize))
			return unix.ENOSPC
		}
		fr = memmap.Range{Start: all.Start, End: all.Start + length}
		r.spare = memmap.Range{Start: fr.End, End: all.End}
	}
	r.data.Insert(segment.Range[uint64]{Start: start, End: end}, extent(fr.Start))
	r.pages += int64(length / pageSize)
	return nil
}

// block returns the bytes of the file from offset on, up to end and as far as they are
// contiguous. For a hole it is nil and n is the hole's length. The bytes stay as long as
// ioMu is held.
func (r *regular) block(offset, end uint64) (b []byte, n uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	it := r.data.LowerBound(offset)
	if !it.Ok() || it.Start() >= end {
		return nil, end - offset
	}
	if it.Start() > offset {
		return nil, it.Start() - offset
	}
	n = min(it.End(), end) - offset
	at := uint64(*it.Value()) + offset - it.Start()
	// Bytes wants no alignment.
	return r.fs.mf.Bytes(memmap.Range{Start: at, End: at + n}), n
}

// zero clears [start, end) where it has pages. ioMu is held.
func (r *regular) zero(start, end uint64) {
	for start < end {
		b, n := r.block(start, end)
		clear(b)
		start += n
	}
}

// invalidate makes address spaces forget the page-aligned range [start, end); private also
// their copies.
func (r *regular) invalidate(start, end uint64, private bool) {
	r.mappings.Invalidate(memmap.Range{Start: start, End: end}, private)
}

// Stat implements vfs.Inode.
func (r *regular) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := r.node.Stat(ctx)
	a.Size = uint64(r.size.Load())
	r.mu.RLock()
	a.Blocks = uint64(r.pages) * (pageSize / 512)
	r.mu.RUnlock()
	return a, err
}

// SetAttr implements vfs.Inode.
func (r *regular) SetAttr(ctx context.Context, a vfs.SetAttr) error {
	if a.Mask&vfs.SetSize != 0 {
		r.ioMu.Lock()
		err := r.resize(int64(a.Size))
		r.ioMu.Unlock()
		if err != nil {
			return err
		}
	}
	if a.Mask&vfs.SetMode != 0 && (a.Mode^r.mode.Load())&0o111 != 0 && r.file.Seals()&sealExec != 0 {
		return unix.EPERM
	}
	return r.node.SetAttr(ctx, a)
}

// resize truncates or extends the file. ioMu is held.
func (r *regular) resize(size int64) error {
	if size > maxFileSize {
		return unix.EFBIG
	}
	r.mu.Lock()
	old := r.size.Load()
	switch {
	case size < old && r.seals&unix.F_SEAL_SHRINK != 0, size > old && r.seals&unix.F_SEAL_GROW != 0:
		r.mu.Unlock()
		return unix.EPERM
	}
	r.size.Store(size)
	r.mu.Unlock()
	if size >= old {
		return nil
	}
	edge := memmap.PageUp(uint64(size))
	// No translation beyond the edge is made any more; those that exist go before the pages.
	r.invalidate(edge, ^uint64(0)&^(pageSize-1), true)
	r.zero(uint64(size), edge)
	r.mu.Lock()
	r.free(edge, ^uint64(0)&^(pageSize-1))
	r.dropSpare()
	r.mu.Unlock()
	return nil
}

// Open implements vfs.Inode.
func (r *regular) Open(context.Context, uint32) (vfs.File, error) { return &r.file, nil }

// regularFile is an open regular file; it has no state of its own.
type regularFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	r *regular
}

// Read implements vfs.File.
func (f *regularFile) Read(_ context.Context, dst usermem.Sequence, offset int64) (int, error) {
	r := f.r
	r.ioMu.RLock()
	defer r.ioMu.RUnlock()
	size := r.size.Load()
	if offset >= size {
		return 0, nil
	}
	end := uint64(min(size, offset+int64(dst.Len())))
	if end < uint64(offset) {
		end = uint64(size)
	}
	done := 0
	for pos := uint64(offset); pos < end; {
		b, n := r.block(pos, end)
		var m int
		var err error
		if b == nil {
			m, err = dst.ZeroOut(int(n))
		} else {
			m, err = dst.CopyOut(b)
		}
		done += m
		pos += uint64(m)
		if err != nil {
			return done, err
		}
		if uint64(m) < n {
			break
		}
		dst = dst.DropFirst(m)
	}
	return done, nil
}

// Write implements vfs.File.
func (f *regularFile) Write(ctx context.Context, src usermem.Sequence, offset int64, appendMode bool) (int, int64, error) {
	r := f.r
	r.ioMu.Lock()
	defer r.ioMu.Unlock()
	size := r.size.Load()
	if appendMode {
		offset = size
	}
	if offset >= maxFileSize {
		return 0, offset, unix.EFBIG
	}
	src = src.TakeFirst(int(min(int64(src.Len()), maxFileSize-offset)))
	want := uint64(offset) + uint64(src.Len())

	r.mu.Lock()
	switch {
	case r.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0:
		r.mu.Unlock()
		return 0, offset, unix.EPERM
	case int64(want) > size && r.seals&unix.F_SEAL_GROW != 0:
		if offset >= size {
			r.mu.Unlock()
			return 0, offset, unix.EPERM
		}
		want = uint64(size)
	}
	// A fault of the source leaves pages of zeros behind, within what was asked for.
	filled, err := r.fill(memmap.PageDown(uint64(offset)), memmap.PageUp(want))
	r.mu.Unlock()
	if end := min(want, filled); end > uint64(offset) {
		want = end
	} else if err != nil {
		return 0, offset, err
	}

	done := 0
	pos := uint64(offset)
	for pos < want {
		b, n := r.block(pos, want)
		if b == nil {
			break // punched out? not while ioMu is held
		}
		m, err := src.CopyIn(b)
		done += m
		pos += uint64(m)
		if err != nil {
			if done == 0 {
				return 0, offset, err
			}
			break
		}
		if uint64(m) < n {
			break
		}
		src = src.DropFirst(m)
	}
	if done > 0 {
		if int64(pos) > size {
			r.mu.Lock()
			r.size.Store(int64(pos))
			r.mu.Unlock()
		}
		r.modified(ctx.RealTime())
	}
	return done, int64(pos), nil
}

// Seek implements vfs.File.
func (f *regularFile) Seek(_ context.Context, offset int64, whence int32, _ int64) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, vfs.ErrDefault
	}
	r := f.r
	r.mu.RLock()
	defer r.mu.RUnlock()
	size := r.size.Load()
	if offset < 0 || offset >= size {
		return 0, unix.ENXIO
	}
	pos := uint64(offset)
	it := r.data.LowerBound(pos)
	if whence == unix.SEEK_DATA {
		if !it.Ok() || max(it.Start(), pos) >= uint64(size) {
			return 0, unix.ENXIO
		}
		return int64(max(it.Start(), pos)), nil
	}
	for it.Ok() && it.Start() <= pos && pos < uint64(size) {
		pos = it.End()
		it = it.Next()
	}
	return min(int64(pos), size), nil
}

// Sync implements vfs.File.
func (f *regularFile) Sync(context.Context, bool) error { return nil }

// Mappable implements vfs.File.
func (f *regularFile) Mappable(context.Context) (memmap.Mappable, error) { return f.r, nil }

// Allocate implements vfs.File.
func (f *regularFile) Allocate(ctx context.Context, mode uint32, offset, length int64) error {
	r := f.r
	end := offset + length
	if end > maxFileSize {
		return unix.EFBIG
	}
	r.ioMu.Lock()
	defer r.ioMu.Unlock()
	r.mu.RLock()
	seals, size := r.seals, r.size.Load()
	r.mu.RUnlock()
	punch := mode&unix.FALLOC_FL_PUNCH_HOLE != 0
	keep := mode&unix.FALLOC_FL_KEEP_SIZE != 0
	switch {
	case mode&^(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0:
		return unix.EOPNOTSUPP
	case (punch || mode&unix.FALLOC_FL_ZERO_RANGE != 0) && seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0,
		!keep && end > size && seals&unix.F_SEAL_GROW != 0:
		return unix.EPERM
	}
	if punch || mode&unix.FALLOC_FL_ZERO_RANGE != 0 {
		first, last := memmap.PageUp(uint64(offset)), memmap.PageDown(uint64(end))
		if first < last {
			r.zero(uint64(offset), first)
			r.zero(last, uint64(end))
			r.mu.Lock()
			r.free(first, last)
			r.mu.Unlock()
			r.invalidate(first, last, false)
		} else {
			r.zero(uint64(offset), uint64(end))
		}
	}
	if !punch {
		r.mu.Lock()
		first, last := memmap.PageDown(uint64(offset)), memmap.PageUp(uint64(end))
		need := last - first - r.data.CoveredLength(segment.Range[uint64]{Start: first, End: last})
		err := error(unix.ENOSPC) // all or nothing
		if r.fs.room(int64(need / pageSize)) {
			_, err = r.fill(first, last)
		}
		if err != nil {
			r.mu.Unlock()
			return err
		}
		if !keep && end > size {
			r.size.Store(end)
		}
		r.mu.Unlock()
	}
	r.modified(ctx.RealTime())
	return nil
}
