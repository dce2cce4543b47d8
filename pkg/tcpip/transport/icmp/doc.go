// Package icmp is ping sockets (SOCK_DGRAM of IPPROTO_ICMP and IPPROTO_ICMPV6, icmp(7)): sockets
// with which programs without privilege send echo requests and get the replies.
//
// The ICMP protocols themselves are part of the packages ipv4 and ipv6, which answer echo requests
// and turn errors into calls of TransportEndpoint.HandleError. What they hand over here is echo
// replies. A socket's port is the identifier of its requests: New4 and New6 make the
// TransportProtocols by which the demultiplexer finds the socket of a reply. Who may open such
// sockets (net.ipv4.ping_group_range) is for the caller to say.
//
// Endpoint is a datagram.Socket with little added. Locks: see package datagram.
package icmp
