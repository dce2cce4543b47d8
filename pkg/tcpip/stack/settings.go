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
	IPv6AcceptRedirects             atomic.Bool
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
	// CongestionControl is the name of the default algorithm.
	CongestionControl Name
}

// Name is a string that is read without a lock.
type Name struct{ p atomic.Pointer[string] }

// Load returns it.
func (n *Name) Load() string {
	if s := n.p.Load(); s != nil {
		return *s
	}
	return ""
}

// Store replaces it.
func (n *Name) Store(s string) { n.p.Store(&s) }

// init sets the values that a new network namespace of Linux has (ip-sysctl). Where Linux goes
// by the machine's memory, it is what a machine of some gigabytes gets.
func (c *Settings) init() {
	c.IPDefaultTTL.Store(64) // RFC 1700
	c.IPv6HopLimit.Store(64)
	c.PortLow.Store(32768)
	c.PortHigh.Store(60999)
	c.UnprivilegedPort.Store(1024)
	c.PingGroupLow.Store(1) // an empty range
	c.PingGroupHigh.Store(0)
	c.AcceptRA.Store(true)
	c.AcceptDAD.Store(true)
	c.Autoconf.Store(true)
	c.IPv6AcceptRedirects.Store(true)
	c.DADTransmits.Store(1)
	c.IgnoreBroadcastEcho.Store(true)
	c.Somaxconn.Store(4096)
	c.ReceiveMax.Store(212992)
	c.SendMax.Store(212992)
	c.ReceiveDefault.Store(212992)
	c.SendDefault.Store(212992)
	for i, n := range [3]int64{4096, 131072, 6 << 20} {
		c.TCPReceive[i].Store(n)
	}
	for i, n := range [3]int64{4096, 16384, 4 << 20} {
		c.TCPSend[i].Store(n)
	}
	c.TCPSACK.Store(true)
	c.TCPTimestamps.Store(true)
	c.TCPWindowScaling.Store(true)
	c.TCPModerate.Store(true)
	c.TCPSynCookies.Store(1)
	c.TCPECN.Store(2)
	c.TCPMaxSynBacklog.Store(2048)
	c.TCPSynRetries.Store(6)
	c.TCPSynAckRetries.Store(5)
	c.TCPRetries2.Store(15)
	c.TCPFinTimeout.Store(60)
	c.TCPKeepaliveTime.Store(7200)
	c.TCPKeepaliveInterval.Store(75)
	c.TCPKeepaliveProbes.Store(9)
	c.TCPReuseTimeWait.Store(2)
	c.TCPMaxTimeWait.Store(131072)
	c.TCPFastOpen.Store(1)
	c.TCPSlowStartAfterIdle.Store(true)
	c.CongestionControl.Store("cubic")
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
