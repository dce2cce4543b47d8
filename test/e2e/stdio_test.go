package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/test/oci"
)

func fmtSscan(s string, args ...any) (int, error) { return fmt.Sscan(s, args...) }

// command is a call of the runtime as text for a shell.
func command(r *oci.Runtime, args ...string) string {
	return "'" + strings.Join(r.Command(args...).Args, "' '") + "'"
}

// TestFileKeepsItsOffset: the container writes where the shell left off, and the shell
// goes on where the container left off.
func TestFileKeepsItsOffset(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		b, file := sh(t, "echo from inside"), filepath.Join(oci.ShortDir(t), "f")
		for _, redirect := range []string{">", ">>"} {
			os.Remove(file)
			script := fmt.Sprintf("(echo a; %s; echo b) %s %s", command(r, "run", "--bundle", b.Dir, oci.ID("off")), redirect, file)
			ok(t, oci.Run(soon, exec.Command("/bin/sh", "-c", script)))
			if data, _ := os.ReadFile(file); string(data) != "a\nfrom inside\nb\n" {
				t.Errorf("%s: %q", redirect, data)
			}
		}
	})
}

func TestInputFileKeepsItsOffset(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r) // runc copies all of its input
		b := sh(t, "dd bs=1 count=4 2>/dev/null")
		script := fmt.Sprintf("printf 'abcdefgh' >%s/in; (dd bs=1 count=2 2>/dev/null; %s; cat) <%s/in", b.Dir, command(r, "run", "--bundle", b.Dir, oci.ID("off")), b.Dir)
		if res := ok(t, oci.Run(soon, exec.Command("/bin/sh", "-c", script))); res.Stdout != "abcdefgh" {
			t.Errorf("%s", res.Out())
		}
	})
}

func TestStreamsAreSeparate(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		res := run(t, r, "echo out; echo err >&2")
		if res.Stdout != "out\n" || res.Stderr != "err\n" {
			t.Errorf("%s", res.Out())
		}
	})
}

func TestPipesInAndOut(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
		cmd := r.Command("run", "--bundle", bundle(t, []string{"/bin/cat"}).Dir, oci.ID("pipe"))
		cmd.Stdin = bytes.NewReader(data)
		h := sha256.New()
		cmd.Stdout = h
		ok(t, oci.Run(60*time.Second, cmd))
		if want := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), want[:]) {
			t.Error("8 MiB through cat came out different")
		}
	})
}

func TestClosedReaderStopsTheWriter(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		script := command(r, "run", "--bundle", bundle(t, []string{"/bin/yes"}).Dir, oci.ID("yes")) + " | head -n 2"
		if res := oci.Run(soon, exec.Command("/bin/sh", "-c", script)); res.TimedOut || res.Stdout != "y\ny\n" {
			t.Errorf("%s", res.Out())
		}
	})
}

func TestClosedDescriptors(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		b := sh(t, "cat; echo done >/dev/null; exit 3")
		script := command(r, "run", "--bundle", b.Dir, oci.ID("closed")) + " <&- >/dev/null 2>&1"
		if res := oci.Run(soon, exec.Command("/bin/sh", "-c", script)); res.TimedOut || res.Code != 3 && res.Code != 1 {
			t.Errorf("%s", res.Out())
		}
	})
}

// TestCallersDescriptorsStayOut: what the caller has open does not show up inside, and is
// not held by the runtime's processes: its reader sees the end.
func TestCallersDescriptorsStayOut(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		out, err := os.Create(filepath.Join(oci.ShortDir(t), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		rd, wr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		id := oci.ID("fds")
		cmd := r.Command("run", "--detach", "--bundle", sh(t, "ls /proc/self/fd | wc -l; exec sleep 1000").Dir, id)
		cmd.Stdout, cmd.Stderr = out, out
		cmd.ExtraFiles = []*os.File{wr}
		ok(t, oci.Run(soon, cmd))
		wr.Close()
		end := make(chan error, 1)
		go func() { _, err := io.ReadAll(rd); end <- err }()
		select {
		case <-end:
		case <-time.After(5 * time.Second):
			t.Error("a process of the runtime holds the caller's descriptor 3")
		}
		fileHas(t, out.Name(), "4\n") // 0, 1, 2 and ls's own
		ok(t, r.Run(soon, "delete", "--force", id))
		rd.Close()
	})
}

// TestDetachedRunEndsTheCallersPipe: after the container is gone, whoever reads its output
// sees the end.
func TestDetachedRunEndsTheCallersPipe(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := oci.ID("eof")
		script := command(r, "run", "--detach", "--bundle", sh(t, "sleep 0.2; echo last words").Dir, id) + " | cat"
		if res := oci.Run(soon, exec.Command("/bin/sh", "-c", script)); res.TimedOut || res.Stdout != "last words\n" {
			t.Errorf("%s", res.Out())
		}
		ok(t, r.Run(soon, "delete", "--force", id))
	})
}

func TestStdioAreTheCallersFiles(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r) // runc puts pipes in between
		dir := oci.ShortDir(t)
		os.WriteFile(filepath.Join(dir, "in"), []byte("input\n"), 0o644)
		script := command(r, "run", "--bundle", sh(t, "cat; [ -f /dev/stdout ] && echo regular; [ -p /dev/stderr ] && echo pipe").Dir, oci.ID("own")) +
			fmt.Sprintf(" 2>&1 <%s/in >%s/out | cat; cat %s/out", dir, dir, dir)
		res := oci.Run(soon, exec.Command("/bin/sh", "-c", script))
		if !strings.Contains(res.Stdout, "input\n") || !strings.Contains(res.Stdout, "regular\n") {
			t.Errorf("%s", res.Out())
		}
	})
}

func TestNoInput(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		if res := run(t, r, "cat; echo end", func(s *specs.Spec) {}); res.Stdout != "end\n" {
			t.Errorf("%s", res.Out())
		}
	})
}
