package tcp

import (
	"fmt"
	"testing"

	"runsc/pkg/tcpip/header"
)

func TestBacklog(t *testing.T) {
	runSituations(t, []situation{
		{"listen(2): the backlog is clamped by somaxconn", `
			sysctl somaxconn 5
			listen -1
			backlog 5
			listen 3
			backlog 3
			listen 100
			backlog 5`},
		{"RFC 4987 3.1: the SYN queue is bounded by the backlog", `
			sysctl syncookies 0
			listen 2
			syns 5
			requests 2
			drops 3`},
		{"RFC 4987 3.1: and by tcp_max_syn_backlog", `
			sysctl syncookies 0
			sysctl max_syn_backlog 1
			listen 5
			syns 5
			requests 1
			drops 4`},
		{"RFC 4987 3.6: more SYNs are answered by cookies", `
			listen 2
			syns 5
			requests 2
			cookies 3
			drops 0`},
		{"listen(2): one more than the backlog may wait, then handshakes are held up", `
			listen 2
			< S 0 <mss 1000>
			> SA 0 ack 1
			save
			handshakes 3
			restore
			< A 1 ack 1
			overflows 1
			requests 1
			accept
			accept
			accept
			accept EAGAIN`},
		{"listen(2): a held up handshake ends when there is room", `
			listen 2
			< S 0 <mss 1000>
			> SA 0 ack 1
			save
			handshakes 3
			restore
			< PA 1:11 ack 1
			requests 1
			accept
			+1s
			> SA 0 ack 1
			< PA 1:11 ack 1
			> A 1 ack 11
			requests 0`},
		{"listen(2): with a full queue SYNs are dropped, cookies or not", `
			listen 0
			handshakes 1
			syns 2
			overflows 2
			cookies 0`},
		{"tcp(7) TCP_DEFER_ACCEPT: the connection is accepted with its first data", `
			listen 1
			set defer 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 1
			accept EAGAIN
			< PA 1:11 ack 1
			> A 1 ack 11
			accept
			read 10`},
		{"tcp(7) TCP_DEFER_ACCEPT: without data, the SYN-ACK is sent again at the end, and the answer counts", `
			listen 1
			set defer 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 1
			accept EAGAIN
			+1s
			> SA 0 ack 1
			< A 1 ack 1
			accept
			state ESTABLISHED`},
		{"close(2): connections that nobody accepted are reset", `
			listen 5
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 1
			unlisten
			> RA 1 ack 1`},
		{"close(2): requests are forgotten, and answers reset", `
			listen 5
			< S 0 <mss 1000>
			> SA 0 ack 1
			unlisten
			< A 1 ack 1
			> R 1
			nothing 0`},
		{"accept(2): a connection that was reset meanwhile is accepted all the same", `
			listen 5
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 1
			< R 1
			accept
			state CLOSED
			read ECONNRESET
			read 0`},
		{"poll(2): a listener is readable when a connection waits", `
			listen 5
			lpoll 
			< S 0 <mss 1000>
			> SA 0 ack 1
			lpoll 
			< A 1 ack 1
			lpoll IN
			accept
			lpoll `},
		{"shutdown(2): a listener that cannot read listens no more", `
			listen 5
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 1
			lshutdown rd
			> RA 1 ack 1
			< S 0 port 77 <mss 1000>
			> RA 0 ack 1`},
	})
}

// many makes handshakes, or only SYNs, from other ports of the peer.
func (h *harness) many(what string, n int) {
	for range n {
		h.others++
		port := 1000 + h.others
		h.haveISS = false
		h.inject(fmt.Sprintf("< S 0 port %d <mss 1000>", port))
		h.drop()
		if len(h.wire.out) == 0 {
			continue
		}
		s := h.next()
		if s.tcp.Flags() != flagSyn|flagAck || s.tcp.DestinationPort() != port {
			h.fatalf("%v went out", s.tcp.Flags())
		}
		h.iss, h.haveISS, h.ourPort, h.peerPort = s.tcp.Sequence(), true, s.tcp.SourcePort(), port
		if what == "handshakes" {
			h.inject("< A 1 ack 1")
		}
	}
}

// cookieHarness returns one whose listener is under attack.
func cookieHarness(t *testing.T) *harness {
	h := newHarness(t, false, 1500)
	h.run(`
		listen 1
		syns 1
		requests 1`)
	h.peerPort, h.haveISS = peerPort, false
	return h
}

func TestSYNCookies(t *testing.T) {
	for _, s := range []situation{
		{"RFC 4987 3.6: the acknowledgement of a cookie makes a connection", `
			< S 0 win 1000 <mss 1300,ws 3,sackOK>
			> SA 0 ack 1 <mss 1460,noWS,noSACK,noTS>
			cookies 1
			requests 1
			< A 1 ack 1 win 500
			accept
			mss 1300
			peerwindow 500
			write 100
			> PA 1:101 ack 1`},
		{"RFC 4987 3.6: the MSS is rounded down", `
			< S 0 <mss 1459>
			> SA 0 ack 1
			< A 1 ack 1
			accept
			mss 1440`},
		{"RFC 4987 3.6: options travel in the timestamp", `
			< S 0 win 1000 <mss 1460,ws 3,sackOK,TS>
			> SA 0 ack 1 <mss 1460,ws 7,sackOK,TS>
			< A 1 ack 1 win 500 <TS>
			accept
			mss 1448
			peerwindow 4000
			< A 101:201 ack 1 <TS>
			> A 1 ack 1 <TS,sack 101:201>`},
		{"RFC 4987 3.6: data with the acknowledgement", `
			< S 0 <mss 1460>
			> SA 0 ack 1
			< PA 1:11 ack 1
			> A 1 ack 11
			accept
			read 10`},
		{"RFC 4987 3.6: a wrong cookie is reset", `
			< S 0 <mss 1460>
			> SA 0 ack 1
			< A 1 ack 2
			> R 2
			< A 2 ack 1
			> R 1
			accept EAGAIN`},
		{"RFC 4987 3.6: a cookie of a minute ago is good", `
			< S 0 <mss 1460>
			> SA 0 ack 1
			unsyn
			+63s
			< A 1 ack 1
			accept`},
		{"RFC 4987 3.6: an old cookie is not", `
			< S 0 <mss 1460>
			> SA 0 ack 1
			unsyn
			+129s
			< A 1 ack 1
			> R 1`},
	} {
		t.Run(s.name, func(t *testing.T) { cookieHarness(t).run(s.script) })
	}
}

// TestCookieBitsAreIndependent: no acknowledgement is taken that was not given out, whatever bits an
// attacker guesses.
func TestCookieGuesses(t *testing.T) {
	h := cookieHarness(t)
	h.run(`
		< S 0 <mss 1460>
		> SA 0 ack 1`)
	iss := h.iss
	for i := range 2000 {
		guess := iss ^ uint32(1)<<(i%32) + uint32(i/32)<<24
		if guess == iss {
			continue
		}
		f := header.TCPFields{
			SourcePort: peerPort, DestinationPort: ourPort, Flags: flagAck, Sequence: peerISS + 1,
			Acknowledgment: guess + 1, Window: 1000,
		}
		h.send(&f, &header.TCPOptions{}, 0, nil)
	}
	if h.listener.listener.ready() {
		t.Fatal("a guessed cookie made a connection")
	}
}
