// Package natnet gives a sandbox that is made in passing (runsc do) a network: a namespace of its
// own, connected by a veth pair to the network that the caller is in, which forwards and
// masquerades for it.
//
// All of that is to be gone afterwards, however it ends. The namespace has no name; it is an open
// file of one process, and the veth pair ends with it. What does not end by itself, firewall
// rules and the switch for forwarding, is written into a file before it is made; the process that
// made it holds a lock on the file (flock) for as long as it lives, and removes both. CleanUp does
// that for files that nobody holds any more. So whoever makes a network should be a process that
// has nothing else to do and outlives the sandbox's user (see runsc/cmd/donetwork.go).
package natnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/netns"
)

// Network is a network as it is written down.
type Network struct {
	// Name is unique among networks; rules bear it.
	Name string `json:"name"`
	// Device is the caller's end of the pair.
	Device string       `json:"device"`
	Subnet netip.Prefix `json:"subnet"`
	// Tool made the rules: iptables, nft, or "" if there was none.
	Tool string `json:"tool,omitempty"`

	path string
	file *os.File // locked
	ns   *netns.Namespace
}

// InnerDevice is the sandbox's end of the pair.
const InnerDevice = "eth0"

const (
	prefix = "runsc-do-"
	suffix = ".net"
	// forwardingMark is a file that says that forwarding was off before.
	forwardingMark = "runsc-do.forwarding"
	forwarding     = "/proc/sys/net/ipv4/ip_forward"
)

// DefaultAddress is the sandbox's unless another is asked for, or it is taken.
var DefaultAddress = netip.AddrFrom4([4]byte{192, 168, 10, 2})

// subnetOf is the subnet of four addresses that a sandbox's address is in: its own, and the
// caller's. ok is false if it is not one of the two in the middle.
func subnetOf(a netip.Addr) (subnet netip.Prefix, caller netip.Addr, ok bool) {
	if !a.Is4() {
		return subnet, caller, false
	}
	subnet = netip.PrefixFrom(a, 30).Masked()
	first := subnet.Addr().Next()
	second := first.Next()
	switch a {
	case first:
		return subnet, second, true
	case second:
		return subnet, first, true
	}
	return subnet, caller, false
}

// choose returns want, or if that is the default and taken, another one that is free.
func choose(want netip.Addr) (netip.Addr, error) {
	if _, _, ok := subnetOf(want); !ok {
		return want, fmt.Errorf("--ip %v: want an IPv4 address that is the first or second host of a subnet of four", want)
	}
	for third := 10; third < 250; third++ {
		a := want
		if want == DefaultAddress {
			a = netip.AddrFrom4([4]byte{192, 168, byte(third), 2})
		}
		subnet, _, _ := subnetOf(a)
		used, err := netns.InUse(subnet)
		if err != nil || !used {
			return a, err
		}
		if want != DefaultAddress {
			return a, fmt.Errorf("--ip %v: the subnet %v is in use here", want, subnet)
		}
	}
	return want, errors.New("no subnet of 192.168.0.0/16 is free")
}

// Create makes a network whose file is in dir. name is at most 8 letters, and unique.
func Create(dir, name string, want netip.Addr) (_ *Network, err error) {
	CleanUp(dir)
	// One after the other, or two would choose the same subnet.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	turn, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	if err := unix.Flock(int(turn.Fd()), unix.LOCK_EX); err != nil {
		return nil, os.NewSyscallError("flock", err)
	}
	addr, err := choose(want)
	if err != nil {
		return nil, err
	}
	subnet, caller, _ := subnetOf(addr)
	n := &Network{Name: prefix + name, Device: "rdo" + name, Subnet: subnet, Tool: findTool(), path: filepath.Join(dir, prefix+name+suffix)}
	if err := n.writeDown(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Remove(dir)
		}
	}()
	if n.ns, err = netns.New(); err != nil {
		return nil, err
	}
	if err := netns.AddVeth(n.Device, InnerDevice, n.ns); err != nil {
		return nil, err
	}
	if err := netns.SetUp(n.Device, netip.PrefixFrom(caller, subnet.Bits())); err != nil {
		return nil, err
	}
	if err := n.ns.Do(func() error {
		if err := netns.SetUp("lo", netip.Prefix{}); err != nil {
			return err
		}
		if err := netns.SetUp(InnerDevice, netip.PrefixFrom(addr, subnet.Bits())); err != nil {
			return err
		}
		return netns.AddDefaultRoute(caller)
	}); err != nil {
		return nil, err
	}
	if err := enableForwarding(dir); err != nil {
		return nil, err
	}
	if n.Tool == "" {
		log.Warningf("neither iptables nor nft is here: the sandbox reaches this machine, and nothing beyond")
		return n, nil
	}
	return n, n.addRules()
}

// Path is the namespace's name, as long as this process lives.
func (n *Network) Path() string { return n.ns.Path() }

// writeDown makes the file and locks it.
func (n *Network) writeDown() error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	// Under another name until it is locked and whole.
	tmp := n.path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = os.Rename(tmp, n.path)
	}
	if err != nil {
		f.Close()
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", n.path, err)
	}
	n.file = f
	return nil
}

// Remove takes the network away. It goes on after an error.
func (n *Network) Remove(dir string) {
	if n.Tool != "" {
		if err := n.removeRules(); err != nil {
			log.Warningf("removing firewall rules: %v", err)
		}
	}
	if err := netns.DeleteLink(n.Device); err != nil {
		log.Warningf("%v", err)
	}
	if n.ns != nil {
		n.ns.Close()
	}
	os.Remove(n.path)
	restoreForwarding(dir)
	if n.file != nil {
		n.file.Close()
	}
}

// CleanUp removes networks whose makers were killed.
func CleanUp(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, prefix+"*"+suffix))
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			f.Close()
			continue // its maker lives
		}
		n := &Network{path: path, file: f}
		if err := json.NewDecoder(f).Decode(n); err != nil {
			log.Warningf("%s: %v", path, err)
			os.Remove(path)
			f.Close()
			continue
		}
		log.Infof("removing what a killed command left: %s", n.Name)
		n.Remove(dir)
	}
}

// enableForwarding lets the kernel pass packets on, and notes it if that was off.
func enableForwarding(dir string) error {
	data, err := os.ReadFile(forwarding)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(data)) != "0" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, forwardingMark), nil, 0o600); err != nil {
		return err
	}
	return os.WriteFile(forwarding, []byte("1"), 0)
}

// restoreForwarding turns forwarding off again if it was, and no network is left.
func restoreForwarding(dir string) {
	mark := filepath.Join(dir, forwardingMark)
	if _, err := os.Stat(mark); err != nil {
		return
	}
	if left, _ := filepath.Glob(filepath.Join(dir, prefix+"*"+suffix)); len(left) > 0 {
		return
	}
	if err := os.WriteFile(forwarding, []byte("0"), 0); err != nil {
		log.Warningf("%v", err)
	}
	os.Remove(mark)
}

// findTool looks for a program that can make firewall rules.
func findTool() string {
	for _, t := range []string{"iptables", "nft"} {
		if _, err := lookPath(t); err == nil {
			return t
		}
	}
	return ""
}

// lookPath is exec.LookPath that knows where such programs are.
func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}

func call(stdin, name string, args ...string) error {
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// rules are those of iptables: a table, a chain, and the rest, which a comment makes unique.
func (n *Network) rules() [][]string {
	comment := []string{"-m", "comment", "--comment", n.Name}
	return [][]string{
		append([]string{"nat", "POSTROUTING", "-s", n.Subnet.String(), "!", "-o", n.Device, "-j", "MASQUERADE"}, comment...),
		append([]string{"filter", "FORWARD", "-i", n.Device, "-j", "ACCEPT"}, comment...),
		append([]string{"filter", "FORWARD", "-o", n.Device, "-j", "ACCEPT"}, comment...),
	}
}

// table is the name of nft's table.
func (n *Network) table() string { return strings.ReplaceAll(n.Name, "-", "_") }

func (n *Network) addRules() error {
	if n.Tool == "nft" {
		return call(fmt.Sprintf(`table ip %s {
	chain postrouting { type nat hook postrouting priority 100; ip saddr %s oifname != "%s" masquerade; }
	chain forward { type filter hook forward priority 0; iifname "%s" accept; oifname "%s" accept; }
}
`, n.table(), n.Subnet, n.Device, n.Device, n.Device), "nft", "-f", "-")
	}
	for _, r := range n.rules() {
		// In front, so that no rule that drops comes first.
		if err := call("", "iptables", append([]string{"-w", "-t", r[0], "-I", r[1]}, r[2:]...)...); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) removeRules() error {
	if n.Tool == "nft" {
		// Declared first, so that it is there to be deleted.
		return call(fmt.Sprintf("table ip %[1]s\ndelete table ip %[1]s\n", n.table()), "nft", "-f", "-")
	}
	var errs []error
	for _, r := range n.rules() {
		args := func(op string) []string { return append([]string{"-w", "-t", r[0], op, r[1]}, r[2:]...) }
		if call("", "iptables", args("-C")...) != nil {
			continue // it was never made
		}
		if err := call("", "iptables", args("-D")...); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
