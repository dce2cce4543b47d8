// Package socket is what all families of sockets share: the Socket interface that system
// calls use, addresses, messages, the options of SOL_SOCKET, and the registry of families.
//
// A Stack is the sockets' side of a network namespace: for every address family a Provider
// that makes sockets, and the network interfaces. Package unix is a family, package netlink
// another; the TCP/IP stack registers AF_INET and AF_INET6. A family without a Provider is
// EAFNOSUPPORT.
//
// A Socket is a vfs.File with more operations. As Files, sockets never block (Read, Write);
// the operations of this package block by themselves, because only the socket knows for
// what (an accept queue of somebody else) and how long (SO_RCVTIMEO), unless told not to.
// Addresses travel in Addr, a fixed buffer in the form of the ABI, so that receiving a
// datagram allocates nothing. Ancillary data travels parsed, as Control; cmsg.go has the
// parser and the encoder for the bytes that applications see.
//
// Base has the options of SOL_SOCKET; sockets embed it and answer what is special to them
// first. It has no lock; options are atomic.
package socket
