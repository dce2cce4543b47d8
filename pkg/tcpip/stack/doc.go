// Package stack is the middle of the network stack: what is neither a protocol nor a link. A
// Stack has interfaces (NIC) with addresses and neighbours, routes and the rules that choose
// among route tables, ports, and the tables by which a packet finds its endpoint.
//
// A packet comes in: LinkEndpoint → NIC.DeliverPackets → NetworkEndpoint.HandlePacket (checks
// the header, reassembles, decides that it is for this host) → Stack.DeliverTransport →
// TransportEndpoint.HandlePacket; if nobody wants it, TransportProtocol.HandleUnknown answers
// with a reset or an ICMP error. It goes out: an endpoint asks Stack.FindRoute once and keeps
// the Route; Route.WritePacket → NetworkEndpoint.WritePacket (header, fragments) →
// NIC.WritePacket (neighbour's link address; a packet that waits for it is kept, in a bounded
// queue) → LinkEndpoint.WritePackets.
//
// What is for an address of this host goes out through lo and comes back in through it, as in
// Linux: there is no other shortcut.
//
// Packets take no lock. What they read is either copied when it is changed and published by an
// atomic pointer (interfaces, addresses, routes and rules), or a hash table whose chains are
// changed by single atomic stores (bindings, neighbours); see table. FindRoute keeps its last
// answers, and a counter that every change moves says whether a Route still holds.
//
// What the network can fill is bounded: neighbours and the packets that wait for them, path MTUs.
// So is, more widely, what an administrator can (limits.go).
//
// Locks, besides those of package tcpip: NIC.upMu → Stack.mu (changes of interfaces, addresses,
// routes, rules); neighbourTable.mu → neighbour.mu. Those of the demultiplexer, of the ports, of
// path MTUs, of groups and of taps are leaves. Observers, links and protocols are called without
// any of them, but for NIC.upMu, which Enable and Disable are called with.
package stack
