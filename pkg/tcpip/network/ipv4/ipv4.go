package ipv4

import (
	"net/netip"
	"sync/atomic"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/internal/errorlimit"
	"runsc/pkg/tcpip/network/internal/fragment"
	"runsc/pkg/tcpip/stack"
)

const (
	// reassemblyTime is net.ipv4.ipfrag_time; RFC 1122 section 3.3.2 would have 60 to 120 s.
	reassemblyTime = 30 * time.Second
	// reassemblyMemory is net.ipv4.ipfrag_high_thresh, in bytes.
	reassemblyMemory = 4 << 20
)

// protocol is IPv4 of one stack.
type protocol struct {
	stack     *stack.Stack
	fragments *fragment.Reassembler
	limit     errorlimit.Limiter
	// ids are the identifications of packets that may be fragmented, one counter for each hash
	// of their addresses, so that what one host sees says little about others (RFC 7739
	// section 5.3 for IPv6; RFC 6864 for what IPv4's identification is good for).
	ids [1024]atomic.Uint32
}

// New makes the protocol for a stack.
func New(s *stack.Stack) stack.NetworkProtocol {
	p := &protocol{stack: s}
	p.fragments = fragment.New(s.Clock(), reassemblyTime, reassemblyMemory, p)
	for i := range p.ids {
		p.ids[i].Store(uint32(s.Random()))
	}
	p.limit.Init(s, hashLimit)
	return p
}

// EtherType implements stack.NetworkProtocol.
func (*protocol) EtherType() uint16 { return header.EtherTypeIPv4 }

// Close implements stack.NetworkProtocol.
func (p *protocol) Close() { p.fragments.Close() }

// NewEndpoint implements stack.NetworkProtocol.
func (p *protocol) NewEndpoint(nic *stack.NIC) stack.NetworkEndpoint {
	e := &endpoint{protocol: p, nic: nic, stats: &p.stack.Stats().IP, icmp: &p.stack.Stats().ICMP}
	e.groups.init(e)
	return e
}

// endpoint is IPv4 on one interface.
type endpoint struct {
	*protocol
	nic    *stack.NIC
	stats  *stack.IPStats
	icmp   *stack.ICMPStats
	groups membership
}

var _ stack.InternetEndpoint = (*endpoint)(nil)

// Enable implements stack.NetworkEndpoint: every host is in the group of all systems (RFC 1112
// section 4).
func (e *endpoint) Enable() {
	e.nic.JoinGroup(header.IPv4AllSystems)
	e.groups.enable()
}

// Disable implements stack.NetworkEndpoint.
func (e *endpoint) Disable() {
	e.groups.disable()
	e.nic.LeaveGroup(header.IPv4AllSystems)
}

// AddressAdded and AddressRemoved implement stack.InternetEndpoint.
func (e *endpoint) AddressAdded(stack.Address)   {}
func (e *endpoint) AddressRemoved(stack.Address) {}

// Solicit implements stack.InternetEndpoint.
func (e *endpoint) Solicit(target, source netip.Addr, to tcpip.LinkAddress) {
	arp.Request(e.nic, target, source, to)
}

// hashID is the purpose of Stack.Hash for ids.
const hashID = 0x697076342d696473

// hashLimit is the purpose of Stack.Hash for limit.
const hashLimit = 0x697076342d6c696d

// nextID is the identification of the next of n packets to dst.
func (p *protocol) nextID(src, dst netip.Addr, protocol uint8, n int) uint16 {
	var b [9]byte
	s, d := src.As4(), dst.As4()
	copy(b[:], s[:])
	copy(b[4:], d[:])
	b[8] = protocol
	c := &p.ids[p.stack.Hash(hashID, b[:])%uint64(len(p.ids))]
	return uint16(c.Add(uint32(n)) - uint32(n))
}

// ReassemblyExpired implements fragment.Owner (RFC 1122 section 3.3.2).
func (p *protocol) ReassemblyExpired(first *buffer.Packet) {
	p.stack.Stats().IP.ReasmTimeout.Inc()
	p.stack.Stats().IP.ReasmFails.Inc()
	if first == nil {
		return
	}
	if nic := p.stack.NIC(first.NIC); nic != nil {
		if e, ok := nic.Endpoint(header.EtherTypeIPv4).(*endpoint); ok {
			e.SendError(stack.ICMPError{Kind: stack.ErrorReassemblyTime}, first)
		}
	}
	first.Release()
}
