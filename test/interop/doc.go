// Package interop tests the network stack of pkg/tcpip, all of its protocols at once, against the
// one that all others have to agree with: the host's Linux kernel.
//
// The kernel's side is a network namespace of the test with a TAP device, or one end of a veth
// pair. Between it and our stack lies a cable (pkg/tcpip/link/pipe) that delays, loses, reorders
// and repeats frames and marks them with congestion, since the host may lack sch_netem:
//
//	kernel's sockets ─ tap0 ─ fdbased ─ bridge ─ pipe ═ cable ═ pipe ─ stack ─ our endpoints
//
// The device has no offloads there, so that each frame on the cable is one that a wire would
// carry. In the cases without a cable the stack drives the device itself, with all offloads.
//
// No test depends on how long something takes; each has a deadline after which it is stuck. With
// -v, transfers say how long they took and how often they retransmitted.
package interop
