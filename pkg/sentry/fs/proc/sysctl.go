package proc

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// sysctl is a line of the table of /proc/sys: a value and who may change it.
type sysctl struct {
	name  string // path below /proc/sys
	value string // at start, without newline
	mode  uint32 // 0444 if 0
	// lo and hi bound numbers; if both are 0 any text is taken.
	lo, hi int64
	// kind is how the value is read and written if it is not just kept.
	kind sysctlKind
}

type sysctlKind uint8

const (
	kept     sysctlKind = iota
	hostname            // of the reader's UTS namespace
	domainname
	newUUID // a new one at each reading
	bootID
	fileNr
	ptyNr
)

const (
	rw  = 0o644
	top = 1<<31 - 1
)

// sysctls are the variables that programs read, and some of them write. What the sentry
// itself goes by is asked for with Sysctl; the rest is recorded and reported back.
var sysctls = []sysctl{
	{name: "fs/aio-max-nr", value: "65536", mode: rw, lo: 0, hi: top},
	{name: "fs/aio-nr", value: "0"},
	{name: "fs/dentry-state", value: "0\t0\t45\t0\t0\t0"},
	{name: "fs/dir-notify-enable", value: "1"},
	{name: "fs/epoll/max_user_watches", value: "1048576", mode: rw, lo: 0, hi: top},
	{name: "fs/file-max", value: "9223372036854775807", mode: rw, lo: 0, hi: 1<<63 - 1},
	{name: "fs/file-nr", kind: fileNr},
	{name: "fs/inode-nr", value: "0\t0"},
	{name: "fs/inode-state", value: "0\t0\t0\t0\t0\t0\t0"},
	{name: "fs/inotify/max_queued_events", value: "16384", mode: rw, lo: 0, hi: top},
	{name: "fs/inotify/max_user_instances", value: "128", mode: rw, lo: 0, hi: top},
	{name: "fs/inotify/max_user_watches", value: "65536", mode: rw, lo: 0, hi: top},
	{name: "fs/lease-break-time", value: "45", mode: rw, lo: 0, hi: top},
	{name: "fs/leases-enable", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "fs/mount-max", value: "100000", mode: rw, lo: 1, hi: top},
	{name: "fs/mqueue/msg_default", value: "10", mode: rw, lo: 1, hi: 65536},
	{name: "fs/mqueue/msg_max", value: "10", mode: rw, lo: 1, hi: 65536},
	{name: "fs/mqueue/msgsize_default", value: "8192", mode: rw, lo: 128, hi: 16777216},
	{name: "fs/mqueue/msgsize_max", value: "8192", mode: rw, lo: 128, hi: 16777216},
	{name: "fs/mqueue/queues_max", value: "256", mode: rw, lo: 0, hi: top},
	{name: "fs/nr_open", value: "1048576", mode: rw, lo: 64, hi: top},
	{name: "fs/overflowgid", value: "65534", mode: rw, lo: 0, hi: 65535},
	{name: "fs/overflowuid", value: "65534", mode: rw, lo: 0, hi: 65535},
	{name: "fs/pipe-max-size", value: "1048576", mode: rw, lo: 4096, hi: top},
	{name: "fs/pipe-user-pages-hard", value: "0", mode: rw, lo: 0, hi: top},
	{name: "fs/pipe-user-pages-soft", value: "16384", mode: rw, lo: 0, hi: top},
	{name: "fs/protected_fifos", value: "0", mode: rw, lo: 0, hi: 2},
	{name: "fs/protected_hardlinks", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "fs/protected_regular", value: "0", mode: rw, lo: 0, hi: 2},
	{name: "fs/protected_symlinks", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "fs/suid_dumpable", value: "0", mode: rw, lo: 0, hi: 2},

	{name: "kernel/acct", value: "4\t2\t30", mode: rw},
	{name: "kernel/auto_msgmni", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "kernel/bootloader_type", value: "0"},
	{name: "kernel/cap_last_cap", value: strconv.Itoa(auth.LastCap)},
	{name: "kernel/core_pattern", value: "core", mode: rw},
	{name: "kernel/core_pipe_limit", value: "0", mode: rw, lo: 0, hi: top},
	{name: "kernel/core_uses_pid", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "kernel/ctrl-alt-del", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "kernel/dmesg_restrict", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "kernel/domainname", mode: rw, kind: domainname},
	{name: "kernel/hostname", mode: rw, kind: hostname},
	{name: "kernel/hung_task_timeout_secs", value: "0", mode: rw, lo: 0, hi: top},
	{name: "kernel/io_uring_disabled", value: "2", mode: rw, lo: 0, hi: 2},
	{name: "kernel/keys/maxbytes", value: "20000", mode: rw, lo: 0, hi: top},
	{name: "kernel/keys/maxkeys", value: "200", mode: rw, lo: 0, hi: top},
	{name: "kernel/kptr_restrict", value: "2", mode: rw, lo: 0, hi: 2},
	{name: "kernel/max_lock_depth", value: "1024", mode: rw, lo: 0, hi: top},
	{name: "kernel/modules_disabled", value: "1"},
	{name: "kernel/msgmax", value: "8192", mode: rw, lo: 0, hi: top},
	{name: "kernel/msgmnb", value: "16384", mode: rw, lo: 0, hi: top},
	{name: "kernel/msgmni", value: "32000", mode: rw, lo: 0, hi: 32768},
	{name: "kernel/ngroups_max", value: "65536"},
	{name: "kernel/ns_last_pid", value: "0", mode: rw, lo: 0, hi: top},
	{name: "kernel/numa_balancing", value: "0", mode: rw, lo: 0, hi: 2},
	{name: "kernel/osrelease", value: kernel.Release},
	{name: "kernel/ostype", value: kernel.Sysname},
	{name: "kernel/overflowgid", value: "65534", mode: rw, lo: 0, hi: 65535},
	{name: "kernel/overflowuid", value: "65534", mode: rw, lo: 0, hi: 65535},
	{name: "kernel/panic", value: "0", mode: rw, lo: 0, hi: top},
	{name: "kernel/panic_on_oops", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "kernel/perf_event_max_sample_rate", value: "100000", mode: rw, lo: 0, hi: top},
	{name: "kernel/perf_event_mlock_kb", value: "516", mode: rw, lo: 0, hi: top},
	{name: "kernel/perf_event_paranoid", value: "4", mode: rw, lo: -1, hi: 4},
	{name: "kernel/pid_max", value: "32768", mode: rw, lo: 301, hi: 4194304},
	{name: "kernel/poweroff_cmd", value: "/sbin/poweroff", mode: rw},
	{name: "kernel/printk", value: "4\t4\t1\t7", mode: rw},
	{name: "kernel/pty/max", value: "4096", mode: rw, lo: 0, hi: top},
	{name: "kernel/pty/nr", kind: ptyNr},
	{name: "kernel/pty/reserve", value: "1024", mode: rw, lo: 0, hi: top},
	{name: "kernel/random/boot_id", kind: bootID},
	{name: "kernel/random/entropy_avail", value: "256"},
	{name: "kernel/random/poolsize", value: "256"},
	{name: "kernel/random/urandom_min_reseed_secs", value: "60", mode: rw, lo: 0, hi: top},
	{name: "kernel/random/uuid", kind: newUUID},
	{name: "kernel/random/write_wakeup_threshold", value: "256", mode: rw, lo: 0, hi: top},
	{name: "kernel/randomize_va_space", value: "2", mode: rw, lo: 0, hi: 2},
	{name: "kernel/sched_autogroup_enabled", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "kernel/sched_child_runs_first", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "kernel/sched_rr_timeslice_ms", value: "100", mode: rw, lo: 0, hi: top},
	{name: "kernel/sched_rt_period_us", value: "1000000", mode: rw, lo: 1, hi: top},
	{name: "kernel/sched_rt_runtime_us", value: "950000", mode: rw, lo: -1, hi: top},
	{name: "kernel/seccomp/actions_avail", value: "kill_process kill_thread trap errno user_notif trace log allow"},
	{name: "kernel/seccomp/actions_logged", value: "kill_process kill_thread trap errno user_notif trace log", mode: rw},
	{name: "kernel/sem", value: "32000\t1024000000\t500\t32000", mode: rw},
	{name: "kernel/shm_rmid_forced", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "kernel/shmall", value: "18446744073692774399", mode: rw},
	{name: "kernel/shmmax", value: "18446744073692774399", mode: rw},
	{name: "kernel/shmmni", value: "4096", mode: rw, lo: 0, hi: 32768},
	{name: "kernel/sysctl_writes_strict", value: "1", mode: rw, lo: -1, hi: 1},
	{name: "kernel/sysrq", value: "0", mode: rw, lo: 0, hi: 511},
	{name: "kernel/tainted", value: "0"},
	{name: "kernel/threads-max", value: "32768", mode: rw, lo: 1, hi: top},
	{name: "kernel/unprivileged_bpf_disabled", value: "2", mode: rw, lo: 0, hi: 2},
	{name: "kernel/version", value: kernel.Version},
	{name: "kernel/yama/ptrace_scope", value: "0", mode: rw, lo: 0, hi: 3},

	{name: "net/core/default_qdisc", value: "pfifo_fast", mode: rw},
	{name: "net/core/netdev_max_backlog", value: "1000", mode: rw, lo: 0, hi: top},
	{name: "net/core/optmem_max", value: "131072", mode: rw, lo: 0, hi: top},
	{name: "net/core/rmem_default", value: "212992", mode: rw, lo: 256, hi: top},
	{name: "net/core/rmem_max", value: "212992", mode: rw, lo: 256, hi: top},
	{name: "net/core/somaxconn", value: "4096", mode: rw, lo: 0, hi: top},
	{name: "net/core/wmem_default", value: "212992", mode: rw, lo: 256, hi: top},
	{name: "net/core/wmem_max", value: "212992", mode: rw, lo: 256, hi: top},
	{name: "net/ipv4/icmp_echo_ignore_all", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/icmp_echo_ignore_broadcasts", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/ip_default_ttl", value: "64", mode: rw, lo: 1, hi: 255},
	{name: "net/ipv4/ip_forward", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/ip_local_port_range", value: "32768\t60999", mode: rw},
	{name: "net/ipv4/ip_local_reserved_ports", value: "", mode: rw},
	{name: "net/ipv4/ip_nonlocal_bind", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/ip_unprivileged_port_start", value: "1024", mode: rw, lo: 0, hi: 65535},
	{name: "net/ipv4/neigh/default/gc_thresh1", value: "128", mode: rw, lo: 0, hi: top},
	{name: "net/ipv4/neigh/default/gc_thresh2", value: "512", mode: rw, lo: 0, hi: top},
	{name: "net/ipv4/neigh/default/gc_thresh3", value: "1024", mode: rw, lo: 0, hi: top},
	{name: "net/ipv4/ping_group_range", value: "1\t0", mode: rw},
	{name: "net/ipv4/tcp_allowed_congestion_control", value: "reno cubic", mode: rw},
	{name: "net/ipv4/tcp_available_congestion_control", value: "reno cubic"},
	{name: "net/ipv4/tcp_congestion_control", value: "cubic", mode: rw},
	{name: "net/ipv4/tcp_ecn", value: "2", mode: rw, lo: 0, hi: 2},
	{name: "net/ipv4/tcp_fastopen", value: "1", mode: rw, lo: 0, hi: top},
	{name: "net/ipv4/tcp_fin_timeout", value: "60", mode: rw, lo: 0, hi: top},
	{name: "net/ipv4/tcp_keepalive_intvl", value: "75", mode: rw, lo: 1, hi: 32767},
	{name: "net/ipv4/tcp_keepalive_probes", value: "9", mode: rw, lo: 1, hi: 127},
	{name: "net/ipv4/tcp_keepalive_time", value: "7200", mode: rw, lo: 1, hi: 32767},
	{name: "net/ipv4/tcp_max_syn_backlog", value: "1024", mode: rw, lo: 0, hi: top},
	{name: "net/ipv4/tcp_max_tw_buckets", value: "65536", mode: rw, lo: 0, hi: top},
	{name: "net/ipv4/tcp_mem", value: "188319\t251095\t376638", mode: rw},
	{name: "net/ipv4/tcp_moderate_rcvbuf", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/tcp_mtu_probing", value: "0", mode: rw, lo: 0, hi: 2},
	{name: "net/ipv4/tcp_no_metrics_save", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/tcp_orphan_retries", value: "0", mode: rw, lo: 0, hi: 255},
	{name: "net/ipv4/tcp_recovery", value: "1", mode: rw, lo: 0, hi: 255},
	{name: "net/ipv4/tcp_retries1", value: "3", mode: rw, lo: 0, hi: 255},
	{name: "net/ipv4/tcp_retries2", value: "15", mode: rw, lo: 0, hi: 255},
	{name: "net/ipv4/tcp_rfc1337", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/tcp_rmem", value: "4096\t131072\t6291456", mode: rw},
	{name: "net/ipv4/tcp_sack", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/tcp_slow_start_after_idle", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/tcp_syn_retries", value: "6", mode: rw, lo: 1, hi: 127},
	{name: "net/ipv4/tcp_synack_retries", value: "5", mode: rw, lo: 0, hi: 255},
	{name: "net/ipv4/tcp_syncookies", value: "1", mode: rw, lo: 0, hi: 2},
	{name: "net/ipv4/tcp_timestamps", value: "1", mode: rw, lo: 0, hi: 2},
	{name: "net/ipv4/tcp_tw_reuse", value: "2", mode: rw, lo: 0, hi: 2},
	{name: "net/ipv4/tcp_window_scaling", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv4/tcp_wmem", value: "4096\t16384\t4194304", mode: rw},
	{name: "net/ipv4/udp_mem", value: "376641\t502191\t753282", mode: rw},
	{name: "net/ipv6/bindv6only", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "net/ipv6/route/max_size", value: "2147483647", mode: rw, lo: 0, hi: top},
	{name: "net/unix/max_dgram_qlen", value: "512", mode: rw, lo: 0, hi: top},

	{name: "user/max_inotify_instances", value: "128", mode: rw, lo: 0, hi: top},
	{name: "user/max_inotify_watches", value: "65536", mode: rw, lo: 0, hi: top},
	{name: "user/max_ipc_namespaces", value: "15000", mode: rw, lo: 0, hi: top},
	{name: "user/max_mnt_namespaces", value: "15000", mode: rw, lo: 0, hi: top},
	{name: "user/max_net_namespaces", value: "15000", mode: rw, lo: 0, hi: top},
	{name: "user/max_pid_namespaces", value: "15000", mode: rw, lo: 0, hi: top},
	{name: "user/max_user_namespaces", value: "15000", mode: rw, lo: 0, hi: top},
	{name: "user/max_uts_namespaces", value: "15000", mode: rw, lo: 0, hi: top},

	{name: "vm/admin_reserve_kbytes", value: "8192", mode: rw, lo: 0, hi: top},
	{name: "vm/compaction_proactiveness", value: "20", mode: rw, lo: 0, hi: 100},
	{name: "vm/dirty_background_bytes", value: "0", mode: rw, lo: 0, hi: top},
	{name: "vm/dirty_background_ratio", value: "10", mode: rw, lo: 0, hi: 100},
	{name: "vm/dirty_bytes", value: "0", mode: rw, lo: 0, hi: top},
	{name: "vm/dirty_expire_centisecs", value: "3000", mode: rw, lo: 0, hi: top},
	{name: "vm/dirty_ratio", value: "20", mode: rw, lo: 0, hi: 100},
	{name: "vm/dirty_writeback_centisecs", value: "500", mode: rw, lo: 0, hi: top},
	{name: "vm/drop_caches", value: "0", mode: 0o200, lo: 1, hi: 4},
	{name: "vm/hugetlb_shm_group", value: "0", mode: rw, lo: 0, hi: top},
	{name: "vm/laptop_mode", value: "0", mode: rw, lo: 0, hi: top},
	{name: "vm/legacy_va_layout", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "vm/max_map_count", value: "2147483647", mode: rw, lo: 0, hi: top},
	{name: "vm/min_free_kbytes", value: "67584", mode: rw, lo: 0, hi: top},
	{name: "vm/mmap_min_addr", value: "65536", mode: rw, lo: 0, hi: top},
	{name: "vm/mmap_rnd_bits", value: "28", mode: 0o600, lo: 28, hi: 32},
	{name: "vm/nr_hugepages", value: "0", mode: rw, lo: 0, hi: top},
	{name: "vm/nr_overcommit_hugepages", value: "0", mode: rw, lo: 0, hi: top},
	{name: "vm/oom_dump_tasks", value: "1", mode: rw, lo: 0, hi: 1},
	{name: "vm/oom_kill_allocating_task", value: "0", mode: rw, lo: 0, hi: 1},
	{name: "vm/overcommit_kbytes", value: "0", mode: rw, lo: 0, hi: top},
	{name: "vm/overcommit_memory", value: "0", mode: rw, lo: 0, hi: 2},
	{name: "vm/overcommit_ratio", value: "50", mode: rw, lo: 0, hi: top},
	{name: "vm/panic_on_oom", value: "0", mode: rw, lo: 0, hi: 2},
	{name: "vm/page-cluster", value: "3", mode: rw, lo: 0, hi: 31},
	{name: "vm/swappiness", value: "60", mode: rw, lo: 0, hi: 200},
	{name: "vm/user_reserve_kbytes", value: "131072", mode: rw, lo: 0, hi: top},
	{name: "vm/vfs_cache_pressure", value: "100", mode: rw, lo: 0, hi: top},
	{name: "vm/zone_reclaim_mode", value: "0", mode: rw, lo: 0, hi: 7},
}

// interfaceSysctls exist for every interface name below net/ipv4/conf and net/ipv6/conf.
var interfaceSysctls = []struct{ family, name, value string }{
	{"ipv4", "accept_local", "0"}, {"ipv4", "accept_redirects", "0"}, {"ipv4", "accept_source_route", "0"},
	{"ipv4", "arp_announce", "0"}, {"ipv4", "arp_filter", "0"}, {"ipv4", "arp_ignore", "0"},
	{"ipv4", "forwarding", "0"}, {"ipv4", "log_martians", "0"}, {"ipv4", "proxy_arp", "0"},
	{"ipv4", "route_localnet", "0"}, {"ipv4", "rp_filter", "0"}, {"ipv4", "secure_redirects", "1"},
	{"ipv4", "send_redirects", "1"},
	{"ipv6", "accept_dad", "0"}, {"ipv6", "accept_ra", "0"}, {"ipv6", "accept_redirects", "0"},
	{"ipv6", "autoconf", "0"}, {"ipv6", "dad_transmits", "1"}, {"ipv6", "disable_ipv6", "0"},
	{"ipv6", "forwarding", "0"}, {"ipv6", "hop_limit", "64"}, {"ipv6", "mtu", "65536"},
	{"ipv6", "use_tempaddr", "0"},
}

// confSysctl is the variable of an interface, or of "all" or "default"; nil: there is none. Whether
// there is the interface is not looked at.
func confSysctl(name string) *sysctl {
	parts := strings.Split(name, "/")
	if len(parts) != 5 || parts[0] != "net" || parts[2] != "conf" {
		return nil
	}
	for _, s := range interfaceSysctls {
		if s.family == parts[1] && s.name == parts[4] {
			return &sysctl{name: name, value: s.value, mode: rw, lo: -1, hi: top}
		}
	}
	return nil
}

func init() {
	sort.Slice(sysctls, func(i, j int) bool { return sysctls[i].name < sysctls[j].name })
}

func findSysctl(name string) *sysctl {
	i := sort.Search(len(sysctls), func(i int) bool { return sysctls[i].name >= name })
	if i < len(sysctls) && sysctls[i].name == name {
		return &sysctls[i]
	}
	return confSysctl(name)
}

// NetSettings are the variables of /proc/sys/net that each network namespace has for itself.
type NetSettings interface {
	// NetSetting is a variable, such as "net/ipv4/ip_forward"; ok is false if ns does not
	// have it, and all namespaces share it.
	NetSetting(ns *kernel.NetNamespace, name string) (value string, ok bool)
	// SetNetSetting changes one likewise. EINVAL.
	SetNetSetting(ns *kernel.NetNamespace, name, value string) (ok bool, err error)
	// NetDeviceNames are the interfaces that net/ipv4/conf and net/ipv6/conf show.
	NetDeviceNames(ns *kernel.NetNamespace) []string
}

// Sysctls are a kernel's variables that differ from the table's.
type Sysctls struct {
	boot string
	net  NetSettings // nil: all namespaces share everything

	mu     sync.RWMutex // guards the field below
	values map[string]string
}

// SetNet says who has the variables of network namespaces. It is called before there is a task.
func (s *Sysctls) SetNet(n NetSettings) { s.net = n }

// Each calls f for the variables below prefix that were set, in no order.
func (s *Sysctls) Each(prefix string, f func(name, value string)) {
	s.mu.RLock()
	set := maps.Clone(s.values)
	s.mu.RUnlock()
	for name, value := range set {
		if strings.HasPrefix(name, prefix) {
			f(name, value)
		}
	}
}

// GetFor is Get as the network namespace ns has it, and SetFor is Set. nil is none.
func (s *Sysctls) GetFor(ns *kernel.NetNamespace, name string) string {
	if s.net != nil && ns != nil && strings.HasPrefix(name, "net/") {
		if v, ok := s.net.NetSetting(ns, name); ok {
			return v
		}
	}
	return s.Get(name)
}

// SetFor is described at GetFor.
func (s *Sysctls) SetFor(ns *kernel.NetNamespace, name, value string) error {
	if s.net != nil && ns != nil && strings.HasPrefix(name, "net/") {
		spec := findSysctl(name)
		if spec == nil {
			return unix.ENOENT
		}
		v, err := spec.parse([]byte(value))
		if err != nil {
			return err
		}
		if ok, err := s.net.SetNetSetting(ns, name, v); ok {
			return err
		}
	}
	return s.Set(name, value)
}

// SysctlsOf returns those of k, which all mounts of proc share.
func SysctlsOf(k *kernel.Kernel) *Sysctls {
	return k.Extra("proc.sysctl", func() any { return newSysctls() }).(*Sysctls)
}

func newSysctls() *Sysctls { return &Sysctls{values: map[string]string{}, boot: uuid()} }

// Get returns the value of the variable, such as "net/core/somaxconn"; "" if there is none.
func (s *Sysctls) Get(name string) string {
	s.mu.RLock()
	v, ok := s.values[name]
	s.mu.RUnlock()
	if ok {
		return v
	}
	if spec := findSysctl(name); spec != nil {
		return spec.value
	}
	return ""
}

// Int is Get as a number; 0 if it is none.
func (s *Sysctls) Int(name string) int64 {
	n, _ := strconv.ParseInt(s.Get(name), 10, 64)
	return n
}

// Set changes a variable; name may be written with dots too, as sysctl(8) and the OCI
// specification do. ENOENT: there is none; EINVAL: bad value.
func (s *Sysctls) Set(name, value string) error {
	name = strings.ReplaceAll(name, ".", "/")
	spec := findSysctl(name)
	if spec == nil {
		return unix.ENOENT
	}
	v, err := spec.parse([]byte(value))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.values[name] = v
	s.mu.Unlock()
	return nil
}

// maxSysctl is the longest value.
const maxSysctl = 4095

// parse checks a value that somebody writes.
func (s *sysctl) parse(value []byte) (string, error) {
	v := strings.TrimRight(string(value), "\n\x00")
	if len(v) > maxSysctl {
		return "", unix.EINVAL
	}
	if s.lo == 0 && s.hi == 0 {
		return v, nil
	}
	v = strings.TrimSpace(v)
	n, err := strconv.ParseInt(v, 0, 64)
	if err != nil || n < s.lo || n > s.hi {
		return "", unix.EINVAL
	}
	return strconv.FormatInt(n, 10), nil
}

// uuid is a random UUID, version 4.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newSysctlTree makes /proc/sys.
func newSysctlTree(fs *Filesystem) *pseudo.Dir {
	tree := pseudo.NewDir(fs, fs.NewIno(), 0o555, fs.now)
	vars := SysctlsOf(fs.k)
	for i := range sysctls {
		dir, rest := tree, sysctls[i].name
		for {
			head, tail, more := strings.Cut(rest, "/")
			if !more {
				break
			}
			sub, _ := dir.Child(head).(*pseudo.Dir)
			if sub == nil {
				sub = pseudo.NewDir(fs, fs.NewIno(), 0o555, fs.now)
				dir.Add(head, sub)
			}
			dir, rest = sub, tail
		}
		mode := sysctls[i].mode
		if mode == 0 {
			mode = 0o444
		}
		dir.Add(rest, pseudo.NewText(fs, fs.NewIno(), mode, &sysctlFile{fs, vars, sysctls[i].name}, fs.now))
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		d := &confDir{fs: fs, vars: vars, family: family}
		d.Init(fs, fs.NewIno(), unix.S_IFDIR|0o555, auth.RootUID, auth.RootGID, fs.now)
		tree.Child("net").(*pseudo.Dir).Child(family).(*pseudo.Dir).Add("conf", d)
	}
	for _, empty := range []string{"abi", "debug", "dev"} {
		tree.Add(empty, pseudo.NewDir(fs, fs.NewIno(), 0o555, fs.now))
	}
	fsDir := tree.Child("fs").(*pseudo.Dir)
	fsDir.Add("binfmt_misc", pseudo.NewDir(fs, fs.NewIno(), 0o555, fs.now))
	return tree
}

// confDir is net/ipv4/conf or net/ipv6/conf: a directory for each interface of the caller's
// network namespace, and "all" and "default".
type confDir struct {
	pseudo.Node
	vfs.ReadOnlyDir
	fs     *Filesystem
	vars   *Sysctls
	family string
}

// Inode numbers of confDir's children: a stretch for each name.
const (
	confIno     = 1 << 33
	confInoStep = 64
)

// names are the directories, in the order of their numbers.
func (d *confDir) names(ctx context.Context) []string {
	names := []string{"all", "default"}
	if ns := netOf(ctx); d.vars.net != nil && ns != nil {
		return append(names, d.vars.net.NetDeviceNames(ns)...)
	}
	return append(names, "lo")
}

func (d *confDir) ino(i int) uint64 {
	ino := uint64(confIno + 2*i*confInoStep)
	if d.family == "ipv6" {
		ino += confInoStep
	}
	return ino
}

// Caching implements vfs.Directory.
func (*confDir) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory.
func (d *confDir) Lookup(ctx context.Context, name string) (vfs.Inode, error) {
	i := slices.Index(d.names(ctx), name)
	if i < 0 {
		return nil, unix.ENOENT
	}
	ino := d.ino(i)
	dir := pseudo.NewDir(d.fs, ino, 0o555, d.fs.now)
	for _, s := range interfaceSysctls {
		if s.family == d.family {
			ino++
			file := &sysctlFile{d.fs, d.vars, "net/" + d.family + "/conf/" + name + "/" + s.name}
			dir.Add(s.name, pseudo.NewText(d.fs, ino, rw, file, d.fs.now))
		}
	}
	return dir, nil
}

// Entries implements pseudo.Lister.
func (d *confDir) Entries(ctx context.Context) ([]pseudo.Entry, error) {
	var out []pseudo.Entry
	for i, name := range d.names(ctx) {
		out = append(out, pseudo.Entry{Name: name, Ino: d.ino(i), Type: unix.DT_DIR})
	}
	return out, nil
}

// Open implements vfs.Inode.
func (d *confDir) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(d), nil }

// netOf is the caller's network namespace, or nil.
func netOf(ctx context.Context) *kernel.NetNamespace {
	if t, ok := ctx.(*kernel.Task); ok {
		return t.NetNamespace()
	}
	return nil
}

// sysctlFile is a variable as a file.
type sysctlFile struct {
	fs   *Filesystem
	vars *Sysctls
	name string
}

// utsOf is the caller's UTS namespace, or the first.
func utsOf(ctx context.Context, k *kernel.Kernel) *kernel.UTSNamespace {
	if t, ok := ctx.(*kernel.Task); ok {
		return t.UTSNamespace()
	}
	return k.RootUTSNamespace()
}

// Generate implements pseudo.Generator.
func (f *sysctlFile) Generate(ctx context.Context, b *bytes.Buffer) error {
	v := ""
	switch findSysctl(f.name).kind {
	case hostname:
		v, _ = utsOf(ctx, f.fs.k).Names()
	case domainname:
		_, v = utsOf(ctx, f.fs.k).Names()
	case newUUID:
		v = uuid()
	case bootID:
		v = f.vars.boot
	case fileNr:
		v = "0\t0\t" + f.vars.Get("fs/file-max")
	case ptyNr:
		v = "0"
	default:
		v = f.vars.GetFor(netOf(ctx), f.name)
	}
	b.WriteString(v + "\n")
	return nil
}

// Set implements pseudo.Setter. The file's mode lets only root write; beyond that, names of
// the host need CAP_SYS_ADMIN where they belong.
func (f *sysctlFile) Set(ctx context.Context, value []byte, offset int64) error {
	if offset != 0 {
		return nil // sysctl_writes_strict: only the first write counts
	}
	spec := findSysctl(f.name)
	if spec.mode&0o222 == 0 {
		return unix.EACCES
	}
	switch spec.kind {
	case hostname, domainname:
		v, err := spec.parse(value)
		if err != nil || len(v) > 64 {
			return unix.EINVAL
		}
		u := utsOf(ctx, f.fs.k)
		if !ctx.Credentials().HasCapabilityIn(unix.CAP_SYS_ADMIN, u.UserNamespace()) {
			return unix.EPERM
		}
		if spec.kind == hostname {
			u.SetHostname(v)
		} else {
			u.SetDomainname(v)
		}
		return nil
	}
	return f.vars.SetFor(netOf(ctx), f.name, string(value))
}

// CheckOpen implements pseudo.Opener: variables are changed with CAP_SYS_ADMIN of the whole
// sandbox only, except those that belong to a namespace.
func (f *sysctlFile) CheckOpen(ctx context.Context, flags uint32) error {
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil
	}
	spec := findSysctl(f.name)
	if spec.mode&0o222 == 0 {
		return unix.EACCES
	}
	return nil
}

var _ vfs.Filesystem = (*Filesystem)(nil)
