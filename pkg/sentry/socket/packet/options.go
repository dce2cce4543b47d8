package packet

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/packet"
)

type option = socket.Option[*Socket]

// Versions of a ring's headers, and the sizes of those (PACKET_HDRLEN).
var headerSizes = [...]uint32{32, 32, 48}

// recorded are options that are ints and change nothing.
var recorded = [...]struct {
	name  int
	label string
}{
	{unix.PACKET_COPY_THRESH, "PACKET_COPY_THRESH"}, {unix.PACKET_ORIGDEV, "PACKET_ORIGDEV"},
	{unix.PACKET_RESERVE, "PACKET_RESERVE"}, {unix.PACKET_LOSS, "PACKET_LOSS"},
	{unix.PACKET_TIMESTAMP, "PACKET_TIMESTAMP"}, {unix.PACKET_QDISC_BYPASS, "PACKET_QDISC_BYPASS"},
}

var table = socket.NewOptionTable([]option{
	setOnly(unix.PACKET_ADD_MEMBERSHIP, "PACKET_ADD_MEMBERSHIP", (*packet.Endpoint).AddMembership),
	setOnly(unix.PACKET_DROP_MEMBERSHIP, "PACKET_DROP_MEMBERSHIP", (*packet.Endpoint).DropMembership),
	{Level: unix.SOL_PACKET, Name: unix.PACKET_STATISTICS, Label: "PACKET_STATISTICS",
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			st := s.endpoint().TakeStatistics()
			var b [8]byte
			binary.NativeEndian.PutUint32(b[:], st.Packets)
			binary.NativeEndian.PutUint32(b[4:], st.Drops)
			return copy(buf, b[:]), nil
		}},
	intOption(unix.PACKET_AUXDATA, "PACKET_AUXDATA",
		func(s *Socket) int { return truth(s.auxdata.Load()) },
		func(s *Socket, v int) error { s.auxdata.Store(v != 0); return nil }),
	intOption(unix.PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING",
		func(s *Socket) int { return truth(s.endpoint().IgnoreOutgoing()) },
		func(s *Socket, v int) error {
			if v < 0 || v > 1 {
				return unix.EINVAL
			}
			s.endpoint().SetIgnoreOutgoing(v == 1)
			return nil
		}),
	intOption(unix.PACKET_VERSION, "PACKET_VERSION",
		func(s *Socket) int { return int(s.version.Load()) },
		func(s *Socket, v int) error {
			if v < 0 || v >= len(headerSizes) {
				return unix.EINVAL
			}
			s.version.Store(int32(v))
			return nil
		}),
	{Level: unix.SOL_PACKET, Name: unix.PACKET_HDRLEN, Label: "PACKET_HDRLEN",
		Get: func(_ *Socket, _ context.Context, buf []byte) (int, error) {
			if len(buf) < 4 {
				return 0, unix.EINVAL
			}
			v := binary.NativeEndian.Uint32(buf)
			if v >= uint32(len(headerSizes)) {
				return 0, unix.EINVAL
			}
			return socket.PutInt(buf, int(headerSizes[v]))
		}},
}, recordedOptions())

// Options describes every option of level SOL_PACKET.
func Options() []socket.OptionInfo { return table.Infos() }

func truth(on bool) int {
	if on {
		return 1
	}
	return 0
}

func recordedOptions() []option {
	var out []option
	for i, r := range recorded {
		o := intOption(r.name, r.label,
			func(s *Socket) int { return int(s.recorded[i].Load()) },
			func(s *Socket, v int) error { s.recorded[i].Store(int32(v)); return nil })
		o.Note = "recorded"
		out = append(out, o)
	}
	return out
}

func intOption(name int, label string, get func(*Socket) int, set func(*Socket, int) error) option {
	return option{
		Level: unix.SOL_PACKET, Name: name, Label: label,
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) { return socket.PutInt(buf, get(s)) },
		Set: func(s *Socket, _ context.Context, val []byte) error {
			v, err := socket.GetInt(val)
			if err != nil {
				return err
			}
			return set(s, v)
		},
	}
}

// setOnly takes struct packet_mreq.
func setOnly(name int, label string, f func(*packet.Endpoint, packet.Membership) error) option {
	return option{
		Level: unix.SOL_PACKET, Name: name, Label: label,
		Set: func(s *Socket, _ context.Context, val []byte) error {
			if len(val) < 16 {
				return unix.EINVAL
			}
			if n := int(binary.NativeEndian.Uint16(val[6:])); n > 8 {
				return unix.EINVAL
			}
			return f(s.endpoint(), packet.Membership{
				NIC:     tcpip.NICID(binary.NativeEndian.Uint32(val)),
				Kind:    packet.MembershipKind(binary.NativeEndian.Uint16(val[4:])),
				Address: tcpip.LinkAddress(val[8:14]),
			})
		},
	}
}

// GetSockOpt implements socket.Socket.
func (s *Socket) GetSockOpt(ctx context.Context, level, name int, buf []byte) (int, error) {
	if level == unix.SOL_SOCKET {
		return s.GetSocketOption(ctx, name, buf)
	}
	n, found, err := table.Get(s, ctx, 0, level, name, buf)
	if !found {
		err = unix.ENOPROTOOPT
	}
	return n, err
}

// SetSockOpt implements socket.Socket.
func (s *Socket) SetSockOpt(ctx context.Context, level, name int, val []byte) error {
	if level == unix.SOL_SOCKET {
		return s.SetSocketOption(ctx, name, val)
	}
	found, err := table.Set(s, ctx, 0, level, name, val)
	if !found {
		err = unix.ENOPROTOOPT
	}
	return err
}
