package kernel

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/msgqueue"
	"runsc/pkg/sentry/kernel/sem"
	"runsc/pkg/sentry/kernel/shm"
)

// UTSNamespace holds the names of uts_namespaces(7).
type UTSNamespace struct {
	userNS *auth.UserNamespace

	mu         sync.Mutex // guards the names
	hostname   string
	domainname string
}

// NewUTSNamespace makes a namespace with these names, owned by userNS.
func NewUTSNamespace(userNS *auth.UserNamespace, host, domain string) *UTSNamespace {
	if domain == "" {
		domain = "(none)"
	}
	return &UTSNamespace{userNS: userNS, hostname: host, domainname: domain}
}

// UserNamespace owns the namespace.
func (u *UTSNamespace) UserNamespace() *auth.UserNamespace { return u.userNS }

// Names are the host name and the NIS domain name.
func (u *UTSNamespace) Names() (host, domain string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hostname, u.domainname
}

// SetHostname is sethostname(2) without its checks.
func (u *UTSNamespace) SetHostname(s string) {
	u.mu.Lock()
	u.hostname = s
	u.mu.Unlock()
}

// SetDomainname is setdomainname(2) without its checks.
func (u *UTSNamespace) SetDomainname(s string) {
	u.mu.Lock()
	u.domainname = s
	u.mu.Unlock()
}

// IPCNamespace holds the System V registries of ipc_namespaces(7).
type IPCNamespace struct {
	userNS *auth.UserNamespace
	Shm    *shm.Registry
	Sem    *sem.Registry
	Msg    *msgqueue.Registry
}

// NewIPCNamespace makes an empty namespace owned by userNS.
func NewIPCNamespace(userNS *auth.UserNamespace) *IPCNamespace {
	return &IPCNamespace{userNS: userNS, Shm: shm.NewRegistry(), Sem: sem.NewRegistry(), Msg: msgqueue.NewRegistry()}
}

// UserNamespace owns the namespace.
func (n *IPCNamespace) UserNamespace() *auth.UserNamespace { return n.userNS }

// NetNamespace is a network namespace as far as tasks know it: an identity, and what the
// layer of sockets keeps for it. It has no references to count: it ends when no task, file or
// socket knows it any more, and what hangs on it ends with it.
type NetNamespace struct {
	userNS *auth.UserNamespace
	id     uint64 // 1 is the first
	inode  uint64

	mu    sync.Mutex // guards the field below
	extra any
}

// NewNetNamespace makes a namespace owned by userNS.
func (k *Kernel) NewNetNamespace(userNS *auth.UserNamespace) *NetNamespace {
	return &NetNamespace{userNS: userNS, id: k.netNamespaces.Add(1), inode: k.NewInodeNumber()}
}

// UserNamespace owns the namespace.
func (n *NetNamespace) UserNamespace() *auth.UserNamespace { return n.userNS }

// ID counts the kernel's network namespaces, from 1 on.
func (n *NetNamespace) ID() uint64 { return n.id }

// Extra returns what the layer of sockets keeps for the namespace, made by create at first
// use; as with Kernel.Extra it must be saveable.
func (n *NetNamespace) Extra(create func() any) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.extra == nil {
		n.extra = create()
	}
	return n.extra
}

// pidMax is /proc/sys/kernel/pid_max.
const pidMax = 32768

// PIDNamespace numbers tasks, thread groups, process groups and sessions
// (pid_namespaces(7)). A task has a number in its namespace and in each one above.
type PIDNamespace struct {
	k      *Kernel
	parent *PIDNamespace
	level  int
	userNS *auth.UserNamespace
	inode  uint64

	// The fields below are guarded by Kernel.tasksMu.
	last     int32
	tasks    map[int32]*Task
	groups   map[int32]*ProcessGroup
	sessions map[int32]*Session
	init     *ThreadGroup // pid 1; nil before it is made
	dead     bool         // init has exited: no new tasks
}

func newRootPIDNamespace(k *Kernel, u *auth.UserNamespace) *PIDNamespace {
	return &PIDNamespace{
		k: k, userNS: u, inode: k.NewInodeNumber(),
		tasks: map[int32]*Task{}, groups: map[int32]*ProcessGroup{}, sessions: map[int32]*Session{},
	}
}

// NewChild makes a namespace below ns. ENOSPC: 32 levels exist (pid_namespaces(7)).
func (ns *PIDNamespace) NewChild(u *auth.UserNamespace) (*PIDNamespace, error) {
	if ns.level >= 31 {
		return nil, unix.ENOSPC
	}
	c := newRootPIDNamespace(ns.k, u)
	c.parent, c.level = ns, ns.level+1
	return c, nil
}

// Parent is nil for the root namespace.
func (ns *PIDNamespace) Parent() *PIDNamespace { return ns.parent }

// Inode numbers the namespace for /proc/PID/ns/pid.
func (ns *PIDNamespace) Inode() uint64 { return ns.inode }

// UserNamespace owns the namespace.
func (ns *PIDNamespace) UserNamespace() *auth.UserNamespace { return ns.userNS }

// contains says whether a task of namespace o is visible in ns.
func (ns *PIDNamespace) contains(o *PIDNamespace) bool {
	for ; o != nil; o = o.parent {
		if o == ns {
			return true
		}
	}
	return false
}

// pids are the numbers of one object, from the root namespace (index 0) to ns.
type pids struct {
	ns  *PIDNamespace
	nrs []int32
}

// in returns the number that namespace o sees, or 0.
func (p pids) in(o *PIDNamespace) int32 {
	if o == p.ns {
		return p.nrs[o.level]
	}
	if !o.contains(p.ns) {
		return 0
	}
	return p.nrs[o.level]
}

// allocate finds a free number in ns and all above it. EAGAIN: none is free; ENOMEM: the
// namespace's init is dead (pid_namespaces(7)). tasksMu is held for writing.
func (ns *PIDNamespace) allocate(t *Task) (pids, error) {
	p := pids{ns, make([]int32, ns.level+1)}
	for n := ns; n != nil; n = n.parent {
		if n.dead {
			return pids{}, unix.ENOMEM
		}
		nr := n.last
		for tries := 0; ; tries++ {
			if tries > pidMax {
				for m := ns; m != n; m = m.parent {
					delete(m.tasks, p.nrs[m.level])
				}
				return pids{}, unix.EAGAIN
			}
			if nr++; nr >= pidMax {
				nr = 300
				if n.last < 300 {
					nr = 1
				}
			}
			if n.tasks[nr] == nil && n.groups[nr] == nil && n.sessions[nr] == nil {
				break
			}
		}
		n.last = nr
		p.nrs[n.level] = nr
		n.tasks[nr] = t
	}
	return p, nil
}

// free gives the numbers of t back. tasksMu is held for writing.
func (p pids) free(t *Task) {
	for n := p.ns; n != nil; n = n.parent {
		if n.tasks[p.nrs[n.level]] == t {
			delete(n.tasks, p.nrs[n.level])
		}
	}
}

// Task finds the thread with number nr, or nil.
func (ns *PIDNamespace) Task(nr int32) *Task {
	ns.k.tasksMu.RLock()
	defer ns.k.tasksMu.RUnlock()
	return ns.tasks[nr]
}

// ThreadGroup finds the process with number nr, or nil.
func (ns *PIDNamespace) ThreadGroup(nr int32) *ThreadGroup {
	ns.k.tasksMu.RLock()
	defer ns.k.tasksMu.RUnlock()
	return ns.threadGroupLocked(nr)
}

func (ns *PIDNamespace) threadGroupLocked(nr int32) *ThreadGroup {
	if t := ns.tasks[nr]; t != nil && t == t.tg.leader {
		return t.tg
	}
	return nil
}

// Tasks lists every thread visible in ns.
func (ns *PIDNamespace) Tasks() []*Task {
	ns.k.tasksMu.RLock()
	defer ns.k.tasksMu.RUnlock()
	out := make([]*Task, 0, len(ns.tasks))
	for _, t := range ns.tasks {
		out = append(out, t)
	}
	return out
}

// ThreadGroups lists every process visible in ns.
func (ns *PIDNamespace) ThreadGroups() []*ThreadGroup {
	ns.k.tasksMu.RLock()
	defer ns.k.tasksMu.RUnlock()
	var out []*ThreadGroup
	for _, t := range ns.tasks {
		if t == t.tg.leader {
			out = append(out, t.tg)
		}
	}
	return out
}

// TIDOf is the number of t in ns, 0 if t is not visible there.
func (ns *PIDNamespace) TIDOf(t *Task) int32 {
	ns.k.tasksMu.RLock()
	defer ns.k.tasksMu.RUnlock()
	return t.pids.in(ns)
}

// TGIDOf is the process number of tg in ns, or 0.
func (ns *PIDNamespace) TGIDOf(tg *ThreadGroup) int32 {
	ns.k.tasksMu.RLock()
	defer ns.k.tasksMu.RUnlock()
	return tg.leader.pids.in(ns)
}
