// Package ipv6 is IPv6 on the interfaces of a stack (RFC 8200), with ICMPv6 (RFC 4443), neighbour
// and router discovery (RFC 4861), address autoconfiguration with duplicate address detection
// (RFC 4862), and multicast listener discovery (RFC 2710, RFC 3810).
//
// New makes the protocol of a stack, and the stack makes one endpoint per NIC. What comes in
// passes input.go (the fixed header, whose packet it is), extension.go (the headers behind it) and,
// in pieces, reassembly.go; then it goes up through Stack.DeliverTransport, or on through
// forward.go. ICMPv6 messages are looked at here first (icmp_input.go) and then go up all the
// same, to ping sockets and raw ones. What goes out passes output.go.
//
// Beside that flow stands what an endpoint knows of its link: its addresses and how far the
// detection of duplicates is (dad.go), routers and redirects (router.go, redirect.go), prefixes and
// the addresses made of them (slaac.go), and group memberships (mld.go). All of it is plain data
// with deadlines under endpoint.mu, and one timer per NIC that is set to the earliest of them.
// Neighbours' link addresses are the NIC's; ndp.go only carries the messages.
//
// Locks: endpoint.mu is held for looking at that state only, never while something of the stack
// is called that may call back (addresses, routes, groups) or while a packet is sent, since over a
// link in memory the answer may come back on the same goroutine. Instead, whoever changes the state
// leaves the consequences in a queue that is worked off, in order, without the lock (see
// endpoint.change). Packets on their way to a transport take no lock here.
//
// Everything that packets can make grow has a limit: routers, prefixes, addresses, redirects,
// queried sources, reassembly, and the queue itself, which makes messages that come while it is
// full be dropped.
package ipv6
