package proc

import (
	"bytes"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/vfs"
)

// netFiles are the files of /proc/PID/net with what they hold when the network stack has
// nothing to say: headers.
var netFiles = []struct{ name, empty string }{
	{"arp", "IP address       HW type     Flags       HW address            Mask     Device\n"},
	{"dev", "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
		"    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n"},
	{"dev_mcast", ""},
	{"fib_trie", ""},
	{"icmp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"},
	{"icmp6", "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"},
	{"if_inet6", ""},
	{"igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"},
	{"igmp6", ""},
	{"ipv6_route", ""},
	{"netlink", "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"},
	{"netstat", ""},
	{"packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"},
	{"protocols", ""},
	{"psched", "000003e8 00000040 000f4240 3b9aca00\n"},
	{"ptype", "Type Device      Function\n"},
	{"raw", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"},
	{"raw6", "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"},
	{"route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"},
	{"snmp", ""},
	{"snmp6", ""},
	{"sockstat", "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"},
	{"sockstat6", "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"},
	{"softnet_stat", ""},
	{"tcp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"},
	{"tcp6", "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"},
	{"udp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"},
	{"udp6", "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"},
	{"udplite", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"},
	{"unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"},
	{"wireless", "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"},
}

const netIno = 3072 // numbers of the files, within a task's

// netDir is /proc/PID/net.
type netDir struct {
	taskNode
	vfs.ReadOnlyDir
}

func makeNetDir(d *taskDir, ino uint64) vfs.Inode {
	n := &netDir{}
	n.init(d.fs, d.t, ino, unix.S_IFDIR|0o555)
	return n
}

// Caching implements vfs.Directory.
func (*netDir) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory.
func (d *netDir) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	for i, f := range netFiles {
		if f.name == name {
			n := &netFile{which: i}
			n.init(d.fs, d.t, netIno+uint64(i), unix.S_IFREG|0o444)
			return n, nil
		}
	}
	return nil, unix.ENOENT
}

// Entries implements pseudo.Lister.
func (d *netDir) Entries(context.Context) ([]pseudo.Entry, error) {
	var out []pseudo.Entry
	for i, f := range netFiles {
		out = append(out, pseudo.Entry{Name: f.name, Ino: d.taskNode.fs.taskIno(d.t, netIno+uint64(i)), Type: unix.DT_REG})
	}
	return out, nil
}

// Open implements vfs.Inode.
func (d *netDir) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(d), nil }

// netFile is a table of the network stack.
type netFile struct {
	taskNode
	which int // index in netFiles
}

// Open implements vfs.Inode.
func (f *netFile) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	return pseudo.NewTextFile(ctx, f, flags)
}

// Generate implements pseudo.Generator.
func (f *netFile) Generate(_ context.Context, b *bytes.Buffer) error {
	spec := netFiles[f.which]
	if tables := f.taskNode.fs.opts.Net; tables != nil && f.t.NetNamespace() != nil {
		if text, ok := tables.NetTable(f.t.NetNamespace(), spec.name); ok {
			b.WriteString(text)
			return nil
		}
	}
	b.WriteString(spec.empty)
	return nil
}
