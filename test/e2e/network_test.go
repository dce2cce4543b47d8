package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/runsc/netns"
	"runsc/test/oci"
)

// Addresses of the two ends of the veth (RFC 2544, RFC 4193).
const (
	in4, out4 = "198.18.9.2", "198.18.9.1"
	in6, out6 = "fd00:9::2", "fd00:9::1"
)

// eachNetwork is eachPlatform with --network=sandbox.
func eachNetwork(t *testing.T, test func(t *testing.T, r *oci.Runtime)) {
	t.Helper()
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		r.Network = "sandbox"
		test(t, r)
	})
}

// veth makes two namespaces that a cable connects: one for the container, one for the rest of the
// world.
func veth(t *testing.T) (inside, outside *oci.Netns) {
	t.Helper()
	inside, outside = oci.NewNetns(t, "in"), oci.NewNetns(t, "out")
	if err := outside.Join(inside, "eth0", out4+"/24", in4+"/24", out6+"/64", in6+"/64"); err != nil {
		t.Fatal(err)
	}
	return inside, outside
}

// in puts the container into a namespace.
func in(n *oci.Netns) func(*specs.Spec) {
	return func(s *specs.Spec) { oci.JoinNetns(s, n) }
}

func outsideRun(n *oci.Netns, script string) oci.Result {
	return oci.Run(soon, n.Command("/bin/sh", "-c", script))
}

// serveFrom serves dir, which has a file page, by HTTP at port 8080 in a namespace until the end of the
// test, and returns when it can be fetched at addr from another.
func serveFrom(t *testing.T, n *oci.Netns, dir string, from *oci.Netns, addr string) {
	t.Helper()
	server := n.Command("busybox", "httpd", "-f", "-p", "8080", "-h", dir)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	oci.Eventually(t, soon, "the server", func() bool {
		return outsideRun(from, "busybox wget -q -O /dev/null http://"+addr+":8080/page").Code == 0
	})
}

func TestNetworkPing(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		inside, outside := veth(t)
		dir, mount := shared(t)
		b := sh(t, fmt.Sprintf("ping -c 2 -W 5 %s && ping -c 2 -W 5 %s && echo fine >/shared/f; exec sleep 1000", out4, out6), mount, in(inside))
		id := oci.ID("ping")
		ok(t, detached(t, r, "--net-raw", "create", "--bundle", b.Dir, id))
		defer r.Run(soon, "delete", "--force", id)
		ok(t, r.Run(soon, "start", id))
		fileHas(t, filepath.Join(dir, "f"), "fine")
		for _, addr := range []string{in4, in6} {
			ok(t, outsideRun(outside, "busybox ping -c 2 -W 5 "+addr))
		}
	})
}

func TestNetworkTCP(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		inside, outside := veth(t)
		dir, mount := shared(t)
		want := strings.Repeat("what a server has to say\n", 20000)
		if err := os.WriteFile(filepath.Join(dir, "page"), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		// Servers on both sides; each side fetches from the other, by both versions of IP.
		serveFrom(t, outside, dir, outside, "127.0.0.1")
		started(t, r, sh(t, fmt.Sprintf(`busybox wget -q -O - http://%s:8080/page | cmp - /shared/page && busybox wget -q -O - http://[%s]:8080/page | cmp - /shared/page && echo fetched >/shared/f
			exec busybox httpd -f -p 8081 -h /shared`, out4, out6), mount, in(inside)))
		fileHas(t, filepath.Join(dir, "f"), "fetched")
		for _, addr := range []string{in4, "[" + in6 + "]"} {
			oci.Eventually(t, soon, "an answer from "+addr, func() bool {
				res := outsideRun(outside, "busybox wget -q -O - http://"+addr+":8081/page")
				return res.Code == 0 && res.Stdout == want
			})
		}
	})
}

func TestNetworkIsTakenOver(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		inside, outside := veth(t)
		third := oci.NewNetns(t, "third")
		if err := third.Join(inside, "net1", "198.19.1.1/24", "198.19.1.2/24"); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"link", "set", "net1", "mtu", "1300"},
			{"route", "add", "default", "via", out4},
			{"route", "add", "default", "via", "198.19.1.1", "metric", "50"},
			{"route", "add", "198.51.100.0/24", "via", "198.19.1.9", "metric", "7", "mtu", "1280"},
			{"route", "add", "203.0.113.0/24", "nexthop", "via", "198.19.1.7", "nexthop", "via", "198.18.9.7"},
			{"route", "add", "blackhole", "192.0.2.0/24"},
			{"-6", "route", "add", "default", "via", out6},
			{"addr", "add", "198.18.9.77/24", "dev", "eth0"},
			{"neigh", "add", "198.18.9.99", "lladdr", "02:00:00:00:00:99", "dev", "eth0"},
			{"rule", "add", "from", "198.18.9.77", "table", "77", "priority", "1000"},
			{"route", "add", "default", "via", "198.18.9.3", "table", "77"},
		} {
			inside.IP(t, args...)
		}
		mac := strings.Fields(inside.IP(t, "-o", "link", "show", "dev", "eth0"))
		before := inside.IP(t, "-o", "addr") + inside.IP(t, "route") + inside.IP(t, "-6", "route")
		dir, mount := shared(t)
		id := started(t, r, sh(t, `I=/host/ip; ($I -o link; $I -o addr; $I route; $I -6 route; $I neigh; $I rule; $I route show table 77) >/shared/tmp 2>&1; mv /shared/tmp /shared/f; exec sleep 1000`, mount, in(inside),
			func(s *specs.Spec) { oci.AddBinds(s, hostPrograms()...) }))
		var text string
		oci.Eventually(t, soon, "the configuration", func() bool {
			data, _ := os.ReadFile(filepath.Join(dir, "f"))
			text = strings.Join(strings.Fields(string(data)), " ")
			return text != ""
		})
		for _, want := range []string{
			"lo: <LOOPBACK,UP,LOWER_UP> mtu 65536", "eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500", "net1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1300",
			field(mac, "link/ether"), "inet " + in4 + "/24", "inet 198.18.9.77/24", "inet6 " + in6 + "/64", "inet 198.19.1.2/24", "inet 127.0.0.1/8", "inet6 ::1/128",
			"default via " + out4 + " dev eth0", "default via 198.19.1.1 dev net1 metric 50", "198.51.100.0/24 via 198.19.1.9 dev net1 metric 7 mtu 1280",
			"203.0.113.0/24 via 198.19.1.7 dev net1", "blackhole 192.0.2.0/24", "default via " + out6 + " dev eth0", "198.18.9.0/24 dev eth0",
			"198.18.9.99 dev eth0 lladdr 02:00:00:00:00:99 PERMANENT", "1000: from 198.18.9.77 lookup 77", "default via 198.18.9.3 dev eth0",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the container does not show %q", want)
			}
		}
		if t.Failed() {
			t.Log(text)
		}
		// The host's kernel answers for none of it any more; the sandbox does, on both.
		if out := inside.IP(t, "-o", "addr", "show", "dev", "eth0") + inside.IP(t, "-o", "addr", "show", "dev", "net1"); strings.Contains(out, "inet") {
			t.Errorf("the host's devices have addresses:\n%s", out)
		}
		ok(t, outsideRun(outside, "busybox ping -c 1 -W 5 "+in4))
		ok(t, outsideRun(third, "busybox ping -c 1 -W 5 198.19.1.2"))
		// A namespace that outlives the container is as it was, but for what the kernel counts.
		ok(t, r.Run(soon, "delete", "--force", id))
		if after := inside.IP(t, "-o", "addr") + inside.IP(t, "route") + inside.IP(t, "-6", "route"); settled(after) != settled(before) {
			t.Errorf("the namespace was\n%s\nand is\n%s", before, after)
		}
	})
}

// field is the word behind name, with name.
func field(words []string, name string) string {
	for i := range words[:len(words)-1] {
		if words[i] == name {
			return name + " " + words[i+1]
		}
	}
	return "no " + name
}

// settled leaves out of ip's output how an address came to be, and the order of lines.
func settled(s string) string {
	for _, word := range []string{"nodad", "tentative", "proto kernel_ll"} {
		s = strings.ReplaceAll(s, word, "")
	}
	set := map[string]bool{}
	for _, l := range strings.Split(s, "\n") {
		_, rest, found := strings.Cut(l, ": ") // the index
		if !found {
			rest = l
		}
		set[strings.Join(strings.Fields(rest), " ")] = true
	}
	data, _ := json.MarshalIndent(set, "", " ")
	return string(data)
}

// hostPrograms are ip(8) of this machine and the libraries that it needs, as binds below /host.
func hostPrograms() []string {
	return []string{"/usr/sbin/ip:/host/ip", "/lib:/lib", "/lib64:/lib64", "/usr/lib:/usr/lib"}
}

func TestNetworkNone(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		inside, outside := veth(t)
		res := ok(t, run(t, r, "cat /proc/net/dev | grep -c eth0; ping -c 1 -W 1 127.0.0.1 >/dev/null; true", in(inside)))
		if strings.TrimSpace(res.Stdout) != "0" {
			t.Errorf("interfaces: %s", res.Out())
		}
		// The namespace is left alone.
		ok(t, outsideRun(outside, "busybox ping -c 1 -W 5 "+in4))
	})
}

func TestNetworkOfTheHostIsRefused(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		res := run(t, r, "true", func(s *specs.Spec) {
			kept := s.Linux.Namespaces[:0]
			for _, n := range s.Linux.Namespaces {
				if n.Type != specs.NetworkNamespace {
					kept = append(kept, n)
				}
			}
			s.Linux.Namespaces = kept
		})
		if res.Code == 0 || !strings.Contains(res.Stderr, "--network=host") || !strings.Contains(res.Stderr, "--network=none") {
			t.Errorf("no namespace of its own: %s", res.Out())
		}
		res = run(t, r, "true", func(s *specs.Spec) {
			for i := range s.Linux.Namespaces {
				if n := &s.Linux.Namespaces[i]; n.Type == specs.NetworkNamespace {
					n.Path = "/proc/self/ns/net" // of who starts the sandbox
				}
			}
		})
		if res.Code == 0 || !strings.Contains(res.Stderr, "--network=host") {
			t.Errorf("the host's namespace by its name: %s", res.Out())
		}
	})
}

// TestNetworkSetByHook is what Docker does: the namespace is made by create, and a hook puts the
// interface in before start.
func TestNetworkSetByHook(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		outside := oci.NewNetns(t, "out")
		for _, stage := range []string{"prestart", "createRuntime"} {
			hook := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf(`set -e
				pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/')
				ip -n %[1]s link add hook0 type veth peer name eth7 netns $pid
				ip -n %[1]s addr add %[2]s/24 dev hook0
				ip -n %[1]s link set hook0 up
				nsenter --net=/proc/$pid/ns/net ip addr add %[3]s/24 dev eth7
				nsenter --net=/proc/$pid/ns/net ip link set eth7 up`, outside.Name, out4, in4)}, Env: os.Environ()}
			b := sh(t, "exec sleep 1000", func(s *specs.Spec) {
				s.Hooks = &specs.Hooks{}
				if stage == "prestart" {
					s.Hooks.Prestart = []specs.Hook{hook}
				} else {
					s.Hooks.CreateRuntime = []specs.Hook{hook}
				}
			})
			id := started(t, r, b)
			res := outsideRun(outside, "busybox ping -c 2 -W 5 "+in4)
			ok(t, r.Run(soon, "delete", "--force", id))
			ok(t, res)
			// The namespace ends with the container, and the cable with it.
			oci.Eventually(t, soon, "end of the cable", func() bool {
				return !strings.Contains(outside.IP(t, "-o", "link"), "hook0")
			})
		}
	})
}

// TestNetworkAfterKill kills the client, and the sandbox, at all; what was taken comes back when
// the container is deleted.
func TestNetworkAfterKill(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		inside, outside := veth(t)
		dir, mount := shared(t)
		b, id := sh(t, "echo up >/shared/f; exec sleep 1000", mount, in(inside)), oci.ID("killed")
		cmd := r.Command("run", "--bundle", b.Dir, id)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fileHas(t, filepath.Join(dir, "f"), "up")
		cmd.Process.Kill()
		cmd.Wait()
		ok(t, r.Run(soon, "delete", "--force", id))
		if out := inside.IP(t, "-o", "addr", "show", "dev", "eth0"); !strings.Contains(out, in4+"/24") || !strings.Contains(out, in6+"/64") {
			t.Errorf("addresses: %s", out)
		}
		ok(t, outsideRun(outside, "busybox ping -c 1 -W 5 "+in4))
		// It can be taken over again.
		res := run(t, r, "busybox ip -o addr show dev eth0", in(inside))
		if !strings.Contains(res.Stdout, in4+"/24") {
			t.Errorf("a second container: %s", res.Out())
		}
	})
}

// TestDockerDNS has a server at 127.0.0.11 of the container's namespace, as Docker has for
// networks of its users.
func TestDockerDNS(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		inside, _ := veth(t)
		ns, err := netns.Open(inside.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		var c net.PacketConn
		if err := ns.Do(func() (err error) {
			c, err = net.ListenPacket("udp", "127.0.0.11:53")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go serveDNS(c)
		resolv := filepath.Join(oci.ShortDir(t), "resolv.conf")
		if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.11\noptions ndots:0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		bind := func(s *specs.Spec) { oci.AddBinds(s, resolv+":/etc/resolv.conf") }
		res := run(t, r, "busybox nslookup some.name", in(inside), bind)
		if !strings.Contains(res.Stdout, "198.18.9.123") {
			t.Error(res.Out())
		}
		// Many at once: each gets the answer to its own question.
		res = run(t, r, `for i in 1 2 3 4 5 6 7 8 9; do busybox nslookup n$i.name >/tmp/$i 2>&1 & done; wait
			for i in 1 2 3 4 5 6 7 8 9; do grep -q "n$i.name" /tmp/$i && grep -q 198.18.9.123 /tmp/$i && echo good; done`, in(inside), bind)
		if n := strings.Count(res.Stdout, "good"); n != 9 {
			t.Errorf("%d of 9: %s", n, res.Out())
		}
		// Without the line in resolv.conf nobody forwards.
		res = run(t, r, "busybox timeout 5 nslookup some.name 127.0.0.11", in(inside))
		if strings.Contains(res.Stdout, "198.18.9.123") {
			t.Errorf("forwarded without being asked: %s", res.Out())
		}
	})
}

// serveDNS answers every question for an A record by one address, and others by none.
func serveDNS(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		q := buf[:n]
		end := 12
		for end < n && q[end] != 0 {
			end += 1 + int(q[end])
		}
		if end+5 > n {
			continue
		}
		a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end+5]...)
		if q[end+2] == 1 { // type A
			a[7] = 1
			a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 9, 123)
		}
		time.Sleep(time.Millisecond) // so that questions overlap
		c.WriteTo(a, from)
	}
}

// TestDoNetwork has a command in a quick sandbox reach a machine beyond the one that it runs on,
// and looks for what is left of the network, also when the command is killed.
func TestDoNetwork(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		host, world := oci.NewNetns(t, "host"), oci.NewNetns(t, "world")
		if err := host.Join(world, "up0", "198.18.9.1/24", "198.18.9.2/24"); err != nil {
			t.Fatal(err)
		}
		dir, _ := shared(t)
		os.WriteFile(filepath.Join(dir, "page"), []byte("hello from far away\n"), 0o644)
		serveFrom(t, world, dir, host, "198.18.9.2")
		do := func(args ...string) []string {
			return append(r.Command("do").Args, args...)
		}
		rules := "iptables-save 2>/dev/null; nft list ruleset 2>/dev/null; cat /proc/sys/net/ipv4/ip_forward; ip -o link; ip -o addr"
		before := outsideRun(host, rules).Stdout
		res := oci.Run(soon, host.Command(do("/bin/sh", "-c", "busybox wget -q -O - http://198.18.9.2:8080/page")...))
		if res.Code != 0 || res.Stdout != "hello from far away\n" {
			t.Errorf("through the network: %s", res.Out())
		}
		clean := func(what string) {
			t.Helper()
			oci.Eventually(t, soon, what+": nothing left", func() bool {
				return chains(outsideRun(host, rules).Stdout) == chains(before)
			})
		}
		clean("after the end")
		// Two at once have different subnets.
		two := "busybox ip -o -4 addr show dev eth0; sleep 1"
		var outputs [2]oci.Result
		done := make(chan int)
		for i := range outputs {
			go func() {
				outputs[i] = oci.Run(soon, host.Command(do("/bin/sh", "-c", two)...))
				done <- i
			}()
		}
		<-done
		<-done
		if !strings.Contains(outputs[0].Stdout, "inet 192.168.") || outputs[0].Stdout == outputs[1].Stdout {
			t.Errorf("two at once: %s%s", outputs[0].Out(), outputs[1].Out())
		}
		clean("after two")
		// Killed: its keeper removes everything, the sandbox too.
		cmd := host.Command(do("/bin/sh", "-c", "sleep 1000")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		oci.Eventually(t, soon, "a running container", func() bool {
			return strings.Contains(r.Run(soon, "list").Stdout, "running")
		})
		cmd.Process.Kill()
		cmd.Wait()
		clean("after a kill")
		oci.Eventually(t, soon, "no container", func() bool {
			return strings.TrimSpace(r.Run(soon, "list", "-q").Stdout) == ""
		})
		// An address that is asked for.
		res = oci.Run(soon, host.Command(do("--ip", "10.77.0.5", "/bin/sh", "-c", "busybox ip -o -4 addr show dev eth0")...))
		if !strings.Contains(res.Stdout, "10.77.0.5/30") {
			t.Errorf("--ip: %s", res.Out())
		}
		res = oci.Run(soon, host.Command(do("--ip", "198.18.9.2", "/bin/true")...))
		if !strings.Contains(res.Stderr, "in use") {
			t.Errorf("--ip in a subnet that is taken: %s", res.Out())
		}
		clean("after that")
	})
}

// chains leaves out of a rule set what a firewall tool makes at first use and leaves: empty tables
// and chains, counters and dates.
func chains(s string) string {
	var keep []string
	for _, l := range strings.Split(s, "\n") {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "-A") || strings.Contains(l, "masquerade") || strings.Contains(l, "accept;") || strings.Contains(l, "inet ") ||
			strings.Contains(l, "mtu") || l == "0" || l == "1" || strings.Contains(l, "runsc") {
			keep = append(keep, l)
		}
	}
	return strings.Join(keep, "\n")
}

// TestNetworkHost has the container use the sockets of the host's kernel in a namespace.
func TestNetworkHost(t *testing.T) {
	eachNetwork(t, func(t *testing.T, r *oci.Runtime) {
		r.Network = "host"
		inside, outside := veth(t)
		dir, mount := shared(t)
		os.WriteFile(filepath.Join(dir, "page"), []byte("a page\n"), 0o644)
		serveFrom(t, outside, dir, outside, "127.0.0.1")
		b := sh(t, fmt.Sprintf(`(busybox wget -q -O - http://%s:8080/page; busybox wget -q -O - http://[%s]:8080/page; busybox ip -o addr
			busybox ip addr add 10.9.9.9/24 dev eth0 2>&1 || echo no change) >/shared/tmp 2>&1; mv /shared/tmp /shared/f
			exec busybox httpd -f -p 8081 -h /shared`, out4, out6), mount, in(inside))
		id, log := oci.ID("host"), filepath.Join(b.Dir, "log")
		ok(t, detached(t, r, "--debug-log="+log, "create", "--bundle", b.Dir, id))
		defer r.Run(soon, "delete", "--force", id)
		ok(t, r.Run(soon, "start", id))
		fileHas(t, filepath.Join(dir, "f"), "a page\na page\n")
		for _, want := range []string{in4 + "/24", in6 + "/64", "no change"} {
			fileHas(t, filepath.Join(dir, "f"), want)
		}
		for _, addr := range []string{in4, "[" + in6 + "]"} {
			oci.Eventually(t, soon, "an answer from "+addr, func() bool {
				res := outsideRun(outside, "busybox wget -q -O - http://"+addr+":8081/page")
				return res.Code == 0 && res.Stdout == "a page\n"
			})
		}
		// It is the host's kernel that answers, and the log says so.
		if out := inside.IP(t, "-o", "addr", "show", "dev", "eth0"); !strings.Contains(out, in4) {
			t.Errorf("the host's device has lost its address: %s", out)
		}
		fileHas(t, log, "host network")
	})
}
