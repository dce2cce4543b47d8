package systrap

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slotFile is a memfd of equal slots that is mapped here as a whole. Memory is taken when a
// slot is first used.
type slotFile struct {
	file *os.File
	mem  []byte
	size int // of a slot, in bytes
	max  int

	mu   sync.Mutex // guards the fields below
	free []int
	next int // first slot never used
}

func newSlotFile(name string, size, max int) (*slotFile, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	s := &slotFile{file: os.NewFile(uintptr(fd), name), size: size, max: max}
	if err = unix.Ftruncate(fd, int64(size)*int64(max)); err == nil {
		s.mem, err = unix.Mmap(fd, 0, size*max, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	}
	if err != nil {
		s.file.Close()
		return nil, fmt.Errorf("memory for %d slots of %s: %w", max, name, err)
	}
	return s, nil
}

func (s *slotFile) close() {
	unix.Munmap(s.mem)
	s.file.Close()
}

// take returns a slot, or EAGAIN.
func (s *slotFile) take() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot, nil
	}
	if s.next == s.max {
		return 0, unix.EAGAIN
	}
	s.next++
	return s.next - 1, nil
}

// give returns a slot that nothing uses or maps any more.
func (s *slotFile) give(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, slot)
}

func (s *slotFile) offset(slot int) uintptr { return uintptr(slot) * uintptr(s.size) }

func (s *slotFile) bytes(slot int) []byte { return s.mem[slot*s.size : (slot+1)*s.size] }

func (s *slotFile) pointer(slot int) unsafe.Pointer { return unsafe.Pointer(&s.mem[slot*s.size]) }
