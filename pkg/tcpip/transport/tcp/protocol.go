package tcp

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Protocol is TCP of one stack.
type Protocol struct {
	stack *stack.Stack
	clock tcpip.Clock

	timeWaits timeWaits

	mu     sync.Mutex // guards the fields below
	closed bool
	// first and last are the list of endpoints that have a socket or a connection.
	first, last *Endpoint
	// challenges is how many challenge ACKs may be sent yet in the second challengeSecond.
	challenges      int
	challengeSecond time.Duration
}

// maxChallenges is how many challenge ACKs all connections together send in a second (RFC 5961
// section 7). Half of it is random, so that nobody can count the rest to learn what others do
// (CVE-2016-5696).
const maxChallenges = 1000

// New makes the protocol for a stack's configuration.
func New(s *stack.Stack) stack.TransportProtocol {
	return &Protocol{stack: s, clock: s.Clock()}
}

// Number implements stack.TransportProtocol.
func (p *Protocol) Number() uint8 { return header.ProtocolTCP }

// ParsePorts implements stack.TransportProtocol.
func (p *Protocol) ParsePorts(pkt *buffer.Packet) (src, dst uint16, ok bool) {
	b, ok := pkt.Peek(4)
	if !ok {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
}

// accept counts a packet and checks its sum. false: it is bad and was released.
func (p *Protocol) accept(pkt *buffer.Packet) bool {
	stats := &p.stack.Stats().TCP
	stats.InSegs.Inc()
	if !checksumOK(pkt) {
		stats.InCsumErrors.Inc()
		stats.InErrs.Inc()
		pkt.Release()
		return false
	}
	return true
}

// HandleUnknown implements stack.TransportProtocol: a segment for no connection is answered with
// a RST (RFC 9293 section 3.10.7.1).
func (p *Protocol) HandleUnknown(id stack.TransportID, pkt *buffer.Packet) {
	if !p.accept(pkt) {
		return
	}
	var s segment
	if s.parse(pkt) && pkt.Local == pkt.Destination {
		p.replyReset(nil, &id, &s)
	}
	pkt.Release()
}

// replyReset answers s with a RST (RFC 9293 section 3.5.2), unless it is one. route of nil is
// looked for.
func (p *Protocol) replyReset(route *stack.Route, id *stack.TransportID, s *segment) {
	if s.flags&flagRst != 0 {
		return
	}
	f := header.TCPFields{Flags: flagRst}
	if s.flags&flagAck != 0 {
		f.Sequence = s.ack
	} else {
		f.Flags |= flagAck
		f.Acknowledgment = s.end()
	}
	p.stack.Stats().TCP.OutRsts.Inc()
	p.reply(route, id, s.pkt.NIC, &f, &header.TCPOptions{}, stack.NetworkParams{})
}

// reply sends a segment without data that belongs to no endpoint.
func (p *Protocol) reply(route *stack.Route, id *stack.TransportID, nic tcpip.NICID, f *header.TCPFields, o *header.TCPOptions, params stack.NetworkParams) {
	if route == nil || !route.Valid() {
		q := stack.RouteQuery{Destination: id.RemoteAddr, Source: id.LocalAddr, AnySource: true}
		if id.RemoteAddr.Is6() && id.RemoteAddr.IsLinkLocalUnicast() {
			q.NIC = nic
		}
		r, err := p.stack.FindRoute(q)
		if err != nil {
			return
		}
		route = r
	}
	f.SourcePort, f.DestinationPort = id.LocalPort, id.RemotePort
	f.HeaderLength = header.TCPMinimumSize + o.Length()
	params.Transport = header.ProtocolTCP
	params.DontFragment = true
	pkt := buffer.New()
	encode(pkt, f, o, id.LocalAddr, id.RemoteAddr, 0)
	p.stack.Stats().TCP.OutSegs.Inc()
	_ = route.WritePacket(params, pkt) // lost as any packet may be
}

// replyTimeWait acknowledges for a connection in TIME-WAIT.
func (p *Protocol) replyTimeWait(t *timeWait, id *stack.TransportID, now time.Duration) {
	f := header.TCPFields{Flags: flagAck, Sequence: t.sndNxt, Acknowledgment: t.rcvNxt, Window: t.window}
	var o header.TCPOptions
	if t.tsOK {
		o.HasTimestamp, o.TSVal, o.TSEcr = true, uint32(now/timestampUnit)+t.tsOffset, t.tsRecent
	}
	p.reply(t.route, id, 0, &f, &o, t.params)
}

// Purposes of stack.Hash.
const (
	hashSequence  = 0x7463702d69736e00
	hashTimestamp = 0x7463702d74730000
	hashCookie    = 0x7463702d636f6f6b
)

// hashID is a keyed hash of addresses, and of ports unless they are left out, and of more bytes.
func (p *Protocol) hashID(purpose uint64, id *stack.TransportID, ports bool, more ...uint32) uint64 {
	var b [52]byte
	l, r := id.LocalAddr.As16(), id.RemoteAddr.As16()
	copy(b[:], l[:])
	copy(b[16:], r[:])
	if ports {
		binary.BigEndian.PutUint16(b[32:], id.LocalPort)
		binary.BigEndian.PutUint16(b[34:], id.RemotePort)
	}
	for i, x := range more {
		binary.BigEndian.PutUint32(b[36+4*i:], x)
	}
	return p.stack.Hash(purpose, b[:])
}

// initialSequence is where a connection's numbers begin (RFC 6528 section 3).
func (p *Protocol) initialSequence(id *stack.TransportID) uint32 {
	m := uint32(p.clock.Monotonic() / (4 * time.Microsecond))
	return m + uint32(p.hashID(hashSequence, id, true))
}

// timestampOffset is what the timestamps of connections between two hosts begin with. It is the
// same for all ports, so that timestamps rise from one connection to the next (RFC 6191).
func (p *Protocol) timestampOffset(id *stack.TransportID) uint32 {
	return uint32(p.hashID(hashTimestamp, id, false))
}

// mayChallenge counts a challenge ACK.
func (p *Protocol) mayChallenge(now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := now.Truncate(time.Second); p.challenges == 0 && s != p.challengeSecond || s > p.challengeSecond {
		p.challengeSecond = s
		p.challenges = maxChallenges/2 + int(p.stack.Random()%maxChallenges)
	}
	if p.challenges <= 0 {
		return false
	}
	p.challenges--
	return true
}

// add and remove keep the list of endpoints.
func (p *Protocol) add(e *Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.prev = p.last
	if p.last != nil {
		p.last.next = e
	} else {
		p.first = e
	}
	p.last = e
	e.listed = true
}

func (p *Protocol) remove(e *Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !e.listed {
		return
	}
	e.listed = false
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		p.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		p.last = e.prev
	}
	e.prev, e.next = nil, nil
}

// endpoints is a copy of the list.
func (p *Protocol) endpoints() []*Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*Endpoint
	for e := p.first; e != nil; e = e.next {
		all = append(all, e)
	}
	return all
}

// Close implements stack.TransportProtocol: connections are reset, sockets or not.
func (p *Protocol) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, e := range p.endpoints() {
		e.Abort()
	}
	w := &p.timeWaits
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for w.first != nil {
		p.endTimeWait(w.first)
	}
	if w.timer != nil {
		w.timer.Stop()
	}
}

// Resume sets the timers again after a restore, when the clock goes on from where it was saved.
func (p *Protocol) Resume() {
	for _, e := range p.endpoints() {
		e.lock()
		e.timers.resume()
		e.unlock()
	}
	w := &p.timeWaits
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer, w.armed = nil, false
	p.armTimeWait(p.clock.Monotonic())
}

// findRoute looks for a way to remote, as the socket's options have it.
func (e *Endpoint) findRoute(remote, source netip.Addr, nic tcpip.NICID) (*stack.Route, error) {
	return e.stack.FindRoute(stack.RouteQuery{
		Destination: remote,
		Source:      source,
		NIC:         nic,
		Mark:        e.opts.Mark.Load(),
		TOS:         uint8(e.opts.TOS.Load()),
		AnySource:   e.opts.FreeBind.Load() || e.opts.Transparent.Load(),
		DontRoute:   e.opts.DontRoute.Load(),
	})
}

// checkRoute makes sure that the route is up to date. false: there is none now.
func (e *Endpoint) checkRoute() bool {
	if e.route == nil {
		return false
	}
	if e.route.Valid() {
		return true
	}
	nic := tcpip.NICID(0)
	if e.conn != nil {
		nic = e.conn.binding.NIC
	}
	r, err := e.findRoute(e.id.RemoteAddr, e.id.LocalAddr, nic)
	if err != nil {
		if errno, ok := err.(unix.Errno); ok {
			e.softErr = errno
		}
		return false
	}
	e.route = r
	e.syncMTU()
	return true
}

// reserve takes a local port for Bind.
func (e *Endpoint) reserve(addr netip.Addr, nic tcpip.NICID, number uint16) (*stack.PortRequest, unix.Errno) {
	v4, v6 := e.versions(addr)
	r := &stack.PortRequest{
		Transport: header.ProtocolTCP, V4: v4, V6: v6, Addr: addr, NIC: nic, Port: number,
		ReuseAddress: e.opts.ReuseAddress.Load(), ReusePort: e.opts.ReusePort.Load(), User: e.user,
	}
	if err := e.stack.ReservePort(r); err != nil {
		return nil, unix.EADDRINUSE
	}
	return r, 0
}

// bindConnection takes a port for e.id if there is none yet, and makes the connection find
// packets.
func (e *Endpoint) bindConnection(nic tcpip.NICID) (*conn, unix.Errno) {
	c := &conn{proto: e.proto}
	c.ep.Store(e)
	v6 := e.id.RemoteAddr.Is6()
	c.binding = stack.Binding{
		Transport: header.ProtocolTCP, V4: !v6, V6: v6, ID: e.id, NIC: nic, Endpoint: c,
	}
	if e.isBound {
		e.id.LocalPort = e.bound.Port
		c.binding.ID = e.id
		if errno := e.proto.register(c); errno != 0 {
			return nil, errno
		}
		return c, 0
	}
	r := &stack.PortRequest{Transport: header.ProtocolTCP, V4: !v6, V6: v6, Addr: e.id.LocalAddr, NIC: nic}
	usable := func(port uint16) bool {
		b := c.binding
		b.ID.LocalPort = port
		old := e.proto.find(&b)
		if old == nil {
			return true
		}
		_, ok := e.proto.reusable(old)
		return ok
	}
	for range 8 {
		// Between the choice and the registration somebody may take the numbers.
		err := e.stack.ReserveConnectPort(r, netip.AddrPortFrom(e.id.RemoteAddr, e.id.RemotePort), e.id.LocalAddr, usable)
		if err != nil {
			return nil, unix.EADDRNOTAVAIL
		}
		e.id.LocalPort = r.Port
		c.binding.ID = e.id
		if errno := e.proto.register(c); errno == 0 {
			e.port = r
			return c, 0
		}
		e.stack.ReleasePort(r)
		r.Port = 0
	}
	return nil, unix.EADDRNOTAVAIL
}

// checksumPlace is where the checksum is in the header.
const checksumPlace = 16

// encode puts the header in front of pkt's n bytes of data.
func encode(pkt *buffer.Packet, f *header.TCPFields, o *header.TCPOptions, local, remote netip.Addr, n int) {
	h := header.TCP(pkt.Push(f.HeaderLength))
	h.Encode(*f)
	o.Encode(h[header.TCPMinimumSize:])
	pkt.TransportHeader = h
	sum := checksum.PseudoHeader(header.ProtocolTCP, local, remote, uint32(f.HeaderLength+n))
	h.SetChecksumField(checksum.Fold(sum))
	pkt.Checksum, pkt.ChecksumOffset = buffer.ChecksumPartial, checksumPlace
}
