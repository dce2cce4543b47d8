package cmd

import (
	"errors"
	"fmt"
	"os/signal"
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Locking up a process after it has started, without executing itself again.
//
// A Go process has several threads, and on Linux capabilities and the no_new_privs bit
// belong to a thread. syscall.AllThreadsSyscall makes every thread of the process execute
// the call, and new threads inherit from their creators, so that afterwards none is left
// with the old identity; it panics if the result is not the same on all. The root
// directory and the mount namespace are common to all threads anyway.

// enterEmptyRoot replaces the process's view of the filesystem by one empty, read-only
// directory. The process is in a mount namespace of its own. Open descriptors stay.
func enterEmptyRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts slaves: %w", err)
	}
	// The directory that is covered does not matter; these exist and may be searched by all.
	var at string
	for _, dir := range []string{"/proc", "/tmp", "/dev", "/var", "/run"} {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			at = dir
			break
		}
	}
	if at == "" {
		return fmt.Errorf("no directory to mount an empty root on")
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("runsc-root", at, "tmpfs", flags, "size=4k,nr_inodes=1,mode=0555"); err != nil {
		return fmt.Errorf("mounting an empty root: %w", err)
	}
	if err := unix.Chdir(at); err != nil {
		return fmt.Errorf("entering the empty root: %w", err)
	}
	// With both names the same, the old root ends up on top of the new one, needs no
	// directory of its own, and is unmounted from there; see pivot_root(2), NOTES.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmounting the old root: %w", err)
	}
	return unix.Chdir("/")
}

// keepCapabilities reduces every thread to the capabilities in keep (a bit mask), and makes
// sure that no execve can ever give more.
func keepCapabilities(keep uint64) error {
	type header struct {
		version uint32
		pid     int32
	}
	type data struct{ effective, permitted, inheritable uint32 }
	hdr := header{version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := [2]data{
		{effective: uint32(keep), permitted: uint32(keep)},
		{effective: uint32(keep >> 32), permitted: uint32(keep >> 32)},
	}
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e == unix.ENOTSUP {
		return errors.New("this runsc was built with cgo, which cannot drop privileges: build it with CGO_ENABLED=0, as make does")
	} else if e != 0 {
		return fmt.Errorf("setting no_new_privs: %w", e)
	}
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("clearing ambient capabilities: %w", e)
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&sets[0])), 0); e != 0 {
		return fmt.Errorf("reducing capabilities: %w", e)
	}
	return nil
}

// crashOutput makes what the runtime prints when it panics go to the debug log as well. To
// stderr it goes in any case: that is a pipe to the client, which reads it for as long as it
// is there. When it has gone, messages to stderr are lost; they must not end the process.
func crashOutput() error {
	signal.Ignore(unix.SIGPIPE)
	if logs.debug == nil {
		return nil
	}
	if err := debug.SetCrashOutput(logs.debug, debug.CrashOptions{}); err != nil {
		return fmt.Errorf("crash output: %w", err)
	}
	return nil
}
