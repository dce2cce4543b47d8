// Package datagram is what UDP, ping, raw and packet sockets have in common.
//
//	Queue        received packets and errors, bounded by the memory they keep
//	Memberships  multicast groups, and which sources of them are wanted
//	Socket       an endpoint over a Queue and Memberships: bound and connected addresses, the
//	             route to the peer, options, errors from the network, readiness
//	Flow         how one datagram is to be sent: route, ports, header fields
//	Cork         a datagram that is put together by several sends
//
// UDP, ping and raw sockets embed a Socket; a packet socket has a Queue only. What the protocols
// add is their header: they check it on the way in, write it on the way out.
//
// The way in takes one lock, the Queue's, and allocates nothing: the packet itself is queued, by
// reference. The way out takes the Socket's lock to find the flow, and none while bytes of the
// application are read or the packet is written; packets by lo are delivered when the sender has
// unlocked everything (stack.Route.Flush).
//
// Behaviour is that of Linux's sockets, as ip(7), ipv6(7), udp(7), raw(7) and packet(7) describe
// it and as its kernels were observed to do: when an error is pending, which errors of the network
// an unconnected socket hears of (RFC 1122 section 4.1.3.3), what memory is charged.
//
// Lock order: Socket.mu → the stack (ports, demultiplexer, routes) and Memberships.mu;
// Queue.mu is a leaf, but for the waiter's, and is taken with no other lock or Socket.mu held.
package datagram
