package boot

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"runsc/pkg/sentry/fs/tty/jobs"
	"runsc/pkg/sentry/kernel"
)

// Processes lists the processes of a container, by pid.
func (l *Loader) Processes(cid string) ([]Process, error) {
	c, err := l.container(cid)
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, tg := range c.pidns.ThreadGroups() {
		if tg.ContainerID != cid || tg.IsZombie() {
			continue
		}
		out = append(out, l.describe(c, tg))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].PID < out[j].PID })
	return out, nil
}

func (l *Loader) describe(c *container, tg *kernel.ThreadGroup) Process {
	leader := tg.Leader()
	creds := leader.Credentials()
	user, system := tg.CPUTime()
	cpu := user + system
	age := l.k.Boottime().Now() - tg.StartTime()
	p := Process{
		UID:   creds.UserNS.UID(creds.EffectiveUID),
		PID:   c.pidns.TGIDOf(tg),
		STIME: time.Now().Add(-time.Duration(age)).Format("15:04"),
		TTY:   "?",
		Cmd:   commandLine(leader),
	}
	if parent := tg.Parent(); parent != nil {
		p.PPID = c.pidns.TGIDOf(parent)
	}
	if age > 0 {
		p.C = int32(cpu * 100 / age)
	}
	if t := jobs.Terminal(tg); t != nil {
		p.TTY = "console"
		if i := t.Index(); i >= 0 {
			p.TTY = fmt.Sprintf("pts/%d", i)
		}
	}
	// As ps(1): minutes and seconds of a small time are enough.
	d := time.Duration(cpu).Round(time.Second)
	p.Time = fmt.Sprintf("%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
	return p
}

// maxCommandLine bounds what ps shows of a command line, in bytes.
const maxCommandLine = 4096

// commandLine is what the process was started with, or its name in brackets if that is
// not to be had.
func commandLine(t *kernel.Task) string {
	name := "[" + t.Name() + "]"
	m := t.WithMM()
	if m == nil {
		return name
	}
	defer m.DecUsers()
	args := m.ImageInfo().Argv
	buf := make([]byte, min(args.Length(), maxCommandLine))
	n, _ := m.CopyIn(args.Start, buf)
	line := strings.TrimRight(strings.ReplaceAll(string(buf[:n]), "\x00", " "), " ")
	if line == "" {
		return name
	}
	return line
}
