package syscalls

import (
	"encoding/binary"
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var pollSyscalls = []kernel.Syscall{
	{Number: unix.SYS_POLL, Name: "poll", Fn: poll, Args: []strace.Format{strace.PollFDs, strace.Dec, strace.Dec}},
	{Number: unix.SYS_PPOLL, Name: "ppoll", Fn: ppoll, Args: []strace.Format{strace.PollFDs, strace.Dec, strace.Timespec, strace.SigSet, strace.Dec}},
	{Number: unix.SYS_SELECT, Name: "select", Fn: selectCall, Args: []strace.Format{strace.Dec, strace.SelectFDs, strace.SelectFDs, strace.SelectFDs, strace.Timeval}},
	{Number: unix.SYS_PSELECT6, Name: "pselect6", Fn: pselect6, Args: []strace.Format{strace.Dec, strace.SelectFDs, strace.SelectFDs, strace.SelectFDs, strace.Timespec, strace.Hex}},
}

const noDeadline = int64(math.MaxInt64)

// polled is one file that poll(2) or select(2) looks at.
type polled struct {
	fd      int32
	events  waiter.EventMask // wanted
	revents waiter.EventMask // found

	file       *vfs.FileDescription // while waiting
	entry      waiter.Entry
	registered bool
}

// pollSet is the memory of one call; it is used again and again.
type pollSet struct {
	items []polled
	bytes []byte
}

var pollSets = sync.Pool{New: func() any { return new(pollSet) }}

func getPollSet(bytes int) *pollSet {
	s := pollSets.Get().(*pollSet)
	s.items = s.items[:0]
	if cap(s.bytes) < bytes {
		s.bytes = make([]byte, bytes)
	}
	s.bytes = s.bytes[:bytes]
	return s
}

// putPollSet keeps the memory of ordinary calls for the next one.
func putPollSet(s *pollSet) {
	if cap(s.items) <= 1024 {
		pollSets.Put(s)
	}
}

// taskReadiness is implemented by files whose readiness depends on who asks.
type taskReadiness interface {
	ReadinessFor(ctx context.Context, mask waiter.EventMask) waiter.EventMask
}

// look sets revents of p from f.
func (p *polled) look(t *kernel.Task, f *vfs.FileDescription) {
	if r, ok := f.File().(taskReadiness); ok {
		p.revents = r.ReadinessFor(t, p.events)
		return
	}
	p.revents = f.Readiness(p.events)
}

// lookAll looks at every file once, by its number, and returns how many have something.
func (s *pollSet) lookAll(t *kernel.Task) int {
	n := 0
	fds := t.FDTable()
	for i := range s.items {
		p := &s.items[i]
		if p.fd < 0 {
			continue
		}
		if p.file != nil {
			p.look(t, p.file)
		} else if f := fds.Get(p.fd); f == nil || f.PathOnly() {
			p.revents = waiter.EventNVal
			if f != nil {
				f.DecRef(t)
			}
		} else {
			p.look(t, f)
			f.DecRef(t)
		}
		if p.revents != 0 {
			n++
		}
	}
	return n
}

// wait looks at the files until one has something (their number), the deadline passes (0)
// or a signal comes (ERESTARTNOHAND).
func (s *pollSet) wait(t *kernel.Task, deadline int64) (int, error) {
	n := s.lookAll(t)
	if n > 0 || deadline <= 0 {
		return n, nil
	}
	fds := t.FDTable()
	for i := range s.items {
		p := &s.items[i]
		if p.fd < 0 {
			continue
		}
		if p.file = fds.Get(p.fd); p.file == nil {
			continue
		}
		p.entry = waiter.Entry{Mask: p.events, Listener: t.Waker()}
		p.registered = p.file.EventRegister(&p.entry) == nil
	}
	defer s.unregister(t)
	for {
		if n := s.lookAll(t); n > 0 {
			return n, nil
		}
		var err error
		if deadline == noDeadline {
			err = t.Block()
		} else {
			err = t.BlockUntil(deadline)
		}
		switch err {
		case nil:
		case unix.ETIMEDOUT:
			return s.lookAll(t), nil
		default:
			if n := s.lookAll(t); n > 0 {
				return n, nil
			}
			return 0, linux.ERESTARTNOHAND
		}
	}
}

func (s *pollSet) unregister(t *kernel.Task) {
	for i := range s.items {
		p := &s.items[i]
		if p.registered {
			p.file.EventUnregister(&p.entry)
			p.registered = false
		}
		if p.file != nil {
			p.file.DecRef(t)
			p.file = nil
		}
	}
}

const sizeofPollFD = 8

func doPoll(t *kernel.Task, addr uintptr, nfds uint, deadline int64) (uintptr, error) {
	if uint64(nfds) > maxFDs(t) {
		return 0, unix.EINVAL
	}
	s := getPollSet(int(nfds) * sizeofPollFD)
	defer putPollSet(s)
	if nfds > 0 {
		if err := t.CopyInBytes(addr, s.bytes); err != nil {
			return 0, err
		}
	}
	for b := s.bytes; len(b) > 0; b = b[sizeofPollFD:] {
		s.items = append(s.items, polled{
			fd:     int32(binary.LittleEndian.Uint32(b)),
			events: waiter.EventMask(binary.LittleEndian.Uint16(b[4:])) | waiter.EventErr | waiter.EventHUp,
		})
	}
	n, err := s.wait(t, deadline)
	if err != nil {
		return 0, err
	}
	for i := range s.items {
		binary.LittleEndian.PutUint16(s.bytes[i*sizeofPollFD+6:], uint16(s.items[i].revents))
	}
	if nfds > 0 {
		if err := t.CopyOutBytes(addr, s.bytes); err != nil {
			return 0, err
		}
	}
	return uintptr(n), nil
}

// pollRestart goes on with a poll(2) that a signal without handler interrupted.
type pollRestart struct {
	addr     uintptr
	nfds     uint
	deadline int64
}

// Restart implements kernel.RestartBlock.
func (r *pollRestart) Restart(t *kernel.Task) (uintptr, error) {
	n, err := doPoll(t, r.addr, r.nfds, r.deadline)
	if err == linux.ERESTARTNOHAND {
		err = t.SetRestartBlock(r)
	}
	return n, err
}

func poll(t *kernel.Task, a arch.Args) (uintptr, error) {
	r := pollRestart{addr: a.Pointer(0), nfds: uint(a.Uint(1)), deadline: deadlineOf(t, a.Int(2))}
	n, err := doPoll(t, r.addr, r.nfds, r.deadline)
	if err == linux.ERESTARTNOHAND {
		again := r
		err = t.SetRestartBlock(&again)
	}
	return n, err
}

func ppoll(t *kernel.Task, a arch.Args) (uintptr, error) {
	deadline, err := copyInDeadline(t, a.Pointer(2))
	if err != nil {
		return 0, err
	}
	if err := setTemporaryMask(t, a.Pointer(3), a.Size(4)); err != nil {
		return 0, err
	}
	n, err := doPoll(t, a.Pointer(0), uint(a.Uint(1)), deadline)
	return finishTimed(t, n, err, a.Pointer(2), deadline)
}

// copyInDeadline reads a relative struct timespec; a null pointer is no deadline.
func copyInDeadline(t *kernel.Task, addr uintptr) (int64, error) {
	if addr == 0 {
		return noDeadline, nil
	}
	d, err := copyInDuration(t, addr)
	if err != nil || d == 0 {
		return 0, err
	}
	return addDuration(t.Monotonic(), d), nil
}

// finishTimed ends ppoll(2) and pselect(2): the signal mask is restored unless a signal
// came, and the time left is stored at addr. Where that fails a restart is impossible.
func finishTimed(t *kernel.Task, n uintptr, err error, addr uintptr, deadline int64) (uintptr, error) {
	interrupted := err == linux.ERESTARTNOHAND
	if !interrupted {
		t.RestoreMask()
	}
	if addr != 0 && deadline != noDeadline {
		ts := unix.NsecToTimespec(timeLeft(t, deadline))
		if kernel.CopyOut(t, addr, &ts) != nil && interrupted {
			err = unix.EINTR
		}
	}
	return n, err
}

func timeLeft(t *kernel.Task, deadline int64) int64 {
	if deadline == 0 {
		return 0
	}
	return max(deadline-t.Monotonic(), 0)
}

// The events behind select(2)'s three sets (select(2), "Correspondence between select()
// and poll() notifications").
const (
	selectIn     = waiter.EventRdNorm | waiter.EventRdBand | waiter.EventIn | waiter.EventHUp | waiter.EventErr
	selectOut    = waiter.EventWrBand | waiter.EventWrNorm | waiter.EventOut | waiter.EventErr
	selectExcept = waiter.EventPri
)

var selectEvents = [3]waiter.EventMask{selectIn, selectOut, selectExcept}

func doSelect(t *kernel.Task, nfds int32, addrs [3]uintptr, deadline int64) (uintptr, error) {
	if nfds < 0 {
		return 0, unix.EINVAL
	}
	// Like Linux: descriptors beyond the table are not looked at.
	nfds = min(nfds, int32((t.FDTable().Size()+63)&^63))
	size := (int(nfds) + 63) / 64 * 8
	s := getPollSet(6 * size)
	defer putPollSet(s)
	clear(s.bytes)
	var asked, answer [3][]byte
	for i, addr := range addrs {
		asked[i] = s.bytes[i*size:][:size]
		answer[i] = s.bytes[(i+3)*size:][:size]
		if addr != 0 && size > 0 {
			if err := t.CopyInBytes(addr, asked[i]); err != nil {
				return 0, err
			}
		}
	}
	fds := t.FDTable()
	for word := 0; word < size; word += 8 {
		var w [3]uint64
		for i := range w {
			w[i] = binary.LittleEndian.Uint64(asked[i][word:])
		}
		for bits, bit := w[0]|w[1]|w[2], 0; bits != 0; bits, bit = bits>>1, bit+1 {
			fd := int32(word*8 + bit)
			if bits&1 == 0 || fd >= nfds {
				continue
			}
			f := fds.Get(fd)
			if f == nil {
				return 0, unix.EBADF
			}
			pathOnly := f.PathOnly()
			f.DecRef(t)
			if pathOnly {
				return 0, unix.EBADF
			}
			var events waiter.EventMask
			for i := range w {
				if w[i]&(1<<bit) != 0 {
					events |= selectEvents[i]
				}
			}
			s.items = append(s.items, polled{fd: fd, events: events})
		}
	}
	if _, err := s.wait(t, deadline); err != nil {
		return 0, err
	}
	n := 0
	for i := range s.items {
		p := &s.items[i]
		at, bit := p.fd/8, byte(1)<<(p.fd%8)
		for j := range asked {
			if asked[j][at]&bit != 0 && p.revents&selectEvents[j] != 0 {
				answer[j][at] |= bit
				n++
			}
		}
	}
	for i, addr := range addrs {
		if addr != 0 && size > 0 {
			if err := t.CopyOutBytes(addr, answer[i]); err != nil {
				return 0, err
			}
		}
	}
	return uintptr(n), nil
}

func selectCall(t *kernel.Task, a arch.Args) (uintptr, error) {
	deadline := noDeadline
	if p := a.Pointer(4); p != 0 {
		var tv unix.Timeval
		if err := kernel.CopyIn(t, p, &tv); err != nil {
			return 0, err
		}
		if tv.Sec < 0 || tv.Usec < 0 {
			return 0, unix.EINVAL
		}
		// Linux accepts more than a second of microseconds here.
		tv.Sec, tv.Usec = tv.Sec+tv.Usec/1e6, tv.Usec%1e6
		d, err := timevalDuration(tv)
		if err != nil {
			return 0, err
		}
		if deadline = 0; d > 0 {
			deadline = addDuration(t.Monotonic(), d)
		}
	}
	n, err := doSelect(t, a.Int(0), [3]uintptr{a.Pointer(1), a.Pointer(2), a.Pointer(3)}, deadline)
	if p := a.Pointer(4); p != 0 {
		tv := unix.NsecToTimeval(timeLeft(t, deadline))
		if kernel.CopyOut(t, p, &tv) != nil && err == linux.ERESTARTNOHAND {
			err = unix.EINTR
		}
	}
	return n, err
}

func pselect6(t *kernel.Task, a arch.Args) (uintptr, error) {
	deadline, err := copyInDeadline(t, a.Pointer(4))
	if err != nil {
		return 0, err
	}
	if p := a.Pointer(5); p != 0 {
		var sig struct {
			Addr uint64
			Size uint64
		}
		if err := kernel.CopyIn(t, p, &sig); err != nil {
			return 0, err
		}
		if err := setTemporaryMask(t, uintptr(sig.Addr), uint(sig.Size)); err != nil {
			return 0, err
		}
	}
	n, err := doSelect(t, a.Int(0), [3]uintptr{a.Pointer(1), a.Pointer(2), a.Pointer(3)}, deadline)
	return finishTimed(t, n, err, a.Pointer(4), deadline)
}
