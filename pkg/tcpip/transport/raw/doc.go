// Package raw is raw sockets (raw(7)): copies of the IP packets of one protocol that are for this
// host, and packets of an application's own making.
//
// Over IPv4 a socket receives packets with their IP header, over IPv6 without (RFC 3542 section 3);
// it may send with a header of its own (IP_HDRINCL). What a socket sees can be narrowed by the
// addresses that it is bound and connected to, by ICMP type (ICMP_FILTER, ICMPV6_FILTER) and by
// SO_ATTACH_FILTER. Over IPv6 it may have checksums computed and checked (IPV6_CHECKSUM).
//
// Endpoint is a datagram.Socket that the demultiplexer does not know: the stack gives it a copy of
// everything that Stack.RegisterRaw asks for.
//
// Locks: Endpoint.sendMu orders the sends that put together a packet (MSG_MORE), and comes before
// datagram.Socket's. See package datagram for the rest.
package raw
