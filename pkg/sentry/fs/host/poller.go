package host

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/waiter"
)

// poller waits in epoll for files with waiters.
type poller struct {
	mu      sync.Mutex         // guards the fields below
	epfd    int                `state:"nosave"` // 0: not made yet
	wake    int                `state:"nosave"` // an eventfd that ends the goroutine
	files   map[int32]*Watched // armed ones, by descriptor
	running sync.WaitGroup     `state:"nosave"`
}

// pollMask are the events that files are armed for.
const pollMask = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

// start makes the epoll instance and its goroutine. mu is held.
func (p *poller) start() error {
	if p.epfd != 0 {
		return nil
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
		if err != nil {
			unix.Close(wake)
		}
	}
	if err != nil {
		unix.Close(epfd)
		return err
	}
	p.epfd, p.wake, p.files = epfd, wake, make(map[int32]*Watched)
	p.running.Go(p.run)
	return nil
}

func (p *poller) run() {
	var events [64]unix.EpollEvent
	for {
		n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return
		}
		for _, e := range events[:n] {
			if e.Fd < 0 {
				return
			}
			p.mu.Lock()
			i := p.files[e.Fd]
			p.mu.Unlock()
			if i != nil {
				i.queue.Notify(toWaiter(e.Events))
			}
		}
	}
}

// toWaiter adds the events that Linux's poll has under a second name.
func toWaiter(events uint32) waiter.EventMask {
	m := waiter.EventMask(events)
	if m&waiter.EventIn != 0 {
		m |= waiter.EventRdNorm
	}
	if m&waiter.EventOut != 0 {
		m |= waiter.EventWrNorm
	}
	return m & waiter.AllEvents
}

// arm makes the poller listen for w. Edges before are not reported; the caller looks at the
// readiness afterwards.
func (p *poller) arm(w *Watched) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.start(); err != nil {
		return err
	}
	n := int32(w.fd.Num())
	p.files[n] = w
	err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, int(n), &unix.EpollEvent{Events: pollMask | unix.EPOLLET, Fd: n})
	if err != nil {
		delete(p.files, n)
	}
	return err
}

func (p *poller) disarm(w *Watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := int32(w.fd.Num())
	if p.files[n] == w {
		delete(p.files, n)
		unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, int(n), nil)
	}
}

func (p *poller) stop() {
	p.mu.Lock()
	epfd, wake := p.epfd, p.wake
	p.mu.Unlock()
	if epfd == 0 {
		return
	}
	one := [8]byte{1}
	unix.Write(wake, one[:])
	p.running.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	unix.Close(p.epfd)
	unix.Close(p.wake)
	p.epfd, p.wake, p.files = 0, 0, nil
}

// Watched is a descriptor of the host whose readiness others wait for. It implements
// waiter.Waitable. Init comes before all else.
type Watched struct {
	poller *poller
	fd     *fd.FD `state:"nosave"`
	// ready: the descriptor is always ready, and not asked.
	ready bool
	queue waiter.Queue

	mu    sync.Mutex // guards the fields below
	users int        // registered entries
	armed bool
	never bool // the host's file is always ready: epoll refuses it
}

// Init says which descriptor is watched; it stays the caller's.
func (w *Watched) Init(fs *Filesystem, f *fd.FD) { w.poller, w.fd = &fs.poller, f }

// Forget is called before the descriptor is closed.
func (w *Watched) Forget() { w.poller.disarm(w) }

// EventRegister adds e to the waiters and arms the descriptor with the first.
func (w *Watched) EventRegister(e *waiter.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue.EventRegister(e)
	w.users++
	if !w.armed && !w.never {
		switch err := w.poller.arm(w); err {
		case nil:
			w.armed = true
		case unix.EPERM: // a regular file
			w.never = true
		default:
			w.queue.EventUnregister(e)
			w.users--
			return err
		}
	}
	return nil
}

// EventUnregister removes e and disarms with the last.
func (w *Watched) EventUnregister(e *waiter.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue.EventUnregister(e)
	if w.users--; w.users == 0 && w.armed {
		w.poller.disarm(w)
		w.armed = false
	}
}

// Readiness asks the host.
func (w *Watched) Readiness(mask waiter.EventMask) waiter.EventMask {
	if w.ready {
		return mask & (waiter.EventIn | waiter.EventRdNorm | waiter.EventOut | waiter.EventWrNorm)
	}
	f := [1]unix.PollFd{{Fd: int32(w.fd.Num()), Events: int16(mask & 0x27ff)}}
	for {
		_, err := unix.Poll(f[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return mask & waiter.EventErr
		}
		return waiter.EventMask(uint16(f[0].Revents)) & (mask | waiter.EventErr | waiter.EventHUp)
	}
}
