package cases

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"runsc/test/oci"
)

// parallel programs at a time; a developer's machine has two cores.
const parallel = 2

// programLimit bounds one container. The cases have limits of their own; this one is for
// a sandbox that stopped as a whole.
const programLimit = 150 * time.Second

// A Suite is a directory of test programs, that of the test that uses it.
type Suite struct {
	// Name is the suite's directory below .cache, and the start of its report's name.
	Name string
	// OnDisk says which programs are to run a second time, in a directory of the
	// container's root filesystem; nil for none.
	OnDisk func(program string) bool
	// Deviations are the cases in which the sandbox is not to do what Linux does, and why;
	// CASE@PLATFORM is one on that platform only.
	Deviations map[string]string

	nativeOnce    sync.Once
	nativeResults map[string]map[string]outcome
}

// outcome is how one case ended.
type outcome struct {
	status string // ok, FAIL or SKIP
	why    string
}

// A program is one binary on one kind of directory.
type program struct {
	name  string // file name of the binary
	disk  bool   // run in a directory of the root filesystem instead of a tmpfs
	cases []string
}

func (p program) String() string {
	if p.disk {
		return p.name + "@disk"
	}
	return p.name
}

// Dir is where the compiled programs are.
func (s *Suite) Dir(t testing.TB) string {
	t.Helper()
	return filepath.Join(oci.Top(t), ".cache", s.Name)
}

// Build compiles the programs.
func (s *Suite) Build(t testing.TB) {
	t.Helper()
	if res := oci.Run(5*time.Minute, exec.Command("make", "-s", "-j2", "OUT="+s.Dir(t))); res.Code != 0 {
		t.Fatalf("make: %s", res.Out())
	}
}

// list builds the programs and asks them for their cases.
func (s *Suite) list(t *testing.T) (dir string, programs []program) {
	t.Helper()
	s.Build(t)
	dir = s.Dir(t)
	sources, err := filepath.Glob("*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no test programs: %v", err)
	}
	seen := map[string]string{}
	for _, src := range sources {
		name := strings.TrimSuffix(src, ".c")
		res := oci.Run(10*time.Second, exec.Command(filepath.Join(dir, name), "--list"))
		cases := strings.Fields(res.Stdout)
		if res.Code != 0 || len(cases) == 0 {
			t.Fatalf("%s --list: %s", name, res.Out())
		}
		for _, c := range cases {
			if other, dup := seen[c]; dup {
				t.Fatalf("case %s is in %s and in %s", c, other, name)
			}
			seen[c] = name
		}
		programs = append(programs, program{name: name, cases: cases})
		if s.OnDisk != nil && s.OnDisk(name) {
			programs = append(programs, program{name: name, disk: true, cases: cases})
		}
	}
	return dir, programs
}

// parse reads the lines of a program. The case that was announced and has no line is
// returned as running.
func parse(output string) (results map[string]outcome, running string) {
	results = map[string]outcome{}
	in := bufio.NewScanner(strings.NewReader(output))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		word, rest, _ := strings.Cut(in.Text(), " ")
		name, why, _ := strings.Cut(rest, " ")
		switch word {
		case "#":
			running = name
		case "ok", "FAIL", "SKIP":
			results[name] = outcome{word, why}
			if name == running {
				running = ""
			}
		}
	}
	return results, running
}

// runAll runs the cases of a program through start, as few times as it can: all at once,
// and the rest again after each one that took the whole run down.
func runAll(p program, start func(args []string) oci.Result) map[string]outcome {
	all := map[string]outcome{}
	left := p.cases
	for stuck := 0; len(left) > 0; {
		args := left
		if len(left) == len(p.cases) {
			args = nil
		}
		res := start(args)
		got, running := parse(res.Stdout)
		for name, o := range got {
			all[name] = o
		}
		if running == "" && len(got) == 0 {
			// Nothing ran: the container did not even start.
			running = left[0]
			if stuck++; stuck == 2 {
				for _, c := range left {
					all[c] = outcome{"FAIL", "nothing runs: " + tail(res)}
				}
				break
			}
		}
		if running != "" {
			all[running] = outcome{"FAIL", "the run ended here: " + tail(res)}
		}
		var rest []string
		for _, c := range left {
			if _, ok := all[c]; !ok {
				rest = append(rest, c)
			}
		}
		if len(rest) == len(left) {
			for _, c := range rest {
				all[c] = outcome{"FAIL", "did not run: " + tail(res)}
			}
			break
		}
		left = rest
	}
	return all
}

func tail(res oci.Result) string {
	s := strings.TrimSpace(res.Stderr)
	if len(s) > 1500 {
		s = "…" + s[len(s)-1500:]
	}
	word := fmt.Sprintf("code %d", res.Code)
	if res.TimedOut {
		word = "timed out"
	}
	return word + " " + s
}

// native runs every program on the host's kernel, once for all tests of the package.
func (s *Suite) native(t *testing.T, dir string, programs []program) map[string]map[string]outcome {
	t.Helper()
	oci.NeedRoot(t)
	s.nativeOnce.Do(func() {
		disk := oci.ShortDir(t)
		s.nativeResults = forEach(programs, func(p program) map[string]outcome {
			return runAll(p, func(args []string) oci.Result {
				// The program may lie below /tmp, which the tmpfs hides.
				setup := `mount -t tmpfs tmpfs /mnt && cp "$1" /mnt/ && prog=/mnt/${1##*/} && shift &&
					mount -t tmpfs -o mode=1777 tmpfs /tmp && mkdir -p /dev/mqueue && mount -t mqueue mqueue /dev/mqueue; ip link set lo up 2>/dev/null; exec "$prog" "$@"`
				tmp := "/tmp"
				if p.disk {
					setup = `exec "$@"`
					tmp = disk
				}
				cmd := oci.Native(append([]string{"/bin/sh", "-c", setup, "sh", filepath.Join(dir, p.name)}, args...)...)
				cmd.Env = append(os.Environ(), "TEST_ANNOUNCE=1", "TEST_TMPDIR="+tmp, "TEST_SCALE=2")
				return oci.Run(programLimit, cmd)
			})
		})
	})
	return s.nativeResults
}

// forEach runs programs side by side and gathers their outcomes by name.
func forEach(programs []program, run func(program) map[string]outcome) map[string]map[string]outcome {
	results := map[string]map[string]outcome{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, p := range programs {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			r := run(p)
			mu.Lock()
			results[p.String()] = r
			mu.Unlock()
			<-slots
		}()
	}
	wg.Wait()
	return results
}

// TestNative checks the tests: every case must pass on Linux itself.
func (s *Suite) TestNative(t *testing.T) {
	dir, programs := s.list(t)
	results := s.native(t, dir, programs)
	for _, p := range programs {
		t.Run(p.String(), func(t *testing.T) {
			for _, c := range p.cases {
				t.Run(c, func(t *testing.T) {
					switch o := results[p.String()][c]; o.status {
					case "ok":
					case "SKIP":
						t.Skip(o.why)
					default:
						t.Fatal(o.why)
					}
				})
			}
		})
	}
}

// TestSandbox runs the same cases inside.
func (s *Suite) TestSandbox(t *testing.T) {
	oci.NeedRoot(t)
	dir, programs := s.list(t)
	oracle := s.native(t, dir, programs)
	for _, platform := range oci.Platforms() {
		name := platform
		if name == "" {
			name = "default"
		}
		t.Run(name, func(t *testing.T) {
			r := oci.New(t, platform)
			// Native programs have every capability; so have those inside.
			r.AddFlags("--net-raw")
			rootfs := rootfs(t, dir, programs)
			before := r.TakeCensus()
			results := forEach(programs, func(p program) map[string]outcome {
				return runAll(p, func(args []string) oci.Result { return inside(t, r, rootfs, p, args) })
			})
			for _, p := range programs {
				t.Run(p.String(), func(t *testing.T) {
					for _, c := range p.cases {
						t.Run(c, func(t *testing.T) {
							if why := cmp.Or(s.Deviations[c], s.Deviations[c+"@"+platform]); why != "" && results[p.String()][c].status != "ok" {
								t.Skip(why)
							}
							judge(t, oracle[p.String()][c], results[p.String()][c])
						})
					}
				})
			}
			r.NoLeaks(t, before)
			s.report(t, name, oracle, results)
		})
	}
}

func judge(t *testing.T, native, inside outcome) {
	if native.status != "ok" {
		t.Skipf("no oracle: %s natively: %s", native.status, native.why)
	}
	switch inside.status {
	case "ok":
	case "SKIP":
		t.Fatalf("passes natively, skipped inside: %s", inside.why)
	case "FAIL":
		t.Fatalf("passes natively, inside: %s", inside.why)
	default:
		t.Fatal("passes natively, gave no result inside")
	}
}

// report writes the outcomes as a file, for comparing two runs.
func (s *Suite) report(t *testing.T, name string, oracle, results map[string]map[string]outcome) {
	t.Helper()
	var b bytes.Buffer
	for prog, cases := range results {
		for c, o := range cases {
			fmt.Fprintf(&b, "%s/%s\t%s\t%s\t%s\n", prog, c, oracle[prog][c].status, o.status, strings.ReplaceAll(o.why, "\n", " "))
		}
	}
	lines := strings.SplitAfter(b.String(), "\n")
	sort.Strings(lines)
	file := filepath.Join(oci.Top(t), ".cache", s.Name+"-"+name+".tsv")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Log(err)
	}
}

// rootfs holds the programs in /t, a directory for disk variants in /data, and little else.
func rootfs(t *testing.T, dir string, programs []program) string {
	root := filepath.Join(oci.ShortDir(t), "rootfs")
	oci.BusyboxRootfs(t, root)
	for _, d := range []string{"t", "data"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range programs {
		if p.disk {
			continue
		}
		if err := oci.CopyFile(filepath.Join(dir, p.name), filepath.Join(root, "t", p.name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// inside runs a program in a container.
func inside(t *testing.T, r *oci.Runtime, rootfs string, p program, args []string) oci.Result {
	spec := oci.Spec(append([]string{"/t/" + p.name}, args...)...)
	tmp := "/tmp"
	if p.disk {
		tmp = "/data"
	}
	spec.Process.Env = append(spec.Process.Env, "TEST_ANNOUNCE=1", "TEST_TMPDIR="+tmp, "TEST_SCALE=2", "TEST_PLATFORM="+r.Platform)
	b := oci.NewBundle(t, rootfs, spec)
	id := oci.ID("sys")
	cmd := r.Command("run", "--bundle", b.Dir, id)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	res := oci.Run(programLimit, cmd)
	if res.TimedOut || res.Code < 0 || res.Code > 1 {
		r.Run(10*time.Second, "delete", "--force", id)
	}
	return res
}
