package cmd

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/container"
)

// forwarder passes the signals that this process gets on to a container's process. Signals
// that arrive before there is one are kept.
type forwarder struct {
	ch   chan os.Signal
	done chan struct{}
	wg   sync.WaitGroup
}

// notForwarded are signals that are about this process, and not meant for another.
var notForwarded = map[syscall.Signal]bool{
	unix.SIGCHLD:  true,
	unix.SIGPIPE:  true,
	unix.SIGURG:   true, // Go's runtime preempts by it
	unix.SIGPROF:  true,
	unix.SIGWINCH: true, // the session of the console does that
	unix.SIGTTIN:  true,
	unix.SIGTTOU:  true,
	unix.SIGTSTP:  true, // stopping the container would leave us running, and the shell waiting
	unix.SIGCONT:  true,
	unix.SIGSEGV:  true,
	unix.SIGBUS:   true,
	unix.SIGFPE:   true,
	unix.SIGILL:   true,
	unix.SIGTRAP:  true,
	unix.SIGSYS:   true,
	unix.SIGKILL:  true,
	unix.SIGSTOP:  true,
}

func newForwarder() *forwarder {
	fw := &forwarder{ch: make(chan os.Signal, 128), done: make(chan struct{})}
	var list []os.Signal
	for n := syscall.Signal(1); n <= 64; n++ {
		// 32 and 33 are the C library's, if there is one.
		if !notForwarded[n] && n != 32 && n != 33 {
			list = append(list, n)
		}
	}
	signal.Notify(fw.ch, list...)
	return fw
}

// to starts passing signals on, to the process pid (0: init) of c, or to the foreground
// process group of its terminal.
func (fw *forwarder) to(c *container.Container, pid int32, terminal bool) {
	mode := boot.SignalProcess
	if terminal {
		mode = boot.SignalForegroundGroup
	}
	fw.wg.Add(1)
	go func() {
		defer fw.wg.Done()
		for {
			select {
			case <-fw.done:
				return
			case s := <-fw.ch:
				sig := s.(syscall.Signal)
				if err := c.Signal(sig, pid, mode); err != nil {
					log.Debugf("forwarding %v: %v", sig, err)
				}
			}
		}
	}()
}

// alsoTerminal passes on the signals of the terminal driver, too, of whose terminal this
// process leads the session.
func (fw *forwarder) alsoTerminal() {
	signal.Notify(fw.ch, unix.SIGWINCH, unix.SIGTSTP)
}

// toProcess starts passing signals on to a process of the host.
func (fw *forwarder) toProcess(p *os.Process) {
	fw.wg.Add(1)
	go func() {
		defer fw.wg.Done()
		for {
			select {
			case <-fw.done:
				return
			case s := <-fw.ch:
				p.Signal(s)
			}
		}
	}()
}

func (fw *forwarder) stop() {
	signal.Stop(fw.ch)
	close(fw.done)
	fw.wg.Wait()
}
