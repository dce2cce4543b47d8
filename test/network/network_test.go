package network

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"runsc/test/oci"
)

// limit bounds one script; natively each takes less than half of a minute.
const limit = 150 * time.Second

// Addresses at the two ends of the veth. 198.18.0.0/15 is set aside for tests (RFC 2544).
const (
	in4, out4 = "198.18.7.2", "198.18.7.1"
	in6, out6 = "fd00:7::2", "fd00:7::1"
)

var scripts = []string{"ping", "tools", "http", "nginx", "redis", "iperf", "python", "ssh", "postgres", "git", "apt", "dns", "conns"}

// env is what both sides get.
var env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TERM=dumb",
	"IN4=" + in4, "IN6=" + in6, "OUT4=" + out4, "OUT6=" + out6}

// command is what a side runs, with all that it says on stdout but what is not compared.
func command(script, side string) []string {
	return []string{"bash", "/tests/" + script + ".sh", side}
}

// both runs a script on both sides: natively if r is nil.
func both(t *testing.T, r *oci.Runtime, lower, tests, script string) (sandbox, outside oci.Result) {
	t.Helper()
	in, out := oci.NewNetns(t, "in"), oci.NewNetns(t, "out")
	if err := out.Join(in, "eth0", out4+"/24", in4+"/24", out6+"/64", in6+"/64"); err != nil {
		t.Fatal(err)
	}
	in.IP(t, "route", "add", "default", "via", out4)
	in.IP(t, "-6", "route", "add", "default", "via", out6)
	shared := oci.ShortDir(t)
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	binds := []string{tests + ":/tests", shared + ":/shared"}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		outside = oci.Run(limit, oci.TestOverlay(t, lower).Native(out, env, binds, command(script, "outside")...))
		if outside.Code != 0 { // the other side need not wait
			os.WriteFile(filepath.Join(shared, "done"), nil, 0o644)
		}
	}()
	if r == nil {
		sandbox = oci.Run(limit, oci.TestOverlay(t, lower).Native(in, env, binds, command(script, "sandbox")...))
	} else {
		sandbox = contain(t, r, in, lower, tests, shared, script)
	}
	if sandbox.Code != 0 {
		os.WriteFile(filepath.Join(shared, "done"), nil, 0o644)
	}
	wg.Wait()
	return sandbox, outside
}

func contain(t *testing.T, r *oci.Runtime, n *oci.Netns, lower, tests, shared, script string) oci.Result {
	o := oci.TestOverlay(t, lower)
	if err := o.Mount(); err != nil {
		t.Skipf("no overlay on this machine: %v", err)
	}
	s := oci.Spec(command(script, "sandbox")...)
	s.Process.Env = env
	oci.JoinNetns(s, n)
	oci.AddBinds(s, tests+":/tests")
	oci.AddMount(s, "bind", shared, "/shared", "rbind", "rw")
	b := oci.NewBundle(t, o.Root(), s)
	id := oci.ID("net")
	res := r.Run(limit, "run", "--bundle", b.Dir, id)
	if res.TimedOut {
		r.Run(20*time.Second, "delete", "--force", id)
	}
	return res
}

func TestPrograms(t *testing.T) {
	lower, tests := oci.PrepareDebian(t, "./probe")
	type pair struct{ sandbox, outside oci.Result }
	want := map[string]pair{}
	for _, platform := range oci.Platforms() {
		name := platform
		if name == "" {
			name = "default"
		}
		t.Run(name, func(t *testing.T) {
			for _, script := range scripts {
				t.Run(script, func(t *testing.T) {
					w, ok := want[script]
					if !ok {
						w.sandbox, w.outside = both(t, nil, lower, tests, script)
						want[script] = w
					}
					for side, r := range map[string]oci.Result{"sandbox": w.sandbox, "outside": w.outside} {
						if r.Code != 0 || r.TimedOut {
							t.Fatalf("%s does not pass natively: %s", side, r.Out())
						}
					}
					r := oci.New(t, platform)
					r.Network = "sandbox"
					before := r.TakeCensus()
					sandbox, outside := both(t, r, lower, tests, script)
					compare(t, "sandbox", w.sandbox, sandbox)
					compare(t, "outside", w.outside, outside)
					t.Logf("native %.1fs, inside %.1fs", w.sandbox.Took.Seconds(), sandbox.Took.Seconds())
					for side, r := range map[string][2]oci.Result{"sandbox": {w.sandbox, sandbox}, "outside": {w.outside, outside}} {
						if r[0].Stderr != "" || r[1].Stderr != "" {
							t.Logf("%s, native:\n%s%s, inside:\n%s", side, r[0].Stderr, side, r[1].Stderr)
						}
					}
					r.NoLeaks(t, before)
				})
			}
		})
	}
}

// compare fails the test unless a side did what it does natively.
func compare(t *testing.T, side string, want, got oci.Result) {
	t.Helper()
	if got.Code == want.Code && got.Stdout == want.Stdout {
		return
	}
	t.Errorf("%s: code %d (want %d), timed out %v\n%sstderr: %s", side, got.Code, want.Code, got.TimedOut,
		oci.Diff(t, want.Stdout, got.Stdout), got.Stderr)
}
