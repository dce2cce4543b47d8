package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/test/oci"
)

// probe builds the program of test/network in a directory of its own, which can be mounted.
func probe(t *testing.T) (path string, mount func(*specs.Spec)) {
	t.Helper()
	dir := oci.ShortDir(t)
	path = filepath.Join(dir, "probe")
	oci.BuildProgram(t, 2*time.Minute, "../network/probe", path)
	return path, func(s *specs.Spec) { oci.AddBinds(s, dir+":/probe") }
}

// TestIdleConnections: a thousand connections over which nothing comes use no CPU, and do not
// hold up the end of the container.
func TestIdleConnections(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		inside, outside := veth(t)
		program, mount := probe(t)
		id := started(t, r, bundle(t, []string{"/probe/probe", "serve", ":9000"}, mount, in(inside), func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 4096, Hard: 4096}}
		}))
		oci.Eventually(t, soon, "the server", func() bool {
			return outsideRun(outside, program+" dial "+in4+":9000 1").Code == 0
		})
		cmd := outside.Command(program, "hold", in4+":9000", "1000")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer stdin.Close()
		if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "holding\n" {
			t.Fatalf("the connections: %q", line)
		}
		time.Sleep(2 * time.Second) // the last segments, and what cleans up after them
		pick := func(c string) bool { return strings.Contains(c, r.Root) }
		a, n := cpuTicks(pick)
		if n == 0 {
			t.Fatal("no process of the sandbox found")
		}
		time.Sleep(10 * time.Second)
		if b, _ := cpuTicks(pick); b-a > 10 {
			t.Errorf("%d ms of CPU in 10 s with idle connections", (b-a)*10)
		}
		ok(t, r.Run(soon, "kill", id, "KILL"))
		began := time.Now()
		oci.Eventually(t, soon, "the end", func() bool { return strings.Contains(r.Run(soon, "state", id).Stdout, `"stopped"`) })
		if took := time.Since(began); took > prompt {
			t.Errorf("with 1,000 connections the end took %v", took)
		}
	})
}

// TestBridge connects many sandboxes by a bridge; each talks to the next one.
func TestBridge(t *testing.T) {
	n := 24
	if testing.Short() {
		n = 6
	}
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		bridge := oci.NewNetns(t, "bridge")
		bridge.IP(t, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
		bridge.IP(t, "link", "set", "br0", "up")
		dir, mount := shared(t)
		addr := func(i int) string { return fmt.Sprintf("198.18.9.%d", 10+i%n) }
		var wg sync.WaitGroup
		for i := range n {
			inside := oci.NewNetns(t, "in")
			if err := bridge.Join(inside, "eth0"); err != nil {
				t.Fatal(err)
			}
			bridge.IP(t, "link", "set", "eth0", "name", fmt.Sprintf("port%d", i), "master", "br0", "up")
			inside.IP(t, "addr", "add", addr(i)+"/24", "dev", "eth0")
			b := sh(t, fmt.Sprintf(`mkdir /tmp/www; echo "I am %[1]d" >/tmp/www/who; busybox httpd -p 80 -h /tmp/www
				n=0; until busybox wget -q -O /tmp/got http://%[2]s/who; do n=$((n+1)); [ $n = 100 ] && exit 1; sleep 0.3; done
				cp /tmp/got /shared/%[1]d.new; mv /shared/%[1]d.new /shared/%[1]d; exec sleep 1000`, i, addr(i+1)), mount, in(inside))
			id := oci.ID("bridged")
			t.Cleanup(func() { r.Run(soon, "delete", "--force", id) })
			wg.Add(1)
			go func() {
				defer wg.Done()
				if res := detached(t, r, "run", "--detach", "--bundle", b.Dir, id); res.Code != 0 {
					t.Errorf("sandbox %d: %s", i, res.Out())
				}
			}()
			if i%4 == 3 {
				wg.Wait() // four at a time
			}
		}
		wg.Wait()
		for i := range n {
			oci.Eventually(t, 60*time.Second, fmt.Sprintf("what %d got from its neighbour", i), func() bool {
				got, _ := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
				return string(got) == fmt.Sprintf("I am %d\n", (i+1)%n)
			})
		}
	})
}
