package p9

import (
	"sort"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
)

// memTree is a tree in memory for the tests: directories, files, symlinks.
type memTree struct {
	mu      sync.Mutex
	next    uint64
	root    *memNode
	open    int           // nodes handed out and not closed
	handles int           // handles not closed
	block   chan struct{} // Sync waits for it, if set
	syncing chan struct{} // and says so here
}

type memNode struct {
	t        *memTree
	ino      uint64
	mode     uint32
	uid, gid uint32
	children map[string]*memNode
	data     []byte
	target   string
	xattr    map[string][]byte
}

func newMemTree() *memTree {
	t := &memTree{}
	t.root = t.node(unix.S_IFDIR | 0o755)
	return t
}

func (t *memTree) node(mode uint32) *memNode {
	t.next++
	return &memNode{t: t, ino: t.next, mode: mode, children: map[string]*memNode{}, xattr: map[string][]byte{}}
}

func (t *memTree) Attach(string) (Node, error) { return t.root.give(), nil }

func (n *memNode) give() *memNode {
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	n.t.open++
	return n
}

func (n *memNode) Close() {
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	n.t.open--
}

func (n *memNode) lock() func() {
	n.t.mu.Lock()
	return n.t.mu.Unlock
}

func (n *memNode) attr() Attr {
	return Attr{Valid: AttrBasic, QID: QID{Type: QIDTypeOf(n.mode), Path: n.ino}, Mode: n.mode,
		UID: n.uid, GID: n.gid, NLink: 1, Size: uint64(len(n.data))}
}

func (n *memNode) Walk(name string) (Node, Attr, error) {
	defer n.lock()()
	child := n.children[name]
	if child == nil {
		return nil, Attr{}, unix.ENOENT
	}
	n.t.open++
	return child, child.attr(), nil
}

func (n *memNode) GetAttr() (Attr, error) {
	defer n.lock()()
	return n.attr(), nil
}

func (n *memNode) SetAttr(set SetAttr) error {
	defer n.lock()()
	if set.Valid&SetMode != 0 {
		n.mode = n.mode&unix.S_IFMT | set.Mode
	}
	if set.Valid&SetSize != 0 {
		if set.Size > 1<<20 {
			return unix.EFBIG
		}
		n.data = append(n.data, make([]byte, 1<<20)...)[:set.Size]
	}
	return nil
}

func (n *memNode) StatFS() (FSStat, error) {
	return FSStat{Type: 0x01021994, NameLength: 255, FSID: 1 << 40}, nil
}

func (n *memNode) Readlink() (string, error) {
	if n.mode&unix.S_IFMT != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	return n.target, nil
}

func (n *memNode) Open(flags uint32) (Handle, error) {
	defer n.lock()()
	n.t.handles++
	h := &memHandle{n: n, fd: fd.New(-1)}
	if n.mode&unix.S_IFMT == unix.S_IFREG && flags&unix.O_ACCMODE == unix.O_RDONLY {
		h.fd, _ = fd.Dup(2)
	}
	return h, nil
}

func (n *memNode) make(name string, mode, uid, gid uint32) (*memNode, error) {
	defer n.lock()()
	if n.children[name] != nil {
		return nil, unix.EEXIST
	}
	child := n.t.node(mode)
	child.uid, child.gid = uid, gid
	n.children[name] = child
	n.t.open++
	return child, nil
}

func (n *memNode) Create(name string, flags, mode, uid, gid uint32) (Node, Handle, error) {
	child, err := n.make(name, unix.S_IFREG|mode, uid, gid)
	if err != nil {
		return nil, nil, err
	}
	h, err := child.Open(flags)
	return child, h, err
}

func (n *memNode) Mkdir(name string, mode, uid, gid uint32) (Node, error) {
	child, err := n.make(name, unix.S_IFDIR|mode, uid, gid)
	if err != nil {
		return nil, err
	}
	return child, nil
}

func (n *memNode) Mknod(name string, mode, major, minor, uid, gid uint32) (Node, error) {
	child, err := n.make(name, mode, uid, gid)
	if err != nil {
		return nil, err
	}
	return child, nil
}

func (n *memNode) Symlink(name, target string, uid, gid uint32) (Node, error) {
	child, err := n.make(name, unix.S_IFLNK|0o777, uid, gid)
	if err != nil {
		return nil, err
	}
	child.target = target
	return child, nil
}

func (n *memNode) Link(name string, target Node) error {
	defer n.lock()()
	n.children[name] = target.(*memNode)
	return nil
}

func (n *memNode) Rename(oldName string, newDir Node, newName string, flags uint32) error {
	defer n.lock()()
	child := n.children[oldName]
	if child == nil {
		return unix.ENOENT
	}
	delete(n.children, oldName)
	newDir.(*memNode).children[newName] = child
	return nil
}

func (n *memNode) Unlink(name string, flags uint32) error {
	defer n.lock()()
	if n.children[name] == nil {
		return unix.ENOENT
	}
	delete(n.children, name)
	return nil
}

func (n *memNode) GetXattr(name string, buf []byte) (int, error) {
	defer n.lock()()
	v, ok := n.xattr[name]
	switch {
	case !ok:
		return 0, unix.ENODATA
	case len(buf) > 0 && len(v) > len(buf):
		return 0, unix.ERANGE
	}
	copy(buf, v)
	return len(v), nil
}

func (n *memNode) ListXattr(buf []byte) (int, error) {
	defer n.lock()()
	var all []byte
	for name := range n.xattr {
		all = append(append(all, name...), 0)
	}
	if len(buf) > 0 && len(all) > len(buf) {
		return 0, unix.ERANGE
	}
	copy(buf, all)
	return len(all), nil
}

func (n *memNode) SetXattr(name string, value []byte, flags uint32) error {
	defer n.lock()()
	n.xattr[name] = append([]byte(nil), value...)
	return nil
}

func (n *memNode) RemoveXattr(name string) error {
	defer n.lock()()
	delete(n.xattr, name)
	return nil
}

func (n *memNode) Connect(sockType uint32) (int, error) {
	f, err := fd.Dup(2)
	if err != nil {
		return -1, err
	}
	return f.Release(), nil
}

type memHandle struct {
	n  *memNode
	fd *fd.FD
}

func (h *memHandle) FD() int { return h.fd.Num() }

func (h *memHandle) ReadAt(p []byte, offset uint64) (int, error) {
	defer h.n.lock()()
	if offset > uint64(len(h.n.data)) {
		return 0, nil
	}
	return copy(p, h.n.data[offset:]), nil
}

func (h *memHandle) WriteAt(p []byte, offset uint64) (int, error) {
	defer h.n.lock()()
	if offset > 4<<20 {
		return 0, unix.EFBIG
	}
	if end := offset + uint64(len(p)); end > uint64(len(h.n.data)) {
		h.n.data = append(h.n.data, make([]byte, end-uint64(len(h.n.data)))...)
	}
	return copy(h.n.data[offset:], p), nil
}

func (h *memHandle) ReadDir(offset uint64, emit func(*Dirent) bool) error {
	defer h.n.lock()()
	var names []string
	for name := range h.n.children {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		if uint64(i) < offset {
			continue
		}
		child := h.n.children[name]
		if !emit(&Dirent{QID: child.attr().QID, Offset: uint64(i + 1), Type: uint8(child.mode >> 12 & 15), Name: name}) {
			break
		}
	}
	return nil
}

func (h *memHandle) Stat(name string) (Attr, error) {
	// Called by ReadDir's emit, with the lock held.
	if child := h.n.children[name]; child != nil {
		return child.attr(), nil
	}
	return Attr{}, unix.ENOENT
}

func (h *memHandle) Sync(bool) error {
	h.n.t.mu.Lock()
	block, syncing := h.n.t.block, h.n.t.syncing
	h.n.t.mu.Unlock()
	if block != nil {
		syncing <- struct{}{}
		<-block
	}
	return nil
}

func (h *memHandle) Flush() error { return unix.EDQUOT }

func (h *memHandle) Allocate(mode uint32, offset, length uint64) error { return unix.EOPNOTSUPP }

func (h *memHandle) Close() {
	h.fd.Close()
	defer h.n.lock()()
	h.n.t.handles--
}

// pair returns the two ends of a connection.
func pair(t testing.TB) (int, int) {
	t.Helper()
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s[0], s[1]
}

// serve runs a server for the tree; at the end of the test it checks that the server left
// nothing open. The client's end is the caller's to close.
func serve(t testing.TB, tree *memTree) int {
	t.Helper()
	client, server := pair(t)
	done := make(chan error, 1)
	go func() { done <- Serve(server, tree) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Logf("Serve = %v", err)
		}
		if tree.open != 0 || tree.handles != 0 {
			t.Errorf("%d nodes and %d handles are still open", tree.open, tree.handles)
		}
	})
	return client
}

// connect returns a client of a server for the tree, and the root.
func connect(t testing.TB, tree *memTree) (*Client, *ClientFile) {
	t.Helper()
	c, err := NewClient(serve(t, tree), MaxMessageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	root, err := c.Attach("")
	if err != nil {
		t.Fatal(err)
	}
	return c, root
}
