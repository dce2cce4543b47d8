package kernel

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/usermem"
)

// The copy helpers move data between the sentry and the task's application memory. They
// return EFAULT when a byte could not be copied. Only the task's own goroutine uses them,
// with no lock held.

// CopyInBytes fills dst from memory at addr.
func (t *Task) CopyInBytes(addr uintptr, dst []byte) error {
	_, err := t.mm.CopyIn(addr, dst)
	return err
}

// CopyOutBytes writes src to memory at addr.
func (t *Task) CopyOutBytes(addr uintptr, src []byte) error {
	_, err := t.mm.CopyOut(addr, src)
	return err
}

// bytesOf shows a fixed-layout value as bytes.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// CopyIn reads a fixed-layout structure without pointers from the application's memory.
func CopyIn[T any](t *Task, addr uintptr, v *T) error {
	_, err := t.mm.CopyIn(addr, bytesOf(v))
	return err
}

// CopyOut writes a fixed-layout structure without pointers.
func CopyOut[T any](t *Task, addr uintptr, v *T) error {
	_, err := t.mm.CopyOut(addr, bytesOf(v))
	return err
}

// CopyInSlice reads n structures; the caller has bounded n.
func CopyInSlice[T any](t *Task, addr uintptr, n int) ([]T, error) {
	s := make([]T, n)
	if n == 0 {
		return s, nil
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), uintptr(n)*unsafe.Sizeof(s[0]))
	_, err := t.mm.CopyIn(addr, b)
	return s, err
}

// CopyOutSlice writes the structures of s.
func CopyOutSlice[T any](t *Task, addr uintptr, s []T) error {
	if len(s) == 0 {
		return nil
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), uintptr(len(s))*unsafe.Sizeof(s[0]))
	_, err := t.mm.CopyOut(addr, b)
	return err
}

// CopyInString reads a NUL-terminated string of at most max bytes, the NUL not counted.
// ENAMETOOLONG: there is no NUL that early.
func (t *Task) CopyInString(addr uintptr, max int) (string, error) {
	var stack [256]byte
	buf := stack[:0]
	for len(buf) <= max {
		// Up to the end of the page, so that a string at the end of a mapping is read.
		n := int(4096 - addr&4095)
		n = min(n, 256, max+1-len(buf))
		var chunk [256]byte
		c, err := t.mm.CopyIn(addr, chunk[:n])
		for i, b := range chunk[:c] {
			if b == 0 {
				return string(append(buf, chunk[:i]...)), nil
			}
		}
		if err != nil {
			return "", err
		}
		buf = append(buf, chunk[:n]...)
		addr += uintptr(n)
	}
	return "", unix.ENAMETOOLONG
}

// CopyInPath reads a path (at most PATH_MAX-1 bytes).
func (t *Task) CopyInPath(addr uintptr) (string, error) {
	return t.CopyInString(addr, unix.PathMax-1)
}

// CopyInStrings reads argv or envp: pointers up to a null one. E2BIG: the strings and
// pointers together pass max bytes.
func (t *Task) CopyInStrings(addr uintptr, maxOne, max int) ([]string, error) {
	if addr == 0 {
		return nil, nil
	}
	var out []string
	for total := 0; ; {
		var p [8]byte
		if err := t.CopyInBytes(addr, p[:]); err != nil {
			return nil, err
		}
		ptr := uintptr(binary.LittleEndian.Uint64(p[:]))
		if ptr == 0 {
			return out, nil
		}
		s, err := t.CopyInString(ptr, maxOne)
		if err != nil {
			if err == unix.ENAMETOOLONG {
				err = unix.E2BIG
			}
			return nil, err
		}
		if total += len(s) + 9; total > max {
			return nil, unix.E2BIG
		}
		out = append(out, s)
		addr += 8
	}
}

// IO returns the sequence for a buffer argument; like Linux it cuts sizes at MAX_RW_COUNT.
// EFAULT: the range leaves the user address space.
func (t *Task) IO(addr uintptr, size uintptr) (usermem.Sequence, error) {
	if int64(size) < 0 {
		return usermem.Sequence{}, unix.EINVAL
	}
	size = min(size, maxRWCount)
	if addr+size < addr || addr+size > userLimit {
		return usermem.Sequence{}, unix.EFAULT
	}
	return usermem.NewSequence(t.mm, usermem.AddrRange{Start: addr, End: addr + size}), nil
}

// maxRWCount is the most that one read or write moves; userLimit the first address that no
// application memory can have.
const (
	maxRWCount = 0x7ffff000
	userLimit  = 1 << 47
)

// IOVec reads a struct iovec array. EINVAL: count or a length is out of range.
func (t *Task) IOVec(addr uintptr, count int) (usermem.Sequence, error) {
	if count < 0 || count > 1024 {
		return usermem.Sequence{}, unix.EINVAL
	}
	iov, err := CopyInSlice[[2]uint64](t, addr, count)
	if err != nil {
		return usermem.Sequence{}, err
	}
	ars := make([]usermem.AddrRange, 0, count)
	total := uint64(0)
	for _, v := range iov {
		base, n := v[0], v[1]
		if int64(n) < 0 {
			return usermem.Sequence{}, unix.EINVAL
		}
		if n > maxRWCount-total {
			n = maxRWCount - total
		}
		if base+n < base || base+n > userLimit {
			return usermem.Sequence{}, unix.EFAULT
		}
		total += n
		ars = append(ars, usermem.AddrRange{Start: uintptr(base), End: uintptr(base + n)})
	}
	return usermem.NewVectorSequence(t.mm, ars), nil
}
