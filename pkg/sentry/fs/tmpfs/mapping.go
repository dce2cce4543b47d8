package tmpfs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// faultAround is how much of a hole gets pages when one of them is touched.
const faultAround = 64 << 10

// AddMapping implements memmap.Mappable.
func (r *regular) AddMapping(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) error {
	if writable {
		r.mu.Lock()
		if r.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
			r.mu.Unlock()
			return unix.EPERM
		}
		r.writable += int(ar.Length() / pageSize)
		r.mu.Unlock()
	}
	r.mappings.Add(ms, ar, offset, writable)
	return nil
}

// RemoveMapping implements memmap.Mappable.
func (r *regular) RemoveMapping(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) {
	if writable {
		r.mu.Lock()
		r.writable -= int(ar.Length() / pageSize)
		r.mu.Unlock()
	}
	r.mappings.Remove(ms, ar, offset, writable)
}

// CopyMapping implements memmap.Mappable.
func (r *regular) CopyMapping(ms memmap.MappingSpace, _, dst usermem.AddrRange, offset uint64, writable bool) error {
	return r.AddMapping(ms, dst, offset, writable)
}

// Translate implements memmap.Mappable.
func (r *regular) Translate(required, optional memmap.Range, _ memmap.AccessType, dst []memmap.Translation) ([]memmap.Translation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	eof := memmap.PageUp(uint64(r.size.Load()))
	var short error
	if required.End > eof {
		if short = unix.EFAULT; required.Start >= eof {
			return dst, short
		}
		required.End = eof
	}
	optional.End = min(optional.End, eof)

	// Holes get pages: those that are required, and some around them.
	lo := max(required.Start&^(faultAround-1), optional.Start)
	hi := min((required.End+faultAround-1)&^(faultAround-1), optional.End)
	if _, err := r.fill(lo, hi); err != nil {
		if _, err := r.fill(required.Start, required.End); err != nil {
			return dst, unix.EFAULT
		}
	}
	// From the required range downwards as far as there are pages, then upwards.
	start := required.Start
	it := r.data.Find(start)
	for it.Ok() && it.Start() > optional.Start {
		p := it.Prev()
		if !p.Ok() || p.End() != it.Start() {
			break
		}
		it = p
	}
	pos := max(it.Start(), optional.Start)
	for ; it.Ok() && it.Start() <= pos && pos < optional.End; it = it.Next() {
		end := min(it.End(), optional.End)
		dst = append(dst, memmap.Translation{
			Source: memmap.Range{Start: pos, End: end}, File: r.fs.mf,
			Offset: uint64(*it.Value()) + pos - it.Start(), Perms: memmap.AnyAccess,
		})
		pos = end
	}
	return dst, short
}
