package tcp

import (
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of options (tcp(7)).
const (
	maxKeepIdle     = 32767 * time.Second
	maxKeepInterval = 32767 * time.Second
	maxKeepCount    = 127
	maxSynCount     = 127
	minMaxSegment   = 88
	maxMaxSegment   = 32767
	maxLinger2      = 120 * time.Second
	minWindowClamp  = 1152 // half of the least receive buffer
)

// config is what TCP-level options set; of a listener, what its connections begin with. The
// endpoint's mu guards it.
type config struct {
	noDelay, cork bool
	// maxSegment of 0: the route's.
	maxSegment int
	// 0: the stack's settings.
	keepIdle, keepInterval time.Duration
	keepCount, synCount    int
	// linger2 of 0: the stack's setting; negative: FIN-WAIT-2 ends at once.
	linger2     time.Duration
	deferAccept time.Duration
	deferTries  int
	windowClamp int // 0: none
	userTimeout time.Duration
	notSentLow  uint32 // 0: none
	congestion  string // "": the stack's default
}

// NoDelay is TCP_NODELAY: small segments are sent at once, not held back while others are in
// flight (RFC 9293 section 3.7.4).
func (e *Endpoint) NoDelay() bool {
	e.look()
	defer e.unlock()
	return e.cfg.noDelay
}

// SetNoDelay sets TCP_NODELAY, which sends what is held back.
func (e *Endpoint) SetNoDelay(on bool) {
	e.lock()
	defer e.unlock()
	e.cfg.noDelay = on
	if on {
		e.pushPending()
	}
}

// Cork is TCP_CORK: no partial segments are sent, for 200 ms at most.
func (e *Endpoint) Cork() bool {
	e.look()
	defer e.unlock()
	return e.cfg.cork
}

// SetCork sets TCP_CORK; turning it off sends what is held back.
func (e *Endpoint) SetCork(on bool) {
	e.lock()
	defer e.unlock()
	e.cfg.cork = on
	if !on {
		e.pushPending()
	}
}

// QuickAck is TCP_QUICKACK: whether segments are acknowledged at once now.
func (e *Endpoint) QuickAck() bool {
	e.look()
	defer e.unlock()
	return !e.ack.interactive
}

// SetQuickAck enters or leaves that mode, which does not last: the protocol goes on from there.
func (e *Endpoint) SetQuickAck(on bool) {
	e.lock()
	defer e.unlock()
	e.setQuickAck(on)
}

// MaxSegment is TCP_MAXSEG: of a connection, the largest segment it sends, in bytes; before it,
// what was set, or the least that all hosts take.
func (e *Endpoint) MaxSegment() int {
	e.look()
	defer e.unlock()
	switch {
	case e.state != StateClosed && e.state != StateListen && e.mss != 0:
		return e.mss
	case e.cfg.maxSegment != 0:
		return e.cfg.maxSegment
	}
	return defaultMSS
}

// SetMaxSegment bounds segments both ways; of a connection that exists only later ones. EINVAL:
// it is not in [88, 32767] and not 0, which means no bound.
func (e *Endpoint) SetMaxSegment(n int) error {
	if n != 0 && (n < minMaxSegment || n > maxMaxSegment) {
		return unix.EINVAL
	}
	e.lock()
	defer e.unlock()
	e.cfg.maxSegment = n
	return nil
}

// KeepIdle is TCP_KEEPIDLE: how long a connection is idle until the first keep-alive probe.
func (e *Endpoint) KeepIdle() time.Duration {
	e.look()
	defer e.unlock()
	return e.keepIdle()
}

// SetKeepIdle. EINVAL: not in [1, 32767] seconds.
func (e *Endpoint) SetKeepIdle(d time.Duration) error {
	if d < time.Second || d > maxKeepIdle {
		return unix.EINVAL
	}
	e.lock()
	defer e.unlock()
	e.cfg.keepIdle = d
	e.armKeepAlive()
	return nil
}

// KeepInterval is TCP_KEEPINTVL: the time between two probes.
func (e *Endpoint) KeepInterval() time.Duration {
	e.look()
	defer e.unlock()
	return e.keepInterval()
}

// SetKeepInterval. EINVAL: not in [1, 32767] seconds.
func (e *Endpoint) SetKeepInterval(d time.Duration) error {
	if d < time.Second || d > maxKeepInterval {
		return unix.EINVAL
	}
	e.lock()
	defer e.unlock()
	e.cfg.keepInterval = d
	return nil
}

// KeepCount is TCP_KEEPCNT: how many probes without an answer end the connection.
func (e *Endpoint) KeepCount() int {
	e.look()
	defer e.unlock()
	return e.keepCount()
}

// SetKeepCount. EINVAL: not in [1, 127].
func (e *Endpoint) SetKeepCount(n int) error {
	if n < 1 || n > maxKeepCount {
		return unix.EINVAL
	}
	e.lock()
	defer e.unlock()
	e.cfg.keepCount = n
	return nil
}

// SynCount is TCP_SYNCNT: how often a SYN is retransmitted.
func (e *Endpoint) SynCount() int {
	e.look()
	defer e.unlock()
	return e.synRetries()
}

// SetSynCount. EINVAL: not in [1, 127].
func (e *Endpoint) SetSynCount(n int) error {
	if n < 1 || n > maxSynCount {
		return unix.EINVAL
	}
	e.lock()
	defer e.unlock()
	e.cfg.synCount = n
	return nil
}

// Linger2 is TCP_LINGER2: how long a closed socket stays in FIN-WAIT-2; negative: not at all.
func (e *Endpoint) Linger2() time.Duration {
	e.look()
	defer e.unlock()
	return e.finTimeout()
}

// SetLinger2: 0 is the stack's setting, a negative time means none at all; it is 120 s at most.
func (e *Endpoint) SetLinger2(d time.Duration) {
	e.lock()
	defer e.unlock()
	e.cfg.linger2 = min(d, maxLinger2)
}

// DeferAccept is TCP_DEFER_ACCEPT: how long a listener waits for a connection's first data before
// it is accepted without. 0: it does not.
func (e *Endpoint) DeferAccept() time.Duration {
	e.look()
	defer e.unlock()
	return e.cfg.deferAccept
}

// SetDeferAccept rounds d up to a number of retransmissions of the SYN-ACK, as Linux does.
func (e *Endpoint) SetDeferAccept(d time.Duration) {
	e.lock()
	defer e.unlock()
	e.cfg.deferTries, e.cfg.deferAccept = 0, 0
	if d <= 0 {
		return
	}
	timeout := initialRTO
	e.cfg.deferTries, e.cfg.deferAccept = 1, timeout
	for e.cfg.deferAccept < d && e.cfg.deferTries < 255 {
		e.cfg.deferTries++
		timeout = min(2*timeout, maxRTO)
		e.cfg.deferAccept += timeout
	}
}

// WindowClamp is TCP_WINDOW_CLAMP: the largest receive window in bytes; 0: as the buffer allows.
func (e *Endpoint) WindowClamp() int {
	e.look()
	defer e.unlock()
	return e.cfg.windowClamp
}

// SetWindowClamp. 0 takes the bound away, which only an unconnected socket may (EINVAL); smaller
// values than half of the least receive buffer are raised to it.
func (e *Endpoint) SetWindowClamp(n int) error {
	e.lock()
	defer e.unlock()
	if n == 0 {
		if e.state != StateClosed {
			return unix.EINVAL
		}
		e.cfg.windowClamp = 0
		return nil
	}
	e.cfg.windowClamp = max(n, minWindowClamp)
	return nil
}

// UserTimeout is TCP_USER_TIMEOUT (RFC 5482): how long data may be unacknowledged; 0: as the
// stack's retries say.
func (e *Endpoint) UserTimeout() time.Duration {
	e.look()
	defer e.unlock()
	return e.cfg.userTimeout
}

// SetUserTimeout. EINVAL: negative.
func (e *Endpoint) SetUserTimeout(d time.Duration) error {
	if d < 0 {
		return unix.EINVAL
	}
	e.lock()
	defer e.unlock()
	e.cfg.userTimeout = d
	return nil
}

// NotSentLow is TCP_NOTSENT_LOWAT: the socket is writable only while less than this many bytes
// are unsent. 0 is no bound.
func (e *Endpoint) NotSentLow() uint32 {
	e.look()
	defer e.unlock()
	return e.cfg.notSentLow
}

// SetNotSentLow. 0 is no bound.
func (e *Endpoint) SetNotSentLow(n uint32) {
	e.lock()
	defer e.unlock()
	e.cfg.notSentLow = n
	e.notifyWritable()
}

// CongestionControl is TCP_CONGESTION: the algorithm's name.
func (e *Endpoint) CongestionControl() string {
	e.look()
	defer e.unlock()
	if e.cc != nil {
		return e.cc.name()
	}
	return e.congestionName()
}

// SetCongestionControl changes the algorithm, of a connection at once. ENOENT: there is none of
// that name; CongestionControls has the names.
func (e *Endpoint) SetCongestionControl(name string) error {
	cc := newCongestionControl(name)
	if cc == nil {
		return unix.ENOENT
	}
	e.lock()
	defer e.unlock()
	e.cfg.congestion = name
	if e.cc != nil {
		e.cc = cc
		e.cc.init(&e.cong)
	}
	return nil
}

// FastOpen is TCP_FASTOPEN: the length of the queue of such requests, 0: off. It is always off.
func (e *Endpoint) FastOpen() int { return 0 }

// SetFastOpen. EOPNOTSUPP: this stack does not have RFC 7413, except that 0 turns it off.
func (e *Endpoint) SetFastOpen(n int) error {
	if n != 0 {
		return unix.EOPNOTSUPP
	}
	return nil
}

// Timestamp is TCP_TIMESTAMP: the value that a segment would be sent with now.
func (e *Endpoint) Timestamp() uint32 {
	e.lock()
	defer e.unlock()
	return e.tsVal()
}

// AtMark is SIOCATMARK: the next byte to be read is that behind the urgent mark.
func (e *Endpoint) AtMark() bool {
	e.look()
	defer e.unlock()
	return e.urg.state != urgentNone && e.urg.seq == e.copiedSeq
}

// SendUnsent is SIOCOUTQNSD: bytes that were not sent yet.
func (e *Endpoint) SendUnsent() int {
	e.look()
	defer e.unlock()
	return e.unsent()
}
