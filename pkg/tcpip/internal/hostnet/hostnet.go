// Package hostnet gives tests a network namespace of the host's kernel to talk to. Only tests
// import it.
package hostnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ErrNotHere, wrapped in what the function of In returns, skips the test.
var ErrNotHere = errors.New("not possible here")

// In calls f on a thread in a new network namespace, which ends when nothing that f opened is left.
// The test fails with f's error.
func In(t testing.TB, f func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("skipped: ip(8) is not installed")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: thread and namespace end with the goroutine
		defer close(done)
		err := unix.Unshare(unix.CLONE_NEWNET)
		switch err {
		case nil:
			err = f()
		case unix.EPERM:
			err = fmt.Errorf("a network namespace: %v: %w", err, ErrNotHere)
		}
		done <- err
	}()
	switch err := <-done; {
	case errors.Is(err, ErrNotHere):
		t.Skip("skipped: ", err)
	case err != nil:
		t.Fatal(err)
	}
}

// NoIPv6 keeps interfaces that are made from now on from beginning with IPv6, whose neighbour
// discovery would be in the way. The caller is in the namespace.
func NoIPv6() { os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) }

// Run runs a command in the caller's namespace and returns what it printed.
func Run(args ...string) (string, error) {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
