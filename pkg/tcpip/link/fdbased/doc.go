// Package fdbased is a link by a descriptor of the host: a packet socket, which is how a sandbox
// takes over an interface of its network namespace, or a TAP or TUN device.
//
// With a virtio_net_hdr in front of each frame (Options.VNetHeader) checksums are left to the host,
// and packets of up to 64 KiB cross in one piece, both ways: between sandboxes and the host no
// checksum is ever computed, and TCP costs a call per 64 KiB.
//
// A goroutine receives (receive.go): recvmmsg(2) fills a batch of slots, each of which has pieces of
// memory of rising size, up to 74 KiB together. The memory becomes the packet's, without a copy; the
// slot gets new pieces for those that the frame reached into, so that a short frame keeps 2 KiB and
// not 64. Segments of TCP in a batch that the host did not put together are put together here
// (gro.go). The batch is delivered on that goroutine. It waits in Go's poller: an idle link costs
// nothing. Senders send on their own goroutines, by sendmmsg(2), from the memory that the packets
// refer to, and never wait for long (send.go). TAP and TUN devices have a call per frame instead.
//
// OpenPacketSocket and OpenTAP make the descriptors; they are for the process that may do so and
// hands the descriptor to the sandbox. Syscalls lists what an Endpoint needs afterwards.
//
// Alternatives were measured: CPU time of one thread for sending a frame through a veth pair and
// receiving it, in nanoseconds per frame, in bursts of 32, on a virtual machine where the cheapest
// system call costs 1500 (the differences between runs were up to 20 %).
//
//	frame  recvmmsg  TPACKET_V2 ring
//	   64      1691             1503
//	 1448      2004             1544
//	20000      4397             3828
//	60000     10076             9057
//
// The ring is a little cheaper, but its slots are all of the largest frame's size: 8 MiB of memory
// per interface that cannot be swapped or shared for 64 frames, of whatever size, and a burst of
// small ones overruns it. TPACKET_V3 packs frames, but shows them when a block is full or after
// some milliseconds. So recvmmsg(2) it is. Slots of 2 KiB and the rest in one piece, of 8 and 32 KiB
// and the rest, and of pieces of rising size made no difference to the time; the last take the least
// memory. PACKET_QDISC_BYPASS made no difference either and would ignore a rate limit that an
// operator puts on the device, so it is not set.
//
// Locks: Endpoint.attach (Attach, Close) → Endpoint.use (held for reading while sending). Neither is
// held during delivery.
package fdbased
