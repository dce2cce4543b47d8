// Package sys is sysfs (sysfs(5)), read-only: what programs look up to learn about CPUs,
// memory nodes, network interfaces and huge pages, and the mount point of cgroups.
//
// The tree is built once, from the number of CPUs and the amount of memory that the sandbox
// shows; only /sys/class/net asks whoever knows the interfaces (NetDevices), at every look.
// No locks.
package sys

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// Options say what the sandbox has.
type Options struct {
	NumCPU      int
	TotalMemory uint64 // bytes
	Net         NetDevices
}

// NetDevices knows the interfaces of the caller's network namespace. It may be nil.
type NetDevices interface {
	NetDevices(ctx context.Context) []NetDevice
}

// NetDevice is a network interface as /sys/class/net shows it.
type NetDevice struct {
	Name      string
	Index     int
	Address   string // aa:bb:cc:dd:ee:ff
	Broadcast string
	MTU       int
	Flags     uint32 // IFF_*
	Type      int    // ARPHRD_*
	Up        bool
	// Statistics are rx_bytes, tx_bytes and so on; those that are missing are 0.
	Statistics map[string]uint64
}

// Type is the filesystem type, for mount(2).
type Type struct{ Options Options }

// NewFilesystem implements vfs.FilesystemType.
func (t *Type) NewFilesystem(ctx context.Context, v *vfs.VFS, _, _ string) (vfs.Filesystem, error) {
	return New(ctx, v, t.Options), nil
}

// NeedsDevice implements vfs.FilesystemType.
func (*Type) NeedsDevice() bool { return false }

// UserMountable implements vfs.FilesystemType.
func (*Type) UserMountable() bool { return true }

// Filesystem is a sysfs.
type Filesystem struct {
	pseudo.FS
	opts Options
	now  int64
	root *pseudo.Dir
}

// Root implements vfs.Filesystem.
func (fs *Filesystem) Root() vfs.Inode { return fs.root }

// New makes the tree.
func New(ctx context.Context, v *vfs.VFS, o Options) *Filesystem {
	o.NumCPU = max(o.NumCPU, 1)
	fs := &Filesystem{
		FS:   pseudo.FS{Type: "sysfs", Magic: unix.SYSFS_MAGIC, Device: v.AnonDev()},
		opts: o, now: ctx.RealTime(),
	}
	fs.root = fs.dir()
	for _, d := range []string{"block", "bus", "dev/block", "dev/char", "devices/virtual/net", "class/block",
		"class/tty", "firmware", "fs/cgroup", "fs/bpf", "fs/fuse/connections", "hypervisor", "kernel/debug",
		"kernel/security", "kernel/tracing", "kernel/config", "module", "power"} {
		fs.mkdir(d)
	}
	fs.addCPUs()
	fs.addNode()
	fs.addKernel()
	net := &netDir{fs: fs}
	net.Init(fs, fs.NewIno(), unix.S_IFDIR|0o755, auth.RootUID, auth.RootGID, fs.now)
	fs.mkdir("class").Add("net", net)
	return fs
}

func (fs *Filesystem) dir() *pseudo.Dir { return pseudo.NewDir(fs, fs.NewIno(), 0o755, fs.now) }

// mkdir returns the directory at path, made with its parents if it is missing.
func (fs *Filesystem) mkdir(path string) *pseudo.Dir {
	d := fs.root
	for name := range strings.SplitSeq(path, "/") {
		sub, _ := d.Child(name).(*pseudo.Dir)
		if sub == nil {
			sub = fs.dir()
			d.Add(name, sub)
		}
		d = sub
	}
	return d
}

// put makes a file with that content and a newline.
func (fs *Filesystem) put(path, content string) {
	i := strings.LastIndexByte(path, '/')
	f := pseudo.NewText(fs, fs.NewIno(), 0o444, pseudo.String(content+"\n"), fs.now)
	f.SetSize(4096)
	fs.mkdir(path[:i]).Add(path[i+1:], f)
}

func (fs *Filesystem) link(path, target string) {
	i := strings.LastIndexByte(path, '/')
	fs.mkdir(path[:i]).Add(path[i+1:], pseudo.NewLink(fs, fs.NewIno(), target, fs.now))
}

// list is "0-3", or "0" for one.
func list(n int) string {
	if n == 1 {
		return "0"
	}
	return fmt.Sprintf("0-%d", n-1)
}

// bits is a mask of CPUs, all below n or only one of them.
func bits(n, only int) string {
	words := make([]uint32, (n+31)/32)
	for i := range n {
		if only < 0 || only == i {
			words[i/32] |= 1 << (i % 32)
		}
	}
	s := fmt.Sprintf("%x", words[len(words)-1])
	if n > 4 && len(words) == 1 {
		s = fmt.Sprintf("%0*x", (n+3)/4, words[0])
	}
	for i := len(words) - 2; i >= 0; i-- {
		s += fmt.Sprintf(",%08x", words[i])
	}
	return s
}

// caches are those that every CPU shows, in the order of their indexes. Sizes are in KiB.
var caches = []struct {
	level            int
	kind             string
	size, ways, sets int
	shared           bool
}{
	{1, "Data", 32, 8, 64, false}, {1, "Instruction", 32, 8, 64, false},
	{2, "Unified", 512, 8, 1024, false}, {3, "Unified", 16384, 16, 16384, true},
}

func (fs *Filesystem) addCPUs() {
	const base = "devices/system/cpu/"
	n := fs.opts.NumCPU
	for _, f := range []string{"online", "possible", "present"} {
		fs.put(base+f, list(n))
	}
	fs.put(base+"offline", "")
	fs.put(base+"isolated", "")
	fs.put(base+"nohz_full", "(null)")
	fs.put(base+"kernel_max", "8191")
	fs.put(base+"smt/active", "0")
	fs.put(base+"smt/control", "notsupported")
	for i := range n {
		cpu := fmt.Sprintf("%scpu%d/", base, i)
		if i > 0 {
			fs.put(cpu+"online", "1")
		}
		for _, f := range [][2]string{
			{"core_id", fmt.Sprint(i)}, {"physical_package_id", "0"}, {"die_id", "0"}, {"cluster_id", "0"},
			{"thread_siblings", bits(n, i)}, {"thread_siblings_list", fmt.Sprint(i)},
			{"core_cpus", bits(n, i)}, {"core_cpus_list", fmt.Sprint(i)},
			{"core_siblings", bits(n, -1)}, {"core_siblings_list", list(n)},
			{"package_cpus", bits(n, -1)}, {"package_cpus_list", list(n)},
			{"die_cpus", bits(n, -1)}, {"die_cpus_list", list(n)},
		} {
			fs.put(cpu+"topology/"+f[0], f[1])
		}
		for j, c := range caches {
			dir := fmt.Sprintf("%scache/index%d/", cpu, j)
			mask, cpus, id := bits(n, i), fmt.Sprint(i), i
			if c.shared {
				mask, cpus, id = bits(n, -1), list(n), 0
			}
			for _, f := range [][2]string{
				{"level", fmt.Sprint(c.level)}, {"type", c.kind}, {"size", fmt.Sprintf("%dK", c.size)},
				{"coherency_line_size", "64"}, {"ways_of_associativity", fmt.Sprint(c.ways)},
				{"number_of_sets", fmt.Sprint(c.sets)}, {"physical_line_partition", "1"},
				{"shared_cpu_map", mask}, {"shared_cpu_list", cpus}, {"id", fmt.Sprint(id)},
			} {
				fs.put(dir+f[0], f[1])
			}
		}
		fs.link(cpu+"node0", "../../node/node0")
		fs.link(cpu+"subsystem", "../../../../bus/cpu")
	}
}

func (fs *Filesystem) addNode() {
	const base = "devices/system/node/"
	n := fs.opts.NumCPU
	for _, f := range []string{"online", "possible", "has_cpu", "has_memory", "has_normal_memory"} {
		fs.put(base+f, "0")
	}
	const node = base + "node0/"
	fs.put(node+"cpulist", list(n))
	fs.put(node+"cpumap", bits(n, -1))
	fs.put(node+"distance", "10")
	fs.put(node+"numastat", "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0")
	total := fs.opts.TotalMemory >> 10
	fs.put(node+"meminfo", fmt.Sprintf("Node 0 MemTotal:       %8d kB\nNode 0 MemFree:        %8d kB\nNode 0 MemUsed:        %8d kB", total, total, 0))
	for i := range n {
		fs.link(fmt.Sprintf("%scpu%d", node, i), fmt.Sprintf("../../cpu/cpu%d", i))
	}
	for _, f := range []string{"nr_hugepages", "free_hugepages", "surplus_hugepages"} {
		fs.put(node+"hugepages/hugepages-2048kB/"+f, "0")
	}
}

func (fs *Filesystem) addKernel() {
	const thp = "kernel/mm/transparent_hugepage/"
	fs.put(thp+"enabled", "always [madvise] never")
	fs.put(thp+"defrag", "always defer defer+madvise [madvise] never")
	fs.put(thp+"shmem_enabled", "always within_size advise [never] deny force")
	fs.put(thp+"hpage_pmd_size", "2097152")
	fs.put(thp+"use_zero_page", "1")
	for _, f := range []string{"nr_hugepages", "nr_hugepages_mempolicy", "nr_overcommit_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages"} {
		fs.put("kernel/mm/hugepages/hugepages-2048kB/"+f, "0")
	}
	fs.put("kernel/mm/ksm/run", "0")
	fs.put("kernel/uevent_seqnum", "0")
	fs.put("kernel/kexec_loaded", "0")
	fs.put("kernel/kexec_crash_loaded", "0")
	fs.put("kernel/profiling", "0")
	fs.put("kernel/cgroup/delegate", "cgroup.procs\ncgroup.threads\ncgroup.subtree_control")
	fs.put("kernel/cgroup/features", "nsdelegate")
}

// netDir is /sys/class/net.
type netDir struct {
	pseudo.Node
	vfs.ReadOnlyDir
	fs *Filesystem
}

func (d *netDir) devices(ctx context.Context) []NetDevice {
	if d.fs.opts.Net == nil {
		return []NetDevice{{Name: "lo", Index: 1, Address: "00:00:00:00:00:00", Broadcast: "00:00:00:00:00:00",
			MTU: 65536, Flags: unix.IFF_LOOPBACK | unix.IFF_UP, Type: unix.ARPHRD_LOOPBACK, Up: true}}
	}
	return d.fs.opts.Net.NetDevices(ctx)
}

// Inode numbers of interfaces and their files.
const (
	netIno     = 1 << 32
	netInoStep = 64
)

// Caching implements vfs.Directory.
func (*netDir) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory.
func (d *netDir) Lookup(ctx context.Context, name string) (vfs.Inode, error) {
	for _, n := range d.devices(ctx) {
		if n.Name == name {
			return d.fs.netDevice(&n), nil
		}
	}
	return nil, unix.ENOENT
}

// Entries implements pseudo.Lister.
func (d *netDir) Entries(ctx context.Context) ([]pseudo.Entry, error) {
	var out []pseudo.Entry
	for _, n := range d.devices(ctx) {
		out = append(out, pseudo.Entry{Name: n.Name, Ino: netIno + uint64(n.Index)*netInoStep, Type: unix.DT_DIR})
	}
	return out, nil
}

// Open implements vfs.Inode.
func (d *netDir) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(d), nil }

// netStatistics are the counters of an interface.
var netStatistics = strings.Fields(`collisions multicast rx_bytes rx_compressed rx_crc_errors rx_dropped rx_errors
	rx_fifo_errors rx_frame_errors rx_length_errors rx_missed_errors rx_nohandler rx_over_errors rx_packets
	tx_aborted_errors tx_bytes tx_carrier_errors tx_compressed tx_dropped tx_errors tx_fifo_errors
	tx_heartbeat_errors tx_packets tx_window_errors`)

// netDevice makes the directory of an interface.
func (fs *Filesystem) netDevice(n *NetDevice) vfs.Inode {
	ino := uint64(netIno) + uint64(n.Index)*netInoStep
	d := pseudo.NewDir(fs, ino, 0o755, fs.now)
	state, carrier := "down", "0"
	if n.Up {
		state, carrier = "up", "1"
	}
	if n.Flags&unix.IFF_LOOPBACK != 0 {
		state = "unknown"
	}
	add := func(to *pseudo.Dir, name, v string) {
		ino++
		f := pseudo.NewText(fs, ino, 0o444, pseudo.String(v+"\n"), fs.now)
		f.SetSize(4096)
		to.Add(name, f)
	}
	for _, f := range [][2]string{
		{"addr_assign_type", "0"}, {"addr_len", "6"}, {"address", n.Address}, {"broadcast", n.Broadcast},
		{"carrier", carrier}, {"dev_id", "0x0"}, {"dormant", "0"}, {"duplex", "full"},
		{"flags", fmt.Sprintf("0x%x", n.Flags)}, {"gro_flush_timeout", "0"}, {"ifalias", ""},
		{"ifindex", fmt.Sprint(n.Index)}, {"iflink", fmt.Sprint(n.Index)}, {"link_mode", "0"},
		{"mtu", fmt.Sprint(n.MTU)}, {"operstate", state}, {"speed", "10000"}, {"tx_queue_len", "1000"},
		{"type", fmt.Sprint(n.Type)}, {"uevent", fmt.Sprintf("INTERFACE=%s\nIFINDEX=%d", n.Name, n.Index)},
	} {
		add(d, f[0], f[1])
	}
	ino++
	stats := pseudo.NewDir(fs, ino, 0o755, fs.now)
	for _, s := range netStatistics {
		add(stats, s, fmt.Sprint(n.Statistics[s]))
	}
	d.Add("statistics", stats)
	return d
}
