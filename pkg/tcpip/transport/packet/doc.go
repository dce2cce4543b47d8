// Package packet is packet sockets (packet(7)): frames as they come and go on an interface, for
// programs such as tcpdump, arping and DHCP clients.
//
// An Endpoint of SOCK_RAW shows and sends frames with their link header, one of SOCK_DGRAM (cooked)
// packets without; who sent a frame, by which interface, and which way it went is in the socket
// address. It is bound to an interface and an Ethernet type; frames that go out are seen by endpoints
// of all types only. SO_ATTACH_FILTER drops frames or cuts them.
//
// Frames are queued by reference, bounded by SO_RCVBUF (datagram.Queue); what does not fit is counted
// (PACKET_STATISTICS).
//
// Locks: Endpoint.mu guards binding and memberships, and is not held while a frame is sent or
// received. It comes before the stack's.
package packet
