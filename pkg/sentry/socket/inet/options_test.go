package inet

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip/transport/tcp"
)

// everyKind makes a socket of each kind.
func everyKind(t testing.TB, n *Namespace) []*Socket {
	n.stack.Settings().PingGroupLow.Store(0)
	n.stack.Settings().PingGroupHigh.Store(1 << 30)
	var out []*Socket
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		icmp := unix.IPPROTO_ICMP
		if family == unix.AF_INET6 {
			icmp = unix.IPPROTO_ICMPV6
		}
		out = append(out, n.sock(t, family, unix.SOCK_STREAM, 0), n.sock(t, family, unix.SOCK_DGRAM, 0),
			n.sock(t, family, unix.SOCK_DGRAM, icmp), n.sock(t, family, unix.SOCK_RAW, icmp), n.sock(t, family, unix.SOCK_RAW, 200))
		ua, _ := n.udpPair(t, family)
		ta, _ := n.tcpPair(t, family)
		out = append(out, ua, ta)
	}
	return out
}

func TestOptionsAreDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Options() {
		if o.Label == "" || o.LevelLabel == "" || !o.Readable && !o.Changeable {
			t.Errorf("%+v", o)
		}
		key := o.LevelLabel + " " + o.Label
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
	for _, want := range []string{"SOL_SOCKET SO_REUSEPORT", "IPPROTO_IP IP_TTL", "IPPROTO_IPV6 IPV6_V6ONLY", "IPPROTO_TCP TCP_NODELAY",
		"IPPROTO_UDP UDP_GRO", "SOL_RAW ICMP_FILTER", "IPPROTO_ICMPV6 ICMPV6_FILTER"} {
		if !seen[want] {
			t.Errorf("%s is missing", want)
		}
	}
}

// Whatever the length of the buffer: no more than that is written, and none is overrun.
func TestEveryOptionOfEverySocket(t *testing.T) {
	n := world(t)
	ctx := newTask()
	for _, s := range everyKind(t, n) {
		for _, o := range Options() {
			for _, size := range []int{0, 1, 2, 3, 4, 8, 12, 16, 64, 300} {
				buf := make([]byte, size)
				m, err := s.GetSockOpt(ctx, o.Level, o.Name, buf)
				if err == nil && (m < 0 || m > size) {
					t.Errorf("%s of a buffer of %d bytes gave %d", o.Label, size, m)
				}
				if _, ok := err.(unix.Errno); err != nil && !ok {
					t.Errorf("%s: %v is no errno", o.Label, err)
				}
				for _, fill := range []byte{0, 1, 0xff} {
					val := make([]byte, size)
					for i := range val {
						val[i] = fill
					}
					err := s.SetSockOpt(ctx, o.Level, o.Name, val)
					if _, ok := err.(unix.Errno); err != nil && !ok {
						t.Errorf("%s: %v is no errno", o.Label, err)
					}
				}
			}
		}
	}
}

func FuzzOptions(f *testing.F) {
	for _, o := range Options() {
		f.Add(uint8(1), o.Level, o.Name, []byte{1, 0, 0, 0})
		f.Add(uint8(8), o.Level, o.Name, make([]byte, 300))
	}
	f.Fuzz(func(t *testing.T, kind uint8, level, name int, val []byte) {
		if len(val) > 4096 {
			return
		}
		n := world(t)
		all := everyKind(t, n)
		s := all[int(kind)%len(all)]
		ctx := newTask()
		s.SetSockOpt(ctx, level, name, val)
		buf := append([]byte(nil), val...)
		if m, err := s.GetSockOpt(ctx, level, name, buf); err == nil && m > len(buf) {
			t.Errorf("level %d, option %d: %d bytes of %d", level, name, m, len(buf))
		}
		recv(ctx, s, 100, unix.MSG_DONTWAIT)
	})
}

func TestCapabilitiesOfOptions(t *testing.T) {
	n := world(t)
	s, ctx := n.sock(t, unix.AF_INET, unix.SOCK_DGRAM, 0), nobody()
	set := func(level, name, v int) error {
		return s.SetSockOpt(ctx, level, name, binary.NativeEndian.AppendUint32(nil, uint32(v)))
	}
	for _, c := range []struct {
		level, name, v int
		want           error
	}{
		{unix.SOL_SOCKET, unix.SO_MARK, 1, unix.EPERM}, {unix.SOL_SOCKET, unix.SO_PRIORITY, 7, unix.EPERM},
		{unix.SOL_SOCKET, unix.SO_PRIORITY, 6, nil}, {unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1, unix.EPERM},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1, unix.EPERM}, {unix.SOL_SOCKET, unix.SO_DEBUG, 1, unix.EACCES},
		{unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1, unix.EPERM}, {unix.IPPROTO_IP, unix.IP_TRANSPARENT, 0, nil},
		{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 1, nil}, {unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 1, unix.EPERM},
	} {
		if err := set(c.level, c.name, c.v); err != c.want {
			t.Errorf("level %d, option %d = %d: %v, want %v", c.level, c.name, c.v, err, c.want)
		}
	}
	if _, err := n.layer.Socket(ctx, unix.AF_INET, unix.SOCK_RAW, 1); err != unix.EPERM {
		t.Errorf("raw socket: %v", err)
	}
}

func TestFilterComesBack(t *testing.T) {
	n := world(t)
	s, ctx := n.sock(t, unix.AF_INET, unix.SOCK_DGRAM, 0), newTask()
	prog := []bpf.Instruction{bpf.Stmt(bpf.LD|bpf.B|bpf.ABS, 8), bpf.Stmt(bpf.RET, 100)}
	for _, i := range prog {
		ctx.memory = binary.NativeEndian.AppendUint16(ctx.memory, i.OpCode)
		ctx.memory = append(ctx.memory, i.JumpIfTrue, i.JumpIfFalse)
		ctx.memory = binary.NativeEndian.AppendUint32(ctx.memory, i.K)
	}
	ctx.memory = append(make([]byte, 8), ctx.memory...) // address 0 is none
	fprog := make([]byte, sizeofFprog)
	binary.NativeEndian.PutUint16(fprog, 2)
	binary.NativeEndian.PutUint64(fprog[8:], 8)
	if err := s.SetSockOpt(ctx, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, fprog); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	m, err := s.GetSockOpt(ctx, unix.SOL_SOCKET, unix.SO_GET_FILTER, buf)
	if err != nil || string(buf[:m]) != string(ctx.memory[8:]) {
		t.Errorf("%x, %v", buf[:m], err)
	}
	if _, err := s.GetSockOpt(ctx, unix.SOL_SOCKET, unix.SO_GET_FILTER, buf[:8]); err != unix.EINVAL {
		t.Errorf("short buffer: %v", err)
	}
	binary.NativeEndian.PutUint64(fprog[8:], 1<<20)
	if err := s.SetSockOpt(ctx, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, fprog); err != unix.EFAULT {
		t.Errorf("bad pointer: %v", err)
	}
	if err := s.SetSockOpt(&ctx.Background, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, fprog); err != unix.EINVAL {
		t.Errorf("no memory: %v", err)
	}
}

// struct tcp_info by the places that the C compiler gives its fields.
func TestTCPInfoLayout(t *testing.T) {
	in := tcp.Info{
		State: 1, CongestionState: 2, Retransmits: 3, Probes: 4, Backoff: 5, Timestamps: true, ECN: true, SendScale: 7, ReceiveScale: 8,
		DeliveryRateAppLimited: true, RTO: 1000, SendMSS: 11, PathMTU: 12, RTT: 13000, CongestionWindow: 14, TotalRetransSegments: 15,
		PacingRate: 16, BytesReceived: 17, SegmentsOut: 18, MinRTT: 19000, DeliveryRate: 20, SendBufferLimited: 21000, DeliveredCESegments: 22,
		BytesSent: 23, BytesRetransmitted: 24, DSACKDuplicates: 25, SendWindow: 26, RehashedRetransmission: 27, TotalRTO: 28, TotalRTORecoveries: 29, TotalRTOTime: 30e6,
	}
	var b [unix.SizeofTCPInfo]byte
	EncodeTCPInfo(b[:], &in)
	c := (*unix.TCPInfo)(unsafe.Pointer(&b))
	if c.State != 1 || c.Ca_state != 2 || c.Retransmits != 3 || c.Probes != 4 || c.Backoff != 5 || c.Options != infoTimestamps|infoECN ||
		b[6] != 0x87 || b[7] != 1 || c.Rto != 1 || c.Snd_mss != 11 || c.Pmtu != 12 || c.Rtt != 13 || c.Snd_cwnd != 14 || c.Total_retrans != 15 ||
		c.Pacing_rate != 16 || c.Bytes_received != 17 || c.Segs_out != 18 || c.Min_rtt != 19 || c.Delivery_rate != 20 || c.Sndbuf_limited != 21 ||
		c.Delivered_ce != 22 || c.Bytes_sent != 23 || c.Bytes_retrans != 24 || c.Dsack_dups != 25 || c.Snd_wnd != 26 || c.Rehash != 27 ||
		c.Total_rto != 28 || c.Total_rto_recoveries != 29 || c.Total_rto_time != 30 {
		t.Errorf("%+v", c)
	}
}

func FuzzSendControl(f *testing.F) {
	out := socket.NewControlOut(nil, 1024)
	out.Add(unix.SOL_IP, unix.IP_PKTINFO, make([]byte, 12))
	out.Add(unix.SOL_IPV6, unix.IPV6_PKTINFO, make([]byte, 20))
	out.Add(unix.SOL_IP, unix.IP_TTL, []byte{7, 0, 0, 0})
	out.Add(unix.SOL_UDP, unix.UDP_SEGMENT, []byte{7, 0})
	b, _ := out.Result()
	f.Add(true, b)
	f.Add(false, b)
	f.Fuzz(func(t *testing.T, v6 bool, b []byte) {
		in, err := socket.ParseControl(b)
		if err != nil {
			return
		}
		n := world(t)
		family := unix.AF_INET
		if v6 {
			family = unix.AF_INET6
		}
		a, z := n.udpPair(t, family)
		m := &socket.Message{Flags: unix.MSG_DONTWAIT, Control: socket.Control{Raw: in.Raw}}
		a.SendMsg(newTask(), m)
		s, _ := n.tcpPair(t, family)
		s.SendMsg(newTask(), m)
		recv(newTask(), z, 100, unix.MSG_DONTWAIT)
	})
}

func FuzzAddress(f *testing.F) {
	f.Add(true, uint8(0), loop(unix.AF_INET6, 80).Bytes())
	f.Add(false, uint8(1), loop(unix.AF_INET, 80).Bytes())
	f.Add(true, uint8(2), addr(unix.AF_INET6, "127.0.0.1", 80).Bytes())
	f.Fuzz(func(t *testing.T, v6 bool, call uint8, b []byte) {
		var a socket.Addr
		a.Set(b)
		n := world(t)
		family := unix.AF_INET
		if v6 {
			family = unix.AF_INET6
		}
		typ := []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW}[int(call>>4)%3]
		s := n.sock(t, family, typ, map[bool]int{true: 200}[typ == unix.SOCK_RAW])
		ctx := newTask()
		switch call & 3 {
		case 0:
			s.Bind(ctx, &a)
		case 1:
			s.Connect(ctx, &a, true)
		case 2:
			s.SendMsg(ctx, &socket.Message{To: &a, Flags: unix.MSG_DONTWAIT})
		case 3:
			s.SendMsg(ctx, &socket.Message{To: &a, Flags: unix.MSG_DONTWAIT | unix.MSG_FASTOPEN})
		}
		var out socket.Addr
		s.GetSockName(ctx, &out)
		if want := map[bool]int{false: sizeofSockaddrIn, true: sizeofSockaddrIn6}[v6]; out.Len() != want {
			t.Errorf("getsockname gave %d bytes, want %d", out.Len(), want)
		}
	})
}
