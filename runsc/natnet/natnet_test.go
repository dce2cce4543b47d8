package natnet

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestSubnetOf(t *testing.T) {
	for _, c := range []struct{ addr, subnet, caller string }{
		{"192.168.10.2", "192.168.10.0/30", "192.168.10.1"},
		{"192.168.10.1", "192.168.10.0/30", "192.168.10.2"},
		{"10.0.0.6", "10.0.0.4/30", "10.0.0.5"},
		{"10.0.0.4", "", ""}, {"10.0.0.7", "", ""}, {"fd00::1", "", ""},
	} {
		subnet, caller, ok := subnetOf(netip.MustParseAddr(c.addr))
		if ok != (c.subnet != "") || ok && (subnet.String() != c.subnet || caller.String() != c.caller) {
			t.Errorf("%s: %v, %v, %v", c.addr, subnet, caller, ok)
		}
	}
}

func TestCleanUpLeavesTheLivingAlone(t *testing.T) {
	dir := t.TempDir()
	n := &Network{Name: "runsc-do-alive", Device: "rdoalive", path: filepath.Join(dir, "runsc-do-alive.net")}
	if err := n.writeDown(); err != nil {
		t.Fatal(err)
	}
	// What a killed command left: a whole file, and one that is not.
	dead := &Network{Name: "runsc-do-dead", Device: "rdodead", path: filepath.Join(dir, "runsc-do-dead.net")}
	if err := dead.writeDown(); err != nil {
		t.Fatal(err)
	}
	dead.file.Close()
	if err := os.WriteFile(filepath.Join(dir, "runsc-do-torn.net"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	CleanUp(dir)
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 1 || left[0] != n.path {
		t.Errorf("left: %v", left)
	}
	n.file.Close()
}
