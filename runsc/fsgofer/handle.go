package fsgofer

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
)

// handle implements p9.Handle for a regular file or a directory.
type handle struct {
	s   *server
	fd  *fd.FD
	dir bool
	dev uint64 // of a directory, for the QIDs of its entries

	mu   sync.Mutex // guards the fields below, which are a directory's
	mem  []byte     // for getdents64
	rest []byte     // the part of mem that was returned and not taken
	next uint64     // Offset behind which rest continues
}

// direntBufferSize is how much getdents64 is asked for at a time.
const direntBufferSize = 32 << 10

// FD implements p9.Handle. Directories are not donated: with one the client could open what
// is below it, and what is above.
func (h *handle) FD() int {
	if h.dir {
		return -1
	}
	return h.fd.Num()
}

// ReadAt implements p9.Handle.
func (h *handle) ReadAt(p []byte, offset uint64) (int, error) {
	if h.dir {
		return 0, unix.EISDIR
	}
	if int64(offset) < 0 {
		return 0, unix.EINVAL
	}
	done := 0
	for done < len(p) {
		n, err := unix.Pread(h.fd.Num(), p[done:], int64(offset)+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// WriteAt implements p9.Handle.
func (h *handle) WriteAt(p []byte, offset uint64) (int, error) {
	if h.dir {
		return 0, unix.EISDIR
	}
	if int64(offset) < 0 {
		return 0, unix.EINVAL
	}
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(h.fd.Num(), p[done:], int64(offset)+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		done += n
	}
	return done, nil
}

// Stat implements p9.Handle.
func (h *handle) Stat(name string) (p9.Attr, error) {
	if !h.dir {
		return p9.Attr{}, unix.ENOTDIR
	}
	var st unix.Statx_t
	if err := statx(h.fd.Num(), name, &st); err != nil {
		return p9.Attr{}, err
	}
	if err := h.s.mayExist(uint32(st.Mode)); err != nil {
		return p9.Attr{}, err
	}
	return h.s.attr(&st)
}

// Sync implements p9.Handle.
func (h *handle) Sync(dataOnly bool) error {
	if dataOnly {
		return unix.Fdatasync(h.fd.Num())
	}
	return unix.Fsync(h.fd.Num())
}

// Flush implements p9.Handle: network file systems report write errors at close(2).
func (h *handle) Flush() error {
	d, err := fd.Dup(h.fd.Num())
	if err != nil {
		return err
	}
	return d.Close()
}

// Allocate implements p9.Handle.
func (h *handle) Allocate(mode uint32, offset, length uint64) error {
	if h.dir {
		return unix.EISDIR
	}
	if err := h.s.writable(); err != nil {
		return err
	}
	return fd.Retry(func() error { return unix.Fallocate(h.fd.Num(), mode, int64(offset), int64(length)) })
}

// Close implements p9.Handle.
func (h *handle) Close() { h.fd.Close() }

// Layout of struct linux_dirent64.
const (
	direntIno    = 0
	direntOff    = 8
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

// ReadDir implements p9.Handle. Cookies are the host file system's own (d_off), which stay
// valid while entries come and go.
func (h *handle) ReadDir(offset uint64, emit func(*p9.Dirent) bool) error {
	if !h.dir {
		return unix.ENOTDIR
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if offset != h.next || offset == 0 {
		if _, err := unix.Seek(h.fd.Num(), int64(offset), unix.SEEK_SET); err != nil {
			return err
		}
		h.rest = nil
		h.next = offset
	}
	for {
		if len(h.rest) == 0 {
			if h.mem == nil {
				h.mem = make([]byte, direntBufferSize)
			}
			n, err := unix.Getdents(h.fd.Num(), h.mem)
			if err != nil || n == 0 {
				return err
			}
			h.rest = h.mem[:n]
		}
		b := h.rest
		reclen := int(binary.NativeEndian.Uint16(b[direntReclen:]))
		name := b[direntName:reclen]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		typ := b[direntType]
		path, err := h.s.qids.path(h.dev, binary.NativeEndian.Uint64(b[direntIno:]))
		if err != nil {
			return err
		}
		entry := p9.Dirent{
			QID:    p9.QID{Type: p9.QIDTypeOf(uint32(typ) << 12), Path: path},
			Offset: binary.NativeEndian.Uint64(b[direntOff:]),
			Type:   typ,
			Name:   string(name),
		}
		if !emit(&entry) {
			return nil
		}
		h.rest = b[reclen:]
		h.next = entry.Offset
	}
}
