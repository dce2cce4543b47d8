package software

import (
	"cmp"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"runsc/test/oci"
)

// soak is how many seconds each stressor takes inside; the environment's SOAK changes it. Natively
// it is 1.
var soak, errSoak = strconv.Atoi(cmp.Or(os.Getenv("SOAK"), "1"))

// limit bounds one program. Natively each takes seconds, a build of runsc a minute.
func limit(p program) time.Duration {
	switch {
	case p.goEnv:
		return 8 * time.Minute
	case p.soaks:
		return 5*time.Minute + time.Duration(soak)*time.Minute
	}
	return 150 * time.Second
}

// A program is one run to compare.
type program struct {
	name  string
	args  []string
	goEnv bool // wants Go's tool chain, the module cache and the sources
	soaks bool // takes as long as soak says
}

var programs = []program{
	{name: "bash", args: []string{"bash", "/tests/bash.sh"}},
	{name: "coreutils", args: []string{"bash", "/tests/coreutils.sh"}},
	{name: "archives", args: []string{"bash", "/tests/archives.sh"}},
	{name: "text", args: []string{"bash", "/tests/text.sh"}},
	{name: "python", args: []string{"python3", "-W", "ignore", "/tests/python.py"}},
	{name: "multiprocessing", args: []string{"python3", "-W", "ignore", "/tests/multiproc.py"}},
	{name: "gcc-make", args: []string{"bash", "/tests/gcc_make.sh"}},
	{name: "git", args: []string{"bash", "/tests/git.sh"}},
	{name: "sqlite", args: []string{"bash", "/tests/sqlite.sh"}},
	{name: "dpkg-apt", args: []string{"bash", "/tests/dpkg_apt.sh"}},
	{name: "stress", args: []string{"bash", "/tests/stress.sh"}, soaks: true},
	{name: "go-program", args: []string{"/tests/goprog"}},
	{name: "go-build", args: []string{"bash", "-c", `cd /src && go build -trimpath -o /work/runsc ./cmd/runsc && sha256sum /work/runsc && /work/runsc --version`}, goEnv: true},
}

// env is what a program gets in both runs.
func env(p program) []string {
	e := []string{"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TERM=dumb"}
	if p.goEnv {
		e = append(e, oci.GoEnv()...)
	}
	return e
}

// binds lists what a program sees of the host, read-only, as pairs "source:destination".
func binds(t *testing.T, p program, scripts string) []string {
	b := []string{scripts + ":/tests"}
	if p.goEnv {
		more, err := oci.GoBinds(oci.Top(t))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, more...)
	}
	return b
}

// inWork is a command that runs the program in /work, with all that it says on stdout.
func inWork(p program) []string {
	return append([]string{"/bin/sh", "-c", `cd /work && exec "$@" 2>&1`, "sh"}, p.args...)
}

// native runs a program in a chroot.
func native(t *testing.T, lower, scripts string, p program) oci.Result {
	return oci.Run(limit(p), oci.TestOverlay(t, lower).Native(nil, env(p), binds(t, p, scripts), inWork(p)...))
}

// inside runs a program in a container on its own overlay.
func inside(t *testing.T, r *oci.Runtime, lower, scripts string, p program) oci.Result {
	o := oci.TestOverlay(t, lower)
	if err := o.Mount(); err != nil {
		t.Skipf("no overlay on this machine: %v", err)
	}
	s := oci.Spec(inWork(p)...)
	s.Process.Env = env(p)
	if p.soaks {
		s.Process.Env = append(s.Process.Env, "SOAK="+strconv.Itoa(soak))
	}
	oci.AddBinds(s, binds(t, p, scripts)...)
	b := oci.NewBundle(t, o.Root(), s)
	id := oci.ID("soft")
	res := r.Run(limit(p), "run", "--bundle", b.Dir, id)
	if res.TimedOut {
		r.Run(20*time.Second, "delete", "--force", id)
	}
	return res
}

func TestSoftware(t *testing.T) {
	if errSoak != nil || soak < 1 {
		t.Fatalf("SOAK=%s is no number of seconds", os.Getenv("SOAK"))
	}
	lower, scripts := oci.PrepareDebian(t, "./goprog")
	var once [64]sync.Once
	var want [64]oci.Result
	for _, platform := range oci.Platforms() {
		name := platform
		if name == "" {
			name = "default"
		}
		t.Run(name, func(t *testing.T) {
			for i, p := range programs {
				t.Run(p.name, func(t *testing.T) {
					once[i].Do(func() { want[i] = native(t, lower, scripts, p) })
					w := want[i]
					if w.Code != 0 || w.TimedOut {
						t.Fatalf("does not pass natively: %s", w.Out())
					}
					r := oci.New(t, platform)
					before := r.TakeCensus()
					g := inside(t, r, lower, scripts, p)
					if g.Code != w.Code || g.Stdout != w.Stdout {
						t.Errorf("code %d (want %d), timed out %v\n%s\nstderr: %s", g.Code, w.Code, g.TimedOut, oci.Diff(t, w.Stdout, g.Stdout), g.Stderr)
					}
					t.Logf("native %.1fs, inside %.1fs", w.Took.Seconds(), g.Took.Seconds())
					r.NoLeaks(t, before)
				})
			}
		})
	}
}
