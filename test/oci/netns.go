package oci

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A Netns is a named network namespace of the test's own, removed at its end, and with it
// what is connected to it.
type Netns struct {
	Name string
}

var namespaces atomic.Int64

// NewNetns makes a network namespace with lo up. what is part of its name.
func NewNetns(t testing.TB, what string) *Netns {
	t.Helper()
	n := &Netns{fmt.Sprintf("rt%d%s%d", os.Getpid(), what, namespaces.Add(1))}
	IP(t, "netns", "add", n.Name)
	t.Cleanup(func() {
		if res := Run(10*time.Second, exec.Command("ip", "netns", "del", n.Name)); res.Code != 0 {
			t.Errorf("ip netns del %s: %s", n.Name, res.Out())
		}
	})
	n.IP(t, "link", "set", "lo", "up")
	return n
}

// Path is the file that stands for the namespace.
func (n *Netns) Path() string { return "/run/netns/" + n.Name }

// IP calls ip(8) in the namespace.
func (n *Netns) IP(t testing.TB, args ...string) string {
	t.Helper()
	return IP(t, append([]string{"-n", n.Name}, args...)...)
}

// Command prepares a command in the namespace.
func (n *Netns) Command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + n.Path(), "--"}, args...)...)
}

// Connect joins a and b by a veth pair, dev being its name on both sides, up, without
// duplicate address detection. addrs are of a and b in turns, with their prefix lengths.
func Connect(t testing.TB, a, b *Netns, dev string, addrs ...string) {
	t.Helper()
	a.IP(t, "link", "add", dev, "type", "veth", "peer", "name", dev, "netns", b.Name)
	for i, addr := range addrs {
		n := a
		if i%2 == 1 {
			n = b
		}
		args := []string{"addr", "add", addr, "dev", dev}
		if strings.Contains(addr, ":") {
			args = append(args, "nodad")
		}
		n.IP(t, args...)
	}
	a.IP(t, "link", "set", dev, "up")
	b.IP(t, "link", "set", dev, "up")
}

// IP calls ip(8) and returns what it prints.
func IP(t testing.TB, args ...string) string {
	t.Helper()
	res := Run(10*time.Second, exec.Command("ip", args...))
	if res.Code != 0 {
		t.Fatalf("ip %s: %s", strings.Join(args, " "), res.Out())
	}
	return res.Stdout
}

// JoinNetns makes the container of s use the namespace.
func JoinNetns(s *specs.Spec, n *Netns) {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = n.Path()
		}
	}
}
