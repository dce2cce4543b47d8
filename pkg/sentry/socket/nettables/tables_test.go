package nettables

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

// world is a namespace with lo and eth0.
func world(t *testing.T) (*socket.Stack, *stack.Stack) {
	t.Helper()
	layer, st := socket.NewStack(), inet.NewStack(nil)
	t.Cleanup(st.Close)
	inet.Register(layer, st)
	inet.SetUp(st.NIC(1), true)
	nic, err := st.CreateNIC(2, "eth0", capture.New(capture.Options{Ethernet: true, Address: tcpip.LinkAddress{2, 0, 0, 0, 0, 2}}))
	if err != nil {
		t.Fatal(err)
	}
	inet.SetUp(nic, true)
	for _, a := range []string{"198.18.0.2/24", "fd00::2/64"} {
		p := netip.MustParsePrefix(a)
		if err := nic.AddAddress(stack.Address{Prefix: p, NoDAD: true, Scope: unix.RT_SCOPE_UNIVERSE}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.AddRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("198.18.0.1"), NIC: 2, Type: stack.RouteUnicast}); err != nil {
		t.Fatal(err)
	}
	if err := nic.SetNeighbour(stack.Neighbour{Addr: netip.MustParseAddr("198.18.0.1"), Link: tcpip.LinkAddress{2, 0, 0, 0, 0, 1}, State: stack.NeighbourPermanent}); err != nil {
		t.Fatal(err)
	}
	return layer, st
}

// The lines are what Linux shows of the same, on a little-endian machine.
func TestTables(t *testing.T) {
	layer, _ := world(t)
	for name, want := range map[string][]string{
		"arp":      {"198.18.0.1       0x1         0x6         02:00:00:00:00:01     *        eth0\n"},
		"dev":      {"\n    lo:       0       0    0", "\n  eth0: "},
		"route":    {"\neth0\t00000000\t010012C6\t0003\t0\t0\t0\t00000000\t0\t0\t0", "\neth0\t000012C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"},
		"if_inet6": {"00000000000000000000000000000001 01 80 10 80       lo\n", "fd000000000000000000000000000002 02 40 00 80     eth0\n"},
		"ipv6_route": {"fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n",
			"00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80000005       lo\n"},
		"snmp":     {"Ip: Forwarding DefaultTTL InReceives", "\nIp: 2 64 ", "\nTcp: 1 200 120000 -1 ", "\nUdp: InDatagrams NoPorts"},
		"netstat":  {"TcpExt: SyncookiesSent ", "\nIpExt: InNoRoutes "},
		"snmp6":    {"Ip6InReceives                   \t"},
		"sockstat": {"TCP: inuse 0 "},
		"igmp":     {"\n2\teth0      :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"},
	} {
		text, ok := Table(layer, name)
		if !ok {
			t.Errorf("no table %s", name)
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s has no %q:\n%s", name, w, text)
			}
		}
	}
	if _, ok := Table(layer, "nosuch"); ok {
		t.Error("there is a table of any name")
	}
	if _, ok := Table(socket.NewStack(), "tcp"); ok {
		t.Error("there is a table without a network")
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		addr string
		v6   bool
		want string
	}{
		{"127.0.0.1", false, "0100007F"},
		{"::1", true, "00000000000000000000000001000000"},
		{"127.0.0.1", true, "0000000000000000FFFF00000100007F"},
	} {
		if got := hexAddr(netip.MustParseAddr(c.addr), c.v6); got != c.want {
			t.Errorf("hexAddr(%s, %v) = %s, want %s", c.addr, c.v6, got, c.want)
		}
	}
	if got := hexAddr(netip.Addr{}, false); got != "00000000" {
		t.Errorf("no address is %s", got)
	}
}
