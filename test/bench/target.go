package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"runsc/test/oci"
)

// A target is one column of the tables: a kernel to run programs on.
type target struct {
	name    string
	runtime *oci.Runtime // nil: the host's kernel itself
}

// oursPrefix begins the names of our targets; the platform follows.
const oursPrefix = "runsc "

func (t *target) ours() bool { return t.runtime != nil && !t.runtime.IsRunc() }

// programPath is for every job; natively the host's mount and chroot are found by it, too.
const programPath = "PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A job is a program in a root filesystem.
type job struct {
	rootfs string
	lower  string // instead of rootfs: an overlay on it, of the job's own
	env    []string
	binds  []string   // "host path:path inside", read-only
	shared string     // a directory of the host that is /shared inside, if set
	netns  *oci.Netns // instead of a network namespace of its own
	args   []string
	limit  time.Duration
}

// do runs a job to its end and returns what it wrote. Of a job that did not succeed, the
// error has the last of what it said.
func (b *bench) do(ctx context.Context, t *target, j job) (stdout string, err error) {
	if t.runtime == nil && j.shared != "" {
		j.binds = append(slices.Clip(j.binds), j.shared+":/shared")
	}
	var overlay *oci.Overlay
	if j.lower != "" {
		if overlay, err = oci.NewOverlay(j.lower); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, persist(overlay.Remove)) }()
	}
	var res oci.Result
	switch {
	case t.runtime == nil && overlay != nil:
		res = oci.RunContext(ctx, j.limit, overlay.Native(j.netns, j.env, j.binds, j.args...))
	case t.runtime == nil:
		res = oci.RunContext(ctx, j.limit, oci.NativeChroot(j.netns, j.rootfs, j.env, j.binds, j.args...))
	default:
		if overlay != nil {
			if err := overlay.Mount(); err != nil {
				return "", err
			}
			j.rootfs = overlay.Root()
		}
		if res, err = b.contain(ctx, t.runtime, j); err != nil {
			return "", err
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case res.TimedOut:
		return res.Stdout, fmt.Errorf("no end within %v: %s", j.limit, lastLines(res))
	case res.Code != 0:
		return res.Stdout, fmt.Errorf("exit status %d: %s", res.Code, lastLines(res))
	}
	return res.Stdout, nil
}

// contain runs a job in a container.
func (b *bench) contain(ctx context.Context, r *oci.Runtime, j job) (oci.Result, error) {
	s := oci.Spec(j.args...)
	s.Root.Path = j.rootfs
	s.Process.Env = j.env
	oci.AddBinds(s, j.binds...)
	if j.shared != "" {
		oci.AddMount(s, "bind", j.shared, "/shared", "rbind", "rw")
	}
	if j.netns != nil {
		oci.JoinNetns(s, j.netns)
		network := *r
		network.Network = "sandbox"
		r = &network
	}
	bundle, err := os.MkdirTemp(b.dir, "bundle")
	if err != nil {
		return oci.Result{}, err
	}
	defer os.RemoveAll(bundle)
	if err := oci.WriteConfig(bundle, s); err != nil {
		return oci.Result{}, err
	}
	id := oci.ID("bench")
	res := oci.RunContext(ctx, j.limit, r.Command("run", "--bundle", bundle, id))
	if res.TimedOut {
		r.Run(20*time.Second, "delete", "--force", id)
	}
	return res, nil
}

// lastLines is what a message can hold of a program's words.
func lastLines(res oci.Result) string {
	text := strings.TrimSpace(res.Stderr)
	if text == "" {
		text = strings.TrimSpace(res.Stdout)
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// findTargets lists what can be measured here: the host, runc, and ours on each platform.
// A platform that this machine or the binary lacks is left out with a word, unless PLATFORM
// names it.
func (b *bench) findTargets(ctx context.Context) error {
	b.targets = []*target{{name: "native"}}
	if path, err := exec.LookPath("runc"); err == nil {
		b.targets = append(b.targets, &target{"runc", oci.Open(path, filepath.Join(b.dir, "runc-state"), "")})
	}
	ours := os.Getenv("RUNTIME")
	if ours == "" {
		ours = filepath.Join(b.top, "bin/runsc")
	}
	var platforms []string
	demanded := os.Getenv("PLATFORM") != ""
	if demanded {
		platforms = oci.Platforms()
	} else {
		out, err := exec.CommandContext(ctx, ours, "flags").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s flags: %w (make builds bin/runsc; or set RUNTIME)", ours, err)
		}
		if platforms = knownPlatforms(string(out)); len(platforms) == 0 {
			return fmt.Errorf("%s flags: no list of platforms", ours)
		}
	}
	for _, p := range platforms {
		b.targets = append(b.targets, &target{oursPrefix + p, oci.Open(ours, filepath.Join(b.dir, p+"-state"), p)})
	}
	var usable []*target
	for _, t := range b.targets {
		_, err := b.do(ctx, t, b.microJob("-list"))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			usable = append(usable, t)
		case t.ours() && !demanded:
			fmt.Printf("left out %s: %v\n", t.name, err)
		default:
			b.fail("%s: %v", t.name, err)
		}
	}
	b.targets = usable
	if i := slices.IndexFunc(usable, (*target).ours); i >= 0 {
		const flag = "--overlay2=root:memory"
		p := usable[i].runtime.Platform
		r := oci.Open(ours, filepath.Join(b.dir, p+"-memory-state"), p)
		r.AddFlags(flag)
		b.inMemory = &target{usable[i].name + " " + flag, r}
	}
	if len(usable) == 0 || usable[0].runtime != nil {
		return fmt.Errorf("nothing runs here: %w", b.report.failed())
	}
	return nil
}

// platformHelp is the explanation of --platform in the list of flags: "…: a, b or c (…)".
var platformHelp = regexp.MustCompile(`-platform string\n[^\n]*: ([a-z, ]+) \(`)

// knownPlatforms finds the platforms that a runsc knows by name in what `runsc flags` says.
func knownPlatforms(flags string) []string {
	m := platformHelp.FindStringSubmatch(flags)
	if m == nil {
		return nil
	}
	return strings.Fields(strings.NewReplacer(",", " ", " or ", " ").Replace(m[1]))
}
