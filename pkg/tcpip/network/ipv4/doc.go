// Package ipv4 is the Internet Protocol version 4 (RFC 791), with ICMP (RFC 792) and the host's
// part of IGMP (RFC 2236, RFC 3376), as hosts (RFC 1122) and routers (RFC 1812) have it.
//
// A packet that came in (input.go) has its header checked, is dropped if its addresses cannot be,
// and is for this host, for a group, for everybody on the link, or for others. What is for this
// host is put together from its fragments (reassembly.go) and goes to ICMP (icmp.go), IGMP
// (igmp.go) or up by stack.DeliverTransport; what is for others is forwarded if that is switched
// on (forward.go). A packet that goes out (output.go) gets its header, is cut up if it is too
// long and may be, and goes to the NIC.
//
// Of the options (options.go) record route and timestamp are filled in, router alert is left
// alone, and source routes are refused.
//
// Locks: packets take none but the reassembler's and the rate limiter's, which are leaves. The
// IGMP state of an interface has one, which is not held while a report is sent.
package ipv4
