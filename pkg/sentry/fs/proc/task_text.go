package proc

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/usermem"
)

// maxArguments bounds how much of an application's memory cmdline and environ copy.
const maxArguments = 4 << 20

// readMemory copies ar of the task's memory, as much as can be read.
func readMemory(io usermem.IO, ar usermem.AddrRange) []byte {
	if ar.End <= ar.Start {
		return nil
	}
	b := make([]byte, min(ar.Length(), maxArguments))
	n, _ := io.CopyIn(ar.Start, b)
	return b[:n]
}

// writeCmdline shows the arguments. A program that has overwritten the end of them
// (setproctitle(3)) shows one string that may go on into the environment.
func writeCmdline(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	m := f.t.WithMM()
	if m == nil {
		return nil
	}
	defer m.DecUsers()
	info := m.ImageInfo()
	args := readMemory(m, info.Argv)
	if n := len(args); n > 0 && n == int(info.Argv.Length()) && args[n-1] != 0 {
		if info.Envv.Start == info.Argv.End {
			args = append(args, readMemory(m, info.Envv)...)
		}
		if i := bytes.IndexByte(args, 0); i >= 0 {
			args = args[:i+1]
		}
	}
	b.Write(args)
	return nil
}

func writeEnviron(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	m := f.t.WithMM()
	if m == nil {
		return nil
	}
	defer m.DecUsers()
	b.Write(readMemory(m, m.ImageInfo().Envv))
	return nil
}

func writeAuxv(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	m := f.t.WithMM()
	if m == nil {
		return nil
	}
	defer m.DecUsers()
	b.Write(m.ImageInfo().Auxv)
	return nil
}

func writeMaps(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	m := f.t.WithMM()
	if m == nil {
		return nil
	}
	defer m.DecUsers()
	switch f.name {
	case "maps":
		m.WriteMaps(b)
	case "smaps":
		m.WriteSmaps(b)
	default:
		m.WriteSmapsRollup(b)
	}
	return nil
}

func writeComm(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	b.WriteString(f.t.Name() + "\n")
	return nil
}

func setComm(ctx context.Context, f *taskFile, value []byte, _ int64) error {
	c, ok := ctx.(*kernel.Task)
	if ok && c.ThreadGroup() != f.t.ThreadGroup() {
		return unix.EINVAL
	}
	s := string(bytes.TrimRight(value, "\n"))
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	f.t.SetName(s)
	return nil
}

// writeChildren lists the processes that the thread made (proc_tid_children(5)); processes,
// not threads, have children here, so that the leader has them all.
func writeChildren(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	tg := f.t.ThreadGroup()
	if tg.Leader() != f.t {
		return nil
	}
	var pids []int
	for _, c := range tg.Children() {
		if pid := f.fs.pidns.TGIDOf(c); pid > 0 {
			pids = append(pids, int(pid))
		}
	}
	slices.Sort(pids)
	for _, p := range pids {
		fmt.Fprintf(b, "%d ", p)
	}
	return nil
}

// parseInt reads a decimal (or 0x…, 0…) number as the kernel's kstrtoint does.
func parseInt(value []byte) (int64, error) {
	s := strings.TrimSuffix(strings.TrimRight(string(value), "\x00"), "\n")
	n, err := strconv.ParseInt(strings.TrimSpace(s), 0, 64)
	if err != nil {
		return 0, unix.EINVAL
	}
	return n, nil
}

func writeOOMScore(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	// The share of memory in thousandths, moved by the adjustment, as the OOM killer has it.
	score := int64(0)
	if total := f.fs.k.TotalMemory(); total > 0 {
		u, _ := usage(f.t)
		score = int64(u.RSS * 1000 / total)
	}
	score += int64(f.t.ThreadGroup().OOMScoreAdj().Load())
	fmt.Fprintf(b, "%d\n", max(score, 0)*2/3)
	return nil
}

func writeOOMScoreAdj(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	fmt.Fprintf(b, "%d\n", f.t.ThreadGroup().OOMScoreAdj().Load())
	return nil
}

func setOOMScoreAdj(ctx context.Context, f *taskFile, value []byte, _ int64) error {
	n, err := parseInt(value)
	if err != nil || n < -1000 || n > 1000 {
		return unix.EINVAL
	}
	return changeOOM(ctx, f, int32(n))
}

func changeOOM(ctx context.Context, f *taskFile, n int32) error {
	v := f.t.ThreadGroup().OOMScoreAdj()
	if n < v.Load() && !ctx.Credentials().HasCapability(unix.CAP_SYS_RESOURCE) {
		return unix.EACCES
	}
	v.Store(n)
	return nil
}

// oom_adj is the old form, from -17 to 15.
func writeOOMAdj(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	n := f.t.ThreadGroup().OOMScoreAdj().Load()
	old := n * 17 / 1000
	if n == 1000 {
		old = 15
	}
	fmt.Fprintf(b, "%d\n", old)
	return nil
}

func setOOMAdj(ctx context.Context, f *taskFile, value []byte, _ int64) error {
	n, err := parseInt(value)
	if err != nil || n < -17 || n > 15 {
		return unix.EINVAL
	}
	if n == 15 {
		return changeOOM(ctx, f, 1000)
	}
	return changeOOM(ctx, f, int32(n*1000/17))
}

func writeTimerSlack(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	n := f.t.Sched().TimerSlack
	if n == 0 {
		n = 50_000
	}
	fmt.Fprintf(b, "%d\n", n)
	return nil
}

func setTimerSlack(ctx context.Context, f *taskFile, value []byte, _ int64) error {
	if !mayTrace(ctx, f.t) {
		return unix.EPERM
	}
	n, err := parseInt(value)
	if err != nil {
		return err
	}
	f.t.SetSched(func(s *kernel.SchedState) { s.TimerSlack = uint64(n) })
	return nil
}
