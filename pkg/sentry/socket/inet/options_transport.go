package inet

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip/transport/raw"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/tcpip/transport/udp"
)

// tcpEndpoint is the endpoint of a socket that the table says is TCP's.
func tcpEndpoint(s *Socket) *tcp.Endpoint { return s.ep.(*tcp.Endpoint) }

func udpEndpoint(s *Socket) *udp.Endpoint { return s.ep.(*udp.Endpoint) }

// tcpInt is an int of level IPPROTO_TCP.
func tcpInt(name int, label string, get func(*tcp.Endpoint) int, set func(*tcp.Endpoint, int) error) option {
	var g func(*Socket) (int, error)
	var f func(*Socket, context.Context, int) error
	if get != nil {
		g = func(s *Socket) (int, error) { return get(tcpEndpoint(s)), nil }
	}
	if set != nil {
		f = func(s *Socket, _ context.Context, v int) error { return set(tcpEndpoint(s), v) }
	}
	return intOption(unix.IPPROTO_TCP, name, label, 0, g, f)
}

// tcpSeconds is a time in seconds.
func tcpSeconds(name int, label string, get func(*tcp.Endpoint) time.Duration, set func(*tcp.Endpoint, time.Duration) error) option {
	return tcpInt(name, label,
		func(e *tcp.Endpoint) int { return int(get(e) / time.Second) },
		func(e *tcp.Endpoint, v int) error { return set(e, time.Duration(v)*time.Second) })
}

// Names of options that package unix lacks.
const tcpIsMPTCP = 43

var tcpOptions = []option{
	tcpInt(unix.TCP_NODELAY, "TCP_NODELAY",
		func(e *tcp.Endpoint) int { return truth(e.NoDelay()) },
		func(e *tcp.Endpoint, v int) error { e.SetNoDelay(v != 0); return nil }),
	tcpInt(unix.TCP_MAXSEG, "TCP_MAXSEG", (*tcp.Endpoint).MaxSegment, (*tcp.Endpoint).SetMaxSegment),
	tcpInt(unix.TCP_CORK, "TCP_CORK",
		func(e *tcp.Endpoint) int { return truth(e.Cork()) },
		func(e *tcp.Endpoint, v int) error { e.SetCork(v != 0); return nil }),
	tcpSeconds(unix.TCP_KEEPIDLE, "TCP_KEEPIDLE", (*tcp.Endpoint).KeepIdle, (*tcp.Endpoint).SetKeepIdle),
	tcpSeconds(unix.TCP_KEEPINTVL, "TCP_KEEPINTVL", (*tcp.Endpoint).KeepInterval, (*tcp.Endpoint).SetKeepInterval),
	tcpInt(unix.TCP_KEEPCNT, "TCP_KEEPCNT", (*tcp.Endpoint).KeepCount, (*tcp.Endpoint).SetKeepCount),
	tcpInt(unix.TCP_SYNCNT, "TCP_SYNCNT", (*tcp.Endpoint).SynCount, (*tcp.Endpoint).SetSynCount),
	tcpInt(unix.TCP_LINGER2, "TCP_LINGER2",
		func(e *tcp.Endpoint) int {
			if d := e.Linger2(); d >= 0 {
				return int(d / time.Second)
			}
			return -1
		},
		func(e *tcp.Endpoint, v int) error { e.SetLinger2(time.Duration(max(v, -1)) * time.Second); return nil }),
	tcpSeconds(unix.TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT", (*tcp.Endpoint).DeferAccept,
		func(e *tcp.Endpoint, d time.Duration) error { e.SetDeferAccept(d); return nil }),
	tcpInt(unix.TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP", (*tcp.Endpoint).WindowClamp, (*tcp.Endpoint).SetWindowClamp),
	{Level: unix.IPPROTO_TCP, Name: unix.TCP_INFO, Label: "TCP_INFO", Get: getTCPInfo},
	tcpInt(unix.TCP_QUICKACK, "TCP_QUICKACK",
		func(e *tcp.Endpoint) int { return truth(e.QuickAck()) },
		func(e *tcp.Endpoint, v int) error { e.SetQuickAck(v&1 != 0); return nil }),
	{Level: unix.IPPROTO_TCP, Name: unix.TCP_CONGESTION, Label: "TCP_CONGESTION",
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			var name [16]byte // TCP_CA_NAME_MAX
			copy(name[:], tcpEndpoint(s).CongestionControl())
			return copy(buf, name[:]), nil
		},
		Set: func(s *Socket, _ context.Context, val []byte) error {
			if len(val) < 1 {
				return unix.EINVAL
			}
			name, _, _ := bytes.Cut(val[:min(len(val), 15)], []byte{0})
			return tcpEndpoint(s).SetCongestionControl(string(name))
		}},
	extraFlag(unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS", 0, swThinLinear).WithNote("recorded"),
	extraFlag(unix.IPPROTO_TCP, unix.TCP_THIN_DUPACK, "TCP_THIN_DUPACK", 0, swThinDupack).WithNote("recorded"),
	tcpInt(unix.TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT",
		func(e *tcp.Endpoint) int { return int(e.UserTimeout() / time.Millisecond) },
		func(e *tcp.Endpoint, v int) error { return e.SetUserTimeout(time.Duration(v) * time.Millisecond) }),
	tcpInt(unix.TCP_FASTOPEN, "TCP_FASTOPEN", (*tcp.Endpoint).FastOpen, (*tcp.Endpoint).SetFastOpen).WithNote("cannot be turned on"),
	tcpInt(unix.TCP_TIMESTAMP, "TCP_TIMESTAMP",
		func(e *tcp.Endpoint) int { return int(int32(e.Timestamp())) }, nil).WithNote("cannot be set"),
	tcpInt(unix.TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT",
		func(e *tcp.Endpoint) int { return int(int32(e.NotSentLow())) },
		func(e *tcp.Endpoint, v int) error { e.SetNotSentLow(uint32(v)); return nil }),
	extraFlagOf(unix.IPPROTO_TCP, unix.TCP_INQ, "TCP_INQ", swInq),
	tcpInt(tcpIsMPTCP, "TCP_IS_MPTCP", func(*tcp.Endpoint) int { return 0 }, nil),
}

// extraFlagOf is extraFlag of an option that takes 0 and 1 only.
func extraFlagOf(level, name int, label string, bit uint32) option {
	return intOption(level, name, label, 0,
		func(s *Socket) (int, error) { return truth(s.switches.Load()&bit != 0), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v < 0 || v > 1 {
				return unix.EINVAL
			}
			s.setSwitch(bit, v == 1)
			return nil
		})
}

// TCPI_OPT_* of tcpi_options.
const (
	infoTimestamps    = 1
	infoSACK          = 2
	infoWindowScaling = 4
	infoECN           = 8
	infoECNSeen       = 16
)

func getTCPInfo(s *Socket, _ context.Context, buf []byte) (int, error) {
	in := tcpEndpoint(s).Info()
	var b [unix.SizeofTCPInfo]byte
	EncodeTCPInfo(b[:], &in)
	return copy(buf, b[:]), nil
}

// EncodeTCPInfo writes struct tcp_info, of unix.SizeofTCPInfo bytes.
func EncodeTCPInfo(b []byte, in *tcp.Info) {
	options := truth(in.Timestamps)*infoTimestamps | truth(in.SACK)*infoSACK | truth(in.WindowScaling)*infoWindowScaling |
		truth(in.ECN)*infoECN | truth(in.ECNSeen)*infoECNSeen
	b[0], b[1] = byte(in.State), byte(in.CongestionState)
	b[2], b[3], b[4], b[5] = in.Retransmits, in.Probes, in.Backoff, byte(options)
	b[6] = in.SendScale&0xf | in.ReceiveScale<<4
	b[7] = byte(truth(in.DeliveryRateAppLimited))
	off := 8
	u32 := func(vs ...uint32) {
		for _, v := range vs {
			binary.NativeEndian.PutUint32(b[off:], v)
			off += 4
		}
	}
	u64 := func(vs ...uint64) {
		for _, v := range vs {
			binary.NativeEndian.PutUint64(b[off:], v)
			off += 8
		}
	}
	us := func(d time.Duration) uint32 { return uint32(min(d.Microseconds(), math.MaxUint32)) }
	ms := func(d time.Duration) uint32 { return uint32(min(d.Milliseconds(), math.MaxUint32)) }
	u32(us(in.RTO), us(in.ATO), in.SendMSS, in.ReceiveMSS,
		in.UnackedSegments, in.SackedSegments, in.LostSegments, in.RetransSegments, 0,
		ms(in.SinceDataSent), 0, ms(in.SinceDataReceived), ms(in.SinceAckReceived),
		in.PathMTU, in.ReceiveThreshold, us(in.RTT), us(in.RTTVar), in.SendThreshold, in.CongestionWindow,
		in.AdvertisedMSS, in.Reordering, us(in.ReceiveRTT), in.ReceiveSpace, in.TotalRetransSegments)
	u64(in.PacingRate, in.MaxPacingRate, in.BytesAcked, in.BytesReceived)
	u32(in.SegmentsOut, in.SegmentsIn, in.NotSentBytes, us(in.MinRTT), in.DataSegmentsIn, in.DataSegmentsOut)
	u64(in.DeliveryRate, uint64(in.BusyTime.Microseconds()), uint64(in.ReceiveWindowLimited.Microseconds()), uint64(in.SendBufferLimited.Microseconds()))
	u32(in.DeliveredSegments, in.DeliveredCESegments)
	u64(in.BytesSent, in.BytesRetransmitted)
	u32(in.DSACKDuplicates, in.ReorderingSeen, in.ReceiveOutOfOrder, in.SendWindow, in.ReceiveWindow, in.RehashedRetransmission)
	binary.NativeEndian.PutUint16(b[off:], in.TotalRTO)
	binary.NativeEndian.PutUint16(b[off+2:], in.TotalRTORecoveries)
	off += 4
	u32(ms(in.TotalRTOTime))
}

// udpFlag is a switch of level IPPROTO_UDP.
func udpFlag(name int, label string, get func(*udp.Endpoint) bool, set func(*udp.Endpoint, bool) error) option {
	return intOption(unix.IPPROTO_UDP, name, label, 0,
		func(s *Socket) (int, error) { return truth(get(udpEndpoint(s))), nil },
		func(s *Socket, _ context.Context, v int) error { return set(udpEndpoint(s), v != 0) })
}

var udpOptions = []option{
	udpFlag(unix.UDP_CORK, "UDP_CORK", (*udp.Endpoint).Cork, (*udp.Endpoint).SetCork),
	intOption(unix.IPPROTO_UDP, unix.UDP_ENCAP, "UDP_ENCAP", 0, func(*Socket) (int, error) { return 0, nil },
		func(_ *Socket, _ context.Context, v int) error {
			if v != 0 {
				return unix.ENOPROTOOPT
			}
			return nil
		}).WithNote("cannot be turned on"),
	udpFlag(unix.UDP_NO_CHECK6_TX, "UDP_NO_CHECK6_TX", (*udp.Endpoint).NoChecksumTX,
		func(e *udp.Endpoint, on bool) error { e.SetNoChecksumTX(on); return nil }),
	udpFlag(unix.UDP_NO_CHECK6_RX, "UDP_NO_CHECK6_RX", (*udp.Endpoint).NoChecksumRX,
		func(e *udp.Endpoint, on bool) error { e.SetNoChecksumRX(on); return nil }),
	intOption(unix.IPPROTO_UDP, unix.UDP_SEGMENT, "UDP_SEGMENT", 0,
		func(s *Socket) (int, error) { return udpEndpoint(s).SegmentSize(), nil },
		func(s *Socket, _ context.Context, v int) error { return udpEndpoint(s).SetSegmentSize(v) }),
	udpFlag(unix.UDP_GRO, "UDP_GRO", (*udp.Endpoint).GRO,
		func(e *udp.Endpoint, on bool) error { e.SetGRO(on); return nil }),
}

func rawEndpoint(s *Socket) *raw.Endpoint { return s.ep.(*raw.Endpoint) }

var rawOptions = []option{
	{Level: unix.IPPROTO_RAW, Name: unix.ICMP_FILTER, Label: "ICMP_FILTER",
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			if s.v6() || s.Protocol() != unix.IPPROTO_ICMP {
				return 0, unix.EOPNOTSUPP
			}
			return socket.PutInt(buf, int(int32(rawEndpoint(s).ICMPFilter())))
		},
		Set: func(s *Socket, _ context.Context, val []byte) error {
			if s.v6() || s.Protocol() != unix.IPPROTO_ICMP {
				return unix.EOPNOTSUPP
			}
			var b [4]byte
			copy(b[:], val)
			rawEndpoint(s).SetICMPFilter(binary.NativeEndian.Uint32(b[:]))
			return nil
		}},
	{Level: unix.IPPROTO_ICMPV6, Name: unix.ICMPV6_FILTER, Label: "ICMPV6_FILTER", On: onRaw,
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			if !s.v6() || s.Protocol() != unix.IPPROTO_ICMPV6 {
				return 0, unix.EOPNOTSUPP
			}
			var b [32]byte
			for i, w := range rawEndpoint(s).ICMP6Filter() {
				binary.NativeEndian.PutUint32(b[4*i:], w)
			}
			return copy(buf, b[:]), nil
		},
		Set: func(s *Socket, _ context.Context, val []byte) error {
			if !s.v6() || s.Protocol() != unix.IPPROTO_ICMPV6 {
				return unix.EOPNOTSUPP
			}
			var b [32]byte
			copy(b[:], val)
			var f raw.ICMP6Filter
			for i := range f {
				f[i] = binary.NativeEndian.Uint32(b[4*i:])
			}
			rawEndpoint(s).SetICMP6Filter(f)
			return nil
		}},
	intOption(unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, "IPV6_CHECKSUM", onRaw,
		func(s *Socket) (int, error) { return rawEndpoint(s).ChecksumOffset(), nil },
		func(s *Socket, _ context.Context, v int) error { return rawEndpoint(s).SetChecksumOffset(v) }),
}

// congestionNames are the algorithms, for /proc/sys/net/ipv4.
func congestionNames() string { return strings.Join(tcp.CongestionControls(), " ") }
