package usermem

import (
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

func word(b []byte) (*uint32, error) {
	if len(b) < 4 {
		return nil, unix.EFAULT
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)&3 != 0 {
		return nil, unix.EINVAL
	}
	return (*uint32)(p), nil
}

// LoadUint32 reads the aligned word at the start of block b atomically. EFAULT: the memory
// is gone; EINVAL: b is not aligned to 4 bytes.
func LoadUint32(b []byte) (v uint32, err error) {
	p, err := word(b)
	if err != nil {
		return 0, err
	}
	var n int
	defer recoverFault(debug.SetPanicOnFault(true), &n, &err)
	return atomic.LoadUint32(p), nil
}

// SwapUint32 is LoadUint32's sibling for exchange.
func SwapUint32(b []byte, new uint32) (v uint32, err error) {
	p, err := word(b)
	if err != nil {
		return 0, err
	}
	var n int
	defer recoverFault(debug.SetPanicOnFault(true), &n, &err)
	return atomic.SwapUint32(p, new), nil
}

// CompareAndSwapUint32 is LoadUint32's sibling for compare-and-swap; it returns the word
// that it found.
func CompareAndSwapUint32(b []byte, old, new uint32) (v uint32, err error) {
	p, err := word(b)
	if err != nil {
		return 0, err
	}
	var n int
	defer recoverFault(debug.SetPanicOnFault(true), &n, &err)
	for {
		if atomic.CompareAndSwapUint32(p, old, new) {
			return old, nil
		}
		if v := atomic.LoadUint32(p); v != old {
			return v, nil
		}
	}
}
