package pgalloc

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
)

// Committed lists the ranges that have references and hold data, in rising order: what a
// checkpoint must save. Nothing may change the file meanwhile.
func (f *MemoryFile) Committed() ([]memmap.Range, error) {
	f.Reclaim()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []memmap.Range
	pos := int64(firstOffset)
	for {
		start, err := unix.Seek(f.fd, pos, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("memory file: looking for data: %w", err)
		}
		if pos, err = unix.Seek(f.fd, start, unix.SEEK_HOLE); err != nil {
			return nil, fmt.Errorf("memory file: looking for holes: %w", err)
		}
		data := memmap.Range{Start: uint64(start), End: uint64(pos)}
		for it := f.used.LowerBound(data.Start); it.Ok() && it.Start() < data.End; it = it.Next() {
			part := memmap.Range(it.Range()).Intersect(data)
			if it.Value().refs == 0 {
				continue
			}
			if n := len(out) - 1; n >= 0 && out[n].End == part.Start {
				out[n].End = part.End
			} else {
				out = append(out, part)
			}
		}
	}
}

// Reattach gives a restored file, whose ranges and references were loaded, a new host file:
// fd, an empty memfd that then belongs to it. The caller fills in what Committed listed, by
// Bytes. It fails if the host offers less address space than the file uses.
func (f *MemoryFile) Reattach(fd int) error {
	old := f.capacity
	f.fd = fd
	if err := f.mapAll(); err != nil {
		return err
	}
	if last := f.used.Last(); last.Ok() && last.End() > f.capacity {
		return fmt.Errorf("memory file: the host offers %d bytes of address space, the checkpoint needs %d (it was made with %d)", f.capacity, last.End(), old)
	}
	// Freed pages that waited for their hole are holes in the new file.
	f.mu.Lock()
	f.armed, f.closed = false, false
	f.mu.Unlock()
	f.Reclaim()
	return nil
}
