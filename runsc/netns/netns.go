// Package netns works in network namespaces of the host: it enters one, reads how it is
// configured, takes that over for a sandbox, and puts it back.
//
// Taking over (Take) leaves the interfaces up but without addresses, so that the host's kernel
// does not answer for them, and opens a packet socket on each: whoever holds the sockets is the
// host that the network sees. Restore undoes that from the description that Read made, as far as
// the interfaces still exist; what is as it should be is left alone, so that it may be called for
// a namespace that was never taken over.
//
// A namespace belongs to a thread. Do runs a function on a thread of its own that is in the
// namespace, and the thread does not outlive the function: no goroutine ever runs on a thread
// that is somewhere else. There are no locks.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is an open network namespace.
type Namespace struct{ file *os.File }

// Open opens the namespace at path (/proc/PID/ns/net, /run/netns/NAME).
func Open(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return &Namespace{f}, nil
}

// Close closes it.
func (n *Namespace) Close() error { return n.file.Close() }

// Do runs f in the namespace.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering network namespace %s: %w", n.file.Name(), err)
			return
		}
		done <- f()
	}()
	return <-done
}

// id is what two names of one namespace have in common.
type id struct{ dev, ino uint64 }

func idOf(path string) (id, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return id{}, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return id{uint64(st.Dev), st.Ino}, nil
}

// ErrHostNamespace is the answer to an attempt to take over the host's own network.
var ErrHostNamespace = errors.New("the container is in the host's network namespace, whose interfaces a sandbox does not take over: " +
	"give it a network namespace of its own (linux.namespaces in config.json), or choose --network=host (sockets of the host) or --network=none (loopback only)")

// initialInode is the inode of the host's network namespace in kernels that give it a fixed one
// (PROC_NET_INIT_INO).
const initialInode = 0xeffffff9

// CheckNotHost returns ErrHostNamespace if path is a network namespace that others live in: the
// caller's own, whose daemon would be cut off, or that of process 1 or of the kernel's threads.
// Where those cannot be seen, there is nothing to say against it.
func CheckNotHost(path string) error {
	given, err := idOf(path)
	if err != nil {
		return err
	}
	if given.ino == initialInode {
		return ErrHostNamespace
	}
	for _, pid := range []string{"self", "1", "2"} {
		if pid == "2" && !isKernelThread(pid) {
			continue
		}
		if host, err := idOf("/proc/" + pid + "/ns/net"); err == nil && host == given {
			return ErrHostNamespace
		}
	}
	return nil
}

// isKernelThread says whether a process has no program: its command line is empty, and it is no
// zombie.
func isKernelThread(pid string) bool {
	line, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || len(line) > 0 {
		return false
	}
	_, err = os.Readlink("/proc/" + pid + "/exe")
	return errors.Is(err, os.ErrNotExist)
}
