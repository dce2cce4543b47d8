package inet

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/icmp"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/tcpip/transport/udp"
)

// NewStack makes a network with all protocols and lo as interface 1, which is down, as in a new
// network namespace of Linux. clock of nil is the host's.
func NewStack(clock tcpip.Clock) *stack.Stack {
	st := stack.New(stack.Config{
		Clock:      clock,
		Networks:   []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New, ipv6.New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{tcp.New, udp.New, icmp.New4, icmp.New6},
	})
	if _, err := st.CreateNIC(1, "lo", loopback.New()); err != nil {
		panic("inet: a new stack refuses lo: " + err.Error())
	}
	return st
}

var (
	loopbackPrefix4 = netip.PrefixFrom(loopback4, 8)
	loopbackPrefix6 = netip.PrefixFrom(loopback6, 128)
)

// SetUp brings an interface up or takes it down. As in Linux, IPv6 addresses go with it, and lo
// gets its own when it comes up: ::1/128, and 127.0.0.1/8 if it has no other of IPv4.
func SetUp(nic *stack.NIC, up bool) {
	if nic.Up() == up {
		return
	}
	nic.SetUp(up)
	if !up {
		dropAddresses6(nic)
		return
	}
	if !nic.IsLoopback() {
		return
	}
	has4 := false
	for _, a := range nic.Addresses() {
		has4 = has4 || a.Prefix.Addr().Is4()
	}
	if !has4 {
		nic.AddAddress(stack.Address{Prefix: loopbackPrefix4, Scope: unix.RT_SCOPE_HOST, Label: nic.Name()})
	}
	if !nic.Stack().Settings().IPv6Disabled.Load() {
		nic.AddAddress(stack.Address{Prefix: loopbackPrefix6, Scope: unix.RT_SCOPE_HOST})
	}
}
