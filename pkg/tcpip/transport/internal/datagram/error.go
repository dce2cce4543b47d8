package datagram

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Origins of queued errors (SO_EE_ORIGIN_*, ip(7)).
const (
	OriginLocal = 1
	OriginICMP  = 2
	OriginICMP6 = 3
)

func fromNetwork(origin uint8) bool { return origin == OriginICMP || origin == OriginICMP6 }

// Codes of unreachable errors that say that it will not get better by itself, so that a connected
// socket without IP_RECVERR hears of them too (RFC 1122 sections 3.2.2.1 and 4.1.3.3, RFC 4443
// section 3.1): the port or protocol is not there, or somebody forbids it.
const (
	hardUnreachable4 = 1<<header.ICMPv4ProtocolUnreachable | 1<<header.ICMPv4PortUnreachable |
		1<<header.ICMPv4NetUnknown | 1<<header.ICMPv4HostUnknown | 1<<header.ICMPv4HostIsolated |
		1<<header.ICMPv4NetProhibited | 1<<header.ICMPv4HostProhibited | 1<<header.ICMPv4AdminProhibited |
		1<<header.ICMPv4PrecedenceViolation | 1<<header.ICMPv4PrecedenceCutoff
	hardUnreachable6 = 1<<header.ICMPv6AdminProhibited | 1<<header.ICMPv6PortUnreachable |
		1<<header.ICMPv6SourcePolicy | 1<<header.ICMPv6RejectRoute
)

// severity says whether a socket hears of an error at all, and whether it is hard.
func severity(e *stack.TransportError, discovery int32) (told, hard bool) {
	switch e.Origin {
	case OriginICMP:
		switch e.Type {
		case header.ICMPv4SourceQuench, header.ICMPv4Redirect:
			return false, false // RFC 6633 section 4
		case header.ICMPv4Unreachable:
			if e.Code == header.ICMPv4FragmentationNeeded {
				// Who does not discover the path's MTU sends fragments.
				ok := discovery != tcpip.MTUDiscoveryDont
				return ok, ok
			}
			return true, e.Code < 32 && hardUnreachable4>>e.Code&1 != 0
		}
		return true, e.Type == header.ICMPv4ParameterProblem
	case OriginICMP6:
		switch e.Type {
		case header.ICMPv6Unreachable:
			return true, e.Code < 32 && hardUnreachable6>>e.Code&1 != 0
		case header.ICMPv6PacketTooBig:
			if discovery == tcpip.MTUDiscoveryInterface || discovery == tcpip.MTUDiscoveryOmit {
				return false, false
			}
			return true, discovery != tcpip.MTUDiscoveryDont
		}
		return true, e.Type == header.ICMPv6ParameterProblem
	}
	return true, e.Hard
}

// Deliver tells the socket of an error about a packet that it sent. quoted is what Receive with
// ErrorQueue will show of that packet.
func (s *Socket) Deliver(id stack.TransportID, e stack.TransportError, quoted []byte) {
	recvErr, discovery := &s.opts.ReceiveErrors4, &s.opts.MTUDiscovery4
	if id.RemoteAddr.Is6() {
		recvErr, discovery = &s.opts.ReceiveErrors6, &s.opts.MTUDiscovery6
	}
	told, hard := severity(&e, discovery.Load())
	if !told {
		return
	}
	if recvErr.Load() {
		s.Rx.PushError(tcpip.QueuedError{
			Errno: uint32(e.Errno), Origin: e.Origin, Type: e.Type, Code: e.Code, Info: e.MTU,
			Offender:    e.Offender,
			Destination: tcpip.FullAddress{Addr: id.RemoteAddr, Port: id.RemotePort},
		}, quoted, s.opts.ReceiveBuffer.Load())
	} else if !hard || !s.Connected() {
		return
	}
	s.Rx.SetPending(e.Errno)
	s.Notify(waiterError)
}

// TooLong is the error for a datagram that does not fit; with IP_RECVERR, the error queue says how
// much would. mtu is the path's, IP header included.
func (s *Socket) TooLong(f *Flow, mtu uint32) error {
	recvErr, port := &s.opts.ReceiveErrors4, f.Port
	if f.V6() {
		recvErr = &s.opts.ReceiveErrors6
	} else {
		// As in Linux: the peer's port, and what options leave.
		s.mu.Lock()
		port = s.remote.Port
		s.mu.Unlock()
		mtu = min(mtu, header.IPv4MaximumTotal) - uint32(len(f.Params.Options)+3)&^3
	}
	if recvErr.Load() {
		s.Rx.PushError(tcpip.QueuedError{
			Errno: uint32(unix.EMSGSIZE), Origin: OriginLocal, Info: mtu,
			Destination: tcpip.FullAddress{Addr: f.Route.Destination, Port: port},
		}, nil, s.opts.ReceiveBuffer.Load())
		s.Notify(waiterError)
	}
	return unix.EMSGSIZE
}
