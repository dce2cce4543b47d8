package stack

import "sync/atomic"

// Settings are a stack's switches and sizes, named as sysctl(8) names them. They begin with the
// values of Linux.
type Settings struct {
	IPForward, IPv6Forwarding       atomic.Bool
	IPDefaultTTL                    atomic.Int32 // net.ipv4.ip_default_ttl
	IPv6HopLimit                    atomic.Int32 // net.ipv6.conf.all.hop_limit
	PortLow, PortHigh               atomic.Int32 // net.ipv4.ip_local_port_range
	UnprivilegedPort                atomic.Int32 // net.ipv4.ip_unprivileged_port_start
	PingGroupLow, PingGroupHigh     atomic.Uint32
	IPNonlocalBind, IPv6BindV6Only  atomic.Bool
	AcceptRA, AcceptDAD, Autoconf   atomic.Bool
	DADTransmits                    atomic.Int32
	IPv6Disabled                    atomic.Bool
	IgnoreBroadcastEcho             atomic.Bool
	Somaxconn                       atomic.Int32
	ReceiveMax, SendMax             atomic.Int64 // net.core.rmem_max, wmem_max
	ReceiveDefault, SendDefault     atomic.Int64
	TCPReceive, TCPSend             [3]atomic.Int64 // tcp_rmem, tcp_wmem: min, default, max
	TCPSACK, TCPTimestamps          atomic.Bool
	TCPWindowScaling, TCPModerate   atomic.Bool // tcp_moderate_rcvbuf
	TCPSynCookies                   atomic.Int32
	TCPECN                          atomic.Int32
	TCPMaxSynBacklog                atomic.Int32
	TCPSynRetries, TCPSynAckRetries atomic.Int32
	TCPRetries2                     atomic.Int32
	TCPFinTimeout                   atomic.Int32 // seconds
	TCPKeepaliveTime                atomic.Int32 // seconds
	TCPKeepaliveInterval            atomic.Int32 // seconds
	TCPKeepaliveProbes              atomic.Int32
	TCPReuseTimeWait                atomic.Int32
	TCPMaxTimeWait                  atomic.Int32
	TCPFastOpen                     atomic.Int32
	TCPSlowStartAfterIdle           atomic.Bool
	// CongestionControl is the name of the default algorithm, a string.
	CongestionControl atomic.Value
}

// Stats are counters of a stack, named as /proc/net/snmp and netstat name them.
type Stats struct {
	IP, IP6 IPStats
	ICMP    ICMPStats
	ICMP6   ICMPStats
	TCP     TCPStats
	UDP     UDPStats
	UDP6    UDPStats
}

// Counter counts events.
type Counter struct{ atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// IPStats are the counters of one IP version (RFC 4293).
type IPStats struct {
	InReceives, InHdrErrors, InAddrErrors, ForwDatagrams, InUnknownProtos, InDiscards, InDelivers,
	OutRequests, OutDiscards, OutNoRoutes, ReasmTimeout, ReasmReqds, ReasmOKs, ReasmFails, FragOKs,
	FragFails, FragCreates, InOctets, OutOctets, InMcastPkts, OutMcastPkts, InBcastPkts, OutBcastPkts,
	InTruncatedPkts, InCsumErrors, InTooBigErrors, InNoRoutes Counter
}

// ICMPStats are the counters of one ICMP version, by type.
type ICMPStats struct {
	InMsgs, InErrors, InCsumErrors, OutMsgs, OutErrors, OutRateLimited Counter
	InType, OutType                                                    [256]Counter
}

// TCPStats are TCP's counters (RFC 4022), and those of netstat -s that tests and operators look at.
type TCPStats struct {
	ActiveOpens, PassiveOpens, AttemptFails, EstabResets, InSegs, OutSegs, RetransSegs, InErrs,
	OutRsts, InCsumErrors Counter
	CurrEstab atomic.Int64
	SyncookiesSent, SyncookiesRecv, SyncookiesFailed, ListenOverflows, ListenDrops, TW, TWRecycled,
	DelayedACKs, TCPTimeouts, TCPLossProbes, TCPLossProbeRecovery, TCPSackRecovery, TCPRenoRecovery,
	TCPFastRetrans, TCPSlowStartRetrans, TCPSpuriousRTOs, TCPDSACKRecv, TCPDSACKOldSent, TCPOFOQueue,
	TCPOFODrop, TCPRcvCollapsed, TCPChallengeACK, TCPSYNChallenge, PAWSEstab, TCPAbortOnData,
	TCPAbortOnTimeout, TCPAbortOnMemory, TCPAbortOnLinger, TCPAutoCorking, TCPZeroWindowAdv,
	TCPToZeroWindowAdv, TCPWantZeroWindowAdv, TCPKeepAlive, TCPRcvQDrop Counter
}

// UDPStats are UDP's counters (RFC 4113).
type UDPStats struct {
	InDatagrams, NoPorts, InErrors, OutDatagrams, RcvbufErrors, SndbufErrors, InCsumErrors,
	IgnoredMulti, MemErrors Counter
}

// NICStats are the counters of an interface (/proc/net/dev).
type NICStats struct {
	RXPackets, RXBytes, RXErrors, RXDropped, RXMulticast,
	TXPackets, TXBytes, TXErrors, TXDropped Counter
}
