package tcp

import (
	"time"

	"runsc/pkg/tcpip"
)

// CongestionState is tcpi_ca_state: what the sender is doing about loss.
type CongestionState uint8

// The states, with Linux's numbers.
const (
	CongestionOpen     CongestionState = 0
	CongestionDisorder CongestionState = 1 // duplicate or selective acknowledgements came
	CongestionCWR      CongestionState = 2 // the window is being reduced for ECN
	CongestionRecovery CongestionState = 3 // fast retransmission
	CongestionLoss     CongestionState = 4 // after a retransmission timeout
)

// Info is what TCP_INFO tells (struct tcp_info), in natural units: durations, bytes; Segments
// of the peer's size where the name says so.
type Info struct {
	State           State
	CongestionState CongestionState
	// Retransmits is of the oldest segment (timeouts), Probes of zero-window or keep-alive
	// probes that were not answered, Backoff the exponent of the timer.
	Retransmits, Probes, Backoff uint8
	// What was negotiated.
	Timestamps, SACK, WindowScaling, ECN, ECNSeen bool
	SendScale, ReceiveScale                       uint8
	// DeliveryRateAppLimited: the application did not send enough for DeliveryRate to mean
	// the path's.
	DeliveryRateAppLimited bool

	RTO, ATO               time.Duration
	SendMSS, ReceiveMSS    uint32
	UnackedSegments        uint32 // in a listener: connections to be accepted
	SackedSegments         uint32 // in a listener: the backlog
	LostSegments           uint32
	RetransSegments        uint32 // retransmissions in flight
	SinceDataSent          time.Duration
	SinceDataReceived      time.Duration
	SinceAckReceived       time.Duration
	PathMTU                uint32
	ReceiveThreshold       uint32 // bytes
	RTT, RTTVar            time.Duration
	SendThreshold          uint32 // ssthresh in segments; 0x7fffffff: none
	CongestionWindow       uint32 // segments
	AdvertisedMSS          uint32
	Reordering             uint32
	ReceiveRTT             time.Duration
	ReceiveSpace           uint32
	TotalRetransSegments   uint32
	PacingRate             uint64 // bytes a second; ^0: none
	MaxPacingRate          uint64
	BytesAcked             uint64
	BytesReceived          uint64
	SegmentsOut            uint32
	SegmentsIn             uint32
	NotSentBytes           uint32
	MinRTT                 time.Duration
	DataSegmentsIn         uint32
	DataSegmentsOut        uint32
	DeliveryRate           uint64 // bytes a second
	BusyTime               time.Duration
	ReceiveWindowLimited   time.Duration
	SendBufferLimited      time.Duration
	DeliveredSegments      uint32
	DeliveredCESegments    uint32
	BytesSent              uint64
	BytesRetransmitted     uint64
	DSACKDuplicates        uint32
	ReorderingSeen         uint32
	ReceiveOutOfOrder      uint32
	SendWindow             uint32 // bytes
	ReceiveWindow          uint32 // bytes
	RehashedRetransmission uint32
	TotalRTO               uint16
	TotalRTORecoveries     uint16
	TotalRTOTime           time.Duration
}

// TimerKind is the pending timer as /proc/net/tcp numbers it.
type TimerKind uint8

// The kinds.
const (
	TimerNone       TimerKind = 0
	TimerRetransmit TimerKind = 1
	TimerKeepAlive  TimerKind = 2
	TimerTimeWait   TimerKind = 3
	TimerProbe      TimerKind = 4
)

// counts is what an endpoint counts and when things happened, 0: never.
type counts struct {
	segmentsIn, segmentsOut, dataSegmentsIn, dataSegmentsOut uint32
	retransmitted, dsacks, reorderingSeen, outOfOrder        uint32
	deliveredCE                                              uint32
	bytesAcked, bytesReceived, bytesSent, bytesRetransmitted uint64
	lastReceived, lastAckReceived                            time.Duration
	lastInvalid, lastChallenge                               time.Duration
}

// Info is TCP_INFO.
func (e *Endpoint) Info() Info {
	e.lock()
	defer e.unlock()
	i := Info{State: e.state, PacingRate: ^uint64(0), MaxPacingRate: ^uint64(0)}
	if e.state == StateListen {
		i.UnackedSegments = uint32(e.listener.accepted.len())
		i.SackedSegments = uint32(e.listener.backlog)
		return i
	}
	mss := max(e.sendMSS(), 1)
	segs := func(n int) uint32 { return uint32((max(n, 0) + mss - 1) / mss) }
	since := func(t time.Duration) time.Duration {
		if t == 0 {
			return 0
		}
		return e.now - t
	}
	i.CongestionState = e.rec.state
	i.Retransmits = uint8(min(e.rec.retransmits, 255))
	i.Probes = uint8(min(max(e.snd.probes, e.keep.probes), 255))
	i.Backoff = e.rtt.backoff
	i.Timestamps, i.SACK, i.ECN, i.ECNSeen = e.ts.ok, e.sackOK, e.ecn.ok, e.ecn.seen
	i.WindowScaling = e.snd.scale != 0 || e.rcv.scale != 0
	i.SendScale, i.ReceiveScale = e.snd.scale, e.rcv.scale
	i.DeliveryRateAppLimited = e.rate.limited
	i.DeliveryRate = e.rate.rate
	i.RTO, i.ATO = e.rtt.timeout(), e.ack.ato
	if e.rtt.rto == 0 {
		i.RTO = initialRTO
	}
	i.SendMSS, i.ReceiveMSS = uint32(e.mss), uint32(e.rcv.mss)
	if e.mss == 0 {
		i.SendMSS, i.ReceiveMSS = defaultMSS, defaultMSS
	}
	i.UnackedSegments, i.SackedSegments = segs(e.flight()), segs(e.sent.sacked)
	i.LostSegments, i.RetransSegments = segs(e.sent.lost), segs(e.sent.again)
	i.SinceDataSent, i.SinceDataReceived = since(e.snd.lastSent), since(e.ack.lastData)
	i.SinceAckReceived = since(e.count.lastAckReceived)
	i.PathMTU = e.pathMTU
	i.ReceiveThreshold = uint32(e.fullWindow())
	i.RTT, i.RTTVar, i.MinRTT = e.rtt.srtt, e.rtt.rttvar, e.rtt.low()
	i.SendThreshold = noThreshold
	if e.cong.threshold < noThreshold {
		i.SendThreshold = segs(e.cong.threshold)
	}
	i.CongestionWindow = segs(e.cong.window)
	if e.cong.window == 0 {
		i.CongestionWindow, i.SendThreshold = initialSegments, noThreshold
	}
	i.AdvertisedMSS = uint32(e.advMSS)
	i.Reordering = duplicateThreshold
	i.ReceiveRTT, i.ReceiveSpace = e.tune.rtt, uint32(e.tune.space)
	i.TotalRetransSegments = e.count.retransmitted
	i.BytesAcked, i.BytesReceived = e.count.bytesAcked, e.count.bytesReceived
	i.SegmentsOut, i.SegmentsIn = e.count.segmentsOut, e.count.segmentsIn
	i.NotSentBytes = uint32(e.unsent())
	i.DataSegmentsIn, i.DataSegmentsOut = e.count.dataSegmentsIn, e.count.dataSegmentsOut
	i.DeliveredSegments = segs(int(e.rate.delivered))
	i.DeliveredCESegments = e.count.deliveredCE
	i.BytesSent, i.BytesRetransmitted = e.count.bytesSent, e.count.bytesRetransmitted
	i.DSACKDuplicates, i.ReorderingSeen = e.count.dsacks, e.count.reorderingSeen
	i.ReceiveOutOfOrder = e.count.outOfOrder
	i.SendWindow, i.ReceiveWindow = uint32(e.snd.wnd), uint32(e.offeredWindow())
	i.TotalRTO, i.TotalRTORecoveries = e.rec.timeouts, e.rec.timeoutRecoveries
	i.TotalRTOTime = e.rec.timeoutDuration
	return i
}

// Connection is what /proc/net/tcp and sock_diag show of one: of a socket, of a connection that a
// listener has not finished, or of TIME-WAIT.
type Connection struct {
	Local, Remote tcpip.FullAddress
	State         State
	// Endpoint has the rest of what is known; nil: there is none.
	Endpoint *Endpoint
	// SendQueue and ReceiveQueue are bytes; of a listener, the backlog and the connections to
	// be accepted.
	SendQueue, ReceiveQueue int
	// Timer runs for Expires yet.
	Timer       TimerKind
	Expires     time.Duration
	Retransmits int
	// V6: an AF_INET6 socket. Closed: no socket has it (any more).
	V6, Closed bool
	NIC        tcpip.NICID
}

// Connections calls f for all of them until it returns false, those of sockets that are neither
// connected nor listening left out.
func (p *Protocol) Connections(f func(Connection) bool) {
	for _, e := range p.endpoints() {
		for _, c := range e.connections() {
			if !f(c) {
				return
			}
		}
	}
	now := p.clock.Monotonic()
	w := &p.timeWaits
	w.mu.Lock()
	var waiting []Connection
	for c := w.first; c != nil; c = c.tw.next {
		id := c.binding.ID
		waiting = append(waiting, Connection{
			Local:  tcpip.FullAddress{Addr: id.LocalAddr, Port: id.LocalPort},
			Remote: tcpip.FullAddress{Addr: id.RemoteAddr, Port: id.RemotePort},
			State:  StateTimeWait, Timer: TimerTimeWait, Expires: c.tw.expires - now,
			V6: id.RemoteAddr.Is6(), Closed: true, NIC: c.binding.NIC,
		})
	}
	w.mu.Unlock()
	for _, c := range waiting {
		if !f(c) {
			return
		}
	}
}

// connections is the endpoint's own, and those that it is asked for.
func (e *Endpoint) connections() []Connection {
	e.lock()
	defer e.unlock()
	c := Connection{
		Local: e.localAddress(), State: e.state, Endpoint: e, V6: e.v6, Closed: e.closed, Retransmits: e.rec.retransmits,
	}
	switch e.state {
	case StateClosed:
		return nil
	case StateListen:
		l := e.listener
		c.SendQueue, c.ReceiveQueue = l.backlog, l.accepted.len()
		all := []Connection{c}
		for _, r := range l.requests {
			all = append(all, Connection{
				Local:  tcpip.FullAddress{Addr: r.id.LocalAddr, Port: r.id.LocalPort},
				Remote: tcpip.FullAddress{Addr: r.id.RemoteAddr, Port: r.id.RemotePort},
				State:  StateSynReceived, V6: e.v6, Closed: true, NIC: r.nic, Retransmits: r.tries,
				Timer: TimerRetransmit, Expires: r.due - e.now,
			})
		}
		return all
	}
	c.Remote = e.remoteAddress()
	c.NIC = e.conn.binding.NIC
	c.SendQueue, c.ReceiveQueue = e.sendQ.len(), e.recvQ.len()
	switch t := &e.timers; {
	case t.isSet(deadlineSend):
		c.Timer, c.Expires = TimerRetransmit, t.at[deadlineSend]-e.now
		if t.send == sendTimerProbe {
			c.Timer = TimerProbe
		}
	case t.isSet(deadlineKeepAlive):
		c.Timer, c.Expires = TimerKeepAlive, t.at[deadlineKeepAlive]-e.now
	case t.isSet(deadlineState):
		c.Timer, c.Expires = TimerTimeWait, t.at[deadlineState]-e.now
	}
	return []Connection{c}
}
