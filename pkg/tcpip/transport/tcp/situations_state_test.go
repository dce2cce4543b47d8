package tcp

import "testing"

// inState are scripts that lead to each synchronized state, with the peer's next sequence number and
// its acknowledgement of all that we sent.
var inState = []struct{ name, script, seq, ack string }{
	{"ESTABLISHED", "established", "1", "1"},
	{"FIN-WAIT-1", "established\nshutdown wr\n> FA 1 ack 1", "1", "1"},
	{"FIN-WAIT-2", "established\nshutdown wr\n> FA 1 ack 1\n< A 1 ack 2", "1", "2"},
	{"CLOSE-WAIT", "established\n< FA 1 ack 1\n+40ms\n> A 1 ack 2", "2", "1"},
	{"CLOSING", "established\nshutdown wr\n> FA 1 ack 1\n< FA 1 ack 1\n> A 2 ack 2", "2", "1"},
	{"LAST-ACK", "established\n< FA 1 ack 1\n+40ms\n> A 1 ack 2\nshutdown wr\n> FA 1 ack 2", "2", "1"},
}

// TestEveryState checks the rules of RFC 9293 section 3.10.7.4 and RFC 5961 that hold in all
// synchronized states.
func TestEveryState(t *testing.T) {
	nxt := map[string]string{"ESTABLISHED": "1", "CLOSE-WAIT": "1"}
	for _, s := range inState {
		our := nxt[s.name]
		if our == "" {
			our = "2"
		}
		ack := "> A " + our + " ack " + s.seq
		for _, c := range []situation{
			{"RFC 9293 3.10.7.4 second: RST at the next number ends it", "< R " + s.seq + "\nstate CLOSED\nnothing 0"},
			{"RFC 5961 3.2: RST elsewhere in the window is challenged", "+1s\n" + rto(s.name, our, s.seq) + "< R 500\n" + ack + "\nstate " + s.name},
			{"RFC 9293 3.10.7.4 second: RST outside of the window is dropped", "< R -1000\nstate " + s.name + "\n< R 200000\nstate " + s.name},
			{"RFC 5961 4.2: SYN is challenged", "< S " + s.seq + "\n" + ack + "\nstate " + s.name},
			{"RFC 5961 4.2: SYN outside of the window, too", "< S 300000\n" + ack + "\nstate " + s.name},
			{"RFC 5961 5.2: acknowledgement of what was not sent", "< A " + s.seq + " ack 50000\n" + ack + "\nstate " + s.name},
			{"RFC 5961 5.2: very old acknowledgement", "< A " + s.seq + " ack -70000\n" + ack + "\nstate " + s.name},
			{"RFC 9293 3.10.7.4 first: behind the window", "< A 300000 ack " + s.ack + "\n" + ack + "\nstate " + s.name},
			{"RFC 9293 3.10.7.4 fifth: without ACK", "< P " + s.seq + ":20\nstate " + s.name},
			{"RFC 5961 7: challenges are limited", "< S " + s.seq + "\n" + ack + "\n< S " + s.seq + "\n< S " + s.seq},
		} {
			t.Run(s.name+"/"+c.name, func(t *testing.T) { newHarness(t, false, 1500).run(s.script + "\n" + c.script) })
		}
	}
}

// rto is the retransmission of a FIN within a second, in states that have one in flight.
func rto(state, our, ack string) string {
	switch state {
	case "FIN-WAIT-1":
		return "> FA 1 ack 1\n> FA 1 ack 1\n"
	case "CLOSING":
		return "> FA 1 ack 2\n> FA 1 ack 2\n"
	case "LAST-ACK":
		return "> FA 1 ack 2\n> FA 1 ack 2\n"
	}
	return ""
}

func TestClosing(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.6 figure 12: normal close, we first", `
			established
			close
			> FA 1 ack 1
			state FIN-WAIT-1
			< A 1 ack 2
			state FIN-WAIT-2
			< FA 1 ack 2
			> A 2 ack 2
			timewait 1
			+59s
			timewait 1
			+1s
			timewait 0
			nothing 0`},
		{"RFC 9293 3.6 figure 12: normal close, the peer first", `
			established
			< FA 1 ack 1
			events IN|RDHUP
			state CLOSE-WAIT
			poll IN|OUT|RDHUP
			read 0
			read 0
			close
			> FA 1 ack 2
			state LAST-ACK
			< A 2 ack 2
			state CLOSED
			timewait 0
			nothing 0`},
		{"RFC 9293 3.6 figure 13: simultaneous close", `
			established
			close
			> FA 1 ack 1
			< FA 1 ack 1
			> A 2 ack 2
			state CLOSING
			< A 2 ack 2
			timewait 1`},
		{"RFC 9293 3.6: FIN with the acknowledgement of ours", `
			established
			close
			> FA 1 ack 1
			< FA 1 ack 2
			> A 2 ack 2
			timewait 1`},
		{"RFC 9293 3.6 case 1: half close, the other half goes on", `
			established
			shutdown wr
			> FA 1 ack 1
			write EPIPE
			poll OUT
			< A 1 ack 2
			< PA 1:1001 ack 2
			> A 2 ack 1001
			state FIN-WAIT-2
			read 1000
			poll OUT
			< FA 1001 ack 2
			> A 2 ack 1002
			poll IN|OUT|HUP|RDHUP
			read 0
			state CLOSED
			timewait 1`},
		{"RFC 9293 3.6 case 2: we go on sending after the peer's FIN", `
			established
			< FA 1 ack 1
			+40ms
			> A 1 ack 2
			write 500
			> PA 1:501 ack 2
			< A 2 ack 501
			shutdown wr
			> FA 501 ack 2
			< A 2 ack 502
			state CLOSED
			poll IN|OUT|HUP|RDHUP`},
		{"RFC 9293 3.10.4: the FIN goes behind what is queued", `
			window 2000
			established
			write 2500
			> A 1:1001 ack 1
			> A 1001:2001 ack 1
			close
			state FIN-WAIT-1
			< A 1 ack 1001
			> FPA 2001:2501 ack 1
			< A 1 ack 2502
			state FIN-WAIT-2`},
		{"RFC 9293 3.10.4: the FIN waits for room in the window", `
			established
			write 1000
			> PA 1:1001 ack 1
			< A 1 ack 1001 win 0
			shutdown wr
			< A 1 ack 1001 win 1
			> FA 1001 ack 1`},
		{"RFC 9293 3.8.1: a FIN is sent again", `
			established
			close
			> FA 1 ack 1
			+201ms
			> FA 1 ack 1
			< A 1 ack 2
			state FIN-WAIT-2`},
		{"RFC 9293 3.10.7.4 eighth: a FIN behind a gap waits", `
			established
			< FA 101:201 ack 1
			> A 1 ack 1
			state ESTABLISHED
			< A 1:101 ack 1
			> A 1 ack 202
			state CLOSE-WAIT
			read 200
			read 0`},
		{"RFC 9293 3.10.7.4 eighth: a FIN again in CLOSE-WAIT is acknowledged", `
			established
			< FA 1 ack 1
			+40ms
			> A 1 ack 2
			< FA 1 ack 1
			> A 1 ack 2
			state CLOSE-WAIT`},
		{"RFC 9293 3.10.7.4 seventh: data behind a FIN is ignored", `
			established
			< FA 1 ack 1
			+40ms
			> A 1 ack 2
			< PA 2:102 ack 1
			read 0
			state CLOSE-WAIT`},
		{"RFC 9293 3.6: a closed socket that gets data is reset", `
			established
			close
			> FA 1 ack 1
			< A 1 ack 2
			< PA 1:101 ack 2
			> R 2
			state CLOSED
			< A 101 ack 2
			> R 2`},
		{"RFC 9293 3.6.1: so is one that is shut down both ways", `
			established
			shutdown rdwr
			> FA 1 ack 1
			< A 1 ack 2
			< PA 1:101 ack 2
			> R 2
			state CLOSED`},
		{"RFC 2525 2.17: closed with unread data it is reset", `
			established
			< PA 1:101 ack 1
			> A 1 ack 101
			close
			> RA 1 ack 101
			state CLOSED
			nothing 0`},
		{"RFC 9293 3.10.5: SO_LINGER of 0 resets", `
			established
			set linger 0
			write 100
			> PA 1:101 ack 1
			close
			> RA 101 ack 1
			state CLOSED
			nothing 0`},
		{"socket(7) SO_LINGER with time: the usual close", `
			established
			set linger 5
			write 100
			> PA 1:101 ack 1
			close
			> FA 101 ack 1
			< A 1 ack 102`},
		{"RFC 9293 3.10.5: abort", `
			established
			abort
			> RA 1 ack 1
			state CLOSED
			nothing 0`},
		{"RFC 9293 3.10.5: abort in SYN-SENT sends nothing", `
			connect EINPROGRESS
			> S 0
			abort
			nothing 0`},
		{"connect(2) AF_UNSPEC resets, and the socket is free", `
			established
			disconnect
			> RA 1 ack 1
			state CLOSED
			poll OUT|ERR|HUP
			error ECONNRESET
			poll OUT|HUP`},
		{"tcp(7): FIN-WAIT-2 of a closed socket ends", `
			sysctl fin_timeout 10
			established
			close
			> FA 1 ack 1
			< A 1 ack 2
			+9s
			state FIN-WAIT-2
			+1s
			state CLOSED
			< FA 1 ack 2
			> R 2
			nothing 0`},
		{"tcp(7) TCP_LINGER2 changes that time", `
			established
			set linger2 5
			close
			> FA 1 ack 1
			< A 1 ack 2
			+5s
			state CLOSED`},
		{"tcp(7) TCP_LINGER2 negative: reset at once", `
			established
			set linger2 -1
			close
			> FA 1 ack 1
			< A 1 ack 2
			> RA 2 ack 1
			state CLOSED`},
		{"RFC 9293 3.5.3: FIN-WAIT-2 of an open socket lasts", `
			established
			shutdown wr
			> FA 1 ack 1
			< A 1 ack 2
			nothing 0
			+1h
			state FIN-WAIT-2`},
		{"RFC 9293 3.10.7.4 second: what came before a RST is read", `
			established
			< PA 1:101 ack 1
			> A 1 ack 101
			< R 101
			poll IN|OUT|ERR|HUP|RDHUP
			events IN|OUT|ERR|HUP|RDHUP
			read 100
			read ECONNRESET
			read 0
			write EPIPE`},
		{"RFC 9293 3.10.7.4 second: write after a RST", `
			established
			< R 1
			write ECONNRESET
			write EPIPE
			poll IN|OUT|HUP|RDHUP`},
		{"RFC 9293 3.10.7.4 second: RST in CLOSE-WAIT is EPIPE", `
			established
			< FA 1 ack 1
			+40ms
			> A 1 ack 2
			< R 2
			read 0
			poll IN|OUT|ERR|HUP|RDHUP
			write EPIPE
			poll IN|OUT|HUP|RDHUP
			state CLOSED`},
		{"shutdown(2) of the read side: the end of the stream, but data is taken", `
			established
			shutdown rd
			poll IN|OUT|RDHUP
			read 0
			< PA 1:101 ack 1
			> A 1 ack 101
			read 100
			read 0`},
		{"shutdown(2) needs a connection", `
			socket
			shutdown wr ENOTCONN`},
		{"RFC 9293 3.8.3: orphans are given up sooner", `
			established
			close
			> FA 1 ack 1
			+201ms
			> FA 1 ack 1
			+401ms
			> FA 1 ack 1
			+801ms
			> FA 1 ack 1
			+1601ms
			> FA 1 ack 1
			+3201ms
			> FA 1 ack 1
			+6401ms
			> FA 1 ack 1
			+12801ms
			> FA 1 ack 1
			+25601ms
			> FA 1 ack 1
			+51201ms
			state CLOSED
			nothing 0`},
	})
}

// timeWait leads to TIME-WAIT.
const inTimeWait = `
	sysctl moderate 1
	established mss 1000,TS
	close
	> FA 1 ack 1
	< FA 1 ack 2
	> A 2 ack 2
	timewait 1
`

func TestTimeWait(t *testing.T) {
	for _, s := range []situation{
		{"RFC 9293 3.10.7.4 eighth: the FIN again is acknowledged, and time begins anew", `
			+30s
			< FA 1 ack 2
			> A 2 ack 2
			+59s
			timewait 1
			+1s
			timewait 0`},
		{"RFC 1337 3: a RST does not end it", `
			< R 2
			timewait 1`},
		{"RFC 9293 3.10.7.4: data is acknowledged", `
			< PA 2:102 ack 2
			> A 2 ack 2
			timewait 1`},
		{"RFC 9293 3.10.7.4: an acknowledgement is dropped", `
			< A 2 ack 2
			timewait 1`},
		{"RFC 6191 2: a SYN with a later timestamp begins a new connection", `
			+10ms
			< S -5000 <mss 1000,TS>
			> SA 65539 ack -4999
			timewait 0`},
		{"RFC 6191 2: a SYN with a higher number does", `
			< S 70000 <mss 1000>
			> SA 65539 ack 70001
			timewait 0`},
		{"RFC 6191 2: an old SYN is challenged", `
			< S -5000 <mss 1000,TS -5 0>
			> A 2 ack 2
			timewait 1`},
		{"RFC 7323 5.3: an old segment is answered, and does not prolong", `
			+30s
			< FA 1 ack 2 <TS -31000 0>
			> A 2 ack 2
			+30s
			timewait 0`},
		{"RFC 9293 3.6.1: without a listener a new SYN is reset", `
			unlisten
			< S 70000 <mss 1000>
			> RA 0 ack 70001
			timewait 0`},
	} {
		t.Run(s.name, func(t *testing.T) { newHarness(t, false, 1500).run(inTimeWait + s.script) })
	}
	runSituations(t, []situation{
		{"tcp(7) tcp_max_tw_buckets bounds their number", `
			sysctl max_tw 0
			established
			close
			> FA 1 ack 1
			< FA 1 ack 2
			> A 2 ack 2
			timewait 0
			state CLOSED`},
		{"RFC 6191 2: connect with bound ports", `
			bind 5000
			connect EINPROGRESS
			> S 0
			< SA 0 ack 1 <mss 1000,TS>
			> A 1 ack 1
			close
			> FA 1 ack 1
			< FA 1 ack 2
			> A 2 ack 2
			timewait 1
			socket
			set reuseaddr 1
			bind 5000 EADDRINUSE
			connect EINPROGRESS
			> S 0
			timewait 1`},
	})
}
