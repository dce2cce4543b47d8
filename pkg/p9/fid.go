package p9

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// fid is what a client's fid number stands for. The table holds one reference and every
// request that uses it another, so that a clunk does not pull the file from under a request.
type fid struct {
	refs atomic.Int32
	node *sharedNode

	mu     sync.Mutex // guards the fields below, which are set once
	handle Handle
	xattr  *xattrFID
}

// sharedNode is a Node that several fids, clones of each other, refer to.
type sharedNode struct {
	Node
	refs atomic.Int32
}

func newSharedNode(n Node) *sharedNode {
	s := &sharedNode{Node: n}
	s.refs.Store(1)
	return s
}

func (s *sharedNode) ref() *sharedNode {
	s.refs.Add(1)
	return s
}

func (s *sharedNode) unref() {
	if s.refs.Add(-1) == 0 {
		s.Node.Close()
	}
}

// newFID makes a fid that takes over the caller's reference to node.
func newFID(node *sharedNode, h Handle) *fid {
	f := &fid{node: node, handle: h}
	f.refs.Store(1)
	return f
}

func (f *fid) unref() {
	if f.refs.Add(-1) > 0 {
		return
	}
	if f.handle != nil {
		f.handle.Close()
	}
	f.node.unref()
}

// opened returns the handle, or EBADF.
func (f *fid) opened() (Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handle == nil {
		return nil, unix.EBADF
	}
	return f.handle, nil
}

// lookup returns the fid with a reference for the caller, or EBADF.
func (cn *conn) lookup(n uint32) (*fid, error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	f := cn.fids[n]
	if f == nil {
		return nil, unix.EBADF
	}
	f.refs.Add(1)
	return f, nil
}

// insert puts a fid into the table, which takes over the caller's reference. It fails when
// the number is taken, and then drops the reference.
func (cn *conn) insert(n uint32, f *fid) error {
	cn.mu.Lock()
	_, taken := cn.fids[n]
	full := len(cn.fids) >= maxFIDs
	if !taken && !full && n != NoFID {
		cn.fids[n] = f
		cn.mu.Unlock()
		return nil
	}
	cn.mu.Unlock()
	f.unref()
	if full && !taken {
		return unix.ENFILE
	}
	return unix.EBADF
}

// vacant says whether a new fid may have the number n: a check made early, so that nothing
// is created for a fid that cannot be bound. NoFID is vacant.
func (cn *conn) vacant(n uint32) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	_, taken := cn.fids[n]
	return !taken
}

// remove takes the fid out of the table and hands its reference to the caller.
func (cn *conn) remove(n uint32) (*fid, error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	f := cn.fids[n]
	if f == nil {
		return nil, unix.EBADF
	}
	delete(cn.fids, n)
	return f, nil
}

// bind puts a new fid for node into the table unless n is NoFID; either way the node's
// reference, and the handle, are taken over.
func (cn *conn) bind(n uint32, node *sharedNode, h Handle) error {
	f := newFID(node, h)
	if n == NoFID {
		f.unref()
		return nil
	}
	return cn.insert(n, f)
}
