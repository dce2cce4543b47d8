package cmd

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/config"
	"runsc/runsc/specutils"
)

// exportedTree is a directory or file that the gofer serves on one socket.
type exportedTree struct {
	fd       int // O_PATH, of a detached copy of the mount where the kernel has those
	readOnly bool
	what     string // for messages
}

// openExports opens everything that the gofer will serve: the root first, then the sources
// of the bind mounts in order. It must run before the process leaves the host's root.
func openExports(spec *specs.Spec, conf *config.Config) (exports []exportedTree, err error) {
	defer func() {
		if err != nil {
			for _, e := range exports {
				unix.Close(e.fd)
			}
		}
	}()
	readOnly := spec.Root.Readonly || conf.Overlay2.Root && conf.Overlay2.Medium == "memory"
	fd, err := openTree(spec.Root.Path, true, readOnly)
	if err != nil {
		return nil, fmt.Errorf("rootfs %s: %w", spec.Root.Path, noPath(err))
	}
	exports = append(exports, exportedTree{fd: fd, readOnly: readOnly, what: "rootfs"})
	if isDir, err := isDirectory(fd); err != nil || !isDir {
		return exports, fmt.Errorf("rootfs %s is not a directory", spec.Root.Path)
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if !specutils.IsBind(m) {
			continue
		}
		readOnly := specutils.IsReadOnly(m.Options) || conf.Overlay2.Mounts
		fd, err := openTree(m.Source, isRecursive(m.Options), readOnly)
		if err != nil {
			return exports, fmt.Errorf("mount %s on %s: %w", m.Source, m.Destination, noPath(err))
		}
		exports = append(exports, exportedTree{fd: fd, readOnly: readOnly, what: m.Destination})
	}
	return exports, nil
}

func isRecursive(options []string) bool {
	for _, o := range options {
		if o == "bind" {
			return false
		}
	}
	return true
}

// noPath strips the path off an error to which a better one is added.
func noPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// openTree opens a directory or file of the host. Where the kernel can, the result is a
// detached copy of the mount: ".." at its root leads nowhere, and it can be read-only while
// the host's is not.
func openTree(name string, recursive, readOnly bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, name, flags)
	switch err {
	case nil:
	case unix.ENOSYS, unix.EPERM, unix.EINVAL:
		log.Debugf("open_tree %s: %v; using the host's mount", name, err)
		fd, err = unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	default:
		return -1, &os.PathError{Op: "open_tree", Path: name, Err: err}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		// The server enforces the same rules itself; this was the second line.
		log.Debugf("mount_setattr %s: %v", name, err)
	}
	return fd, nil
}

func isDirectory(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// resolveMounts finds where each mount of the specification goes in the tree that the
// container will see, following symlinks inside that tree only, and makes mount points
// that are missing if the place is writable.
func resolveMounts(spec *specs.Spec, conf *config.Config, exports []exportedTree) ([]boot.MountInfo, error) {
	tree := newMountTree(exports[0].fd, !exports[0].readOnly && !conf.Overlay2.Root)
	mounts := make([]boot.MountInfo, 0, len(spec.Mounts))
	next := 1
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		info := boot.MountInfo{
			Type:       m.Type,
			Source:     m.Source,
			Options:    m.Options,
			GoferIndex: -1,
			ReadOnly:   specutils.IsReadOnly(m.Options),
		}
		at := treeMount{fd: -1}
		if specutils.IsBind(m) {
			isDir, err := isDirectory(exports[next].fd)
			if err != nil {
				return nil, fmt.Errorf("mount %s: %w", m.Destination, err)
			}
			info.GoferIndex, info.IsFile = next, !isDir
			at = treeMount{fd: exports[next].fd, writable: !exports[next].readOnly && !conf.Overlay2.Mounts}
			next++
		}
		var err error
		if info.Destination, err = tree.resolve(m.Destination, info.IsFile, true); err != nil {
			return nil, fmt.Errorf("mount point %s: %w", m.Destination, err)
		}
		tree.mount(info.Destination, at)
		mounts = append(mounts, info)
	}
	// The working directory is made, as other runtimes do. Where that cannot be, the
	// sandbox will say so when it looks for it.
	if _, err := tree.resolve(spec.Process.Cwd, false, true); err != nil {
		log.Debugf("working directory %s: %v", spec.Process.Cwd, err)
	}
	return mounts, nil
}

// mountTree is the container's tree of files as far as mounts have been resolved.
type mountTree struct {
	root   treeMount
	mounts map[string]treeMount // by resolved path
}

// treeMount is what is mounted somewhere. A filesystem of the sandbox's own, which does not
// exist yet, has fd -1: below it, paths are what they say, since there are no symlinks.
type treeMount struct {
	fd       int
	writable bool
}

func newMountTree(rootFD int, writable bool) *mountTree {
	return &mountTree{root: treeMount{rootFD, writable}, mounts: make(map[string]treeMount)}
}

func (t *mountTree) mount(at string, m treeMount) {
	if at == "/" {
		t.root = m
		return
	}
	t.mounts[at] = m
}

// maxSymlinks is the kernel's limit, see path_resolution(7).
const maxSymlinks = 40

// errFileInPath is what a path through a file ends with.
var errFileInPath = fmt.Errorf("a component is not a directory: %w", unix.ENOTDIR)

// place is where a walk has come to.
type place struct {
	path     string // resolved; "" is the root
	fd       int    // -1 below a filesystem of the sandbox's own
	writable bool
	owned    bool // fd is to be closed
}

// resolve walks name from the root and returns the path without symlinks. If the last
// component is missing it is made, as a file or a directory; so are missing directories on
// the way. All of it is done one component at a time below descriptors, since another
// container may be changing the same tree.
func (t *mountTree) resolve(name string, isFile, create bool) (string, error) {
	stack := []place{{fd: t.root.fd, writable: t.root.writable}}
	defer func() { closePlaces(stack) }()
	todo := components(name)
	links := 0
	for len(todo) > 0 {
		comp := todo[0]
		todo = todo[1:]
		cur := stack[len(stack)-1]
		if comp == ".." {
			if len(stack) > 1 {
				closePlaces(stack[len(stack)-1:])
				stack = stack[:len(stack)-1]
			}
			continue
		}
		next := place{path: cur.path + "/" + comp, fd: -1, writable: cur.writable}
		if m, ok := t.mounts[next.path]; ok {
			next.fd, next.writable = m.fd, m.writable
			stack = append(stack, next)
			continue
		}
		if cur.fd < 0 {
			stack = append(stack, next)
			continue
		}
		last := len(todo) == 0
		fd, err := openComponent(cur.fd, comp)
		if err == unix.ENOENT && create && cur.writable {
			if err := makeComponent(cur.fd, comp, isFile && last); err != nil {
				// Read-only, full, not permitted: the sandbox shows mount points that the
				// filesystem below does not have.
				log.Debugf("making %s: %v", next.path, err)
			}
			fd, err = openComponent(cur.fd, comp)
		}
		if err == unix.ENOENT {
			stack = append(stack, next)
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", next.path, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return "", err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := readlink(fd)
			unix.Close(fd)
			if err != nil {
				return "", fmt.Errorf("%s: %w", next.path, err)
			}
			if links++; links > maxSymlinks {
				return "", fmt.Errorf("%s: %w", next.path, unix.ELOOP)
			}
			if path.IsAbs(target) {
				closePlaces(stack[1:])
				stack = stack[:1]
			}
			todo = append(components(target), todo...)
			continue
		case unix.S_IFDIR:
			if last && isFile {
				unix.Close(fd)
				return "", fmt.Errorf("it is a directory, what is mounted there is a file: %w", unix.EISDIR)
			}
		default:
			if !last || !isFile {
				unix.Close(fd)
				return "", errFileInPath
			}
		}
		next.fd, next.owned = fd, true
		stack = append(stack, next)
	}
	if p := stack[len(stack)-1].path; p != "" {
		return p, nil
	}
	return "/", nil
}

func closePlaces(list []place) {
	for _, p := range list {
		if p.owned {
			unix.Close(p.fd)
		}
	}
}

// components splits a path, leaving out what means "here".
func components(name string) []string {
	var list []string
	for _, c := range strings.Split(name, "/") {
		if c != "" && c != "." {
			list = append(list, c)
		}
	}
	return list
}

func openComponent(dir int, name string) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func makeComponent(dir int, name string, isFile bool) error {
	if !isFile {
		return unix.Mkdirat(dir, name, 0o755)
	}
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func readlink(fd int) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
