package tcp

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// Endpoint is one TCP socket: fresh, a listener, or one end of a connection.
type Endpoint struct {
	stack *stack.Stack
	proto *Protocol
	clock tcpip.Clock
	v6    bool // an AF_INET6 socket

	opts  tcpip.SocketOptions
	queue waiter.Queue

	// sendMu and receiveMu serialize the user's sends and receives, copying included.
	sendMu, receiveMu sync.Mutex

	backlog backlog

	prev, next *Endpoint // the protocol's list, with listed guarded by Protocol.mu
	listed     bool

	mu sync.Mutex // guards the fields below; taken by lock

	now      time.Duration // the monotonic clock when mu was taken
	events   waiter.EventMask
	deferred *stack.Route // where to flush after the unlock

	state State
	cfg   config
	// err is the pending error (SO_ERROR); softErr what ICMP said of a connection that goes
	// on, the reason that is given if it times out (RFC 1122 section 4.2.3.9).
	err, softErr unix.Errno
	shut         tcpip.ShutdownFlags
	// connecting: Connect began and nobody was told of the result yet. connected: it was, or
	// the connection was accepted. finished: the stream ended (SOCK_DONE).
	connecting, connected, finished bool
	// closed: the socket is gone, the connection ends by itself (an orphan).
	closed  bool
	passive bool // the peer opened
	// finWanted: the stream ended while our SYN was not acknowledged.
	finWanted bool

	bound    tcpip.FullAddress // what Bind was given, unmapped
	isBound  bool
	user     uint32 // who may share ports (SetUser)
	port     *stack.PortRequest
	conn     *conn
	id       stack.TransportID // of a connection
	route    *stack.Route
	listener *listener // in StateListen

	timers timers
	snd    sendState
	sendQ  sendQueue
	sent   sentQueue
	rcv    receiveState
	recvQ  receiveQueue
	ooo    outOfOrderQueue
	ack    ackState
	urg    urgentState
	rtt    rttState
	rec    recoveryState
	rack   rackState
	tlp    tailLossState
	cong   congestion
	cc     congestionControl
	keep   keepAliveState
	ecn    ecnState
	ts     timestampState
	sack   sackState
	tune   tuneState
	count  counts
	rate   rateState

	// mss is how much data a full segment carries now: options and path MTU are deducted.
	// peerMSS is what the peer's SYN said, advMSS what ours did.
	mss, peerMSS, advMSS int
	maxWindowMSS         int // mss, bounded by half of the largest window the peer offered
	blackHoleMSS         int // 0: the path MTU is believed
	pathMTU              uint32
	sackOK               bool
	scratch              []buffer.View // for handleData
	ipOptions            []byte        // IPOptions4 as of the last look
	copiedSeq            uint32        // the next byte that the application reads
}

// NewEndpoint makes a socket of a stack that has TCP; v6: of AF_INET6, which handles IPv4 too
// unless V6Only is set.
func NewEndpoint(s *stack.Stack, v6 bool) *Endpoint {
	p := s.TransportProtocol(header.ProtocolTCP).(*Protocol)
	return p.newEndpoint(v6)
}

func (p *Protocol) newEndpoint(v6 bool) *Endpoint {
	e := &Endpoint{stack: p.stack, proto: p, clock: p.clock, v6: v6, state: StateClosed}
	settings := p.stack.Settings()
	e.opts.Init(settings.TCPReceive[1].Load(), settings.TCPSend[1].Load())
	e.opts.V6Only.Store(v6 && settings.IPv6BindV6Only.Load())
	e.timers.endpoint = e
	p.add(e)
	return e
}

// V6 says whether the socket is of AF_INET6.
func (e *Endpoint) V6() bool { return e.v6 }

// SetUser says whose socket it is: only sockets of one user share ports (SO_REUSEPORT). It has to
// be called before Bind.
func (e *Endpoint) SetUser(uid uint32) {
	e.look()
	e.user = uid
	e.unlock()
}

// ReuseChanged tells that SO_REUSEADDR or SO_REUSEPORT was set: they count as they are when another
// socket is bound.
func (e *Endpoint) ReuseChanged() {
	e.look()
	defer e.unlock()
	if e.port != nil {
		e.stack.SetReuse(e.port, e.opts.ReuseAddress.Load(), e.opts.ReusePort.Load())
	}
}

// State is the connection's state. A connection in TIME-WAIT is StateClosed for its socket, as
// in Linux.
func (e *Endpoint) State() State {
	e.look()
	defer e.unlock()
	return e.state
}

// Options implements tcpip.Endpoint.
func (e *Endpoint) Options() *tcpip.SocketOptions { return &e.opts }

// EventRegister implements waiter.Waitable.
func (e *Endpoint) EventRegister(w *waiter.Entry) error { return e.queue.EventRegister(w) }

// EventUnregister implements waiter.Waitable.
func (e *Endpoint) EventUnregister(w *waiter.Entry) { e.queue.EventUnregister(w) }

// Readiness implements waiter.Waitable, as Linux answers poll(2) for TCP. A socket that was never
// connected is writable and hung up.
func (e *Endpoint) Readiness(mask waiter.EventMask) waiter.EventMask {
	e.look()
	defer e.unlock()
	return e.readiness() & mask
}

func (e *Endpoint) readiness() waiter.EventMask {
	const (
		in  = waiter.EventIn | waiter.EventRdNorm
		out = waiter.EventOut | waiter.EventWrNorm
	)
	if e.state == StateListen {
		if e.listener.ready() {
			return in
		}
		return 0
	}
	var m waiter.EventMask
	if e.shut == tcpip.ShutdownRead|tcpip.ShutdownWrite || e.state == StateClosed {
		m |= waiter.EventHUp
	}
	if e.shut&tcpip.ShutdownRead != 0 {
		m |= in | waiter.EventRdHUp
	}
	if e.state != StateSynSent && e.state != StateSynReceived {
		if e.readable() {
			m |= in
		}
		if e.shut&tcpip.ShutdownWrite != 0 || e.writable() {
			m |= out
		} else {
			e.snd.noSpace = true
		}
		if e.urg.state == urgentValid {
			m |= waiter.EventPri
		}
	}
	if e.err != 0 {
		m |= waiter.EventErr
	}
	return m
}

// readable says whether as much is there as SO_RCVLOWAT asks for.
func (e *Endpoint) readable() bool {
	avail := int(e.rcv.nxt - e.copiedSeq)
	if avail <= 0 || e.recvQ.len() == 0 {
		return false
	}
	want := max(int(e.opts.ReceiveLow.Load()), 1)
	if e.urg.state != urgentNone && e.urg.seq == e.copiedSeq && !e.opts.OutOfBandInline.Load() {
		want++ // the urgent byte is not read in line
	}
	if avail >= want {
		return true
	}
	// Nothing more will come, or nothing more fits.
	return e.shut&tcpip.ShutdownRead != 0 || want > 1 && e.recvQ.memory*4 >= e.receiveBuffer()*3
}

// writable is Linux's sk_stream_is_writeable: a third of the buffer is free, and not more than
// TCP_NOTSENT_LOWAT waits to be sent.
func (e *Endpoint) writable() bool {
	used := e.sendMemory()
	return e.sendBuffer()-used >= used/2 && (e.cfg.notSentLow == 0 || uint32(e.unsent()) < e.cfg.notSentLow)
}

// notify makes waiters hear of mask after the unlock.
func (e *Endpoint) notify(mask waiter.EventMask) { e.events |= mask }

// notifyWritable tells waiters for room, if there was none and there is now.
func (e *Endpoint) notifyWritable() {
	if e.snd.noSpace && e.writable() {
		e.snd.noSpace = false
		e.notify(waiter.EventOut | waiter.EventWrNorm)
	}
}

const everyEvent = waiter.EventIn | waiter.EventRdNorm | waiter.EventOut | waiter.EventWrNorm |
	waiter.EventHUp | waiter.EventRdHUp | waiter.EventErr

// TakeError implements tcpip.Endpoint.
func (e *Endpoint) TakeError() error {
	e.look()
	defer e.unlock()
	if err := e.takeError(); err != 0 {
		return err
	}
	return nil
}

func (e *Endpoint) takeError() unix.Errno {
	err := e.err
	e.err = 0
	return err
}

// family checks that the endpoint can have addresses of a's family.
func (e *Endpoint) family(a netip.Addr) unix.Errno {
	switch {
	case a.Is4() && (!e.v6 || !e.opts.V6Only.Load()):
		return 0
	case a.Is4() || !e.v6:
		// An IPv6 socket of its own family only has no way to IPv4; an IPv4 socket does not
		// know the other family at all.
		if e.v6 {
			return unix.ENETUNREACH
		}
		return unix.EAFNOSUPPORT
	}
	return 0
}

// Bind implements tcpip.Endpoint. EINVAL: it is bound, or has a state; EADDRNOTAVAIL: not an
// address of this host; EADDRINUSE; ENODEV: a link-local address needs its interface.
func (e *Endpoint) Bind(addr tcpip.FullAddress) error {
	e.lock()
	defer e.unlock()
	if e.state != StateClosed || e.isBound {
		return unix.EINVAL
	}
	if addr.Addr.IsValid() && addr.Addr.IsUnspecified() {
		// 0.0.0.0 of an IPv6 socket is not ::, which takes both.
		if !e.v6 || addr.Addr.Is6() {
			addr.Addr = netip.Addr{}
		}
	}
	if addr.Addr.IsValid() {
		if errno := e.family(addr.Addr); errno != 0 {
			if errno == unix.ENETUNREACH {
				errno = unix.EINVAL
			}
			return errno
		}
	}
	nic := tcpip.NICID(e.opts.Device.Load())
	if addr.Addr.IsValid() && !addr.Addr.IsUnspecified() {
		if addr.Addr.Is6() && addr.Addr.IsLinkLocalUnicast() {
			if addr.NIC != 0 {
				nic = addr.NIC
			}
			if nic == 0 {
				return unix.EINVAL
			}
		}
		if !e.stack.IsLocal(nic, addr.Addr) && !e.opts.FreeBind.Load() && !e.opts.Transparent.Load() &&
			!e.stack.Settings().IPNonlocalBind.Load() {
			return unix.EADDRNOTAVAIL
		}
	}
	p, errno := e.reserve(addr.Addr, nic, addr.Port)
	if errno != 0 {
		return errno
	}
	e.port = p
	e.isBound = true
	e.bound = tcpip.FullAddress{NIC: nic, Addr: addr.Addr, Port: p.Port}
	return nil
}

// versions says which versions of IP the endpoint takes for a local address.
func (e *Endpoint) versions(local netip.Addr) (v4, v6 bool) {
	if local.IsValid() {
		return local.Is4(), local.Is6()
	}
	return !e.v6 || !e.opts.V6Only.Load(), e.v6
}

// LocalAddress implements tcpip.Endpoint.
func (e *Endpoint) LocalAddress() tcpip.FullAddress {
	e.look()
	defer e.unlock()
	return e.localAddress()
}

func (e *Endpoint) localAddress() tcpip.FullAddress {
	if e.id.LocalPort != 0 {
		a := tcpip.FullAddress{Addr: e.id.LocalAddr, Port: e.id.LocalPort}
		if a.Addr.IsLinkLocalUnicast() && e.route != nil {
			a.NIC = e.route.NIC.ID()
		}
		return a
	}
	return e.bound
}

// RemoteAddress implements tcpip.Endpoint.
func (e *Endpoint) RemoteAddress() (tcpip.FullAddress, error) {
	e.look()
	defer e.unlock()
	if e.id.RemotePort == 0 || e.state.in(StateClosed, StateSynSent) {
		return tcpip.FullAddress{}, unix.ENOTCONN
	}
	return e.remoteAddress(), nil
}

func (e *Endpoint) remoteAddress() tcpip.FullAddress {
	a := tcpip.FullAddress{Addr: e.id.RemoteAddr, Port: e.id.RemotePort}
	if a.Addr.IsLinkLocalUnicast() && e.route != nil {
		a.NIC = e.route.NIC.ID()
	}
	return a
}

// ReceiveQueued implements tcpip.Endpoint. Of a listener, which has no bytes, it is 0.
func (e *Endpoint) ReceiveQueued() int {
	e.look()
	defer e.unlock()
	if e.state.in(StateListen, StateSynSent, StateSynReceived) {
		return 0
	}
	n := e.recvQ.len()
	if n > 0 && e.urg.state != urgentNone && !e.opts.OutOfBandInline.Load() {
		// Up to the mark, which reading does not pass at once.
		if d := e.urg.seq - e.copiedSeq; d > 0 && int(d) < n {
			return int(d)
		} else if d == 0 {
			return n - 1
		}
	}
	return n
}

// SendQueued implements tcpip.Endpoint: bytes that the peer has not acknowledged.
func (e *Endpoint) SendQueued() int {
	e.look()
	defer e.unlock()
	if e.state.in(StateListen, StateSynSent, StateSynReceived) {
		return 0
	}
	return e.sendQ.len()
}

// unsent is how many bytes of the send queue were not sent yet.
func (e *Endpoint) unsent() int {
	if e.sendQ.len() == 0 {
		return 0
	}
	return max(int(int32(e.sendQ.end()-e.snd.nxt)), 0)
}

func (e *Endpoint) receiveBuffer() int { return int(e.opts.ReceiveBuffer.Load()) }
func (e *Endpoint) sendBuffer() int    { return int(e.opts.SendBuffer.Load()) }

// sendMemory is what counts against the send buffer: bytes, and what describes those in flight.
func (e *Endpoint) sendMemory() int { return e.sendQ.len() + e.sent.memory() }
