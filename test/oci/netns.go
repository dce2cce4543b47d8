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

// A Netns is a named network namespace of the test's own. When it is removed, what is connected
// to it goes, too.
type Netns struct {
	Name string
}

var namespaces atomic.Int64

// MakeNetns makes a network namespace with lo up. what is part of its name.
func MakeNetns(what string) (*Netns, error) {
	n := &Netns{fmt.Sprintf("rt%d%s%d", os.Getpid(), what, namespaces.Add(1))}
	if _, err := ip("netns", "add", n.Name); err != nil {
		return nil, err
	}
	if err := n.Set("link", "set", "lo", "up"); err != nil {
		n.Remove()
		return nil, err
	}
	return n, nil
}

// Remove removes the namespace once no process is in it.
func (n *Netns) Remove() error {
	_, err := ip("netns", "del", n.Name)
	return err
}

// NewNetns is MakeNetns for a test, at whose end the namespace is removed.
func NewNetns(t testing.TB, what string) *Netns {
	t.Helper()
	n, err := MakeNetns(what)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Remove(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Path is the file that stands for the namespace.
func (n *Netns) Path() string { return "/run/netns/" + n.Name }

// Set calls ip(8) in the namespace.
func (n *Netns) Set(args ...string) error {
	_, err := ip(append([]string{"-n", n.Name}, args...)...)
	return err
}

// IP is Set for a test. It returns what ip prints.
func (n *Netns) IP(t testing.TB, args ...string) string {
	t.Helper()
	out, err := ip(append([]string{"-n", n.Name}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Command prepares a command in the namespace.
func (n *Netns) Command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + n.Path(), "--"}, args...)...)
}

// Join connects n and other by a veth pair, dev being its name on both sides, up, without
// duplicate address detection. addrs are of n and other in turns, with their prefix lengths.
func (n *Netns) Join(other *Netns, dev string, addrs ...string) error {
	if err := n.Set("link", "add", dev, "type", "veth", "peer", "name", dev, "netns", other.Name); err != nil {
		return err
	}
	sides := [2]*Netns{n, other}
	for i, addr := range addrs {
		args := []string{"addr", "add", addr, "dev", dev}
		if strings.Contains(addr, ":") {
			args = append(args, "nodad")
		}
		if err := sides[i%2].Set(args...); err != nil {
			return err
		}
	}
	for _, side := range sides {
		if err := side.Set("link", "set", dev, "up"); err != nil {
			return err
		}
	}
	return nil
}

func ip(args ...string) (string, error) {
	res := Run(10*time.Second, exec.Command("ip", args...))
	if res.Code != 0 {
		return "", fmt.Errorf("ip %s: %s", strings.Join(args, " "), res.Out())
	}
	return res.Stdout, nil
}

// JoinNetns makes the container of s use the namespace.
func JoinNetns(s *specs.Spec, n *Netns) {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = n.Path()
		}
	}
}
