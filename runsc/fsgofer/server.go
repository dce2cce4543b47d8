package fsgofer

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
)

// HostUDS says what of the host's unix sockets the client may use (flag --host-uds).
type HostUDS string

// Values of HostUDS. Sockets that the client creates are mere nodes in any case.
const (
	UDSNone   HostUDS = "none"
	UDSOpen   HostUDS = "open"   // connect to sockets of the host
	UDSCreate HostUDS = "create" // no more than none: nothing listens for the host
	UDSAll    HostUDS = "all"
)

// Config describes one tree.
type Config struct {
	// Root is the path of the tree's root, a directory or a single file, opened by Serve.
	// It is not used if RootFD is there.
	Root string

	// RootFD is the root, opened with O_PATH or otherwise. Serve closes it.
	RootFD *os.File

	// ProcFD is an O_PATH descriptor of /proc/self/fd, shared by all trees and left open.
	// If nil, Serve opens it by its path.
	ProcFD *os.File

	ReadOnly     bool
	HostUDS      HostUDS
	AllowDevices bool // device nodes can be seen and made
}

// OpenProcFD opens what Config.ProcFD is to be, before the process enters its chroot.
func OpenProcFD() (*os.File, error) {
	f, err := fd.OpenAt(unix.AT_FDCWD, "/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /proc/self/fd: %w", err)
	}
	return os.NewFile(uintptr(f.Release()), "/proc/self/fd"), nil
}

// Prepare opens what Serve would otherwise open by path: Root and ProcFD. It must be called
// before InstallFilter, which forbids that.
func (cfg *Config) Prepare() error {
	if cfg.ProcFD == nil {
		f, err := OpenProcFD()
		if err != nil {
			return err
		}
		cfg.ProcFD = f
	}
	if cfg.RootFD == nil {
		root, err := fd.OpenAt(unix.AT_FDCWD, cfg.Root, unix.O_PATH, 0)
		if err != nil {
			return fmt.Errorf("gofer root %q: %w", cfg.Root, err)
		}
		cfg.RootFD = os.NewFile(uintptr(root.Release()), cfg.Root)
	}
	return nil
}

// Serve serves the tree over the connected stream socket sock, which it closes, and returns
// when the client is gone: nil, or an error that says what was wrong with it.
func Serve(sock *os.File, cfg Config) error {
	sockFD, err := fd.FromFile(sock)
	if err != nil {
		return fmt.Errorf("gofer socket: %w", err)
	}
	defer sockFD.Close()
	ownProcFD := cfg.ProcFD == nil
	if err := cfg.Prepare(); err != nil {
		return err
	}
	if ownProcFD {
		defer cfg.ProcFD.Close()
	}
	root, err := fd.FromFile(cfg.RootFD)
	if err != nil {
		return fmt.Errorf("gofer root: %w", err)
	}
	defer root.Close()
	s := &server{cfg: cfg, procFD: int(cfg.ProcFD.Fd()), root: root}
	s.qids.index = map[qidKey]uint64{}
	unix.Umask(0)
	if err := p9.Serve(sockFD.Release(), s); err != nil {
		return fmt.Errorf("gofer connection: %w", err)
	}
	return nil
}

// server is one tree. Immutable but for qids.
type server struct {
	cfg    Config
	procFD int
	root   *fd.FD
	qids   qidTable
}

// Attach implements p9.Attacher. A server has one tree, whatever it is called.
func (s *server) Attach(string) (p9.Node, error) {
	root, err := fd.Dup(s.root.Num())
	if err != nil {
		return nil, err
	}
	n, _, err := s.newNode(root)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// reopen opens the inode behind an O_PATH descriptor.
func (s *server) reopen(n int, flags int) (*fd.FD, error) {
	return fd.OpenAt(s.procFD, strconv.Itoa(n), flags|unix.O_NOCTTY, 0)
}

// writable returns EROFS if the tree is read-only.
func (s *server) writable() error {
	if s.cfg.ReadOnly {
		return unix.EROFS
	}
	return nil
}

// mayExist returns EPERM for a type of file that the client must not meet.
func (s *server) mayExist(mode uint32) error {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFIFO, unix.S_IFSOCK:
		return nil
	case unix.S_IFCHR, unix.S_IFBLK:
		if s.cfg.AllowDevices {
			return nil
		}
	}
	return unix.EPERM
}
