// Package inet is the sockets of AF_INET and AF_INET6 (ip(7), ipv6(7), tcp(7), udp(7), raw(7),
// icmp(7)) on the network stack of pkg/tcpip.
//
// A Namespace is a network namespace: it has a stack.Stack, registers both families with the
// namespace's socket.Stack, and knows all its sockets (for /proc/net and sock_diag). A Socket is
// one tcpip.Endpoint and what Linux keeps above the protocols: the form of addresses, blocking
// and its timeouts, flags of calls, ancillary data, options, ioctls. The endpoint never blocks;
// who has to wait registers with the endpoint's own waiter queue, so that nothing is woken
// twice on the way from the network to a task or an epoll instance.
//
// Data is copied once each way: the endpoint reads from and writes to the application's memory
// through source and sink, which are taken from a pool.
//
// Options are a table (see options.go): level, name, which sockets have it, how it is read and
// set, and a note where it does less than Linux does. Options returns it for documentation.
//
// IPv4 addresses are four bytes for the stack, whatever the socket; an AF_INET6 socket shows
// them as IPv4-mapped (RFC 4291 section 2.5.5.2), which is done in address.go and nowhere else.
//
// Locks: Socket.mu guards the little state that is not the endpoint's and is not atomic. It and
// Namespace.mu are leaves.
package inet
