package tcp

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/stack"
)

// timeWaitLength is twice the maximum segment lifetime as Linux has it (RFC 9293 section 3.4.2
// leaves the choice).
const timeWaitLength = 60 * time.Second

// conn is what the demultiplexer has of a connection, and outlives its endpoint: TIME-WAIT is a
// conn without endpoint, a few hundred bytes.
type conn struct {
	proto   *Protocol
	binding stack.Binding
	ep      atomic.Pointer[Endpoint]
	// nextISS is where a connection begins that takes the numbers of one in TIME-WAIT; 0: as
	// any other (RFC 6191).
	nextISS uint32

	tw timeWait // guarded by the proto's timeWaits.mu
}

// timeWait is what a connection in TIME-WAIT knows.
type timeWait struct {
	active     bool
	prev, next *conn
	expires    time.Duration
	route      *stack.Route
	port       *stack.PortRequest
	params     stack.NetworkParams
	sndNxt     uint32
	rcvNxt     uint32
	window     uint16 // the field
	tsOK       bool
	tsRecent   uint32
	tsRecentAt time.Duration
	tsOffset   uint32
	lastAck    time.Duration
}

// timeWaits are a protocol's connections in TIME-WAIT, in the order in which they end, which is
// that in which they began or began anew.
type timeWaits struct {
	mu          sync.Mutex // guards the fields below and conn.tw
	first, last *conn
	n           int
	timer       tcpip.Timer `state:"nosave"` // set again by Protocol.Resume
	armed       bool
	closed      bool
}

func (w *timeWaits) push(c *conn) {
	c.tw.prev, c.tw.next = w.last, nil
	if w.last != nil {
		w.last.tw.next = c
	} else {
		w.first = c
	}
	w.last = c
	w.n++
}

func (w *timeWaits) unlink(c *conn) {
	if c.tw.prev != nil {
		c.tw.prev.tw.next = c.tw.next
	} else {
		w.first = c.tw.next
	}
	if c.tw.next != nil {
		c.tw.next.tw.prev = c.tw.prev
	} else {
		w.last = c.tw.prev
	}
	c.tw.prev, c.tw.next = nil, nil
	w.n--
}

// HandlePacket implements stack.TransportEndpoint.
func (c *conn) HandlePacket(id stack.TransportID, pkt *buffer.Packet) {
	if !c.proto.accept(pkt) {
		return
	}
	if e := c.ep.Load(); e != nil {
		e.arrive(arrival{conn: c, id: id, pkt: pkt})
		return
	}
	c.proto.handleTimeWait(c, id, pkt)
}

// HandleError implements stack.TransportEndpoint.
func (c *conn) HandleError(id stack.TransportID, te stack.TransportError, quoted []byte) {
	e := c.ep.Load()
	if e == nil || len(quoted) < 8 {
		return
	}
	seq := uint32(quoted[4])<<24 | uint32(quoted[5])<<16 | uint32(quoted[6])<<8 | uint32(quoted[7])
	e.arrive(arrival{conn: c, id: id, err: &te, seq: seq})
}

// unregister takes the connection out of the demultiplexer.
func (c *conn) unregister() {
	c.ep.Store(nil)
	c.proto.stack.Unregister(&c.binding)
}

// enterTimeWait hands the connection over to its conn; the endpoint is closed (RFC 9293 section
// 3.6).
func (e *Endpoint) enterTimeWait() {
	c, p := e.conn, e.proto
	w := &p.timeWaits
	w.mu.Lock()
	if w.closed || w.n >= int(e.stack.Settings().TCPMaxTimeWait.Load()) {
		w.mu.Unlock()
		e.finish(0)
		return
	}
	port := e.port
	if !e.isBound && !e.passive {
		// It was chosen for this connection: another one may take it, for elsewhere or, by
		// RFC 6191, for there again.
		port = nil
	} else {
		e.port = nil
	}
	c.tw = timeWait{
		active: true, expires: e.now + timeWaitLength, route: e.route, port: port, params: e.networkParams(),
		sndNxt: e.snd.nxt, rcvNxt: e.rcv.nxt, window: uint16(e.offeredWindow() >> e.rcv.scale),
		tsOK: e.ts.ok, tsRecent: e.ts.recent, tsRecentAt: e.ts.recentAt, tsOffset: e.ts.offset,
	}
	w.push(c)
	p.armTimeWait(e.now)
	w.mu.Unlock()
	e.stack.Stats().TCP.TW.Inc()
	c.ep.Store(nil)
	e.conn = nil
	e.becomeClosed()
}

// armTimeWait sets the timer for the first connection to end. w.mu is held.
func (p *Protocol) armTimeWait(now time.Duration) {
	w := &p.timeWaits
	if w.armed || w.first == nil || w.closed {
		return
	}
	w.armed = true
	// Several are ended together: a second more or less does not matter.
	d := max(w.first.tw.expires-now, 0)
	if w.timer == nil {
		w.timer = p.clock.AfterFunc(d, p.expireTimeWait)
	} else {
		w.timer.Reset(d)
	}
}

// expireTimeWait ends the connections whose time is over.
func (p *Protocol) expireTimeWait() {
	now := p.clock.Monotonic()
	w := &p.timeWaits
	w.mu.Lock()
	w.armed = false
	for w.first != nil && w.first.tw.expires <= now {
		p.endTimeWait(w.first)
	}
	p.armTimeWait(now)
	w.mu.Unlock()
}

// endTimeWait ends one. w.mu is held.
func (p *Protocol) endTimeWait(c *conn) {
	if !c.tw.active {
		return
	}
	p.timeWaits.unlink(c)
	c.unregister()
	if c.tw.port != nil {
		p.stack.ReleasePort(c.tw.port)
	}
	c.tw = timeWait{}
}

// handleTimeWait takes a segment for a connection in TIME-WAIT (RFC 9293 section 3.10.7.4, RFC
// 6191, and RFC 1337: a RST does not end it). It takes pkt.
func (p *Protocol) handleTimeWait(c *conn, id stack.TransportID, pkt *buffer.Packet) {
	var s segment
	if !s.parse(pkt) {
		pkt.Release()
		return
	}
	now := p.clock.Monotonic()
	w := &p.timeWaits
	w.mu.Lock()
	t := &c.tw
	if !t.active {
		w.mu.Unlock()
		pkt.Release()
		return
	}
	old := t.tsOK && s.opts.HasTimestamp && before(s.opts.TSVal, t.tsRecent) && now-t.tsRecentAt < pawsExpiry
	newer := t.tsOK && s.opts.HasTimestamp && after(s.opts.TSVal, t.tsRecent)
	if s.flags&(flagSyn|flagRst|flagAck) == flagSyn && !old && (after(s.seq, t.rcvNxt) || newer) {
		// A new connection with the same numbers (RFC 6191 section 2, RFC 9293 section 3.6.1).
		next := t.sndNxt + 65535 + 2
		p.endTimeWait(c)
		w.mu.Unlock()
		p.stack.Stats().TCP.TWRecycled.Inc()
		b := p.stack.FindTransport(pkt.NIC, pkt.Source.Is6(), p.Number(), id)
		if b != nil {
			if l, ok := b.Endpoint.(*Endpoint); ok {
				pkt.Unconsume(len(pkt.TransportHeader))
				l.arrive(arrival{id: id, pkt: pkt, seq: max(next, 1)})
				return
			}
		}
		p.replyReset(nil, &id, &s)
		pkt.Release()
		return
	}
	if s.flags&flagRst != 0 {
		w.mu.Unlock()
		pkt.Release()
		return
	}
	if !old && s.seq == t.rcvNxt && s.size == 0 && s.flags&(flagSyn|flagFin) == 0 {
		// An acknowledgement as it should be.
		if t.tsOK && s.opts.HasTimestamp {
			t.tsRecent, t.tsRecentAt = s.opts.TSVal, now
		}
		w.mu.Unlock()
		pkt.Release()
		return
	}
	// Anything else shows that the peer does not know yet; its FIN begins the time anew.
	if s.flags&flagFin != 0 && !old {
		w.unlink(c)
		t.expires = now + timeWaitLength
		w.push(c)
	}
	send := s.size > 0 || s.flags&(flagFin|flagSyn) != 0 || now-t.lastAck >= invalidAckInterval || t.lastAck == 0
	t.lastAck = now
	reply := *t
	w.mu.Unlock()
	pkt.Release()
	if send {
		p.replyTimeWait(&reply, &id, now)
	}
}

// reusable says whether a connection to be opened may take the numbers of c, which is in
// TIME-WAIT then, and ends that (net.ipv4.tcp_tw_reuse: 1 always, 2 on loopback; RFC 6191 section
// 2, by timestamps). It returns where the sequence numbers have to begin.
func (p *Protocol) reusable(c *conn) (iss uint32, ok bool) {
	now := p.clock.Monotonic()
	w := &p.timeWaits
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &c.tw
	if !t.active || !t.tsOK || now-t.tsRecentAt <= time.Second {
		return 0, false
	}
	switch p.stack.Settings().TCPReuseTimeWait.Load() {
	case 1:
	case 2:
		if !t.route.Local {
			return 0, false
		}
	default:
		return 0, false
	}
	iss = max(t.sndNxt+65535+2, 1)
	return iss, true
}

// evict ends the TIME-WAIT of c.
func (p *Protocol) evict(c *conn) {
	w := &p.timeWaits
	w.mu.Lock()
	p.endTimeWait(c)
	w.mu.Unlock()
}

// register makes c find packets, in the place of a connection in TIME-WAIT if that may be.
func (p *Protocol) register(c *conn) unix.Errno {
	for {
		if p.stack.Register(&c.binding) == nil {
			return 0
		}
		old := p.find(&c.binding)
		if old == nil {
			return unix.EADDRNOTAVAIL
		}
		iss, ok := p.reusable(old)
		if !ok {
			return unix.EADDRNOTAVAIL
		}
		c.nextISS = iss
		p.evict(old)
	}
}

// find returns the connection that has the numbers of b.
func (p *Protocol) find(b *stack.Binding) *conn {
	x := p.stack.FindTransport(b.NIC, b.V6, p.Number(), b.ID)
	if x == nil || x.ID != b.ID {
		return nil
	}
	c, _ := x.Endpoint.(*conn)
	return c
}
