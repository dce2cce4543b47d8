package tcp

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
)

// TestMemoryBehindAGap: tiny pieces behind a gap keep much more memory than they have bytes. The buffer
// bounds it all the same; the furthest pieces are thrown away for nearer ones, and never what is in
// order.
func TestMemoryBehindAGap(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run(`
		listen 1
		set rcvbuf 8000
		established mss 1000,sackOK`)
	for i := 3998; i > 10; i -= 2 {
		h.inject(fmt.Sprintf("< A %d:%d ack 1", i, i+1))
		h.wire.out = nil
		if m := h.e.receiveMemory(); m > 8000+gatherSmall {
			t.Fatalf("%d bytes are kept", m)
		}
	}
	if n := h.stack.Stats().TCP.TCPOFODrop.Load(); n == 0 {
		t.Fatal("nothing was thrown away")
	}
	h.check(h.e)
	h.run(`
		< A 1:1001 ack 1
		dropall
		read 1000 of 1000`)
	for int32(h.e.rcv.nxt-peerISS) < 4000 {
		n := int(h.e.rcv.nxt - peerISS)
		h.inject(fmt.Sprintf("< A %d:%d ack 1", n, min(n+500, 4000)))
		h.wire.out = nil
	}
	h.run("read 2999 of 4000\n> A 1 ack 4000 win 4000")
}

// TestSegmentsOfNoUse: malformed segments and wrong checksums change nothing.
func TestSegmentsOfNoUse(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established")
	good := header.TCPFields{
		SourcePort: peerPort, DestinationPort: ourPort, Sequence: peerISS + 1, Acknowledgment: h.iss + 1, Flags: flagAck | flagPsh, Window: 1000,
	}
	raw := func(change func(b []byte), n int) {
		b := make([]byte, 30)
		header.TCP(b).Encode(good)
		change(b)
		b = b[:n]
		pkt := buffer.NewFrom(b)
		pkt.Source, pkt.Destination, pkt.Local = h.peer, h.ours, h.ours
		pkt.EtherType, pkt.NIC = header.EtherTypeIPv4, 1
		pkt.Transport = header.ProtocolTCP
		pkt.Checksum = buffer.ChecksumVerified
		h.stack.DeliverTransport(h.stack.NIC(1), pkt)
	}
	raw(func([]byte) {}, 3)
	raw(func([]byte) {}, 19)
	raw(func(b []byte) { b[12] = 0x40 }, 30) // a header of 16 bytes
	raw(func(b []byte) { b[12] = 0xf0 }, 30) // of 60
	for _, to := range []uint16{ourPort, 12345} {
		f := good
		f.DestinationPort = to
		f.HeaderLength = header.TCPMinimumSize
		b := make([]byte, 120)
		header.TCP(b).Encode(f)
		header.TCP(b).SetChecksum(checksum.PseudoHeader(header.ProtocolTCP, h.peer, h.ours, uint32(len(b))) + 1)
		h.sendIP(header.ProtocolTCP, 0, b)
	}
	h.run("inq 0\nstate ESTABLISHED")
	stats := &h.stack.Stats().TCP
	if stats.InCsumErrors.Load() != 2 || stats.InErrs.Load() != 5 {
		t.Errorf("%d checksum errors, %d errors", stats.InCsumErrors.Load(), stats.InErrs.Load())
	}
}

// TestChallengesOfAllConnections: their number is bounded over all connections, and cannot be told from
// outside (RFC 5961 section 7).
func TestChallengesOfAllConnections(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established")
	p := h.e.proto
	seen := map[int]bool{}
	for second := range 10 {
		now, n := time.Duration(second+10)*time.Second, 0
		for p.mayChallenge(now) {
			if n++; n > 10*maxChallenges {
				t.Fatal("there is no bound")
			}
		}
		if n < maxChallenges/2 || n > 2*maxChallenges {
			t.Errorf("%d in a second", n)
		}
		seen[n] = true
	}
	if len(seen) < 5 {
		t.Errorf("the bounds were %v", seen)
	}
}

// icmp6TooBig tells that a packet with our sequence number seq was too big.
func (h *harness) icmp6TooBig(seq, mtu int) {
	quoted := make([]byte, header.IPv6Size+8)
	header.IPv6(quoted).Encode(header.IPv6Fields{
		PayloadLength: 1460, NextHeader: header.ProtocolTCP, HopLimit: 60, Source: h.ours, Destination: h.peer,
	})
	q := quoted[header.IPv6Size:]
	binary.BigEndian.PutUint16(q, h.ourPort)
	binary.BigEndian.PutUint16(q[2:], h.peerPort)
	binary.BigEndian.PutUint32(q[4:], h.iss+uint32(seq))
	b := append([]byte{2, 0, 0, 0, 0, 0, 0, 0}, quoted...)
	binary.BigEndian.PutUint32(b[4:], uint32(mtu))
	sum := checksum.PseudoHeader(header.ProtocolICMPv6, h.peer, h.ours, uint32(len(b)))
	binary.BigEndian.PutUint16(b[2:], checksum.Finish(checksum.Sum(b, sum)))
	h.sendIP(header.ProtocolICMPv6, 0, b)
}

// TestIPv6PathMTU is RFC 8201 section 5.4.
func TestIPv6PathMTU(t *testing.T) {
	h := newHarness(t, true, 1500)
	h.run(`
		established mss 1440
		write 2880
		expects 1 2 1440`)
	h.icmp6TooBig(1, 1280)
	h.run(`
		> A 1:1221 ack 1
		> A 1221:2441 ack 1
		> PA 2441:2881 ack 1
		mss 1220`)
}

// TestIPv6Listener: requests and resets of IPv6 go where they have to.
func TestIPv6Listener(t *testing.T) {
	h := newHarness(t, true, 1500)
	h.run(`
		listen 1
		< S 0
		> SA 0 ack 1 <mss 1440>
		+1s
		> SA 0 ack 1
		< A 1 ack 9
		> R 9
		< A 1 ack 1
		accept
		mss 1220
		write 10
		> PA 1:11 ack 1
		< R 1
		read ECONNRESET`)
}

func TestMore(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.10.1: a listener that is closed with a request in its queue", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			unlisten
			+10s
			nothing 0`},
		{"RFC 7323 5.3: an old timestamp during the handshake is challenged", `
			listen 1
			< S 0 <mss 1000,TS>
			> SA 0 ack 1
			+600ms
			< A 1 ack 1 <TS -700 0>
			> A 1 ack 1
			requests 1`},
		{"RFC 9293 3.10.7.4: data far beyond the window during the handshake is challenged", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			+600ms
			< A 90000:90100 ack 1
			> A 1 ack 1
			requests 1`},
		{"shutdown(2) during a simultaneous open: the FIN follows the handshake", `
			connect EINPROGRESS
			> S 0
			< S 0 <mss 1000>
			> SA 0 ack 1
			shutdown wr
			state SYN-RECEIVED
			< A 1 ack 1
			> FA 1 ack 1
			state FIN-WAIT-1`},
		{"shutdown(2) in SYN-SENT ends the attempt", `
			connect EINPROGRESS
			> S 0
			shutdown wr
			state CLOSED
			nothing 0`},
		{"close(2) in SYN-SENT ends the attempt silently", `
			connect EINPROGRESS
			> S 0
			close
			< SA 0 ack 1
			> R 1
			nothing 0`},
		{"recv(2): at the urgent mark the byte is stepped over", `
			established
			< PAU 1:11 ack 1 urg 5
			> A 1 ack 11
			inq 4
			read 4 of 100
			inq 5
			peek0 1
			skip 1
			read 5 of 100
			readoob EINVAL`},
		{"recv(2) MSG_OOB after the end", `
			established
			< AU 1 ack 1 urg 20
			< FA 1 ack 1
			readoob0 0
			+40ms
			> A 1 ack 2`},
		{"RFC 9293 3.8.5: a pointer with the SYN's options does not reach into the far future", `
			established
			< AU 1 ack 1 urg 65535
			events PRI
			< AU 1 ack 1 urg 20
			poll OUT`},
		{"tcp(7) TCP_USER_TIMEOUT: the handshake, too", `
			set usertimeout 2500
			connect EINPROGRESS
			> S 0
			+1s
			> S 0
			+1499ms
			state SYN-SENT
			+1ms
			error ETIMEDOUT`},
		{"RFC 8985 7.3: with a closed window the probe sends old data", `
			window 3000
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			write 5000
			expects 1001 3 1000
			+85ms
			> A 3001:4001 ack 1`},
		{"RFC 8985 7.3: of a large segment the last part", `
			window 65535
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			write 2500
			expects 1001 2 1000
			> PA 3001:3501 ack 1
			+85ms
			> PA 3001:3501 ack 1`},
		{"RFC 5681 3.1: what was not sent for lack of room is sent when the window opens", `
			window 2000
			established
			write 4000
			expects 1 2 1000
			< A 1 ack 2001 win 0
			< A 1 ack 2001 win 65535
			> A 2001:3001 ack 1
			> PA 3001:4001 ack 1`},
		{"RFC 9293 3.8.6.1: a closed window that is only known from an update is probed", `
			established
			write 100
			> PA 1:101 ack 1
			< A 1 ack 101 win 0
			notimer send
			write 100
			timer send
			+201ms
			> A 100 ack 1
			< A 1 ack 101 win 1000
			> PA 101:201 ack 1`},
		{"RFC 9293 3.6: the peer closes while our window is closed", `
			listen 1
			set rcvbuf 8000
			established
			fillwindow
			< FA $ ack 1
			state CLOSE-WAIT
			poll IN|OUT|RDHUP
			+40ms
			> A 1 ack $+1`},
		{"RFC 2883 4.2.1: old data that was sent again is reported, and our SACK blocks stay", `
			established mss 1000,sackOK
			< A 1:1001 ack 1
			> A 1 ack 1001
			< A 2001:3001 ack 1
			> A 1 ack 1001 <sack 2001:3001>
			< A 1:1001 ack 1
			> A 1 ack 1001 <sack 1:1001 2001:3001>`},
		{"RFC 6298 5.7: a timeout of the SYN without a sample makes the first data timeout 3 s", `
			sysctl timestamps 0
			connect EINPROGRESS
			> S 0
			+1s
			> S 0
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1
			write 10
			> PA 1:11 ack 1
			+2999ms
			+1ms
			> PA 1:11 ack 1`},
		{"RFC 5961 3.2: a RST that is in order with what was received behind a gap is challenged", `
			established mss 1000,sackOK
			< A 1001:2001 ack 1
			> A 1 ack 1 <sack 1001:2001>
			< R 2001
			> A 1 ack 1
			state ESTABLISHED`},
		{"RFC 9293 3.8.4: a probe of the peer with data already received is answered, with its report", `
			established mss 1000,sackOK
			< A 1:11 ack 1
			> A 1 ack 11
			< A 10:11 ack 1
			> A 1 ack 11 <sack 10:11>`},
		{"ip(7) IP_TOS: the type of service of the socket", `
			established
			set tos 16
			write 10
			> PA 1:11 ack 1 tos 16`},
	})
}
