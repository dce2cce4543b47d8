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
// Locks: see package tcpip. Tables that packets read are copied when they are changed and
// published by an atomic pointer, so that packets take no lock (routes, NICs, addresses, the
// demultiplexer's buckets are sharded instead).
package stack
