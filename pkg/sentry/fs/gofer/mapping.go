package gofer

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// mapping is a range of addresses that shows the file from offset on.
type mapping struct {
	ar     usermem.AddrRange
	offset uint64
}

// AddMapping implements memmap.Mappable.
func (r *regular) AddMapping(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, _ bool) error {
	r.mapMu.Lock()
	defer r.mapMu.Unlock()
	if r.mappings == nil {
		r.mappings = map[memmap.MappingSpace][]mapping{}
	}
	if len(r.mappings) == 0 {
		// Translate needs a descriptor. There is one, because the caller has the file open.
		r.hostMu.Lock()
		r.opens++
		r.hostMu.Unlock()
	}
	r.mappings[ms] = append(r.mappings[ms], mapping{ar, offset})
	return nil
}

// RemoveMapping implements memmap.Mappable. What goes may be a part of a mapping, or span
// several; and while one mapping replaces another, both are there, at the same addresses.
func (r *regular) RemoveMapping(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, _ bool) {
	r.mapMu.Lock()
	defer r.mapMu.Unlock()
	list := r.mappings[ms]
	if list == nil {
		return
	}
	list = cut(list, mapping{ar, offset})
	if len(list) > 0 {
		r.mappings[ms] = list
		return
	}
	delete(r.mappings, ms)
	if len(r.mappings) == 0 {
		r.release()
	}
}

// cut takes each page of gone out of one mapping of the list, in place.
func cut(list []mapping, gone mapping) []mapping {
	for i, m := range list {
		part := m.ar.Intersect(gone.ar)
		if part.Length() == 0 || m.at(part.Start) != gone.at(part.Start) {
			continue
		}
		list[i] = list[len(list)-1]
		list = list[:len(list)-1]
		if m.ar.Start < part.Start {
			list = append(list, mapping{usermem.AddrRange{Start: m.ar.Start, End: part.Start}, m.offset})
		}
		if part.End < m.ar.End {
			list = append(list, mapping{usermem.AddrRange{Start: part.End, End: m.ar.End}, m.at(part.End)})
		}
		if gone.ar.Start < part.Start {
			list = cut(list, mapping{usermem.AddrRange{Start: gone.ar.Start, End: part.Start}, gone.offset})
		}
		if part.End < gone.ar.End {
			list = cut(list, mapping{usermem.AddrRange{Start: part.End, End: gone.ar.End}, gone.at(part.End)})
		}
		return list
	}
	return list
}

// at is the offset that is mapped at addr.
func (m mapping) at(addr uintptr) uint64 { return m.offset + uint64(addr-m.ar.Start) }

// CopyMapping implements memmap.Mappable.
func (r *regular) CopyMapping(ms memmap.MappingSpace, _, dst usermem.AddrRange, offset uint64, writable bool) error {
	return r.AddMapping(ms, dst, offset, writable)
}

// invalidate makes all address spaces forget what they map of the file from the page-aligned
// offset start on, with private copies or without. No lock may be held that Translate takes.
func (r *regular) invalidate(start uint64, private bool) {
	r.mapMu.Lock()
	defer r.mapMu.Unlock()
	for ms, list := range r.mappings {
		for _, m := range list {
			ar := m.ar
			if m.offset < start {
				if start-m.offset >= uint64(ar.Length()) {
					continue
				}
				ar.Start += uintptr(start - m.offset)
			}
			ms.Invalidate(ar, private)
		}
	}
}

// Translate implements memmap.Mappable: offsets of the file are offsets of the descriptor, up
// to the page that holds the end of the file. It takes no lock: a mapping exists, so that the
// descriptor stays, and whoever replaces it invalidates afterwards.
func (r *regular) Translate(required, optional memmap.Range, at memmap.AccessType, dst []memmap.Translation) ([]memmap.Translation, error) {
	h := r.reader.Load()
	if h == nil || !h.perms().SupersetOf(at) {
		return dst, unix.EACCES
	}
	var st unix.Stat_t
	if err := unix.Fstat(h.fd.Num(), &st); err != nil {
		return dst, err
	}
	end := memmap.PageUp(uint64(st.Size))
	if required.Start >= end {
		return dst, unix.EFAULT
	}
	var short error
	if required.End > end {
		short = unix.EFAULT
	}
	optional.End = min(optional.End, end)
	return append(dst, memmap.Translation{
		Source: optional,
		File:   h,
		Offset: optional.Start,
		Perms:  h.perms(),
	}), short
}
