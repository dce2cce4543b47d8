// Package netconf describes how a network namespace is configured: its links, addresses, routes,
// rules and permanent neighbours, as plain data. The client reads a description off a namespace of
// the host (package netns), writes it into the container's state so that it can be put back, and
// sends it to the sandbox, whose stack is configured by it (package boot).
//
// It has no locks.
package netconf

import "net/netip"

// Config is a namespace's configuration.
type Config struct {
	Links      []Link      `json:"links"`
	Routes     []Route     `json:"routes,omitempty"`
	Rules      []Rule      `json:"rules,omitempty"`
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	// DNS: a server at 127.0.0.11 answers in the namespace, which the sandbox's own stack
	// would never reach.
	DNS bool `json:"dns,omitempty"`
}

// Link is an Ethernet interface that is up.
type Link struct {
	Name      string    `json:"name"`
	Index     int       `json:"index"` // in the host's namespace
	MTU       uint32    `json:"mtu"`
	Address   [6]byte   `json:"address"`
	Addresses []Address `json:"addresses,omitempty"`
	// NoIPv6: the host's namespace had IPv6 turned off on it.
	NoIPv6 bool `json:"noIPv6,omitempty"`
	// AcceptRA and Autoconf are what was set for IPv6's router advertisements.
	AcceptRA bool `json:"acceptRA,omitempty"`
	// Forwarding is net.ipv4.conf.NAME.forwarding.
	Forwarding bool `json:"forwarding,omitempty"`
}

// Address is one of a link. Lifetimes are in seconds; 0: for ever.
type Address struct {
	Prefix        netip.Prefix `json:"prefix"`
	Peer          netip.Addr   `json:"peer,omitzero"`
	Broadcast     netip.Addr   `json:"broadcast,omitzero"`
	Label         string       `json:"label,omitempty"`
	Scope         uint8        `json:"scope,omitempty"`
	NoPrefixRoute bool         `json:"noPrefixRoute,omitempty"`
	Valid         uint32       `json:"valid,omitempty"`
	Preferred     uint32       `json:"preferred,omitempty"`
}

// NextHop is one way of a route. An empty Link is none (blackhole and its kin).
type NextHop struct {
	Gateway netip.Addr `json:"gateway,omitzero"`
	Link    string     `json:"link,omitempty"`
	OnLink  bool       `json:"onLink,omitempty"`
	Weight  int        `json:"weight,omitempty"` // less one, as rtnetlink has it
}

// Route is a line of a route table. Routes that the kernel made of addresses are not among those
// of a Config.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	Source      netip.Addr   `json:"source,omitzero"`
	NextHops    []NextHop    `json:"nextHops,omitempty"`
	Metric      uint32       `json:"metric,omitempty"`
	MTU         uint32       `json:"mtu,omitempty"`
	Table       uint32       `json:"table,omitempty"`
	Scope       uint8        `json:"scope,omitempty"`
	Protocol    uint8        `json:"protocol,omitempty"`
	Type        uint8        `json:"type,omitempty"`
}

// Rule chooses a route table. Those that every namespace begins with are not among a Config's.
type Rule struct {
	Priority    uint32       `json:"priority"`
	V6          bool         `json:"v6,omitempty"`
	Source      netip.Prefix `json:"source,omitzero"`
	Destination netip.Prefix `json:"destination,omitzero"`
	In          string       `json:"in,omitempty"`
	Out         string       `json:"out,omitempty"`
	Mark        uint32       `json:"mark,omitempty"`
	MarkMask    uint32       `json:"markMask,omitempty"`
	TOS         uint8        `json:"tos,omitempty"`
	Table       uint32       `json:"table"`
	Action      uint8        `json:"action"`
	Invert      bool         `json:"invert,omitempty"`
}

// Neighbour is a permanent entry of a link's neighbour table.
type Neighbour struct {
	Link    string     `json:"link"`
	Addr    netip.Addr `json:"addr"`
	Address [6]byte    `json:"address"`
}
