// Package netlink implements the sockets of netlink(7), as far as programs need them to find
// out about the network: NETLINK_ROUTE answers requests for interfaces, addresses and routes
// (rtnetlink(7)), NETLINK_KOBJECT_UEVENT is silent. Other protocols do not exist.
//
// A Socket carries out each request of a message as it is sent (route.go) and queues the
// replies, datagrams of whole netlink messages. The queue is bounded by SO_RCVBUF: a request
// whose replies do not fit makes the next receive fail with ENOBUFS.
//
// Register gives a socket.Stack its AF_NETLINK; the interfaces are the Stack's Devices. The
// one lock is Socket.mu; it is held while replies are queued, not while they are copied out.
package netlink
