// Package hostinet is the sockets of AF_INET and AF_INET6, and look-ups by AF_NETLINK, on the
// host's kernel: --network=host. Each call of an application is carried out on a socket of the
// host, after its arguments were checked one by one against what is known to be harmless: the
// types and protocols of socket(2), flags of messages, control messages, and options, which are a
// table (options.go). What is not in the lists never reaches the host. Everything is copied
// before it is passed on; the host sees no memory of the application.
//
// A Socket is one descriptor of the host, which never blocks: who has to wait waits in the
// sentry, with the readiness that package fs/host learns by epoll. There are no raw sockets, no
// packet sockets, and no requests by netlink that change anything.
//
// Namespace is the socket.Provider of a network namespace. The lists here are also what the
// sentry's own system call filter allows (runsc/boot/filter): SocketKinds, OptionList,
// SendFlags, ReceiveFlags and IntRequests.
//
// Locks: none but those of what a Socket embeds; the host's kernel has the state.
package hostinet
