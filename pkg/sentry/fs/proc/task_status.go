package proc

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/tty/jobs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/mm"
)

// usage measures the task's memory; ok is false for a task without any (a zombie).
func usage(t *kernel.Task) (u mm.Usage, ok bool) {
	m := t.WithMM()
	if m == nil {
		return u, false
	}
	defer m.DecUsers()
	return m.Usage(), true
}

// shownState is the state's letter and name, of the process if the leader is a zombie.
func shownState(t *kernel.Task) (byte, string) {
	if t.ThreadGroup().IsZombie() {
		return kernel.StateZombie.Letter()
	}
	return t.State().Letter()
}

// parentPID is PPid in the filesystem's pid namespace, 0 if it is not visible.
func (f *taskFile) parentPID() int32 {
	if p := f.t.ThreadGroup().Parent(); p != nil {
		return f.fs.pidns.TGIDOf(p)
	}
	return 0
}

// tracerPID is the number of the thread that traces the task.
func (f *taskFile) tracerPID() int32 {
	if t, ok := any(f.t).(interface{ Tracer() *kernel.Task }); ok {
		if tracer := t.Tracer(); tracer != nil {
			return f.fs.pidns.TIDOf(tracer)
		}
	}
	return 0
}

// escapeName shows a task's name on one line.
func escapeName(s string) string {
	return strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(s)
}

func writeStatus(ctx context.Context, f *taskFile, b *bytes.Buffer) error {
	t, tg, ns := f.t, f.t.ThreadGroup(), f.fs.pidns
	c, v := t.Credentials(), viewer(ctx)
	umask, fdSize := uint32(0o22), 0
	if fs := t.WithFSContext(); fs != nil {
		umask = fs.Umask()
		fs.DecRef(ctx)
	}
	if fds := t.WithFDTable(); fds != nil {
		fdSize = fds.Size()
		fds.DecRef(ctx)
	}
	letter, state := shownState(t)
	fmt.Fprintf(b, "Name:\t%s\nUmask:\t%04o\nState:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n",
		escapeName(t.Name()), umask, letter, state, ns.TGIDOf(tg), ns.TIDOf(t), f.parentPID(), f.tracerPID())
	fmt.Fprintf(b, "Uid:\t%d\t%d\t%d\t%d\n", v.UID(c.RealUID), v.UID(c.EffectiveUID), v.UID(c.SavedUID), v.UID(c.FSUID))
	fmt.Fprintf(b, "Gid:\t%d\t%d\t%d\t%d\n", v.GID(c.RealGID), v.GID(c.EffectiveGID), v.GID(c.SavedGID), v.GID(c.FSGID))
	fmt.Fprintf(b, "FDSize:\t%d\nGroups:\t", fdSize)
	for _, g := range c.Groups {
		fmt.Fprintf(b, "%d ", v.GID(g))
	}
	b.WriteByte('\n')
	f.namespaceIDs(b)
	b.WriteString("Kthread:\t0\n")
	if u, ok := usage(t); ok {
		for _, l := range []struct {
			name string
			n    uint64
		}{
			{"VmPeak", u.Peak}, {"VmSize", u.Size}, {"VmLck", u.Locked}, {"VmPin", 0}, {"VmHWM", u.HWM},
			{"VmRSS", u.RSS}, {"RssAnon", u.Anon}, {"RssFile", u.File}, {"RssShmem", u.Shmem},
			{"VmData", u.Data}, {"VmStk", u.Stack}, {"VmExe", u.Exe}, {"VmLib", u.Lib}, {"VmPTE", u.PTE},
			{"VmSwap", 0}, {"HugetlbPages", 0},
		} {
			b.WriteString(kb(l.name, 8, l.n))
		}
		b.WriteString("CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n")
	}
	thread, shared, blocked, ignored, caught := t.SignalSets()
	fmt.Fprintf(b, "Threads:\t%d\nSigQ:\t0/%d\nSigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigIgn:\t%016x\nSigCgt:\t%016x\n",
		len(tg.Tasks()), tg.Limits().Get(linux.RlimitSigPending).Cur, thread, shared, blocked, ignored, caught)
	fmt.Fprintf(b, "CapInh:\t%016x\nCapPrm:\t%016x\nCapEff:\t%016x\nCapBnd:\t%016x\nCapAmb:\t%016x\n",
		uint64(c.Inheritable), uint64(c.Permitted), uint64(c.Effective), uint64(c.Bounding), uint64(c.Ambient))
	mode, filters := t.SeccompMode()
	nnp := 0
	if t.NoNewPrivs() {
		nnp = 1
	}
	fmt.Fprintf(b, "NoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%d\nSpeculation_Store_Bypass:\tthread vulnerable\nSpeculationIndirectBranch:\tconditional enabled\n", nnp, mode, filters)
	mask, list := cpuMask(f.fs.k.NumCPU(), t.Sched().Affinity)
	fmt.Fprintf(b, "Cpus_allowed:\t%s\nCpus_allowed_list:\t%s\nMems_allowed:\t1\nMems_allowed_list:\t0\n", mask, list)
	fmt.Fprintf(b, "voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t0\n", t.ContextSwitches())
	return nil
}

// namespaceIDs are the task's numbers in its pid namespaces, from the filesystem's down.
func (f *taskFile) namespaceIDs(b *bytes.Buffer) {
	var chain []*kernel.PIDNamespace
	for n := f.t.PIDNamespace(); n != nil; n = n.Parent() {
		chain = append(chain, n)
		if n == f.fs.pidns {
			break
		}
	}
	line := func(name string, id func(*kernel.PIDNamespace) int32) {
		b.WriteString(name + ":")
		for i := len(chain) - 1; i >= 0; i-- {
			fmt.Fprintf(b, "\t%d", id(chain[i]))
		}
		b.WriteByte('\n')
	}
	tg := f.t.ThreadGroup()
	line("NStgid", func(n *kernel.PIDNamespace) int32 { return n.TGIDOf(tg) })
	line("NSpid", func(n *kernel.PIDNamespace) int32 { return n.TIDOf(f.t) })
	line("NSpgid", func(n *kernel.PIDNamespace) int32 {
		if pg := tg.ProcessGroup(); pg != nil {
			return pg.IDIn(n)
		}
		return 0
	})
	line("NSsid", func(n *kernel.PIDNamespace) int32 {
		if s := tg.Session(); s != nil {
			return s.IDIn(n)
		}
		return 0
	})
}

// cpuMask shows a set of CPUs as hexadecimal words and as ranges. nil is all n.
func cpuMask(n int, affinity []byte) (mask, list string) {
	has := func(i int) bool {
		return affinity == nil || i/8 < len(affinity) && affinity[i/8]&(1<<(i%8)) != 0
	}
	words := make([]uint32, (n+31)/32)
	var ranges []string
	for i := 0; i < n; i++ {
		if !has(i) {
			continue
		}
		j := i
		for j+1 < n && has(j+1) {
			j++
		}
		if i == j {
			ranges = append(ranges, fmt.Sprint(i))
		} else {
			ranges = append(ranges, fmt.Sprintf("%d-%d", i, j))
		}
		for ; i <= j; i++ {
			words[i/32] |= 1 << (i % 32)
		}
	}
	var hex []string
	for i := len(words) - 1; i >= 0; i-- {
		if len(hex) == 0 {
			hex = append(hex, fmt.Sprintf("%x", words[i]))
		} else {
			hex = append(hex, fmt.Sprintf("%08x", words[i]))
		}
	}
	return strings.Join(hex, ","), strings.Join(ranges, ",")
}

func writeTaskStat(ctx context.Context, f *taskFile, b *bytes.Buffer) error {
	t, tg, ns := f.t, f.t.ThreadGroup(), f.fs.pidns
	var pgid, sid, ttyNr, tpgid int64
	tpgid = -1
	if pg := tg.ProcessGroup(); pg != nil {
		pgid = int64(pg.IDIn(ns))
	}
	if s := tg.Session(); s != nil {
		sid = int64(s.IDIn(ns))
	}
	if term := jobs.Terminal(tg); term != nil {
		major, minor := unix.Major(term.DeviceNumber()), unix.Minor(term.DeviceNumber())
		ttyNr = int64(minor&0xff | major<<8 | minor&^0xff<<12)
		tpgid = int64(jobs.GroupID(term.Foreground(), ns))
	}
	user, sys := tg.CPUTime()
	if f.thread {
		user, sys = t.CPUTime()
	}
	children := tg.ChildrenTimes()
	u, _ := usage(t)
	var info mm.ImageInfo
	var brk uintptr
	private := mayTrace(ctx, t)
	if m := t.WithMM(); m != nil {
		info, brk = m.ImageInfo(), m.BrkRange().Start
		m.DecUsers()
	}
	if !private {
		info, brk = mm.ImageInfo{}, 0
	}
	tick := func(ns int64) int64 { return ns / 1e7 }
	// Start times count from when the kernel started, as /proc/uptime does.
	booted := f.fs.k.Boottime().Now() - f.fs.k.Uptime()
	letter, _ := shownState(t)
	sched := t.Sched()
	prio := 20 + int64(sched.Nice)
	if sched.Priority > 0 {
		prio = -1 - int64(sched.Priority)
	}
	thread, _, blocked, ignored, caught := t.SignalSets()
	exit := uint32(0)
	if tg.IsZombie() {
		exit = tg.ExitStatus()
	}
	fmt.Fprintf(b, "%d (%s) %c %d %d %d %d %d 0 0 0 0 0 ", ns.TIDOf(t), t.Name(), letter, f.parentPID(), pgid, sid, ttyNr, tpgid)
	fmt.Fprintf(b, "%d %d %d %d %d %d %d 0 %d ", tick(user), tick(sys), tick(children.User), tick(children.System),
		prio, sched.Nice, len(tg.Tasks()), tick(max(tg.StartTime()-booted, 0)))
	fmt.Fprintf(b, "%d %d %d %d %d %d 0 0 %d %d %d %d 0 0 0 17 %d %d %d 0 0 0 ", u.Size, u.RSS/4096,
		tg.Limits().StackLimit(), info.Code.Start, info.Code.End, info.StartStack,
		uint32(thread)&0x7fffffff, uint32(blocked)&0x7fffffff, uint32(ignored)&0x7fffffff, uint32(caught)&0x7fffffff,
		t.CPU(), sched.Priority, sched.Policy)
	fmt.Fprintf(b, "%d %d %d %d %d %d %d %d\n", info.Data.Start, info.Data.End, brk,
		info.Argv.Start, info.Argv.End, info.Envv.Start, info.Envv.End, exit)
	return nil
}

func writeStatm(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	u, _ := usage(f.t)
	fmt.Fprintf(b, "%d %d %d %d 0 %d 0\n", u.Size/4096, u.RSS/4096, u.SharedResident/4096, u.Exe/4096, (u.Data+u.Stack)/4096)
	return nil
}

func writeSchedstat(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	user, sys := f.t.CPUTime()
	fmt.Fprintf(b, "%d 0 %d\n", user+sys, f.t.ContextSwitches())
	return nil
}

func writeSched(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	t := f.t
	user, sys := t.CPUTime()
	s := t.Sched()
	fmt.Fprintf(b, "%s (%d, #threads: %d)\n%s\n", t.Name(), f.fs.pidns.TIDOf(t), len(t.ThreadGroup().Tasks()), strings.Repeat("-", 67))
	fmt.Fprintf(b, "%-45s:%21.6f\n", "se.sum_exec_runtime", float64(user+sys)/1e6)
	fmt.Fprintf(b, "%-45s:%21d\n", "nr_switches", t.ContextSwitches())
	fmt.Fprintf(b, "%-45s:%21d\n", "nr_voluntary_switches", t.ContextSwitches())
	fmt.Fprintf(b, "%-45s:%21d\n", "policy", s.Policy)
	fmt.Fprintf(b, "%-45s:%21d\n", "prio", 120+s.Nice)
	return nil
}

// limitLines are the resources as /proc/PID/limits names them, by number.
var limitLines = [...]struct{ name, unit string }{
	{"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"},
	{"Max stack size", "bytes"}, {"Max core file size", "bytes"}, {"Max resident set", "bytes"},
	{"Max processes", "processes"}, {"Max open files", "files"}, {"Max locked memory", "bytes"},
	{"Max address space", "bytes"}, {"Max file locks", "locks"}, {"Max pending signals", "signals"},
	{"Max msgqueue size", "bytes"}, {"Max nice priority", ""}, {"Max realtime priority", ""},
	{"Max realtime timeout", "us"},
}

func writeLimits(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	b.WriteString("Limit                     Soft Limit           Hard Limit           Units     \n")
	show := func(n uint64) string {
		if n == unix.RLIM_INFINITY {
			return "unlimited"
		}
		return fmt.Sprint(n)
	}
	for i, l := range limitLines {
		v := f.t.ThreadGroup().Limits().Get(i)
		fmt.Fprintf(b, "%-25s %-20s %-20s %-10s\n", l.name, show(v.Cur), show(v.Max), l.unit)
	}
	return nil
}

func writeIO(_ context.Context, _ *taskFile, b *bytes.Buffer) error {
	b.WriteString("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n")
	return nil
}

func writeCgroup(_ context.Context, _ *taskFile, b *bytes.Buffer) error {
	b.WriteString("0::/\n")
	return nil
}
