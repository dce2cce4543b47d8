package gofer

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/memmap"
)

// chunkSize is how much of a host file is mapped into the sentry at a time, to read and write
// what the application has mapped.
const chunkSize = 2 << 20

// hostFile is a host descriptor of a regular file. It implements memmap.File. Its owner is a
// regular, with one reference; each page in use by an address space counts one, too. With
// the last reference it is closed.
type hostFile struct {
	fs       *Filesystem
	fd       *fd.FD `state:"nosave"`
	readable bool
	writable bool
	refs     atomic.Int64

	mu     sync.Mutex        // guards the field below
	chunks map[uint64][]byte `state:"nosave"` // by offset
}

// checkHost makes sure that a donated descriptor is of a regular file: reading anything else
// could block the sentry. If not it closes the descriptor and returns EIO.
func checkHost(host *fd.FD) error {
	var st unix.Stat_t
	if unix.Fstat(host.Num(), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		return nil
	}
	host.Close()
	return unix.EIO
}

// newHostFile takes over a descriptor opened with flags.
func (fs *Filesystem) newHostFile(host *fd.FD, flags uint32) *hostFile {
	h := &hostFile{
		fs:       fs,
		fd:       host,
		readable: flags&unix.O_ACCMODE != unix.O_WRONLY,
		writable: flags&unix.O_ACCMODE != unix.O_RDONLY,
	}
	h.refs.Store(1)
	fs.hostFDs.Add(1)
	return h
}

// drop gives up n references.
func (h *hostFile) drop(n int64) {
	switch left := h.refs.Add(-n); {
	case left > 0:
		return
	case left < 0:
		panic("gofer: host file released twice")
	}
	for _, b := range h.chunks {
		unix.Munmap(b)
	}
	h.chunks = nil
	if h.fd != nil {
		h.fd.Close()
	}
	h.fs.hostFDs.Add(-1)
}

// FD implements memmap.File.
func (h *hostFile) FD() int { return h.fd.Num() }

// IncRef implements memmap.File.
func (h *hostFile) IncRef(fr memmap.Range) { h.refs.Add(int64(fr.Length() / memmap.PageSize)) }

// DecRef implements memmap.File.
func (h *hostFile) DecRef(fr memmap.Range) { h.drop(int64(fr.Length() / memmap.PageSize)) }

// perms are what a mapping of the descriptor may allow.
func (h *hostFile) perms() memmap.AccessType {
	return memmap.AccessType{Read: h.readable, Write: h.writable && h.readable, Execute: h.readable}
}

// Blocks implements memmap.File.
func (h *hostFile) Blocks(fr memmap.Range, at memmap.AccessType, dst [][]byte) ([][]byte, error) {
	if !h.perms().SupersetOf(at) {
		return dst, unix.EFAULT
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for fr.Length() > 0 {
		start := fr.Start &^ (chunkSize - 1)
		chunk := h.chunks[start]
		if chunk == nil {
			prot := unix.PROT_READ
			if h.writable {
				prot |= unix.PROT_WRITE
			}
			var err error
			chunk, err = unix.Mmap(h.fd.Num(), int64(start), chunkSize, prot, unix.MAP_SHARED)
			if err != nil {
				return dst, err
			}
			if h.chunks == nil {
				h.chunks = map[uint64][]byte{}
			}
			h.chunks[start] = chunk
		}
		end := min(fr.End, start+chunkSize)
		dst = append(dst, chunk[fr.Start-start:end-start])
		fr.Start = end
	}
	return dst, nil
}
