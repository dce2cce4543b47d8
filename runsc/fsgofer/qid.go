package fsgofer

import (
	"sync"

	"golang.org/x/sys/unix"
)

// qidTable maps device and inode number, 64 bits each, to the 64 bits of a QID path. The
// low 48 bits are the inode number's. The high 16 are a number given out to each pair of
// device and high inode bits when it is first met (overlayfs puts the number of a layer
// there), so that there are no collisions, and 0 for the first, so that inode numbers look
// like the host's as a rule.
type qidTable struct {
	mu    sync.RWMutex // guards the field below
	index map[qidKey]uint64
}

type qidKey struct {
	dev     uint64
	inoHigh uint16
}

const inoBits = 48

// path returns the QID path, or EOVERFLOW when the tree spans more devices than there are
// numbers.
func (t *qidTable) path(dev, ino uint64) (uint64, error) {
	key := qidKey{dev, uint16(ino >> inoBits)}
	low := ino & (1<<inoBits - 1)
	t.mu.RLock()
	i, known := t.index[key]
	t.mu.RUnlock()
	if !known {
		t.mu.Lock()
		defer t.mu.Unlock()
		if i, known = t.index[key]; !known {
			i = uint64(len(t.index))
			if i > 1<<(64-inoBits)-1 {
				return 0, unix.EOVERFLOW
			}
			t.index[key] = i
		}
	}
	return i<<inoBits | low, nil
}
