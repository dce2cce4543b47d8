package inet

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
)

// NoteStamp keeps the time of arrival for SIOCGSTAMP.
func (c *Core) NoteStamp(rc *tcpip.ReceiveControl) {
	if !rc.Timestamp.IsZero() {
		c.extra.lastStamp.Store(rc.Timestamp.UnixNano())
	}
}

// ReceiveSocketControl adds the ancillary data of SOL_SOCKET that was asked for.
func (c *Core) ReceiveSocketControl(m *socket.Message, rc *tcpip.ReceiveControl) {
	if !rc.Timestamp.IsZero() {
		ns := rc.Timestamp.UnixNano()
		if o := c.extra.stamp.Load(); o != 0 {
			m.Control.Timestamp, m.Control.HasTimestamp = ns, int(o)
		}
		const wanted = unix.SOF_TIMESTAMPING_SOFTWARE | softwareStamps
		if c.extra.timestamping.Load()&wanted == wanted {
			var b [48]byte // struct scm_timestamping: software, none, hardware
			binary.NativeEndian.PutUint64(b[:], uint64(ns/1e9))
			binary.NativeEndian.PutUint64(b[8:], uint64(ns%1e9))
			m.Control.AddRaw(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, b[:])
		}
	}
	if rc.Dropped > 0 && c.Option(unix.SO_RXQ_OVFL) {
		m.Control.AddInt(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, int32(rc.Dropped))
	}
}

// receiveStreamControl adds what a stream tells.
func (s *Socket) receiveStreamControl(m *socket.Message, rc *tcpip.ReceiveControl) {
	s.ReceiveSocketControl(m, rc)
	if s.switches.Load()&swInq != 0 {
		m.Control.AddInt(unix.SOL_TCP, unix.TCP_CM_INQ, int32(s.ep.ReceiveQueued()))
	}
}

// receiveControl adds what the socket's options ask for, in the order of Linux.
func (s *Socket) receiveControl(m *socket.Message, rc *tcpip.ReceiveControl) {
	s.ReceiveSocketControl(m, rc)
	if rc.SegmentSize != 0 {
		m.Control.AddInt(unix.SOL_UDP, unix.UDP_GRO, int32(rc.SegmentSize))
	}
	o, c := s.ep.Options(), &m.Control
	if !rc.HasPacketInfo {
		return
	}
	if s.v6() && o.PacketInfo6.Load() {
		var b [sizeofPktinfo6]byte
		a := rc.Destination.As16()
		copy(b[:], a[:])
		binary.NativeEndian.PutUint32(b[16:], uint32(rc.NIC))
		c.AddRaw(unix.SOL_IPV6, unix.IPV6_PKTINFO, b[:])
	}
	if !rc.Destination.Is4() {
		s.receiveControl6(c, rc)
		return
	}
	if o.PacketInfo4.Load() {
		var b [12]byte // struct in_pktinfo
		binary.NativeEndian.PutUint32(b[:], uint32(rc.NIC))
		if rc.LocalAddr.Is4() {
			a := rc.LocalAddr.As4()
			copy(b[4:], a[:])
		}
		a := rc.Destination.As4()
		copy(b[8:], a[:])
		c.AddRaw(unix.SOL_IP, unix.IP_PKTINFO, b[:])
	}
	if o.ReceiveTTL.Load() {
		c.AddInt(unix.SOL_IP, unix.IP_TTL, int32(rc.TTL))
	}
	if o.ReceiveTOS.Load() {
		c.AddRaw(unix.SOL_IP, unix.IP_TOS, []byte{rc.TOS})
	}
	if len(rc.IPOptions) > 0 && o.ReceiveIPOptions.Load() {
		c.AddRaw(unix.SOL_IP, unix.IP_RECVOPTS, rc.IPOptions)
	}
	if o.ReceiveOriginalDestination.Load() {
		var a socket.Addr
		put4(&a, tcpip.FullAddress{Addr: rc.Destination, Port: rc.DestinationPort})
		c.AddRaw(unix.SOL_IP, unix.IP_ORIGDSTADDR, a.Bytes())
	}
}

func (s *Socket) receiveControl6(c *socket.Control, rc *tcpip.ReceiveControl) {
	o := s.ep.Options()
	if o.ReceiveHopLimit.Load() {
		c.AddInt(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, int32(rc.TTL))
	}
	if o.ReceiveTrafficClass.Load() {
		c.AddInt(unix.SOL_IPV6, unix.IPV6_TCLASS, int32(rc.TOS))
	}
	if info := uint32(rc.TOS)<<20 | rc.FlowLabel; info != 0 && o.ReceiveFlowInfo.Load() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], info)
		c.AddRaw(unix.SOL_IPV6, ipv6Flowinfo, b[:])
	}
	if o.ReceiveOriginalDestination.Load() {
		var a socket.Addr
		put6(&a, tcpip.FullAddress{Addr: rc.Destination, Port: rc.DestinationPort, NIC: rc.NIC})
		c.AddRaw(unix.SOL_IPV6, unix.IPV6_ORIGDSTADDR, a.Bytes())
	}
}

// recvError is a receive with MSG_ERRQUEUE: the datagram that an error is about, and struct
// sock_extended_err with the address of who sent the error (ip(7), IP_RECVERR).
func (s *Socket) recvError(ctx context.Context, m *socket.Message) (int, error) {
	res, err := s.ReceiveDatagram(ctx, m.Data, tcpip.ReceiveOptions{ErrorQueue: true, DontWait: true})
	if err != nil {
		return 0, err
	}
	e := &res.Error
	if m.From != nil {
		s.put(m.From, e.Destination)
	}
	s.ReceiveSocketControl(m, &res.Control)
	var b [16 + sizeofSockaddrIn6]byte
	binary.NativeEndian.PutUint32(b[:], e.Errno)
	b[4], b[5], b[6] = e.Origin, e.Type, e.Code
	binary.NativeEndian.PutUint32(b[8:], e.Info)
	var offender socket.Addr
	if e.Offender.IsValid() {
		s.put(&offender, tcpip.FullAddress{Addr: e.Offender})
	}
	n := 16 + sizeofSockaddrIn
	level, typ := int32(unix.SOL_IP), int32(unix.IP_RECVERR)
	if s.v6() {
		n, level, typ = 16+sizeofSockaddrIn6, unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	copy(b[16:], offender.Bytes())
	m.Control.AddRaw(level, typ, b[:n])
	m.OutFlags |= unix.MSG_ERRQUEUE
	return Received(&res, m), nil
}

// socketControl carries out a control message of SOL_SOCKET of a send.
func (c *Core) socketControl(ctx context.Context, r *socket.RawControl) error {
	switch r.Type {
	case unix.SO_MARK:
		if !c.Capable(ctx, unix.CAP_NET_RAW) && !c.Capable(ctx, unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
	case unix.SO_TIMESTAMPING, unix.SO_PRIORITY:
	default:
		return unix.EINVAL
	}
	if len(r.Data) != 4 {
		return unix.EINVAL
	}
	return nil
}

// streamControl checks the control messages of a stream's send.
func (s *Socket) streamControl(ctx context.Context, m *socket.Message) error {
	for i := range m.Control.Raw {
		if r := &m.Control.Raw[i]; r.Level == unix.SOL_SOCKET {
			if err := s.socketControl(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendControl reads the control messages of a datagram's send.
func (s *Socket) sendControl(ctx context.Context, m *socket.Message, opts *tcpip.SendOptions) error {
	v4 := !s.v6()
	if !v4 {
		to, err := tcpip.FullAddress{}, error(nil)
		if opts.To != nil {
			to = *opts.To
		} else {
			to, err = s.ep.RemoteAddress()
		}
		v4 = err == nil && to.Addr.Is4()
	}
	for i := range m.Control.Raw {
		r := &m.Control.Raw[i]
		var err error
		switch {
		case r.Level == unix.SOL_SOCKET:
			err = s.socketControl(ctx, r)
		case r.Level == unix.SOL_UDP && s.kinds() == onUDP:
			if r.Type != unix.UDP_SEGMENT || len(r.Data) != 2 {
				err = unix.EINVAL
			} else {
				opts.Control.SegmentSize = binary.NativeEndian.Uint16(r.Data)
			}
		case r.Level == unix.SOL_IP && v4:
			err = s.sendControl4(r, &opts.Control)
		case r.Level == unix.SOL_IPV6 && v4 && s.v6():
			// Of IPv6's messages, a mapped IPV6_PKTINFO is the only one looked at.
			if r.Type == unix.IPV6_PKTINFO {
				err = s.packetInfo6(r, &opts.Control)
			}
		case r.Level == unix.SOL_IPV6 && !v4:
			err = s.sendControl6(r, &opts.Control)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Socket) sendControl4(r *socket.RawControl, c *tcpip.SendControl) error {
	switch r.Type {
	case unix.IP_RETOPTS:
		return checkIPOptions(r.Data[:min(len(r.Data), maxIPOptions)])
	case unix.IP_PKTINFO:
		if len(r.Data) != 12 {
			return unix.EINVAL
		}
		c.HasPacketInfo = true
		c.NIC = tcpip.NICID(binary.NativeEndian.Uint32(r.Data))
		c.Source = specified(addr4(r.Data[4:]))
	case unix.IP_TTL:
		v, err := exactInt(r.Data)
		if err != nil || v < 1 || v > 255 {
			return unix.EINVAL
		}
		c.HasTTL, c.TTL = true, uint8(v)
	case unix.IP_TOS:
		v := 0
		switch len(r.Data) {
		case 4:
			v = int(int32(binary.NativeEndian.Uint32(r.Data)))
		case 1:
			v = int(r.Data[0])
		default:
			return unix.EINVAL
		}
		if v < 0 || v > 255 {
			return unix.EINVAL
		}
		c.HasTOS, c.TOS = true, uint8(v)
	case unix.IP_PROTOCOL:
		if v, err := exactInt(r.Data); err != nil || v < 1 || v > 255 {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	return nil
}

func (s *Socket) sendControl6(r *socket.RawControl, c *tcpip.SendControl) error {
	switch r.Type {
	case unix.IPV6_PKTINFO:
		return s.packetInfo6(r, c)
	case unix.IPV6_HOPLIMIT:
		v, err := exactInt(r.Data)
		if err != nil || v < -1 || v > 255 {
			return unix.EINVAL
		}
		if v > 0 {
			c.HasTTL, c.TTL = true, uint8(v)
		}
	case unix.IPV6_TCLASS:
		v, err := exactInt(r.Data)
		if err != nil || v < -1 || v > 255 {
			return unix.EINVAL
		}
		if v >= 0 {
			c.HasTOS, c.TOS = true, uint8(v)
		}
	case unix.IPV6_DONTFRAG:
		if v, err := exactInt(r.Data); err != nil || v < 0 || v > 1 {
			return unix.EINVAL
		}
	case ipv6Flowinfo:
		if len(r.Data) < 4 {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	return nil
}

// packetInfo6 is struct in6_pktinfo.
func (s *Socket) packetInfo6(r *socket.RawControl, c *tcpip.SendControl) error {
	if len(r.Data) < sizeofPktinfo6 {
		return unix.EINVAL
	}
	a := netip.AddrFrom16([16]byte(r.Data)).Unmap()
	id := tcpip.NICID(binary.NativeEndian.Uint32(r.Data[16:]))
	o := s.ep.Options()
	if d := tcpip.NICID(o.Device.Load()); id != 0 && d != 0 && d != id {
		return unix.EINVAL
	}
	if id != 0 && s.ns.stack.NIC(id) == nil {
		return unix.ENODEV
	}
	if a.Is6() && !a.IsUnspecified() && !o.FreeBind.Load() && !o.Transparent.Load() && !s.ns.stack.IsLocal(id, a) {
		return unix.EINVAL
	}
	c.HasPacketInfo, c.NIC, c.Source = true, id, specified(a)
	return nil
}

// exactInt is an int of exactly four bytes.
func exactInt(b []byte) (int, error) {
	if len(b) != 4 {
		return 0, unix.EINVAL
	}
	return int(int32(binary.NativeEndian.Uint32(b))), nil
}
