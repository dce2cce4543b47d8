// Package packet is the sockets of AF_PACKET (packet(7)): frames as they pass an interface, with
// their link header (SOCK_RAW) or without it (SOCK_DGRAM). They need CAP_NET_RAW in the user
// namespace that owns the network.
//
// A Socket is an inet.Core, which has the endpoint (pkg/tcpip/transport/packet), waiting and the
// options of SOL_SOCKET; here are addresses, ancillary data and the options of SOL_PACKET. There
// are no rings in shared memory.
//
// No locks of its own: options are atomic.
package packet

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/packet"
)

// provider makes the sockets of a namespace. It implements socket.Provider.
type provider struct{ ns *inet.Namespace }

// Register makes AF_PACKET known to the namespace's layer of sockets.
func Register(ns *inet.Namespace) { ns.Layer().Register(unix.AF_PACKET, &provider{ns}) }

// hostOrder is a protocol number as socket(2) and addresses have it, in network byte order.
func hostOrder(v uint16) uint16 {
	if isLittleEndian {
		return bits.ReverseBytes16(v)
	}
	return v
}

var isLittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Socket implements socket.Provider. EPERM: no CAP_NET_RAW; ESOCKTNOSUPPORT.
func (p *provider) Socket(ctx context.Context, typ, protocol int) (socket.Socket, error) {
	if !p.ns.Capable(ctx, unix.CAP_NET_RAW) {
		return nil, unix.EPERM
	}
	if typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM {
		return nil, unix.ESOCKTNOSUPPORT
	}
	s := &Socket{}
	ep := packet.NewEndpoint(p.ns.Stack(), typ == unix.SOCK_DGRAM, hostOrder(uint16(protocol)))
	s.Init(p.ns, ep, unix.AF_PACKET, typ, protocol, uint32(ctx.Credentials().EffectiveUID))
	return s, nil
}

// Socket is a packet socket. It implements socket.Socket.
type Socket struct {
	inet.Core
	socket.Unsupported
	auxdata  atomic.Bool
	version  atomic.Int32 // PACKET_VERSION
	recorded [len(recorded)]atomic.Int32
}

// Endpoint is the socket's end in the stack.
func (s *Socket) endpoint() *packet.Endpoint { return s.Core.Endpoint().(*packet.Endpoint) }

// Release implements vfs.File.
func (s *Socket) Release(ctx context.Context) { s.Close(ctx) }

// struct sockaddr_ll: its size, and that without the hardware address.
const (
	sizeofSockaddrLL = 20
	llAddr           = 12
)

// parse reads a struct sockaddr_ll, whose family only bind(2) looks at. EINVAL: it is none.
func parse(a *socket.Addr) (tcpip.FullAddress, error) {
	b := a.Bytes()
	if len(b) < sizeofSockaddrLL {
		return tcpip.FullAddress{}, unix.EINVAL
	}
	return tcpip.FullAddress{
		NIC:      tcpip.NICID(binary.NativeEndian.Uint32(b[4:])),
		Protocol: binary.BigEndian.Uint16(b[2:]),
		Link:     tcpip.LinkAddress(b[llAddr : llAddr+6]),
	}, nil
}

// encode writes a struct sockaddr_ll, but for its length.
func (s *Socket) encode(b *[sizeofSockaddrLL]byte, a tcpip.FullAddress) (known bool) {
	binary.NativeEndian.PutUint16(b[:], unix.AF_PACKET)
	binary.BigEndian.PutUint16(b[2:], a.Protocol)
	binary.NativeEndian.PutUint32(b[4:], uint32(a.NIC))
	nic := s.Namespace().Stack().NIC(a.NIC)
	if nic == nil {
		return false
	}
	binary.NativeEndian.PutUint16(b[8:], nic.Link().HardwareType())
	b[10], b[11] = a.PacketType, 6
	copy(b[llAddr:], a.Link[:])
	return true
}

// Bind implements socket.Socket.
func (s *Socket) Bind(_ context.Context, a *socket.Addr) error {
	full, err := parse(a)
	if err == nil && a.Family() != unix.AF_PACKET {
		err = unix.EINVAL
	}
	if err != nil {
		return err
	}
	return s.endpoint().Bind(full)
}

// GetSockName implements socket.Socket.
func (s *Socket) GetSockName(_ context.Context, a *socket.Addr) error {
	var b [sizeofSockaddrLL]byte
	full := s.endpoint().LocalAddress()
	if nic := s.Namespace().Stack().NIC(full.NIC); nic != nil {
		full.Link = nic.Link().LinkAddress()
	}
	n := llAddr
	if s.encode(&b, full) {
		n += 6
	}
	a.Set(b[:n])
	return nil
}

// Read implements vfs.File.
func (s *Socket) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	return s.RecvMsg(ctx, &socket.Message{Data: dst, Flags: unix.MSG_DONTWAIT})
}

// Write implements vfs.File.
func (s *Socket) Write(ctx context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	n, err := s.SendMsg(ctx, &socket.Message{Data: src, Flags: unix.MSG_DONTWAIT})
	return n, 0, err
}

// SendMsg implements socket.Socket.
func (s *Socket) SendMsg(ctx context.Context, m *socket.Message) (int, error) {
	var opts tcpip.SendOptions
	if m.To != nil {
		to, err := parse(m.To)
		if err != nil {
			return 0, err
		}
		if n := int(m.To.Bytes()[11]); m.To.Len() < llAddr+n {
			return 0, unix.EINVAL
		}
		opts.To = &to
	}
	return s.SendDatagram(ctx, m.Data, m.Flags, opts)
}

// RecvMsg implements socket.Socket.
func (s *Socket) RecvMsg(ctx context.Context, m *socket.Message) (int, error) {
	const known = unix.MSG_PEEK | unix.MSG_DONTWAIT | unix.MSG_TRUNC | unix.MSG_NOSIGNAL | unix.MSG_ERRQUEUE
	if m.Flags&^known != 0 {
		return 0, unix.EINVAL
	}
	res, err := s.ReceiveDatagram(ctx, m.Data, tcpip.ReceiveOptions{
		Peek: m.Flags&unix.MSG_PEEK != 0, DontWait: m.Flags&unix.MSG_DONTWAIT != 0, ErrorQueue: m.Flags&unix.MSG_ERRQUEUE != 0,
	})
	if err != nil {
		return 0, err
	}
	if m.From != nil {
		var b [sizeofSockaddrLL]byte
		s.encode(&b, res.From)
		m.From.Set(b[:])
	}
	s.NoteStamp(&res.Control)
	s.ReceiveSocketControl(m, &res.Control)
	if s.auxdata.Load() {
		var b [20]byte // struct tpacket_auxdata
		a := &res.Control.Auxdata
		binary.NativeEndian.PutUint32(b[:], a.Status)
		binary.NativeEndian.PutUint32(b[4:], a.Length)
		binary.NativeEndian.PutUint32(b[8:], a.Captured)
		binary.NativeEndian.PutUint16(b[12:], a.Link)
		binary.NativeEndian.PutUint16(b[14:], a.Network)
		m.Control.AddRaw(unix.SOL_PACKET, unix.PACKET_AUXDATA, b[:])
	}
	return inet.Received(&res, m), nil
}

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	n := 0
	switch request {
	case unix.SIOCINQ:
		n = s.endpoint().ReceiveQueued()
	case unix.SIOCOUTQ:
		n = s.endpoint().SendQueued()
	default:
		return 0, s.Core.Ioctl(ctx, io, request, arg)
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(n))
	_, err := io.CopyOut(uintptr(arg), b[:])
	return 0, err
}
