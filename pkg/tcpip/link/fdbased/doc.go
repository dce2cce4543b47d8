// Package fdbased is a link by a descriptor of the host: a packet socket, which is how a sandbox
// takes over an interface of its network namespace, or a TAP or TUN device.
//
// With a virtio_net_hdr in front of each frame (Options.VNetHeader) checksums are left to the host,
// and packets of up to 64 KiB cross in one piece, both ways: between sandboxes and the host no
// checksum is ever computed, and TCP costs a call per 64 KiB.
//
// A goroutine receives (receive.go): recvmmsg(2) fills a batch of slots, each of which has 2 KiB for
// a frame and a spare piece for the rest of a longer one. The memory becomes the packet's, without
// a copy; the slot gets a new piece for what it gave away, so that a short frame keeps 2 KiB and
// not 64. Segments of TCP in a batch that the host did not put together are put together here
// (gro.go). The batch is delivered on that goroutine. It waits in Go's poller: an idle link costs
// nothing. Senders send on their own goroutines, by sendmmsg(2), from the memory that the packets
// refer to, and never wait for long (send.go). TAP and TUN devices have a call per frame instead.
//
// OpenPacketSocket and OpenTAP make the descriptors; they are for the process that may do so and
// hands the descriptor to the sandbox. Syscalls lists what an Endpoint needs afterwards.
//
// Locks: Endpoint.attach (Attach, Close) → Endpoint.use (held for reading while sending). Neither is
// held during delivery.
package fdbased
