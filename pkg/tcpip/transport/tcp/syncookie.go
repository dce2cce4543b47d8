package tcp

import (
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// SYN cookies (RFC 4987 section 3.6): when the SYN queue is full, a SYN is answered and forgotten.
// What is needed of it comes back with the acknowledgement, in the sequence number:
//
//	31     27 26   24 23                                   0
//	| period | MSS   | keyed hash of all that and of the SYN |
//
// and, if the peer has timestamps, in the low bits of the one that it echoes.

const (
	// cookiePeriod is how often the secret part changes; a cookie is good for one to two.
	cookiePeriod = 64 * time.Second
	cookieBits   = 24
	// cookieMemory is for how long after the last cookie was sent acknowledgements are
	// checked.
	cookieMemory = 2 * cookiePeriod
)

// cookieMSS are the segment sizes that a cookie can name.
var cookieMSS = [8]int{leastPeerMSS, 536, 1220, 1300, 1440, 1460, 4312, 8960}

// Low bits of the timestamp of a SYN-ACK with a cookie.
const (
	cookieScaleMask = 0x0f
	cookieNoScale   = 0x0f
	cookieSACK      = 1 << 4
	cookieECN       = 1 << 5
	cookieTSMask    = 1<<6 - 1
)

// cookie is the initial sequence number for r.
func (p *Protocol) cookie(r *request, now time.Duration) uint32 {
	index := 0
	for i, m := range cookieMSS {
		if m <= r.peerMSS {
			index = i
		}
	}
	return p.cookieOf(&r.id, r.irs, uint32(now/cookiePeriod), uint32(index))
}

func (p *Protocol) cookieOf(id *stack.TransportID, irs, period, index uint32) uint32 {
	h := uint32(p.hashID(hashCookie, id, true, irs, period, index))
	return period<<27 | index<<cookieBits | h&(1<<cookieBits-1)
}

// cookieTimestamp is the timestamp of now or a little before with r's options in it.
func cookieTimestamp(now time.Duration, r *request) uint32 {
	bits := uint32(cookieNoScale)
	if r.scaled {
		bits = uint32(r.sendScale)
	}
	if r.sackOK {
		bits |= cookieSACK
	}
	if r.ecnOK {
		bits |= cookieECN
	}
	ts := uint32(now / timestampUnit)
	v := ts&^cookieTSMask | bits
	if v > ts {
		v -= cookieTSMask + 1 // timestamps do not come from the future
	}
	return v + r.tsOffset
}

// checkCookie makes a connection out of an acknowledgement with a cookie. false: it has none.
func (l *listener) checkCookie(id *stack.TransportID, s *segment) bool {
	e := l.e
	stats := &e.stack.Stats().TCP
	settings := e.stack.Settings()
	mode := settings.TCPSynCookies.Load()
	if mode == 0 || mode == 1 && (l.overflowed == 0 || e.now-l.overflowed > cookieMemory) {
		return false
	}
	iss, irs := s.ack-1, s.seq-1
	now := uint32(e.now / cookiePeriod)
	period := now&^31 | iss>>27
	if period > now {
		period -= 32
	}
	index := iss >> cookieBits & 7
	if now-period > 1 || e.proto.cookieOf(id, irs, period, index) != iss {
		stats.SyncookiesFailed.Inc()
		return false
	}
	if l.full() {
		stats.ListenOverflows.Inc()
		stats.ListenDrops.Inc()
		return true
	}
	nic := tcpip.NICID(e.opts.Device.Load())
	if id.RemoteAddr.IsLinkLocalUnicast() && id.RemoteAddr.Is6() {
		nic = s.pkt.NIC
	}
	route, err := e.findRoute(id.RemoteAddr, id.LocalAddr, nic)
	if err != nil {
		stats.ListenDrops.Inc()
		return true
	}
	r := &request{id: *id, route: route, irs: irs, iss: iss, nic: nic, tsOffset: e.proto.timestampOffset(id)}
	l.measure(r, cookieMSS[index])
	if s.opts.HasTimestamp && settings.TCPTimestamps.Load() {
		bits := s.opts.TSEcr - r.tsOffset
		r.tsOK, r.tsRecent = true, s.opts.TSVal
		r.sackOK = bits&cookieSACK != 0 && settings.TCPSACK.Load()
		r.ecnOK = bits&cookieECN != 0 && settings.TCPECN.Load() != ecnOff
		if scale := uint8(bits & cookieScaleMask); scale != cookieNoScale && settings.TCPWindowScaling.Load() {
			r.scaled = true
			r.sendScale, r.recvScale = min(scale, header.TCPMaximumWindowScale), e.windowScale()
		}
	}
	stats.SyncookiesRecv.Inc()
	l.complete(r, s)
	return true
}
