package proc

import (
	"bytes"
	"fmt"
	"strings"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
)

// systemSpec is a line of systemFiles.
type systemSpec struct {
	mode  uint32
	write func(fs *Filesystem, ctx context.Context, b *bytes.Buffer) error
}

func text(s string) func(*Filesystem, context.Context, *bytes.Buffer) error {
	return func(_ *Filesystem, _ context.Context, b *bytes.Buffer) error {
		b.WriteString(s)
		return nil
	}
}

// systemFiles are the files directly in /proc.
var systemFiles = map[string]systemSpec{
	"buddyinfo": {0o444, text("")},
	"cgroups":   {0o444, text("#subsys_name\thierarchy\tnum_cgroups\tenabled\n")},
	"cmdline": {0o444, func(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
		b.WriteString(fs.opts.Cmdline + "\n")
		return nil
	}},
	"consoles":      {0o444, text("")},
	"cpuinfo":       {0o444, writeCPUInfo},
	"crypto":        {0o444, text("")},
	"devices":       {0o444, text(devices)},
	"diskstats":     {0o444, text("")},
	"dma":           {0o444, text("")},
	"execdomains":   {0o444, text("0-0\tLinux           \t[kernel]\n")},
	"filesystems":   {0o444, writeFilesystems},
	"interrupts":    {0o444, writeInterrupts},
	"iomem":         {0o400, text("")},
	"ioports":       {0o400, text("")},
	"kallsyms":      {0o444, text("")},
	"kcore":         {0o400, text("")},
	"key-users":     {0o444, text("")},
	"keys":          {0o444, text("")},
	"loadavg":       {0o444, writeLoadavg},
	"locks":         {0o444, text("")},
	"meminfo":       {0o444, writeMeminfo},
	"misc":          {0o444, text("200 tun\n")},
	"modules":       {0o444, text("")},
	"partitions":    {0o444, text("major minor  #blocks  name\n\n")},
	"sched_debug":   {0o444, text("")},
	"schedstat":     {0o444, text("version 15\ntimestamp 0\n")},
	"softirqs":      {0o444, writeSoftirqs},
	"stat":          {0o444, writeStat},
	"swaps":         {0o444, text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")},
	"sysrq-trigger": {0o200, text("")},
	"timer_list":    {0o400, text("")},
	"uptime":        {0o444, writeUptime},
	"version":       {0o444, text(kernel.Sysname + " version " + kernel.Release + " (runsc) (go) " + kernel.Version + "\n")},
	"vmstat":        {0o444, writeVmstat},
	"zoneinfo":      {0o444, text("")},
}

const devices = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n128 ptm\n136 pts\n\nBlock devices:\n"

func writeFilesystems(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	b.WriteString(fs.k.VFS().FilesystemsText())
	return nil
}

func writeLoadavg(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	l := fs.k.LoadAverage()
	running, all, last := 0, 0, int32(0)
	for _, t := range fs.pidns.Tasks() {
		all++
		if t.State() == kernel.StateRunning {
			running++
		}
		last = max(last, fs.pidns.TIDOf(t))
	}
	fmt.Fprintf(b, "%.2f %.2f %.2f %d/%d %d\n", l[0], l[1], l[2], running, all, last)
	return nil
}

func writeUptime(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	up := fs.k.Uptime()
	var busy int64
	for _, tg := range fs.k.RootPIDNamespace().ThreadGroups() {
		u, s := tg.CPUTime()
		busy += u + s
	}
	idle := max(up*int64(fs.k.NumCPU())-busy, 0)
	fmt.Fprintf(b, "%d.%02d %d.%02d\n", up/1e9, up%1e9/1e7, idle/1e9, idle%1e9/1e7)
	return nil
}

func writeStat(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	n := fs.k.NumCPU()
	var user, sys int64
	var switches uint64
	running, blocked := 0, 0
	for _, tg := range fs.k.RootPIDNamespace().ThreadGroups() {
		u, s := tg.CPUTime()
		user += u
		sys += s
	}
	for _, t := range fs.k.Tasks() {
		switches += t.ContextSwitches()
		switch t.State() {
		case kernel.StateRunning:
			running++
		case kernel.StateDiskSleep:
			blocked++
		}
	}
	up := fs.k.Uptime()
	tick := func(ns int64) int64 { return ns / 1e7 }
	idle := max(up*int64(n)-user-sys, 0)
	line := func(name string, parts int64) {
		fmt.Fprintf(b, "%s %d 0 %d %d 0 0 0 0 0 0\n", name, tick(user)/parts, tick(sys)/parts, tick(idle)/parts)
	}
	line("cpu ", 1)
	for i := range n {
		line(fmt.Sprintf("cpu%d", i), int64(n))
	}
	boot := (fs.k.Realtime().Now() - up) / 1e9
	fmt.Fprintf(b, "intr 0\nctxt %d\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked %d\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
		switches, boot, fs.k.Forks(), max(running, 1), blocked)
	return nil
}

func writeMeminfo(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	total := fs.k.TotalMemory()
	var used uint64
	if mf := fs.k.MemoryFile(); mf != nil {
		if u, err := mf.Usage(); err == nil {
			used = min(u, total)
		}
	}
	free := total - used
	for _, f := range []struct {
		name string
		n    uint64
	}{
		{"MemTotal", total}, {"MemFree", free}, {"MemAvailable", free}, {"Buffers", 0}, {"Cached", 0},
		{"SwapCached", 0}, {"Active", used}, {"Inactive", 0}, {"Active(anon)", used}, {"Inactive(anon)", 0},
		{"Active(file)", 0}, {"Inactive(file)", 0}, {"Unevictable", 0}, {"Mlocked", 0}, {"SwapTotal", 0},
		{"SwapFree", 0}, {"Dirty", 0}, {"Writeback", 0}, {"AnonPages", used}, {"Mapped", 0}, {"Shmem", 0},
		{"KReclaimable", 0}, {"Slab", 0}, {"SReclaimable", 0}, {"SUnreclaim", 0}, {"KernelStack", 0},
		{"PageTables", 0}, {"NFS_Unstable", 0}, {"Bounce", 0}, {"WritebackTmp", 0},
		{"CommitLimit", total / 2}, {"Committed_AS", used}, {"VmallocTotal", 1 << 45}, {"VmallocUsed", 0},
		{"VmallocChunk", 0}, {"Percpu", 0}, {"AnonHugePages", 0}, {"ShmemHugePages", 0}, {"ShmemPmdMapped", 0},
	} {
		fmt.Fprintf(b, "%-16s%8d kB\n", f.name+":", f.n>>10)
	}
	fmt.Fprintf(b, "%-16s%8d\n%-16s%8d\n%-16s%8d\n%-16s%8d\n", "HugePages_Total:", 0, "HugePages_Free:", 0, "HugePages_Rsvd:", 0, "HugePages_Surp:", 0)
	fmt.Fprintf(b, "%-16s%8d kB\n%-16s%8d kB\n", "Hugepagesize:", 2048, "Hugetlb:", 0)
	return nil
}

func writeVmstat(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	free := fs.k.TotalMemory() / 4096
	if mf := fs.k.MemoryFile(); mf != nil {
		if u, err := mf.Usage(); err == nil {
			free -= min(free, u/4096)
		}
	}
	fmt.Fprintf(b, "nr_free_pages %d\n", free)
	for _, n := range []string{"nr_anon_pages", "nr_mapped", "nr_file_pages", "nr_dirty", "nr_writeback", "pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault", "oom_kill"} {
		fmt.Fprintf(b, "%s 0\n", n)
	}
	return nil
}

func cpuHeader(fs *Filesystem, b *bytes.Buffer) {
	b.WriteString("           ")
	for i := range fs.k.NumCPU() {
		fmt.Fprintf(b, "%-11s", fmt.Sprintf("CPU%d", i))
	}
	b.WriteByte('\n')
}

func writeInterrupts(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	cpuHeader(fs, b)
	return nil
}

func writeSoftirqs(fs *Filesystem, _ context.Context, b *bytes.Buffer) error {
	cpuHeader(fs, b)
	for _, n := range []string{"HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"} {
		fmt.Fprintf(b, "%12s:%s\n", n, strings.Repeat("          0", fs.k.NumCPU()))
	}
	return nil
}

// writeShm is /proc/sysvipc/shm.
func writeShm(b *bytes.Buffer, ns *kernel.IPCNamespace, u *auth.UserNamespace) {
	b.WriteString("       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n")
	for _, i := range ns.Shm.List() {
		fmt.Fprintf(b, "%10d %10d  %4o %21d %5d %5d  %5d %5d %5d %5d %5d %10d %10d %10d %21d %21d\n",
			i.Key, i.ID, i.Mode, i.Size, i.Cpid, i.Lpid, i.Attached, u.UID(i.UID), u.GID(i.GID), u.UID(i.CUID), u.GID(i.CGID),
			i.Atime, i.Dtime, i.Ctime, i.Resident, 0)
	}
}
