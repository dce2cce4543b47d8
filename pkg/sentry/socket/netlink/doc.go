// Package netlink implements the sockets of netlink(7) over a pkg/tcpip stack:
//
//   - NETLINK_ROUTE (rtnetlink(7)): dumps and look-ups of links, addresses, routes, neighbours
//     and rules, changes of all of them by those who have CAP_NET_ADMIN over the namespace, and
//     the multicast groups that tell of changes (route.go and route_*.go);
//   - NETLINK_SOCK_DIAG (sock_diag(7)): the sockets of the namespace, which ss(8) shows
//     (diag.go and diag_*.go);
//   - NETLINK_KOBJECT_UEVENT: can be bound, and is silent, since no device ever changes.
//
// Other protocols do not exist: EPROTONOSUPPORT.
//
// A Namespace is the netlink sockets of a network namespace, and the socket.Provider of
// AF_NETLINK. A Socket carries out each request of a message as it is sent and queues the
// replies, datagrams of whole netlink messages. A dump is not queued as a whole: it is a dumper,
// which makes the next datagram when the reader has taken the one before, so its memory is that
// of a list of what is to be shown. The queue is bounded by SO_RCVBUF; what does not fit is lost,
// and the next receive says so by ENOBUFS, once.
//
// Requests are read with the tolerance of Linux (short attributes are ERANGE, unknown ones are
// skipped), and those of a socket with NETLINK_GET_STRICT_CHK strictly. An error is a
// unix.Errno or a *refusal, which also has the words that NETLINK_EXT_ACK asks for.
//
// Locks: Namespace.changes (held while a request changes the stack) → everything of the stack;
// Socket.mu → Namespace.watch → Namespace.mu; Socket.mu, or Namespace.watch, → the stack's locks. The stack tells of
// changes without a lock of its own (stack.Observer), so that a notification may take
// Socket.mu; therefore no request is carried out with Socket.mu held.
package netlink
