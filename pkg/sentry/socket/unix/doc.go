// Package unix implements unix(7): stream, datagram and sequential-packet sockets between
// processes of the sandbox, with pathname and abstract addresses, descriptors and
// credentials as ancillary data.
//
// A Socket has one receive queue of messages. Two connected stream or seqpacket sockets are
// each other's peer and append to each other's queue; a datagram socket appends to the queue
// of whomever it sends to. A message is a chain of blocks from common pools, charged to its
// sender until it is read (SO_SNDBUF), which is what blocks a fast sender; a datagram
// receiver also refuses strangers when its queue is long (max_dgram_qlen). Bytes of a stream
// are joined to the last message if sender and ancillary data permit, so small writes do not
// cost a message each. Sending and receiving in a steady state allocates nothing.
//
// A queue that is closed takes no more and, once read, is at its end: that is the receiving
// side of one socket shut down, or the sending side of its peer, which Linux does not tell
// apart either.
//
// A Namespace holds the abstract addresses of a network namespace and all its sockets (for
// /proc/net/unix). A pathname address is a socket node in a filesystem; the bound Socket is
// its inode's special object. What needs the task (path resolution, process ids) comes
// through interfaces that the Context may implement: PathResolver and PIDMapper.
//
// Descriptors in flight hold their files open. They are counted by user and bounded; files
// in a message nobody will receive are closed by a loop, not by recursion, so that a chain of
// sockets in each other's queues cannot exhaust the stack. Sockets that only messages in
// each other's queues hold stay open and count against their sender's user for ever.
//
// Lock order: Socket.mu (never two) → queue.mu → Namespace.mu → waiter queues. queue.mu may be
// held while a receiver's memory is written, as Linux does; nothing that a fault leads to
// takes it.
package unix
