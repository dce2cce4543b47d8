package tcp

import "testing"

// situation is a script and what it shows.
type situation struct {
	name   string
	script string
}

func runSituations(t *testing.T, list []situation) {
	for _, s := range list {
		t.Run(s.name, func(t *testing.T) { newHarness(t, false, 1500).run(s.script) })
	}
}

func TestHandshake(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.5 figure 6: active open", `
			connect EINPROGRESS
			> S 0 <mss 1460,sackOK,TS 0,ws 7>
			state SYN-SENT
			poll 
			connect EALREADY
			+50ms
			< SA 0 ack 1 win 30000 <mss 1000,sackOK,TS,ws 2>
			> A 1 ack 1
			events OUT
			state ESTABLISHED
			poll OUT
			peerwindow 30000
			connect
			connect EISCONN
			mss 988
			rtt 50
			rto 250
			notimer send`},
		{"RFC 9293 3.5 figure 6: passive open", `
			listen 1
			< S 0 win 1000 <mss 1200,ws 3>
			> SA 0 ack 1 win 65535 <mss 1460,ws 7,noSACK,noTS>
			accept EAGAIN
			< A 1 ack 1 win 1000
			accept
			state ESTABLISHED
			poll OUT
			peerwindow 8000
			mss 1200
			nothing 0`},
		{"RFC 9293 3.5 figure 8: simultaneous open", `
			connect EINPROGRESS
			> S 0
			< S 0 <mss 1000>
			> SA 0 ack 1
			state SYN-RECEIVED
			connect EALREADY
			< SA 0 ack 1
			state ESTABLISHED
			connect
			write 10
			> PA 1:11 ack 1`},
		{"RFC 9293 3.5 figure 8: simultaneous open ended by an acknowledgement", `
			connect EINPROGRESS
			> S 0
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 1
			state ESTABLISHED`},
		{"RFC 9293 3.10.7.4: a simultaneous open is reset", `
			connect EINPROGRESS
			> S 0
			< S 0 <mss 1000>
			> SA 0 ack 1
			< R 1
			state CLOSED
			connect ECONNREFUSED`},
		{"RFC 9293 3.5 figure 7: an old duplicate SYN-ACK is reset", `
			connect EINPROGRESS
			> S 0
			< SA 0 ack 100 <mss 1000>
			> R 100
			state SYN-SENT
			< SA 500 ack 0 <mss 1000>
			> R 0
			state SYN-SENT`},
		{"RFC 9293 3.10.7.3: a RST with our acknowledgement refuses", `
			connect EINPROGRESS
			> S 0
			< RA 0 ack 1
			events OUT|ERR|HUP|IN|RDHUP
			poll IN|OUT|ERR|HUP|RDHUP
			connect ECONNREFUSED
			state CLOSED
			poll OUT|HUP`},
		{"RFC 9293 3.10.7.3: the pending error is told once", `
			connect EINPROGRESS
			> S 0
			< RA 0 ack 1
			error ECONNREFUSED
			error
			connect ECONNABORTED`},
		{"RFC 9293 3.10.7.3: a RST without acknowledgement is dropped", `
			connect EINPROGRESS
			> S 0
			< R 0
			state SYN-SENT`},
		{"RFC 9293 3.10.7.3: a RST that acknowledges something else is dropped", `
			connect EINPROGRESS
			> S 0
			< RA 0 ack 7
			state SYN-SENT`},
		{"RFC 9293 3.10.7.3: an acknowledgement without SYN is dropped", `
			connect EINPROGRESS
			> S 0
			< A 1 ack 1
			state SYN-SENT`},
		{"RFC 9293 3.10.7.3: data in the SYN-ACK is taken", `
			connect EINPROGRESS
			> S 0
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1
			< A 1:11 ack 1
			> A 1 ack 11
			read 10`},
		{"RFC 9293 3.10.7.3: a refused socket connects again", `
			connect EINPROGRESS
			> S 0
			< RA 0 ack 1
			connect ECONNREFUSED
			again
			connect EINPROGRESS
			> S 0
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1
			state ESTABLISHED
			poll OUT
			write 10
			> PA 1:11 ack 1
			< A 1 ack 11
			disconnect
			> RA 11 ack 1
			error ECONNRESET
			again
			connect EINPROGRESS
			> S 0
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1
			< PA 1:11 ack 1
			> A 1 ack 11
			read 10`},
		{"RFC 6298 5: a SYN is sent again with backoff, and given up", `
			sysctl syn_retries 3
			connect EINPROGRESS
			> S 0
			+999ms
			+1ms
			> S 0
			+2s
			> S 0
			+4s
			> S 0
			+7999ms
			state SYN-SENT
			+1ms
			state CLOSED
			poll IN|OUT|ERR|HUP|RDHUP
			connect ETIMEDOUT`},
		{"tcp(7) TCP_SYNCNT: fewer SYNs", `
			set syncnt 1
			connect EINPROGRESS
			> S 0
			+1s
			> S 0
			+2s
			error ETIMEDOUT`},
		{"RFC 6298 3: Karn, a SYN sent twice gives no sample without timestamps", `
			sysctl timestamps 0
			connect EINPROGRESS
			> S 0
			+1s
			> S 0
			+10ms
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1
			rtt 0
			rto 3000
			cwnd 10`},
		{"RFC 6928 2: a SYN lost twice means a window of one segment", `
			connect EINPROGRESS
			> S 0
			+1s
			> S 0
			+2s
			> S 0
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1
			cwnd 1`},
		{"RFC 7323 4: with timestamps it does", `
			connect EINPROGRESS
			> S 0
			+1s
			> S 0
			+10ms
			< SA 0 ack 1 <mss 1000,TS>
			> A 1 ack 1
			rtt 10`},
		{"RFC 9293 3.7.1: without an MSS option it is 536", `
			listen 1
			< S 0
			> SA 0 ack 1 <mss 1460,noWS,noSACK,noTS>
			< A 1 ack 1
			accept
			mss 536`},
		{"RFC 9293 3.7.1: tiny MSS of a hostile peer", `
			established mss 1
			mss 48`},
		{"RFC 6691 2: timestamps are deducted from the MSS", `
			established mss 1000,TS
			mss 988`},
		{"tcp(7) TCP_MAXSEG bounds both ways", `
			listen 1
			set maxseg 600
			< S 0 <mss 1000>
			> SA 0 ack 1 <mss 600>
			< A 1 ack 1
			accept
			mss 600`},
		{"RFC 7323 2.2: no window scale unless both have it", `
			sysctl window_scaling 0
			connect EINPROGRESS
			> S 0 <noWS>
			< SA 0 ack 1 win 1000 <mss 1000,ws 7>
			> A 1 ack 1 win 65535
			peerwindow 1000
			< A 1 ack 1 win 2000
			peerwindow 2000`},
		{"RFC 7323 2.3: a window scale over 14 is 14", `
			established mss 1000,ws 15
			write 1
			> PA 1:2 ack 1
			< A 1 ack 2 win 3
			peerwindow 49152`},
		{"RFC 7323 2.2: the window of a SYN is not scaled, later ones are", `
			connect EINPROGRESS
			> S 0 win 65535
			< SA 0 ack 1 win 65535 <mss 1000,ws 7>
			> A 1 ack 1 win 512
			peerwindow 65535
			< A 1 ack 1 win 1000
			peerwindow 128000`},
		{"RFC 7323 3.2: no timestamps unless both have them", `
			connect EINPROGRESS
			> S 0 <TS>
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1 <noTS>`},
		{"RFC 7323 3.2: settings", `
			sysctl timestamps 0
			sysctl sack 0
			connect EINPROGRESS
			> S 0 <noTS,noSACK,ws 7>
			< SA 0 ack 1 <mss 1000>
			> A 1 ack 1 <noTS>`},
		{"RFC 2018 2: SACK needs both", `
			established mss 1000
			< A 101:201 ack 1
			> A 1 ack 1 <>`},
		{"RFC 3168 6.1.1: ECN is negotiated by the client", `
			sysctl ecn 1
			connect EINPROGRESS
			> SEC 0
			< SAE 0 ack 1 <mss 1000>
			> A 1 ack 1
			ecn 1`},
		{"RFC 3168 6.1.1: a SYN-ACK that reflects both bits is no agreement", `
			sysctl ecn 1
			connect EINPROGRESS
			> SEC 0
			< SAEC 0 ack 1 <mss 1000>
			> A 1 ack 1
			ecn 0`},
		{"RFC 3168 6.1.1.1: a repeated SYN does without", `
			sysctl ecn 1
			connect EINPROGRESS
			> SEC 0
			+1s
			> S 0`},
		{"RFC 3168 6.1.1: the server agrees", `
			listen 1
			< SEC 0 <mss 1000>
			> SAE 0 ack 1
			< A 1 ack 1
			accept
			ecn 1`},
		{"RFC 3168 6.1.1: the server does not if it is off", `
			sysctl ecn 0
			listen 1
			< SEC 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 1
			accept
			ecn 0`},
		{"RFC 9293 3.10.7.2: a RST for a listener is dropped", `
			listen 1
			< R 0
			requests 0`},
		{"RFC 9293 3.10.7.2: an acknowledgement for a listener is reset", `
			listen 1
			< A 100 ack 5
			> R 5`},
		{"RFC 9293 3.10.7.2: SYN with ACK for a listener is reset", `
			listen 1
			< SA 100 ack 5
			> R 5
			requests 0`},
		{"RFC 9293 3.10.7.2: SYN with FIN is dropped", `
			listen 1
			< SF 0
			requests 0`},
		{"RFC 9293 3.10.7.1: a segment for nobody is reset", `
			< A 100 ack 5
			> R 5
			< S 0
			> RA 0 ack 1
			< F 10:20
			> RA 0 ack 21
			< R 0`},
		{"RFC 9293 3.10.7.4: SYN-RECEIVED, wrong acknowledgement is reset", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 2
			> R 2
			requests 1
			< A 1 ack 1
			requests 0
			accept`},
		{"RFC 9293 3.10.7.4: SYN-RECEIVED, a RST ends it", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< R 1
			requests 0`},
		{"RFC 5961 3.2: SYN-RECEIVED, a RST in the window does not", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			+600ms
			< R 50
			> A 1 ack 1
			requests 1`},
		{"RFC 5961 4.2: SYN-RECEIVED, another SYN is challenged", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			+600ms
			< S 50
			> A 1 ack 1
			requests 1`},
		{"RFC 9293 3.10.7.4: SYN-RECEIVED, the same SYN again", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			+100ms
			< S 0 <mss 1000>
			+500ms
			< S 0 <mss 1000>
			> SA 0 ack 1
			requests 1`},
		{"RFC 6298 5: a SYN-ACK is sent again, and given up", `
			sysctl synack_retries 2
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			+1s
			> SA 0 ack 1
			+2s
			> SA 0 ack 1
			+4s
			requests 0
			nothing 0`},
		{"RFC 9293 3.10.7.4: data with the handshake's last segment", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< PA 1:101 ack 1
			> A 1 ack 101
			accept
			poll IN|OUT
			read 100`},
		{"RFC 9293 3.10.7.4: the handshake's last segment is lost", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< PA 1:101 ack 1
			> A 1 ack 101
			accept`},
		{"RFC 9293 3.10.7.4: FIN with the handshake's last segment", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< FA 1 ack 1
			accept
			state CLOSE-WAIT
			poll IN|OUT|RDHUP
			+40ms
			> A 1 ack 2
			read 0`},
		{"RFC 6528: a new connection has other numbers", `
			connect EINPROGRESS
			> S 0
			abort
			socket
			connect EINPROGRESS
			> S 0`},
	})
}
