package packet

import (
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/internal/datagram"
	"runsc/pkg/waiter"
)

// EtherTypeAll is ETH_P_ALL: frames of all types, outgoing ones too.
const EtherTypeAll = 3

// packetOutgoing is PACKET_OUTGOING.
const packetOutgoing = 4

// Bits of tcpip.PacketAuxdata.Status (TP_STATUS_*).
const (
	StatusUser             = 1 << 0
	StatusCopy             = 1 << 1
	StatusLosing           = 1 << 2
	StatusChecksumNotReady = 1 << 3
	StatusChecksumValid    = 1 << 7
)

// MembershipKind is PACKET_MR_*: what an interface is to let through.
type MembershipKind uint16

// The kinds.
const (
	MembershipMulticast   MembershipKind = 0
	MembershipPromiscuous MembershipKind = 1
	MembershipAllMulti    MembershipKind = 2
	MembershipUnicast     MembershipKind = 3
)

// Membership is one of packet(7)'s memberships.
type Membership struct {
	NIC  tcpip.NICID
	Kind MembershipKind
	// Address is for MembershipMulticast and MembershipUnicast.
	Address tcpip.LinkAddress
}

// Statistics are PACKET_STATISTICS: frames that came, those that were dropped included, and those.
type Statistics struct{ Packets, Drops uint32 }

// Endpoint is a packet socket. It implements tcpip.Endpoint and stack.PacketEndpoint.
type Endpoint struct {
	waiter.Queue

	stack  *stack.Stack
	cooked bool
	opts   tcpip.SocketOptions
	rx     datagram.Queue

	ignoreOutgoing atomic.Bool
	// packets counts since Statistics was called last; drops is rx.Drops of then.
	packets, drops atomic.Uint32

	mu sync.Mutex // guards the fields below
	// nic of 0 is any; etherType of 0: nothing is received.
	nic       tcpip.NICID
	etherType uint16
	// down: the interface that the socket is bound to is, and the socket was told.
	down     bool
	observes bool
	members  []membership
	closed   bool
}

type membership struct {
	Membership
	count int
}

var (
	_ stack.Observer       = (*Endpoint)(nil)
	_ tcpip.Endpoint       = (*Endpoint)(nil)
	_ stack.PacketEndpoint = (*Endpoint)(nil)
)

// NewEndpoint makes a packet socket, of SOCK_DGRAM if cooked, that receives frames of etherType of all
// interfaces; 0: none, until it is bound.
func NewEndpoint(s *stack.Stack, cooked bool, etherType uint16) *Endpoint {
	e := &Endpoint{stack: s, cooked: cooked, etherType: etherType}
	set := s.Settings()
	e.opts.Init(set.ReceiveDefault.Load(), set.SendDefault.Load())
	if etherType != 0 {
		s.RegisterPacket(0, etherType, e)
	}
	return e
}

// Options implements tcpip.Endpoint.
func (e *Endpoint) Options() *tcpip.SocketOptions { return &e.opts }

// Close implements tcpip.Endpoint. It may be called twice.
func (e *Endpoint) Close() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	if e.etherType != 0 {
		e.stack.UnregisterPacket(e.nic, e.etherType, e)
	}
	for _, m := range e.members {
		e.apply(m.Membership, false)
	}
	e.members = nil
	observes := e.observes
	e.mu.Unlock()
	if observes {
		e.stack.RemoveObserver(e)
	}
	e.rx.Close()
}

// Abort implements tcpip.Endpoint.
func (e *Endpoint) Abort() { e.Close() }

// Bind implements tcpip.Endpoint: frames of the address's interface (0: any) and type are received from
// now on; a type of 0 leaves it as it is. ENODEV. If the interface is down, ENETDOWN is the pending
// error.
func (e *Endpoint) Bind(addr tcpip.FullAddress) error {
	var nic *stack.NIC
	if addr.NIC != 0 {
		if nic = e.stack.NIC(addr.NIC); nic == nil {
			return unix.ENODEV
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return unix.EINVAL
	}
	etherType := addr.Protocol
	if etherType == 0 {
		etherType = e.etherType
	}
	if e.nic != addr.NIC || e.etherType != etherType {
		if e.etherType != 0 {
			e.stack.UnregisterPacket(e.nic, e.etherType, e)
		}
		e.nic, e.etherType = addr.NIC, etherType
		if etherType != 0 {
			e.stack.RegisterPacket(e.nic, etherType, e)
		}
	}
	e.down = nic != nil && !nic.Up()
	if e.down {
		e.netDown()
	}
	if nic != nil && !e.observes {
		e.observes = true
		e.stack.AddObserver(e)
	}
	return nil
}

func (e *Endpoint) netDown() {
	e.rx.SetPending(unix.ENETDOWN)
	e.Notify(waiter.EventErr | waiter.EventIn | waiter.EventRdNorm)
}

// StackChanged implements stack.Observer: who is bound to an interface hears when it goes down or
// away.
func (e *Endpoint) StackChanged(c stack.Change) {
	if c.NIC == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || c.NIC.ID() != e.nic {
		return
	}
	down := c.Removed || !c.NIC.Up()
	if down && !e.down {
		e.netDown()
	}
	e.down = down
}

// SetDevice is SO_BINDTODEVICE, which is Bind to the interface. ENODEV.
func (e *Endpoint) SetDevice(nic tcpip.NICID) error {
	if err := e.Bind(tcpip.FullAddress{NIC: nic}); err != nil {
		return err
	}
	e.opts.Device.Store(int32(nic))
	return nil
}

// LocalAddress implements tcpip.Endpoint.
func (e *Endpoint) LocalAddress() tcpip.FullAddress {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := tcpip.FullAddress{NIC: e.nic, Protocol: e.etherType}
	if nic := e.stack.NIC(e.nic); nic != nil {
		a.Link = nic.Link().LinkAddress()
	}
	return a
}

// RemoteAddress implements tcpip.Endpoint: EOPNOTSUPP, as Connect, Listen, Accept and Shutdown.
func (e *Endpoint) RemoteAddress() (tcpip.FullAddress, error) {
	return tcpip.FullAddress{}, unix.EOPNOTSUPP
}

// Connect implements tcpip.Endpoint.
func (e *Endpoint) Connect(tcpip.FullAddress) error { return unix.EOPNOTSUPP }

// Listen implements tcpip.Endpoint.
func (e *Endpoint) Listen(int) error { return unix.EOPNOTSUPP }

// Accept implements tcpip.Endpoint.
func (e *Endpoint) Accept() (tcpip.Endpoint, tcpip.FullAddress, error) {
	return nil, tcpip.FullAddress{}, unix.EOPNOTSUPP
}

// Shutdown implements tcpip.Endpoint.
func (e *Endpoint) Shutdown(tcpip.ShutdownFlags) error { return unix.EOPNOTSUPP }

// Readiness implements waiter.Waitable.
func (e *Endpoint) Readiness(mask waiter.EventMask) waiter.EventMask {
	ready := waiter.EventOut | waiter.EventWrNorm | waiter.EventWrBand
	if e.rx.Failed() {
		ready |= waiter.EventErr
	}
	if e.rx.Len() > 0 {
		ready |= waiter.EventIn | waiter.EventRdNorm
	}
	return ready & mask
}

// TakeError implements tcpip.Endpoint.
func (e *Endpoint) TakeError() error { return e.rx.TakePending() }

// ReceiveQueued implements tcpip.Endpoint.
func (e *Endpoint) ReceiveQueued() int { return e.rx.NextLen() }

// SendQueued implements tcpip.Endpoint: what was sent is the link's.
func (e *Endpoint) SendQueued() int { return 0 }

// SetIgnoreOutgoing is PACKET_IGNORE_OUTGOING.
func (e *Endpoint) SetIgnoreOutgoing(on bool) { e.ignoreOutgoing.Store(on) }

// IgnoreOutgoing is what SetIgnoreOutgoing set.
func (e *Endpoint) IgnoreOutgoing() bool { return e.ignoreOutgoing.Load() }

// Drops is SO_RXQ_OVFL's count.
func (e *Endpoint) Drops() uint32 { return e.rx.Drops() }

// TakeStatistics returns the counts since it was called last.
func (e *Endpoint) TakeStatistics() Statistics {
	drops := e.rx.Drops()
	return Statistics{Packets: e.packets.Swap(0), Drops: drops - e.drops.Swap(drops)}
}

// AddMembership is PACKET_ADD_MEMBERSHIP. Memberships are counted. ENODEV.
func (e *Endpoint) AddMembership(m Membership) error {
	if e.stack.NIC(m.NIC) == nil {
		return unix.ENODEV
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return unix.EINVAL
	}
	if i := e.member(m); i >= 0 {
		e.members[i].count++
		return nil
	}
	if len(e.members) >= maxMemberships {
		return unix.ENOBUFS
	}
	e.members = append(e.members, membership{m, 1})
	e.apply(m, true)
	return nil
}

// maxMemberships bounds the memberships of a socket.
const maxMemberships = 256

// DropMembership is PACKET_DROP_MEMBERSHIP, without an error if there is none, as in Linux.
func (e *Endpoint) DropMembership(m Membership) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.member(m)
	if i < 0 {
		return nil
	}
	if e.members[i].count--; e.members[i].count == 0 {
		e.members = slices.Delete(e.members, i, i+1)
		e.apply(m, false)
	}
	return nil
}

func (e *Endpoint) member(m Membership) int {
	return slices.IndexFunc(e.members, func(x membership) bool { return x.Membership == m })
}

// apply tells the interface, if it is still there. It has no lists of link addresses, so one more
// group is all groups, one more address all addresses.
func (e *Endpoint) apply(m Membership, on bool) {
	nic := e.stack.NIC(m.NIC)
	if nic == nil {
		return
	}
	switch m.Kind {
	case MembershipPromiscuous, MembershipUnicast:
		nic.SetPromiscuous(on)
	case MembershipMulticast, MembershipAllMulti:
		nic.SetAllMulticast(on)
	}
}

// HandleFrame implements stack.PacketEndpoint.
func (e *Endpoint) HandleFrame(id tcpip.NICID, pkt *buffer.Packet) {
	nic := e.stack.NIC(id)
	if nic == nil || pkt.PacketType == packetOutgoing && e.ignoreOutgoing.Load() {
		pkt.Release()
		return
	}
	if !e.cooked && !showHeader(nic, pkt) {
		pkt.Release()
		return
	}
	it := datagram.Item{Length: uint32(pkt.Len())}
	if f := e.opts.Filter.Load(); f != nil && !datagram.Filter(f, pkt, 0) {
		pkt.Release()
		return
	}
	if e.opts.Timestamps.Load() && pkt.Time.IsZero() {
		pkt.Time = e.stack.Clock().Now()
	}
	it.Packet = pkt
	e.packets.Add(1)
	if e.rx.Push(it, e.opts.ReceiveBuffer.Load()) {
		e.Notify(waiter.EventIn | waiter.EventRdNorm)
	}
}

// showHeader makes the packet begin with its link header. false: there is no room for it.
func showHeader(nic *stack.NIC, pkt *buffer.Packet) bool {
	if n := len(pkt.LinkHeader); n > 0 && n <= pkt.Consumed() {
		pkt.Unconsume(n)
		return true
	}
	n := nic.FrameHeader()
	if n == 0 {
		return true
	}
	if pkt.Consumed() != 0 || pkt.PushRoom() < n {
		return false
	}
	header.Ethernet(pkt.Push(n)).Encode(header.EthernetFields{Type: pkt.EtherType})
	return true
}

// Receive implements tcpip.Endpoint. EINVAL: MSG_OOB.
func (e *Endpoint) Receive(dst tcpip.Sink, o tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	var r tcpip.ReceiveResult
	if o.OutOfBand {
		return r, unix.EINVAL
	}
	if o.ErrorQueue {
		return r, unix.EAGAIN
	}
	if err := e.rx.TakePending(); err != nil {
		return r, err
	}
	it, offset, ok := e.rx.Next(&o)
	if !ok {
		return r, unix.EAGAIN
	}
	p := it.Packet
	defer p.Release()
	r.MessageLen = p.Len()
	n, err := p.WriteTo(dst, offset, r.MessageLen)
	if err != nil {
		return r, err
	}
	r.N = n
	it.Describe(&r)
	e.describe(&it, &r)
	return r, nil
}

// describe fills in the sender and PACKET_AUXDATA.
func (e *Endpoint) describe(it *datagram.Item, r *tcpip.ReceiveResult) {
	p, a := it.Packet, &r.Control.Auxdata
	r.From = tcpip.FullAddress{NIC: p.NIC, Link: p.LinkSource, Protocol: p.EtherType, PacketType: p.PacketType}
	r.Control.HasPacketInfo, r.Control.IPOptions = false, nil
	a.Status, a.Length, a.Captured = StatusUser, it.Length, uint32(p.Len())
	switch p.Checksum {
	case buffer.ChecksumPartial:
		a.Status |= StatusChecksumNotReady
	case buffer.ChecksumVerified:
		a.Status |= StatusChecksumValid
	}
	if nic := e.stack.NIC(p.NIC); nic != nil && !e.cooked {
		a.Network = uint16(nic.FrameHeader())
	}
}

// Send implements tcpip.Endpoint. Without an address, a frame goes to the interface that the socket is
// bound to, with its type. ENXIO: no interface; ENETDOWN: it is down; EMSGSIZE: the frame is longer
// than the MTU; EINVAL: shorter than the link header.
func (e *Endpoint) Send(src tcpip.Source, o tcpip.SendOptions) (int, error) {
	to := o.To
	if to == nil {
		e.mu.Lock()
		to = &tcpip.FullAddress{NIC: e.nic, Protocol: e.etherType}
		e.mu.Unlock()
	}
	nic := e.stack.NIC(to.NIC)
	if nic == nil {
		return 0, unix.ENXIO
	}
	if !nic.Up() {
		return 0, unix.ENETDOWN
	}
	n, hdr := src.Len(), nic.FrameHeader()
	most := int(nic.MTU())
	if !e.cooked {
		most += hdr
		if n < hdr {
			return 0, unix.EINVAL
		}
	}
	if n > most {
		return 0, unix.EMSGSIZE
	}
	pkt := buffer.New()
	if err := pkt.Fill(src, n); err != nil {
		pkt.Release()
		return 0, err
	}
	n = pkt.Len()
	if e.cooked && hdr > 0 {
		header.Ethernet(pkt.Push(hdr)).Encode(header.EthernetFields{
			Source: nic.Link().LinkAddress(), Destination: to.Link, Type: to.Protocol,
		})
	}
	pkt.EtherType = to.Protocol
	pkt.Mark, pkt.Priority, pkt.Deferred = e.opts.Mark.Load(), e.opts.Priority.Load(), true
	err := nic.WriteFrame(pkt, e)
	if f, ok := nic.Link().(stack.Flusher); ok {
		f.Flush()
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}
