package kernel

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
)

// Limit is one resource limit (getrlimit(2)).
type Limit struct{ Cur, Max uint64 }

// NumLimits is RLIM_NLIMITS.
const NumLimits = 16

// Limits are a process's resource limits. They are shared by its threads.
type Limits struct {
	mu sync.RWMutex // guards the table
	l  [NumLimits]Limit
}

// NewLimits returns Linux's defaults for a machine of our kind.
func NewLimits() *Limits {
	const inf = unix.RLIM_INFINITY
	l := &Limits{}
	for i := range l.l {
		l.l[i] = Limit{inf, inf}
	}
	l.l[unix.RLIMIT_STACK] = Limit{8 << 20, inf}
	l.l[unix.RLIMIT_CORE] = Limit{0, inf}
	l.l[unix.RLIMIT_NOFILE] = Limit{1024, 4096}
	l.l[unix.RLIMIT_MEMLOCK] = Limit{8 << 20, 8 << 20}
	l.l[linux.RlimitMsgQueue] = Limit{819200, 819200}
	l.l[linux.RlimitNice] = Limit{}
	l.l[linux.RlimitRTPrio] = Limit{}
	l.l[linux.RlimitSigPending] = Limit{32768, 32768}
	return l
}

// Get returns the limit of resource, which must be valid.
func (l *Limits) Get(resource int) Limit {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.l[resource]
}

// Set replaces the limit and returns the old one. EINVAL: no such resource or cur above
// max; EPERM: the maximum would rise and privileged is false.
func (l *Limits) Set(resource int, n Limit, privileged bool) (Limit, error) {
	if resource < 0 || resource >= NumLimits || n.Cur > n.Max {
		return Limit{}, unix.EINVAL
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.l[resource]
	if n.Max > old.Max && !privileged {
		return Limit{}, unix.EPERM
	}
	l.l[resource] = n
	return old, nil
}

// Clone copies the limits.
func (l *Limits) Clone() *Limits {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return &Limits{l: l.l}
}

// The limits that mm asks for.

// AddressSpaceLimit is RLIMIT_AS in bytes.
func (l *Limits) AddressSpaceLimit() uint64 { return l.Get(unix.RLIMIT_AS).Cur }

// DataLimit is RLIMIT_DATA in bytes.
func (l *Limits) DataLimit() uint64 { return l.Get(unix.RLIMIT_DATA).Cur }

// StackLimit is RLIMIT_STACK in bytes.
func (l *Limits) StackLimit() uint64 { return l.Get(unix.RLIMIT_STACK).Cur }

// MemlockLimit is RLIMIT_MEMLOCK in bytes.
func (l *Limits) MemlockLimit() uint64 { return l.Get(unix.RLIMIT_MEMLOCK).Cur }
