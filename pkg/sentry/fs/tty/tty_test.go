package tty

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	kpty "github.com/kr/pty"
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// testTask is a task with jobs of its own.
type testTask struct {
	context.Background
	group   *testGroup
	leader  bool
	tty     *Terminal
	blocked map[int32]bool
	now     int64
	blocks  func() // called by BlockUntil
}

// BlockUntil lets the fake time pass at once, unless blocks gives it something to see.
func (t *testTask) BlockUntil(deadline int64) error {
	if f := t.blocks; f != nil {
		t.blocks = nil
		t.now += 1e6
		f()
		return nil
	}
	t.now = deadline
	return unix.ETIMEDOUT
}
func (t *testTask) Monotonic() int64 { return t.now }

type testGroup struct {
	id       int32
	session  *testSession
	orphaned bool
	mu       sync.Mutex
	got      []int32
}

func (g *testGroup) Signal(s int32) { g.mu.Lock(); g.got = append(g.got, s); g.mu.Unlock() }
func (g *testGroup) Orphaned() bool { return g.orphaned }
func (g *testGroup) Session() Session {
	return g.session
}
func (g *testGroup) take() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for _, s := range g.got {
		names = append(names, unix.SignalName(unix.Signal(s)))
	}
	g.got = nil
	return strings.Join(names, " ")
}

type testSession struct {
	id  int32
	tty *Terminal
	got []int32
}

func (s *testSession) SignalLeader(n int32) { s.got = append(s.got, n) }

type testJobs struct{ groups map[int32]*testGroup }

func (testJobs) Group(ctx context.Context) Group {
	if g := ctx.(*testTask).group; g != nil {
		return g
	}
	return nil
}
func (testJobs) Session(ctx context.Context) Session {
	if g := ctx.(*testTask).group; g != nil {
		return g.session
	}
	return nil
}
func (testJobs) IsLeader(ctx context.Context) bool            { return ctx.(*testTask).leader }
func (testJobs) Blocks(ctx context.Context, s int32) bool     { return ctx.(*testTask).blocked[s] }
func (testJobs) GroupID(_ context.Context, g Group) int32     { return g.(*testGroup).id }
func (testJobs) SessionID(_ context.Context, s Session) int32 { return s.(*testSession).id }
func (testJobs) Forget(context.Context)                       {}
func (testJobs) InstallFile(context.Context, *vfs.FileDescription, bool) (int32, error) {
	return 0, unix.ENOTTY
}
func (j testJobs) FindGroup(_ context.Context, id int32) Group {
	if g := j.groups[id]; g != nil {
		return g
	}
	return nil
}
func (testJobs) Controlling(ctx context.Context) *Terminal {
	if g := ctx.(*testTask).group; g != nil {
		return g.session.tty
	}
	return nil
}
func (testJobs) SetControlling(s Session, t *Terminal) { s.(*testSession).tty = t }

type testOwner struct{ closed int }

func (o *testOwner) MasterClosed(*Terminal) { o.closed++ }
func (o *testOwner) OpenPeer(context.Context, *Terminal, uint32) (uint64, error) {
	return 0, unix.ENOSYS
}

// fixture is a pseudoterminal controlled by a session with two groups.
type fixture struct {
	t      *testing.T
	m      *Master
	r      *Replica
	leader *testTask // group 1, the foreground
	back   *testTask // group 2
	jobs   testJobs
	sess   *testSession
}

func newTask(g *testGroup) *testTask {
	return &testTask{Background: context.Background{Creds: auth.NewUserCredentials(1, 1, nil, 0, 0, 0, 0, 0, auth.NewRootUserNamespace())}, group: g, blocked: map[int32]bool{}}
}

func setup(t *testing.T) *fixture {
	s := &testSession{id: 1}
	g1, g2 := &testGroup{id: 1, session: s}, &testGroup{id: 2, session: s}
	f := &fixture{t: t, leader: newTask(g1), back: newTask(g2), jobs: testJobs{map[int32]*testGroup{1: g1, 2: g2}}, sess: s}
	f.leader.leader = true
	f.m = NewPair(f.jobs, &testOwner{}, 3)
	if _, err := f.m.OpenReplica(f.leader, unix.O_RDWR); err != unix.EIO {
		t.Fatalf("a locked replica opens: %v", err)
	}
	f.ioctl(f.m, f.leader, unix.TIOCSPTLCK, []byte{0, 0, 0, 0})
	r, err := f.m.OpenReplica(f.leader, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	f.r = r
	return f
}

type ioctler interface {
	Ioctl(context.Context, usermem.IO, uint32, uint64) (uint64, error)
}

func (f *fixture) ioctl(file ioctler, ctx context.Context, req uint32, b []byte) error {
	_, err := file.Ioctl(ctx, &usermem.Bytes{B: b}, req, 0)
	return err
}

func (f *fixture) set(change func(*Termios)) {
	f.r.t.mu.Lock()
	defer f.r.t.mu.Unlock()
	v := f.r.t.termios
	change(&v)
	f.r.t.setTermios(v)
}

// send types s at the master.
func (f *fixture) send(s string) int {
	n, _, err := f.m.Write(f.leader, usermem.BytesSequence([]byte(s)), -1, false)
	if err != nil && err != unix.EAGAIN {
		f.t.Fatalf("send: %v", err)
	}
	return n
}

// shown is what the master reads.
func (f *fixture) shown() string {
	var out []byte
	for {
		b := make([]byte, 4096)
		n, err := f.m.Read(f.leader, usermem.BytesSequence(b), -1)
		if err != nil {
			return string(out)
		}
		out = append(out, b[:n]...)
	}
}

// got is one read of the replica: its bytes in quotes, or the error's name.
func (f *fixture) got(n int) string { return f.gotBy(f.leader, n) }

func (f *fixture) gotBy(task *testTask, n int) string {
	b := make([]byte, n)
	n, err := f.r.Read(task, usermem.BytesSequence(b), -1)
	if err == linux.ERESTARTSYS {
		return "ERESTARTSYS"
	}
	if e, ok := err.(unix.Errno); ok {
		return unix.ErrnoName(e)
	}
	return fmt.Sprintf("%q", b[:n])
}

func TestCanonicalInput(t *testing.T) {
	for _, c := range []struct {
		name, typed string
		set         func(*Termios)
		read        []string
		shown       string
	}{
		{"a line", "hello\n", nil, []string{`"hello\n"`, "EAGAIN"}, "hello\r\n"},
		{"carriage return", "hi\r", nil, []string{`"hi\n"`}, "hi\r\n"},
		{"carriage return dropped", "h\ri\n", func(v *Termios) { v.Iflag |= unix.IGNCR }, []string{`"hi\n"`}, "hi\r\n"},
		{"newline to carriage return", "a\n", func(v *Termios) { v.Iflag = unix.INLCR }, []string{"EAGAIN"}, "a^M"},
		{"unfinished", "hel", nil, []string{"EAGAIN"}, "hel"},
		{"two lines", "a\nb\n", nil, []string{`"a\n"`, `"b\n"`, "EAGAIN"}, "a\r\nb\r\n"},
		{"erase", "abc\x7f\x7fX\n", nil, []string{`"aX\n"`}, "abc\b \b\b \bX\r\n"},
		{"erase nothing", "\x7fa\n", nil, []string{`"a\n"`}, "a\r\n"},
		{"erase control character", "\x01\x7f\n", nil, []string{`"\n"`}, "^A\b \b\b \b\r\n"},
		{"erase without ECHOE", "ab\x7f\n", func(v *Termios) { v.Lflag &^= unix.ECHOE }, []string{`"a\n"`}, "ab^?\r\n"},
		{"erase UTF-8", "a\u00e9\x7f\n", func(v *Termios) { v.Iflag |= unix.IUTF8 }, []string{`"a\n"`}, "a\u00e9\b \b\r\n"},
		{"erase tab", "ab\t\x7fc\n", nil, []string{`"abc\n"`}, "ab\t\b\b\b\b\b\bc\r\n"},
		{"word erase", "one two  \x17x\n", nil, []string{`"one x\n"`}, "one two  " + strings.Repeat("\b \b", 5) + "x\r\n"},
		{"kill", "abc\x15d\n", nil, []string{`"d\n"`}, "abc\b \b\b \b\b \bd\r\n"},
		{"kill without ECHOKE", "abc\x15d\n", func(v *Termios) { v.Lflag &^= unix.ECHOKE }, []string{`"d\n"`}, "abc^U\r\nd\r\n"},
		{"end of file", "\x04", nil, []string{`""`, "EAGAIN"}, ""},
		{"end of file behind text", "ab\x04", nil, []string{`"ab"`, "EAGAIN"}, "ab"},
		{"end of line character", "ab|c", func(v *Termios) { v.Cc[unix.VEOL] = '|' }, []string{`"ab|"`, "EAGAIN"}, "ab|c"},
		{"literal next", "a\x16\x03\n", nil, []string{`"a\x03\n"`}, "a^\b^C\r\n"},
		{"reprint", "ab\x12c\n", nil, []string{`"abc\n"`}, "ab^R\r\nabc\r\n"},
		{"no echo", "abc\n", func(v *Termios) { v.Lflag &^= unix.ECHO }, []string{`"abc\n"`}, ""},
		{"only newline echoed", "abc\n", func(v *Termios) { v.Lflag = v.Lflag&^unix.ECHO | unix.ECHONL }, []string{`"abc\n"`}, "\r\n"},
		{"control characters as they are", "\x01\n", func(v *Termios) { v.Lflag &^= unix.ECHOCTL }, []string{`"\x01\n"`}, "\x01\r\n"},
		{"printed erasures", "abc\x7f\x7fd\n", func(v *Termios) { v.Lflag |= unix.ECHOPRT }, []string{`"ad\n"`}, "abc\\cb/d\r\n"},
		{"strip", "\xe1\n", func(v *Termios) { v.Iflag |= unix.ISTRIP }, []string{`"a\n"`}, "a\r\n"},
		{"lower case", "AbC\n", func(v *Termios) { v.Iflag |= unix.IUCLC }, []string{`"abc\n"`}, "abc\r\n"},
		{"parity marks", "\xff\n", func(v *Termios) { v.Iflag |= unix.PARMRK }, []string{`"\xff\xff\n"`}, "\xff\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := setup(t)
			if c.set != nil {
				f.set(c.set)
			}
			f.send(c.typed)
			for i, want := range c.read {
				if got := f.got(100); got != want {
					t.Errorf("read %d: %s, want %s", i, got, want)
				}
			}
			if got := f.shown(); got != c.shown {
				t.Errorf("shown %q, want %q", got, c.shown)
			}
		})
	}
}

func TestShortReadsOfALine(t *testing.T) {
	f := setup(t)
	f.send("abcd\n\x04")
	for i, want := range []string{`"ab"`, `"cd"`, `"\n"`, `""`, "EAGAIN"} {
		if got := f.got(2); got != want {
			t.Errorf("read %d: %s, want %s", i, got, want)
		}
	}
	// An end of file right behind the bytes of a full buffer belongs to them.
	f.send("ab\x04")
	if a, b := f.got(2), f.got(2); a != `"ab"` || b != "EAGAIN" {
		t.Errorf("%s, then %s", a, b)
	}
}

func TestLongLineKeepsItsEnd(t *testing.T) {
	f := setup(t)
	f.set(func(v *Termios) { v.Lflag &^= unix.ECHO })
	if n := f.send(strings.Repeat("x", 10000) + "\n"); n != 10001 {
		t.Errorf("%d bytes taken", n)
	}
	got := f.got(20000)
	if len(got) < 4000 || len(got) > 4110 || !strings.HasSuffix(got, `x\n"`) {
		t.Errorf("a line of %d bytes", len(got))
	}
	// A full buffer of lines makes the writer wait.
	total := 0
	for {
		n := f.send(strings.Repeat("y", 99) + "\n")
		total += n
		if n < 100 {
			break
		}
	}
	if total < 3900 || total > 4096 {
		t.Errorf("%d bytes of lines fit", total)
	}
	if f.m.Readiness(waiter.EventOut) != 0 {
		t.Error("a full terminal is writable")
	}
	f.got(5000)
	if f.m.Readiness(waiter.EventOut) == 0 || f.send("z\n") != 2 {
		t.Error("no room after a read")
	}
}

func TestRawInput(t *testing.T) {
	raw := func(min, tenths uint8) func(*Termios) {
		return func(v *Termios) {
			v.MakeRaw()
			v.Cc[unix.VMIN], v.Cc[unix.VTIME] = min, tenths
		}
	}
	f := setup(t)
	f.set(raw(1, 0))
	if got := f.got(10); got != "EAGAIN" {
		t.Errorf("nothing there: %s", got)
	}
	f.send("a\r\x03\x04")
	if got := f.got(10); got != `"a\r\x03\x04"` {
		t.Errorf("raw bytes: %s", got)
	}
	f.set(raw(0, 0))
	if got := f.got(10); got != `""` {
		t.Errorf("MIN 0 TIME 0: %s", got)
	}
	f.set(raw(3, 0))
	f.send("ab")
	if got := f.got(10); got != "EAGAIN" {
		t.Errorf("two of three: %s", got)
	}
	if f.r.Readiness(waiter.EventIn) != 0 {
		t.Error("two of three are readable")
	}
	if got := f.got(2); got != `"ab"` {
		t.Errorf("a buffer smaller than MIN: %s", got)
	}
	f.send("abc")
	if got := f.got(10); got != `"abc"` {
		t.Errorf("three of three: %s", got)
	}
	f.send("ab")
	f.r.FlagsChanged(unix.O_NONBLOCK)
	if a, b := f.got(10), f.got(10); a != `"ab"` || b != "EAGAIN" {
		t.Errorf("nonblocking: %s, %s", a, b)
	}
	f.r.FlagsChanged(0)

	f.set(raw(0, 5))
	start := f.leader.now
	if got := f.got(10); got != `""` || f.leader.now-start != 500e6 {
		t.Errorf("TIME alone: %s after %v", got, time.Duration(f.leader.now-start))
	}
	f.leader.blocks = func() { f.send("x") }
	if got := f.got(10); got != `"x"` {
		t.Errorf("TIME alone, a byte comes: %s", got)
	}
	f.set(raw(5, 5))
	if got := f.got(10); got != "EAGAIN" {
		t.Errorf("MIN and TIME, no byte yet: %s", got)
	}
	f.send("a")
	f.leader.blocks = func() { f.send("b") }
	start = f.leader.now
	if got := f.got(10); got != `"ab"` || f.leader.now-start != 501e6 {
		t.Errorf("MIN and TIME: %s after %v", got, time.Duration(f.leader.now-start))
	}
}

func TestModeChangeKeepsInput(t *testing.T) {
	f := setup(t)
	f.send("abc")
	f.set(func(v *Termios) { v.Lflag &^= unix.ICANON })
	if got := f.got(10); got != `"abc"` {
		t.Errorf("to raw: %s", got)
	}
	f.send("def")
	f.set(func(v *Termios) { v.Lflag |= unix.ICANON })
	if a, b := f.got(10), f.got(10); a != `"def"` || b != "EAGAIN" {
		t.Errorf("to canonical: %s, %s", a, b)
	}
}

func TestOutputProcessing(t *testing.T) {
	for _, c := range []struct {
		name, in, out string
		oflag         uint32
	}{
		{"newline", "a\nb", "a\r\nb", unix.OPOST | unix.ONLCR},
		{"off", "a\nb\t", "a\nb\t", unix.ONLCR},
		{"tabs", "a\tb\n\tc", "a       b\n        c", unix.OPOST | xtabs | unix.ONLRET},
		{"carriage return", "a\rb", "a\nb", unix.OPOST | unix.OCRNL},
		{"no return at column 0", "\ra\r", "a\r", unix.OPOST | unix.ONOCR},
		{"upper case", "aBc", "ABC", unix.OPOST | unix.OLCUC},
	} {
		f := setup(t)
		f.set(func(v *Termios) { v.Oflag = c.oflag })
		if n, _, err := f.r.Write(f.leader, usermem.BytesSequence([]byte(c.in)), -1, false); n != len(c.in) || err != nil {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
		if got := f.shown(); got != c.out {
			t.Errorf("%s: %q, want %q", c.name, got, c.out)
		}
	}
}

func TestOutputWaitsForRoom(t *testing.T) {
	f := setup(t)
	big := usermem.BytesSequence([]byte(strings.Repeat("0123456789\n", 10000)))
	n, _, err := f.r.Write(f.leader, big, -1, false)
	if err != nil || n == 0 || n > outputSize {
		t.Fatalf("%d, %v", n, err)
	}
	if _, _, err := f.r.Write(f.leader, big, -1, false); err != unix.EAGAIN || f.r.Readiness(waiter.EventOut) != 0 {
		t.Errorf("full: %v", err)
	}
	if got := strings.ReplaceAll(f.shown(), "\r\n", "\n"); len(got) != n {
		t.Errorf("%d bytes arrived of %d", len(got), n)
	}
	if f.r.Readiness(waiter.EventOut) == 0 {
		t.Error("not writable after a read")
	}
}

func TestFlowControl(t *testing.T) {
	f := setup(t)
	hello := usermem.BytesSequence([]byte("hello"))
	f.send("\x13")
	if _, _, err := f.r.Write(f.leader, hello, -1, false); err != unix.EAGAIN {
		t.Errorf("stopped: %v", err)
	}
	f.send("\x11")
	if n, _, err := f.r.Write(f.leader, hello, -1, false); n != 5 {
		t.Errorf("started: %v", err)
	}
	f.set(func(v *Termios) { v.Iflag |= unix.IXANY })
	f.send("\x13")
	f.send("x")
	if n, _, err := f.r.Write(f.leader, hello, -1, false); n != 5 {
		t.Errorf("started by any character: %v", err)
	}
	// TCOOFF is undone by TCOON only.
	f.r.Ioctl(f.leader, nil, unix.TCXONC, unix.TCOOFF)
	f.send("\x11")
	if _, _, err := f.r.Write(f.leader, hello, -1, false); err != unix.EAGAIN {
		t.Errorf("TCOOFF: %v", err)
	}
	f.r.Ioctl(f.leader, nil, unix.TCXONC, unix.TCOON)
	if n, _, err := f.r.Write(f.leader, hello, -1, false); n != 5 {
		t.Errorf("TCOON: %v", err)
	}
}

func TestSignalCharacters(t *testing.T) {
	f := setup(t)
	fg := f.leader.group
	f.send("abc\x03")
	if got := fg.take(); got != "SIGINT" {
		t.Errorf("^C: %s", got)
	}
	if got := f.got(10); got != "EAGAIN" {
		t.Errorf("input was not flushed: %s", got)
	}
	f.set(func(v *Termios) { v.Lflag |= unix.NOFLSH })
	f.shown()
	f.send("abc\x1c\x1a\n")
	if got := fg.take(); got != "SIGQUIT SIGTSTP" {
		t.Errorf("^\\ ^Z: %s", got)
	}
	if got := f.got(10); got != `"abc\n"` {
		t.Errorf("NOFLSH: %s", got)
	}
	if got := f.shown(); got != "abc^\\^Z\r\n" {
		t.Errorf("shown %q", got)
	}
	f.set(func(v *Termios) { v.Lflag &^= unix.ISIG })
	f.send("\x03\n")
	if got := f.got(10); got != `"\x03\n"` || fg.take() != "" {
		t.Errorf("ISIG off: %s", got)
	}
	f.set(func(v *Termios) { v.Lflag |= unix.ISIG })
	f.send(strings.Repeat("\x03", 10))
	if got := fg.take(); strings.Count(got, "SIGINT") != 10 {
		t.Errorf("ten ^C: %s", got)
	}
}

func TestBackgroundProcesses(t *testing.T) {
	f := setup(t)
	bg := f.back.group
	write := func() error {
		_, _, err := f.r.Write(f.back, usermem.BytesSequence([]byte("x")), -1, false)
		return err
	}
	f.send("hello\n")
	if got := f.gotBy(f.back, 10); got != "ERESTARTSYS" || bg.take() != "SIGTTIN" {
		t.Errorf("read: %s", got)
	}
	f.back.blocked[int32(unix.SIGTTIN)] = true
	if got := f.gotBy(f.back, 10); got != "EIO" || bg.take() != "" {
		t.Errorf("read with SIGTTIN ignored: %s", got)
	}
	f.back.blocked = map[int32]bool{}
	if err := write(); err != nil {
		t.Errorf("write without TOSTOP: %v", err)
	}
	f.set(func(v *Termios) { v.Lflag |= unix.TOSTOP })
	if err := write(); err != linux.ERESTARTSYS || bg.take() != "SIGTTOU" {
		t.Errorf("write with TOSTOP: %v", err)
	}
	bg.orphaned = true
	if err := write(); err != unix.EIO {
		t.Errorf("write of an orphaned group: %v", err)
	}
	bg.orphaned = false
	var id [4]byte
	binary.LittleEndian.PutUint32(id[:], 2)
	if err := f.ioctl(f.r, f.back, unix.TIOCSPGRP, id[:]); err != linux.ERESTARTSYS || bg.take() != "SIGTTOU" {
		t.Errorf("TIOCSPGRP: %v", err)
	}
	f.back.blocked[int32(unix.SIGTTOU)] = true // as shells do
	if err := f.ioctl(f.r, f.back, unix.TIOCSPGRP, id[:]); err != nil {
		t.Errorf("TIOCSPGRP with SIGTTOU blocked: %v", err)
	}
	if got := f.gotBy(f.back, 10); got != `"hello\n"` {
		t.Errorf("read in the foreground: %s", got)
	}
	var got [4]byte
	if err := f.ioctl(f.r, f.leader, unix.TIOCGPGRP, got[:]); err != nil || got != id {
		t.Errorf("TIOCGPGRP: %v %v", got, err)
	}
	binary.LittleEndian.PutUint32(id[:], 77)
	if err := f.ioctl(f.r, f.back, unix.TIOCSPGRP, id[:]); err != unix.ESRCH {
		t.Errorf("unknown group: %v", err)
	}
	f.jobs.groups[9] = &testGroup{id: 9, session: &testSession{}}
	binary.LittleEndian.PutUint32(id[:], 9)
	if err := f.ioctl(f.r, f.back, unix.TIOCSPGRP, id[:]); err != unix.EPERM {
		t.Errorf("group of another session: %v", err)
	}
}

func TestControllingTerminal(t *testing.T) {
	f := setup(t)
	if f.sess.tty != f.r.t {
		t.Fatal("the leader's open did not acquire the terminal")
	}
	other := newTask(&testGroup{id: 5, session: &testSession{id: 5}})
	if err := f.ioctl(f.r, other, unix.TIOCSCTTY, nil); err != unix.EPERM {
		t.Errorf("not a leader: %v", err)
	}
	other.leader = true
	if err := f.ioctl(f.r, other, unix.TIOCSCTTY, nil); err != unix.EPERM {
		t.Errorf("terminal of another session: %v", err)
	}
	other.Creds = auth.NewRootCredentials(auth.NewRootUserNamespace())
	if _, err := f.r.Ioctl(other, nil, unix.TIOCSCTTY, 1); err != nil || f.sess.tty != nil || other.group.session.tty != f.r.t {
		t.Errorf("stealing: %v", err)
	}
	if err := f.ioctl(f.r, f.leader, unix.TIOCGPGRP, make([]byte, 4)); err != unix.ENOTTY {
		t.Errorf("TIOCGPGRP of the robbed: %v", err)
	}
	if err := f.ioctl(f.r, other, unix.TIOCNOTTY, nil); err != nil || other.group.take() != "SIGHUP SIGCONT" || other.group.session.tty != nil {
		t.Errorf("TIOCNOTTY: %v", err)
	}
	var sid [4]byte
	if err := f.ioctl(f.r, f.leader, unix.TIOCSCTTY, nil); err != nil {
		t.Errorf("TIOCSCTTY: %v", err)
	}
	if err := f.ioctl(f.r, f.leader, unix.TIOCGSID, sid[:]); err != nil || sid != [4]byte{1} {
		t.Errorf("TIOCGSID: %v %v", sid, err)
	}
	f.r.t.Disassociated()
	if got := f.leader.group.take(); got != "SIGHUP" {
		t.Errorf("end of the leader: %s", got)
	}
}

func TestHangup(t *testing.T) {
	f := setup(t)
	f.send("unread\n")
	f.m.Release(f.leader)
	if got := f.got(10); got != `""` {
		t.Errorf("read: %s", got)
	}
	if _, _, err := f.r.Write(f.leader, usermem.BytesSequence([]byte("x")), -1, false); err != unix.EIO {
		t.Errorf("write: %v", err)
	}
	if err := f.ioctl(f.r, f.leader, unix.TCGETS, make([]byte, 36)); err != unix.EIO {
		t.Errorf("ioctl: %v", err)
	}
	if _, err := f.m.OpenReplica(f.leader, unix.O_RDWR); err != unix.EIO {
		t.Errorf("open: %v", err)
	}
	if fmt.Sprint(f.sess.got) != fmt.Sprint([]int32{int32(unix.SIGHUP), int32(unix.SIGCONT)}) {
		t.Errorf("signals %v", f.sess.got)
	}
	if r := f.r.Readiness(waiter.AllEvents); r&waiter.EventHUp == 0 || r&waiter.EventIn == 0 {
		t.Errorf("readiness %x", r)
	}
}

func TestMasterSeesTheReplicaClose(t *testing.T) {
	f := setup(t)
	read := func() (int, error) { return f.m.Read(f.leader, usermem.BytesSequence(make([]byte, 10)), -1) }
	if _, err := read(); err != unix.EAGAIN {
		t.Errorf("open: %v", err)
	}
	f.r.Write(f.leader, usermem.BytesSequence([]byte("bye")), -1, false)
	f.r.Release(f.leader)
	if n, err := read(); n != 3 || err != nil {
		t.Errorf("last words: %d %v", n, err)
	}
	if _, err := read(); err != unix.EIO || f.m.Readiness(waiter.EventHUp) == 0 {
		t.Errorf("closed: %v", err)
	}
	if _, err := f.m.OpenReplica(f.leader, unix.O_RDWR); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err != unix.EAGAIN || f.m.Readiness(waiter.EventHUp) != 0 {
		t.Errorf("opened again: %v", err)
	}
}

func TestPacketMode(t *testing.T) {
	f := setup(t)
	f.ioctl(f.m, f.leader, unix.TIOCPKT, []byte{1, 0, 0, 0})
	f.r.Write(f.leader, usermem.BytesSequence([]byte("x")), -1, false)
	if got := f.shown(); got != "\x00x" {
		t.Errorf("data %q", got)
	}
	f.r.Ioctl(f.leader, nil, unix.TCFLSH, unix.TCIFLUSH)
	if f.m.Readiness(waiter.EventPri) == 0 {
		t.Error("no exceptional condition")
	}
	if got := f.shown(); got != string(rune(unix.TIOCPKT_FLUSHREAD)) {
		t.Errorf("flush %q", got)
	}
	f.set(func(v *Termios) { v.Iflag &^= unix.IXON })
	if got := f.shown(); got != string(rune(unix.TIOCPKT_NOSTOP)) {
		t.Errorf("flow control off %q", got)
	}
}

func TestTermiosIoctls(t *testing.T) {
	f := setup(t)
	b := make([]byte, 44)
	if err := f.ioctl(f.m, f.leader, unix.TCGETS2, b); err != nil || binary.LittleEndian.Uint32(b[40:]) != 38400 {
		t.Errorf("TCGETS2: %v", err)
	}
	binary.LittleEndian.PutUint32(b[8:], unix.B9600|unix.CS7|unix.PARENB)
	if err := f.ioctl(f.r, f.leader, unix.TCSETS, b[:36]); err != nil {
		t.Fatal(err)
	}
	f.ioctl(f.r, f.leader, unix.TCGETS2, b)
	if c := binary.LittleEndian.Uint32(b[8:]); c != unix.B9600|unix.CS8|unix.CREAD || binary.LittleEndian.Uint32(b[40:]) != 9600 {
		t.Errorf("cflag %o speed %d", c, binary.LittleEndian.Uint32(b[40:]))
	}
	f.send("line\n")
	if err := f.ioctl(f.r, f.leader, unix.TCSETSF, b[:36]); err != nil || f.got(10) != "EAGAIN" {
		t.Errorf("TCSETSF: %v", err)
	}
	old := make([]byte, 18)
	if err := f.ioctl(f.r, f.leader, unix.TCGETA, old); err != nil || old[9] != 3 {
		t.Errorf("TCGETA: %v %v", err, old)
	}
	if err := f.ioctl(f.r, f.leader, unix.TCSETA, old); err != nil {
		t.Errorf("TCSETA: %v", err)
	}
	win := []byte{24, 0, 80, 0, 0, 0, 0, 0}
	f.ioctl(f.m, f.leader, unix.TIOCSWINSZ, win)
	got := make([]byte, 8)
	f.ioctl(f.r, f.leader, unix.TIOCGWINSZ, got)
	if string(got) != string(win) || f.leader.group.take() != "SIGWINCH" {
		t.Errorf("window size %v", got)
	}
	f.send("abc\nde")
	n := make([]byte, 4)
	f.ioctl(f.r, f.leader, unix.TIOCINQ, n)
	if n[0] != 4 {
		t.Errorf("FIONREAD %v", n)
	}
	if err := f.ioctl(f.r, f.leader, 0x1234, nil); err != unix.ENOTTY {
		t.Errorf("unknown: %v", err)
	}
	if err := f.ioctl(f.r, f.leader, unix.TIOCSTI, []byte{'\n'}); err != nil || f.got(10) != `"abc\n"` || f.got(10) != `"de\n"` {
		t.Errorf("TIOCSTI: %v", err)
	}
}

// TestAgainstTheHost types the same things at a terminal of the host and compares.
func TestAgainstTheHost(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	alphabet := []string{"a", "b ", "\t", "\x7f", "\x17", "\x15", "\x04", "\r", "\n", "\x16", "\x12", "\x01", "\u00e9", "word ", "|", "\x1b[A"}
	for i := range 200 {
		m, s, err := kpty.Open()
		if err != nil {
			t.Skip(err)
		}
		mfd, sfd := int(m.Fd()), int(s.Fd()) // once: Fd makes files blocking
		f := setup(t)
		lflag, iflag := uint32(0), uint32(0)
		for _, b := range []uint32{unix.ECHOE, unix.ECHOKE, unix.ECHOCTL, unix.ECHOPRT, unix.ECHONL} {
			if rng.Uint32()%3 == 0 {
				lflag |= b
			}
		}
		for _, b := range []uint32{unix.IUTF8, unix.INLCR, unix.ISTRIP} {
			if rng.Uint32()%3 == 0 {
				iflag |= b
			}
		}
		tio, _ := unix.IoctlGetTermios(sfd, unix.TCGETS)
		tio.Lflag ^= lflag
		tio.Iflag ^= iflag
		tio.Cc[unix.VEOL] = '|'
		unix.IoctlSetTermios(sfd, unix.TCSETS, tio)
		f.set(func(v *Termios) {
			v.Lflag, v.Iflag, v.Oflag = tio.Lflag, tio.Iflag, tio.Oflag
			v.Cc[unix.VEOL] = '|'
		})
		text := ""
		for range rng.IntN(30) {
			text += alphabet[rng.IntN(len(alphabet))]
		}
		text += "\x04\x04\n" // so that the echo has an end

		unix.SetNonblock(sfd, true)
		m.WriteString(text)
		f.send(text)
		ours := f.shown()
		host := make([]byte, 0, 4096)
		for deadline := time.Now().Add(2 * time.Second); len(host) < len(ours) && time.Now().Before(deadline); {
			b := make([]byte, 4096)
			fds := []unix.PollFd{{Fd: int32(mfd), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 100); n > 0 {
				n, _ := unix.Read(mfd, b)
				host = append(host, b[:max(n, 0)]...)
			}
		}
		if string(host) != ours {
			t.Errorf("%d: %q with lflag^%x iflag^%x: shown %q, the host shows %q", i, text, lflag, iflag, ours, host)
		}
		for {
			b := make([]byte, 7)
			n, err := unix.Read(sfd, b)
			want := fmt.Sprintf("%q", b[:max(n, 0)])
			if err != nil {
				want = unix.ErrnoName(err.(unix.Errno))
			}
			if got := f.got(7); got != want {
				t.Errorf("%d: %q with lflag^%x iflag^%x: read %s, the host reads %s", i, text, lflag, iflag, got, want)
				break
			}
			if err != nil {
				break
			}
		}
		m.Close()
		s.Close()
		if t.Failed() {
			return
		}
	}
}

func TestConsole(t *testing.T) {
	m, s, err := kpty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer m.Close()
	defer s.Close()
	unix.IoctlSetWinsize(int(m.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 20})
	file, err := fd.Dup(int(s.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	task := newTask(&testGroup{id: 1, session: &testSession{id: 1}})
	task.leader = true
	h, err := NewHostTTY(file, testJobs{}, nil, -1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.Terminal().Open(task, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if w := h.Terminal().Size(); w != (WindowSize{Rows: 10, Columns: 20}) {
		t.Errorf("size %v", w)
	}
	m.WriteString("type\r")
	b := make([]byte, 100)
	var n int
	for deadline := time.Now().Add(5 * time.Second); ; {
		if n, err = r.Read(task, usermem.BytesSequence(b), -1); err != unix.EAGAIN || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if string(b[:n]) != "type\n" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	r.Write(task, usermem.BytesSequence([]byte("out\n")), -1, false)
	want := "type\r\nout\r\n"
	got := ""
	for len(got) < len(want) {
		n, err := m.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got += string(b[:n])
	}
	if got != want {
		t.Errorf("the host sees %q, want %q", got, want)
	}
	unix.IoctlSetWinsize(int(m.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 11, Col: 20})
	h.Resized()
	if got := task.group.take(); got != "SIGWINCH" {
		t.Errorf("resize: %s", got)
	}
	m.WriteString("\x03")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if s := task.group.take(); s == "SIGINT" {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("no SIGINT")
		}
	}
	h.Close()
	if tio, _ := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS); tio.Lflag&unix.ICANON == 0 {
		t.Error("the host's terminal was not restored")
	}
	if n, err := r.Read(task, usermem.BytesSequence(b), -1); n != 0 || err != nil {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

func FuzzInput(f *testing.F) {
	f.Add([]byte("hello\x7f\x17\x15\x04\n\t\x16\x12"), uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, lflag, iflag uint32) {
		x := setup(t)
		x.set(func(v *Termios) { v.Lflag ^= lflag; v.Iflag ^= iflag })
		x.send(string(b))
		x.shown()
		for range 10 {
			x.got(100)
		}
		x.set(func(v *Termios) { v.Lflag ^= unix.ICANON })
		x.send(string(b))
		x.got(5000)
	})
}
