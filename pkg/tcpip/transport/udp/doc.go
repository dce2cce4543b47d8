// Package udp is the User Datagram Protocol (RFC 768, RFC 1122 section 4.1, RFC 8085) and its
// sockets (udp(7)).
//
// Endpoint is a socket. It is a datagram.Socket, which knows addresses, routes and the queues,
// and adds the header: HandlePacket checks length and checksum of what comes in, Send writes
// them. A datagram can be put together by several sends (MSG_MORE, UDP_CORK), and one send can
// be many datagrams (UDP_SEGMENT): the link cuts them apart if it can, and lo does not at all, so
// that a socket with UDP_GRO gets them in one piece.
//
// Datagrams that come and find the receive queue full are counted in three places, never lost
// silently: UDPStats.RcvbufErrors and InErrors, and the socket's Drops.
//
// New makes the protocol, which answers datagrams that no socket wants with an ICMP error (RFC
// 1122 section 4.1.3.1). It has no state of its own.
//
// Locks: Endpoint.sendMu orders the sends that put together a datagram. It comes before
// datagram.Socket's lock and is not held while the application's bytes are read or a packet is
// written. See package datagram for the rest.
package udp
