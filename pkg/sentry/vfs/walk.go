package vfs

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
)

// Limits of path_resolution(7).
const (
	NameMax     = 255  // bytes of a component
	PathMax     = 4096 // bytes of a pathname with its NUL
	maxSymlinks = 40

	resolveCached = 0x20 // RESOLVE_CACHED
)

// PathOp says which place an operation is about. The paths are the caller's and stay
// referenced while the operation runs.
type PathOp struct {
	// Root is where absolute names begin and where ".." ends; Start is where relative
	// names begin (the working directory, or the directory of an *at system call).
	Root, Start Path
	Pathname    string
	// NoFollow: a symlink in the last component is the object itself.
	NoFollow bool
	// EmptyPath: an empty Pathname is Start itself (AT_EMPTY_PATH), else ENOENT.
	EmptyPath bool
	// Resolve holds openat2(2)'s RESOLVE_* flags.
	Resolve uint64
}

// walker resolves one pathname.
//
// cur is where it is. cur is borrowed, that is, kept only by the garbage collector, unless
// it is also held. Before it calls a filesystem, the walker pins cur; if that fails because
// the dentry was evicted meanwhile, the walk starts again and pins every step (pinAll), which
// cannot fail that way.
type walker struct {
	v     *VFS
	ctx   context.Context
	creds *auth.Credentials
	op    PathOp

	cur    Path
	held   Path
	rest   string // what is left of the pathname, without the component being looked at
	pinAll bool
	links  int
	// valid is how many of the next components were revalidated in advance.
	valid int

	// missing says that child found no such name (and not a link to nothing).
	missing bool
	// slash says that slashes followed the last component seen.
	slash bool

	root      Path   // where ".." and absolute links end and begin
	renameSeq uint64 // at the start, for RESOLVE_BENEATH and RESOLVE_IN_ROOT
	mountID   int32  // of Start, for RESOLVE_NO_XDEV
}

// errRetry: a dentry died under the walker.
var errRetry = errors.New("vfs: walk again")

// lastKind says what kind of component a walk to a parent ended at.
type lastKind uint8

const (
	lastNormal lastKind = iota
	lastRoot            // there was none: "/" or AT_EMPTY_PATH
	lastDot
	lastDotDot
)

func (v *VFS) newWalker(ctx context.Context, op *PathOp) walker {
	return walker{v: v, ctx: ctx, creds: ctx.Credentials(), op: *op}
}

// begin puts the walker at the start of the pathname.
func (w *walker) begin() error {
	op := &w.op
	w.release()
	w.links, w.valid, w.slash = 0, 0, false
	w.root = op.Root
	w.cur = op.Start
	w.rest = op.Pathname
	if op.Resolve != 0 {
		w.renameSeq = w.v.renameSeq.Load()
		if op.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 {
			w.root = op.Start
		}
		w.mountID = op.Start.Mount.id
	}
	if op.Pathname == "" {
		if op.EmptyPath {
			return nil
		}
		return unix.ENOENT
	}
	if op.Pathname[0] == '/' {
		return w.jumpToRoot()
	}
	return nil
}

// jumpToRoot handles a pathname or link text that begins with a slash.
func (w *walker) jumpToRoot() error {
	if w.op.Resolve&unix.RESOLVE_BENEATH != 0 {
		return unix.EXDEV
	}
	if w.op.Resolve&unix.RESOLVE_NO_XDEV != 0 && w.root.Mount.id != w.cur.Mount.id {
		return unix.EXDEV
	}
	w.cur = w.root
	return nil
}

// release drops what is held.
func (w *walker) release() {
	if w.held.Ok() {
		h := w.held
		w.held = Path{}
		h.DecRef(w.ctx)
	}
}

// hold makes p, whose references pass to the walker, the current place.
func (w *walker) hold(p Path) {
	h := w.held
	w.cur, w.held = p, p
	h.DecRef(w.ctx)
}

// pin makes the current place a held one.
func (w *walker) pin() error {
	if w.held == w.cur {
		return nil
	}
	if !w.cur.tryIncRef(w.ctx) {
		return errRetry
	}
	w.hold(w.cur)
	return nil
}

// take returns the current place with references for the caller.
func (w *walker) take() (Path, error) {
	if err := w.pin(); err != nil {
		return Path{}, err
	}
	p := w.held
	w.held = Path{}
	return p, nil
}

// resolve walks the whole pathname and returns its place, with references.
func (v *VFS) resolve(ctx context.Context, op *PathOp) (Path, error) {
	w := v.newWalker(ctx, op)
	for {
		p, err := w.walkAll()
		if err != errRetry {
			return p, err
		}
		w.pinAll = true
	}
}

func (w *walker) walkAll() (Path, error) {
	err := w.begin()
	if err == nil {
		err = w.walk()
	}
	if err != nil {
		w.release()
		return Path{}, err
	}
	p, err := w.take()
	if err != nil {
		w.release()
	}
	return p, err
}

// walk follows rest to its end.
func (w *walker) walk() error {
	for {
		kind, name, slash, err := w.walkParent()
		if err != nil {
			return err
		}
		switch kind {
		case lastRoot:
			return nil
		case lastDot:
			return w.checkSearch()
		case lastDotDot:
			return w.dotDot()
		}
		link, err := w.child(name, !w.op.NoFollow || slash)
		if err != nil {
			return err
		}
		if link {
			continue
		}
		if slash && w.cur.Dentry.kids == nil {
			return unix.ENOTDIR
		}
		return nil
	}
}

// walkParent follows rest up to, and without, its last component, which it returns, and
// whether slashes follow it. For "." and ".." the caller moves on by itself.
func (w *walker) walkParent() (kind lastKind, name string, slash bool, err error) {
	for {
		rest := w.rest
		for len(rest) > 0 && rest[0] == '/' {
			rest = rest[1:]
		}
		if rest == "" {
			w.rest = ""
			return lastRoot, "", false, nil
		}
		i := strings.IndexByte(rest, '/')
		name = rest
		last := true
		if i >= 0 {
			name = rest[:i]
			rest = rest[i:]
			for len(rest) > 0 && rest[0] == '/' {
				rest = rest[1:]
			}
			last = rest == ""
		} else {
			rest = ""
		}
		w.rest = rest
		kind = lastNormal
		if name[0] == '.' {
			if len(name) == 1 {
				kind = lastDot
			} else if len(name) == 2 && name[1] == '.' {
				kind = lastDotDot
			}
		}
		if last {
			if w.cur.Dentry.kids == nil {
				return kind, "", false, unix.ENOTDIR
			}
			w.slash = i >= 0
			return kind, name, w.slash, nil
		}
		switch kind {
		case lastDot:
			err = w.checkSearch()
		case lastDotDot:
			err = w.dotDot()
		default:
			_, err = w.child(name, true)
		}
		if err != nil {
			return 0, "", false, err
		}
	}
}

// checkSearch says whether the caller may look for names in the current place.
func (w *walker) checkSearch() error {
	d := w.cur.Dentry
	if d.kids == nil {
		return unix.ENOTDIR
	}
	return CheckPermission(w.creds, d.inode, MayExec)
}

// dotDot moves to the parent, out of mounts but not out of the root.
func (w *walker) dotDot() error {
	if err := w.checkSearch(); err != nil {
		return err
	}
	w.valid = 0
	p := w.cur
	for {
		if p == w.root {
			if w.op.Resolve&unix.RESOLVE_BENEATH != 0 {
				return unix.EXDEV
			}
			break
		}
		if p.Dentry != p.Mount.root {
			parent := p.Dentry.Parent()
			if parent == nil {
				break // a file without a place
			}
			p.Dentry = parent
			break
		}
		at := p.Mount.at.Load()
		if at == nil {
			break
		}
		p = Path{at.parent, at.dentry}
	}
	if w.op.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 && w.v.renameSeq.Load() != w.renameSeq {
		return unix.EAGAIN // the answer may be wrong; openat2(2) says so
	}
	return w.moveTo(p)
}

// moveTo goes to p and on to what is mounted there.
func (w *walker) moveTo(p Path) error {
	p = p.top()
	if w.op.Resolve&unix.RESOLVE_NO_XDEV != 0 && p.Mount.id != w.mountID {
		return unix.EXDEV
	}
	w.cur = p
	if w.pinAll {
		return w.pin()
	}
	return nil
}

// top is the place that covers p: the root of what is mounted on it, and so on.
func (p Path) top() Path {
	for {
		ms := p.Dentry.mounts.Load()
		if ms == nil {
			return p
		}
		m := coveringMount(*ms, p)
		if m == nil {
			return p
		}
		p = Path{m, m.root}
	}
}

func coveringMount(ms []*Mount, p Path) *Mount {
	for _, m := range ms {
		if at := m.at.Load(); at != nil && at.parent == p.Mount && at.dentry == p.Dentry {
			return m
		}
	}
	return nil
}

// child moves from the current directory to its entry called name. If that is a symlink and
// follow is set, the walker stays and the link's text precedes rest (link is true); a magic
// link is followed at once.
func (w *walker) child(name string, follow bool) (link bool, err error) {
	w.missing = false
	if err := w.checkSearch(); err != nil {
		return false, err
	}
	if len(name) > NameMax {
		return false, unix.ENAMETOOLONG
	}
	d, ref, err := w.lookup(name)
	if err != nil {
		w.missing = err == unix.ENOENT
		return false, err
	}
	if follow {
		if s, ok := d.inode.(Symlink); ok {
			if !ref {
				if !d.tryIncRef() {
					return false, errRetry
				}
			}
			link, err = w.followLink(d, s)
			d.DecRef(w.ctx)
			return link, err
		}
	}
	if ref {
		// w.cur.Mount is alive: the walker held the directory to get here.
		w.cur.Mount.IncRef()
		w.hold(Path{w.cur.Mount, d})
	}
	if d.mounts.Load() == nil {
		w.cur.Dentry = d
		return false, nil
	}
	w.valid = 0
	return false, w.moveTo(Path{w.cur.Mount, d})
}

// followLink puts the text of the link d, which the caller references, before rest.
func (w *walker) followLink(d *Dentry, s Symlink) (bool, error) {
	w.links++
	w.valid = 0
	if w.links > maxSymlinks || w.op.Resolve&unix.RESOLVE_NO_SYMLINKS != 0 ||
		w.cur.Mount.Flags()&unix.MS_NOSYMFOLLOW != 0 {
		return false, unix.ELOOP
	}
	if m, ok := s.(MagicLink); ok {
		p, ok, err := m.Target(w.ctx)
		if err != nil {
			return false, err
		}
		if ok {
			switch {
			case w.op.Resolve&unix.RESOLVE_NO_MAGICLINKS != 0:
				err = unix.ELOOP
			case w.op.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0,
				w.op.Resolve&unix.RESOLVE_NO_XDEV != 0 && p.Mount.id != w.mountID:
				err = unix.EXDEV
			}
			if err != nil {
				p.DecRef(w.ctx)
				return false, err
			}
			w.hold(p)
			return false, nil
		}
	}
	text, err := s.Readlink(w.ctx)
	if err != nil {
		return false, err
	}
	touchAtime(w.ctx, w.cur.Mount, s)
	if text == "" {
		return false, unix.ENOENT
	}
	if text[0] == '/' {
		if err := w.jumpToRoot(); err != nil {
			return false, err
		}
	}
	if w.rest != "" {
		text += "/" + w.rest
	} else if w.slash {
		text += "/"
	}
	w.rest = text
	return true, nil
}
