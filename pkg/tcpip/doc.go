// Package tcpip holds what every part of the network stack below it names: interface numbers,
// link addresses, socket addresses, the clock, and Endpoint, the one face of a socket whatever
// its transport. The stack is a library of its own: nothing here knows of the sentry, so that
// a user-space VPN or a test can be built on it.
//
//	buffer/      packets: reference-counted memory, header space in front, ownership rules
//	checksum/    the Internet checksum
//	header/      views of the headers in a packet
//	stack/       interfaces, addresses, neighbours, routes and rules, ports, demultiplexing
//	link/        what frames come from and go to: loopback, fdbased, pipe, sniffer
//	network/     arp, ipv4 (with ICMP and IGMP), ipv6 (with ICMPv6, NDP and MLD)
//	transport/   tcp, udp, icmp (ping sockets), raw, packet
//
// Arrows go one way: transport and network import stack; stack imports buffer, header and
// tcpip, and knows the protocols as interfaces only. Whoever builds a stack (stack.New) names
// the protocols it shall have.
//
// Errors are values of golang.org/x/sys/unix.Errno throughout, with the meaning that the man
// pages give them (EAGAIN: would block; EINPROGRESS: connect goes on), compared by value.
// Addresses are net/netip.Addr without a zone: an IPv4 address is always four bytes here, and
// the interface of a link-local address is a NICID beside it.
//
// Concurrency: every method is safe to call from any goroutine unless it says otherwise. The
// lock order over packages is
//
//	transport endpoint → stack's demultiplexer and ports
//	transport endpoint → route → stack (routes, NICs) → NIC → neighbour entry → link
//	any of these → waiter.Queue
//
// No lock of the stack or of a NIC is held while a packet is delivered upwards, so that a
// packet that is answered on the goroutine that received it meets no lock of its own.
package tcpip
