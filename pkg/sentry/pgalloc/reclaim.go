package pgalloc

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
)

// poolKeep is how long pages may lie in the pool unused.
const poolKeep = time.Second

// tick is the timer's function: it punches what is dirty, and comes back for the pool.
func (f *MemoryFile) tick() {
	f.mu.Lock()
	idle := f.dirtyBytes == 0
	f.mu.Unlock()
	f.punch(idle)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	if f.closed {
		return
	}
	if f.dirtyBytes > 0 {
		f.armed = true
		f.timer.Reset(punchDelay)
	} else if f.poolBytes > 0 {
		f.armed = true
		f.timer.Reset(poolKeep)
	}
}

// Reclaim gives all freed memory back to the host now.
func (f *MemoryFile) Reclaim() { f.punch(true) }

// punch makes holes of the dirty ranges, and of the pool's if pool is set.
func (f *MemoryFile) punch(pool bool) {
	f.punchMu.Lock()
	defer f.punchMu.Unlock()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	work := f.dirty
	f.dirty, f.dirtyBytes = nil, 0
	if pool {
		work = append(work, f.pool...)
		f.pool, f.poolBytes = f.pool[:0], 0
	}
	f.mu.Unlock()
	if len(work) == 0 {
		return
	}
	slices.SortFunc(work, func(a, b memmap.Range) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	n := 0
	for _, fr := range work[1:] {
		if work[n].End == fr.Start {
			work[n].End = fr.End
		} else {
			n++
			work[n] = fr
		}
	}
	work = work[:n+1]
	for _, fr := range work {
		f.zero(fr)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fr := range work {
		f.used.RemoveRange(segment.Range[uint64](fr))
		f.low = min(f.low, fr.Start)
	}
}

// zero makes fr read as zeros, if possible by freeing its pages.
func (f *MemoryFile) zero(fr memmap.Range) {
	for {
		err := unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(fr.Start), int64(fr.Length()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			clear(f.Bytes(fr))
		}
		return
	}
}

// Decommit makes the pages of fr, which the caller holds the only reference on, read as
// zeros and gives them back to the host.
func (f *MemoryFile) Decommit(fr memmap.Range) {
	f.mu.Lock()
	f.setRefs(fr, func(u *usage) { u.present = false })
	f.mu.Unlock()
	f.zero(fr)
}

// Commit makes the pages of fr present in the host's memory. ENOMEM: the host has none.
func (f *MemoryFile) Commit(fr memmap.Range) error {
	for {
		err := unix.Madvise(f.Bytes(fr), unix.MADV_POPULATE_WRITE)
		if err == nil {
			return nil
		}
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err == unix.ENOMEM || err == unix.EFAULT || err == unix.EHWPOISON {
			return unix.ENOMEM
		}
		break // a host older than 5.14
	}
	for {
		err := unix.Fallocate(f.fd, 0, int64(fr.Start), int64(fr.Length()))
		if err != unix.EINTR {
			if err != nil {
				return unix.ENOMEM
			}
			return nil
		}
	}
}

// Resident adds to n how many bytes of fr are in the host's memory. It asks the host, so
// it is for statistics.
func (f *MemoryFile) Resident(fr memmap.Range) uint64 {
	var vec [1024]byte
	var n uint64
	for fr.Start < fr.End {
		part := fr
		part.End = min(part.End, part.Start+uint64(len(vec))*pageSize)
		b := f.Bytes(part)
		pages := int(part.Length() / pageSize)
		if err := mincore(b, vec[:pages]); err != nil {
			return n
		}
		for _, v := range vec[:pages] {
			n += uint64(v & 1)
		}
		fr.Start = part.End
	}
	return n * pageSize
}

// CopyPages copies the pages of src to dst, which was allocated with Overwrite and is as
// long, and says whether all of dst is in memory then: pages that were never touched are not
// brought into being by this.
func (f *MemoryFile) CopyPages(dst, src memmap.Range) bool {
	var have, old [256]byte
	whole := true
	for src.Start < src.End {
		n := min(src.Length(), uint64(len(have))*pageSize)
		s := f.Bytes(memmap.Range{Start: src.Start, End: src.Start + n})
		d := f.Bytes(memmap.Range{Start: dst.Start, End: dst.Start + n})
		pages := int(n / pageSize)
		if mincore(s, have[:pages]) != nil || mincore(d, old[:pages]) != nil {
			copy(d, s)
		} else if !copyPresent(d, s, have[:pages], old[:pages]) {
			whole = false
		}
		src.Start += n
		dst.Start += n
	}
	return whole
}

// copyPresent copies the pages that are present in s, and clears those of d that are
// present although s has none. It says whether all of d is present then.
func copyPresent(d, s, have, old []byte) bool {
	whole := true
	for i := range have {
		a, b := i*pageSize, (i+1)*pageSize
		if have[i]&1 != 0 {
			copy(d[a:b], s[a:b])
		} else if old[i]&1 != 0 {
			clear(d[a:b])
		} else {
			whole = false
		}
	}
	return whole
}

// Presence sets vec[i] to 1 if page i of fr is in the host's memory, else to 0.
func (f *MemoryFile) Presence(fr memmap.Range, vec []byte) {
	if mincore(f.Bytes(fr), vec) != nil {
		clear(vec)
	}
	for i := range vec {
		vec[i] &= 1
	}
}
