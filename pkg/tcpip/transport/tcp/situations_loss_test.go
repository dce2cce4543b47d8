package tcp

import "testing"

func TestLossRecovery(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 6298 5: the timeout doubles, and the oldest segment is sent again", `
			established
			write 3000
			expects 1 3 1000
			+201ms
			> A 1:1001 ack 1
			cwnd 1
			castate 4
			backoff 1
			+401ms
			> A 1:1001 ack 1
			+801ms
			> A 1:1001 ack 1
			rto 1600
			< A 1 ack 1001
			> A 1001:2001 ack 1
			> PA 2001:3001 ack 1
			cwnd 2
			< A 1 ack 3001
			castate 0
			backoff 0`},
		{"RFC 6298 5.3: an acknowledgement of new data restarts the timer", `
			established
			write 2000
			expects 1 2 1000
			+150ms
			< A 1 ack 1001
			+190ms
			timer send
			< A 1 ack 2001
			notimer send`},
		{"RFC 6298 2: the estimate follows the samples", `
			established mss 1000,TS
			+1s
			write 100
			> PA 1:101 ack 1
			+100ms
			< A 1 ack 101
			rtt 12
			write 100
			> PA 101:201 ack 1
			+100ms
			< A 1 ack 201
			rtt 23`},
		{"RFC 6298 3: Karn, what was sent twice gives no sample", `
			established
			write 100
			> PA 1:101 ack 1
			+201ms
			> PA 1:101 ack 1
			+10ms
			< A 1 ack 101
			rtt 0`},
		{"RFC 9293 3.8.3 R2: a connection without answers is given up", `
			sysctl retries2 3
			established
			write 100
			> PA 1:101 ack 1
			+201ms
			> PA 1:101 ack 1
			+401ms
			> PA 1:101 ack 1
			+801ms
			> PA 1:101 ack 1
			events 
			+1601ms
			events IN|OUT|ERR|HUP|RDHUP
			error ETIMEDOUT
			read 0
			write EPIPE`},
		{"RFC 1122 4.2.3.9: then the reason that ICMP gave is told", `
			sysctl retries2 2
			established
			write 100
			> PA 1:101 ack 1
			icmp host 1
			error
			state ESTABLISHED
			+201ms
			> PA 1:101 ack 1
			+401ms
			> PA 1:101 ack 1
			+801ms
			error EHOSTUNREACH`},
		{"RFC 5681 3.2: three duplicates, fast retransmission (no SACK)", `
			established
			set reno 1
			write 10000
			expects 1 10 1000
			< A 1 ack 1
			castate 1
			< A 1 ack 1
			< A 1 ack 1
			> A 1:1001 ack 1
			castate 3
			ssthresh 5
			< A 1 ack 10001
			castate 3
			write 1000
			> PA 10001:11001 ack 1
			< A 1 ack 11001
			castate 0
			cwnd 5`},
		{"RFC 5681 3.2: duplicates with data or another window do not count", `
			established
			write 5000
			expects 1 5 1000
			< A 1 ack 1 win 50000
			< A 1 ack 1 win 0
			< PA 1:2 ack 1 win 60000
			> A 5001 ack 2
			< PA 2:3 ack 1 win 60000
			> A 5001 ack 3
			< PA 3:4 ack 1 win 60000
			> A 5001 ack 4
			< PA 4:5 ack 1 win 60000
			> A 5001 ack 5
			castate 0`},
		{"RFC 3042: limited transmission sends new data for the first duplicates", `
			established
			set sndbuf 100000
			write 20000
			expects 1 10 1000
			+1ms
			< A 1 ack 1
			> A 10001:11001 ack 1
			< A 1 ack 1
			> A 11001:12001 ack 1
			castate 1`},
		{"RFC 6582 3.2: a partial acknowledgement sends the next hole", `
			established
			set reno 1
			write 10000
			expects 1 10 1000
			< A 1 ack 1
			< A 1 ack 1
			< A 1 ack 1
			> A 1:1001 ack 1
			< A 1 ack 4001
			> A 4001:5001 ack 1
			castate 3
			< A 1 ack 7001
			> A 7001:8001 ack 1
			castate 3
			< A 1 ack 10001
			write 10
			> PA 10001:10011 ack 1
			< A 1 ack 10011
			castate 0`},
		{"RFC 6675 5: SACK of three segments starts recovery", `
			established mss 1000,sackOK
			set reno 1
			write 10000
			expects 1 10 1000
			< A 1 ack 1 <sack 1001:2001>
			castate 1
			< A 1 ack 1 <sack 1001:3001>
			< A 1 ack 1 <sack 1001:4001>
			> A 1:1001 ack 1
			castate 3
			ssthresh 5
			sacked 3
			lost 1
			< A 1 ack 4001
			< A 1 ack 10001
			castate 0
			cwnd 5`},
		{"RFC 6675 5: several holes are sent again in one round trip", `
			established mss 1000,sackOK
			set reno 1
			write 10000
			expects 1 10 1000
			+1ms
			< A 1 ack 1 <sack 1001:2001>
			< A 1 ack 1 <sack 3001:4001 1001:2001>
			< A 1 ack 1 <sack 5001:6001 3001:4001 1001:2001>
			> A 1:1001 ack 1
			< A 1 ack 1 <sack 5001:7001 3001:4001 1001:2001>
			> A 2001:3001 ack 1
			< A 1 ack 1 <sack 5001:8001 3001:4001 1001:2001>
			> A 4001:5001 ack 1
			< A 1 ack 1 <sack 5001:10001 3001:4001 1001:2001>
			< A 1 ack 10001
			castate 0`},
		{"RFC 2018 8: blocks that the peer cannot have received are ignored", `
			established mss 1000,sackOK
			write 5000
			expects 1 5 1000
			< A 1 ack 1 <sack 5001:9001>
			< A 1 ack 1 <sack 3001:2001>
			sacked 0
			castate 0`},
		{"RFC 2018 8: the timeout forgets what a reneging peer reported", `
			established mss 1000,sackOK
			write 5000
			expects 1 5 1000
			< A 1 ack 1 <sack 1001:3001>
			< A 1 ack 1001
			> A 1001:2001 ack 1
			> A 2001:3001 ack 1
			castate 4
			sacked 0`},
		{"RFC 8985 6.2: what was sent before something delivered is lost", `
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+20ms
			< A 1 ack 1001
			set nodelay 1
			write 1000
			> PA 1001:2001 ack 1
			+5ms
			write 1000
			> PA 2001:3001 ack 1
			+20ms
			< A 1 ack 1001 <sack 2001:3001>
			> A 1001:2001 ack 1
			castate 3`},
		{"RFC 8985 6.2 step 4: reordering within a quarter of the round trip is waited for", `
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			write 2000
			> A 1001:2001 ack 1
			> PA 2001:3001 ack 1
			+40ms
			< A 1 ack 1001 <sack 2001:3001>
			castate 1
			< A 1 ack 3001
			castate 0
			reordering 1
			retrans 0`},
		{"RFC 8985 6.2 step 5: then the timer retransmits", `
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			write 2000
			> A 1001:2001 ack 1
			> PA 2001:3001 ack 1
			+40ms
			< A 1 ack 1001 <sack 2001:3001>
			+9ms
			+2ms
			> A 1001:2001 ack 1
			castate 3`},
		{"RFC 8985 7.2: a tail loss probe sends the last segment", `
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			write 3000
			expects 1001 3 1000
			+60ms
			+25ms
			> PA 3001:4001 ack 1
			castate 0
			+40ms
			< A 1 ack 1001 <sack 3001:4001>
			> A 1001:2001 ack 1
			castate 3
			+40ms
			< A 1 ack 2001 <sack 3001:4001>
			> A 2001:3001 ack 1`},
		{"RFC 8985 7.2: or new data", `
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			set nodelay 0
			write 3000
			expects 1001 3 1000
			cwndsegs 3
			write 2000
			+85ms
			> A 4001:5001 ack 1`},
		{"RFC 8985 7.4: a probe that repaired a loss is answered by a smaller window", `
			established mss 1000,sackOK
			set reno 1
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			write 4000
			expects 1001 4 1000
			+20ms
			< A 1 ack 4001
			+20ms
			timer send
			+250ms
			> PA 4001:5001 ack 1
			+40ms
			write 1000
			> PA 5001:6001 ack 1
			< A 1 ack 6001
			cwnd 5
			castate 0`},
		{"RFC 8985 7.4: a DSACK of the probe shows that nothing was lost", `
			established mss 1000,sackOK
			connectedlong 1
			write 2000
			> A 1:1001 ack 1
			> PA 1001:2001 ack 1
			+40ms
			< A 1 ack 2001
			write 4000
			expects 2001 4 1000
			+85ms
			> PA 5001:6001 ack 1
			< A 1 ack 6001
			< A 1 ack 6001 <sack 5001:6001>
			cwnd 10
			castate 0
			dsacks 1`},
		{"RFC 3522: an acknowledgement of the original undoes the recovery", `
			established mss 1000,sackOK,TS
			set reno 1
			write 9880
			expects 1 10 988
			+5ms
			< A 1 ack 1 <sack 989:1977>
			< A 1 ack 1 <sack 989:2965>
			< A 1 ack 1 <sack 989:3953>
			> A 1:989 ack 1
			castate 3
			ssthresh 5
			+5ms
			< A 1 ack 3953 <TS 0 -10>
			castate 0
			cwnd 10
			+1ms
			< A 1 ack 9881`},
		{"RFC 3522: and a timeout", `
			established mss 1000,sackOK,TS
			write 2964
			expects 1 3 988
			+601ms
			dropall
			castate 4
			< A 1 ack 2965 <TS 0 -601>
			castate 0
			spurious 1
			cwnd 10`},
		{"RFC 5682 3: a timeout after which originals are reported was spurious", `
			established mss 1000,sackOK
			write 5000
			expects 1 5 1000
			+601ms
			dropall
			castate 4
			< A 1 ack 1 <sack 1001:2001>
			castate 1
			spurious 1`},
		{"RFC 3708: duplicates of all that was sent again undo the recovery", `
			established mss 1000,sackOK
			set reno 1
			write 10000
			expects 1 10 1000
			< A 1 ack 1 <sack 1001:2001>
			< A 1 ack 1 <sack 1001:3001>
			< A 1 ack 1 <sack 1001:4001>
			> A 1:1001 ack 1
			ssthresh 5
			< A 1 ack 4001
			< A 1 ack 10001 <sack 1:1001>
			castate 0
			cwnd 10`},
		{"RFC 6937 3.1: the window shrinks in proportion to what is delivered", `
			established mss 1000,sackOK
			set reno 1
			set sndbuf 100000
			write 40000
			expects 1 10 1000
			+1ms
			< A 1 ack 1 <sack 1001:2001>
			> A 10001:11001 ack 1
			< A 1 ack 1 <sack 1001:3001>
			> A 11001:12001 ack 1
			< A 1 ack 1 <sack 1001:4001>
			> A 1:1001 ack 1
			< A 1 ack 1 <sack 1001:5001>
			< A 1 ack 1 <sack 1001:6001>
			< A 1 ack 1 <sack 1001:7001>
			< A 1 ack 1 <sack 1001:8001>
			< A 1 ack 1 <sack 1001:9001>
			> A 12001:13001 ack 1
			< A 1 ack 1 <sack 1001:10001>
			> A 13001:14001 ack 1
			castate 3`},
		{"RFC 8985: a retransmission that is lost is sent again", `
			established mss 1000,sackOK
			set reno 1
			set sndbuf 100000
			write 40000
			expects 1 10 1000
			+5ms
			< A 1 ack 1 <sack 1001:4001>
			> A 1:1001 ack 1
			+5ms
			< A 1 ack 1 <sack 1001:10001>
			expects 10001 4 1000
			+5ms
			< A 1 ack 1 <sack 1001:11001>
			> A 1:1001 ack 1
			> A 14001:15001 ack 1
			castate 3`},
		{"RFC 9438 4.6: CUBIC reduces the window to 70 %", `
			established mss 1000,sackOK
			write 10000
			expects 1 10 1000
			< A 1 ack 1 <sack 1001:4001>
			> A 1:1001 ack 1
			ssthresh 7`},
		{"RFC 6928, RFC 5681 3.1: the threshold is two segments at least", `
			established mss 1000
			cwndsegs 2
			write 2000
			expects 1 2 1000
			+201ms
			> A 1:1001 ack 1
			ssthresh 2`},
	})
}

func TestErrors(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 5461 4.1: a soft error ends an attempt", `
			connect EINPROGRESS
			> S 0
			icmp net 0
			connect ENETUNREACH`},
		{"RFC 1122 4.2.3.9: a hard error does", `
			connect EINPROGRESS
			> S 0
			icmp port 0
			connect ECONNREFUSED`},
		{"RFC 5927 4: an error about nothing in flight is ignored", `
			connect EINPROGRESS
			> S 0
			icmp port 5000
			state SYN-SENT`},
		{"RFC 1122 4.2.3.9: a hard error does not end a connection", `
			established
			write 10
			> PA 1:11 ack 1
			icmp port 1
			state ESTABLISHED
			error`},
		{"ip(7) IP_RECVERR: errors are told at once", `
			established
			set recverr 1
			write 10
			> PA 1:11 ack 1
			icmp host 1
			poll OUT|ERR
			error EHOSTUNREACH
			state ESTABLISHED`},
		{"RFC 1191 6.5: fragmentation needed makes segments smaller, and sends them again", `
			established mss 1460
			write 4380
			expects 1 3 1460
			icmp frag 1 1000
			> A 1:961 ack 1
			> A 961:1921 ack 1
			> A 1921:2881 ack 1
			> A 2881:3841 ack 1
			> PA 3841:4381 ack 1
			mss 960
			pmtu 1000`},
		{"RFC 5927 7.2: not for what is not in flight", `
			established mss 1460
			write 4380
			expects 1 3 1460
			icmp frag 90000 1000
			mss 1460`},
		{"RFC 2923 2.1: a black hole is tried with smaller segments", `
			established mss 1460
			write 1460
			> PA 1:1461 ack 1
			+201ms
			> PA 1:1461 ack 1
			+401ms
			> PA 1:1461 ack 1
			+801ms
			> PA 1:1461 ack 1
			+1601ms
			> A 1:731 ack 1
			< A 1 ack 731
			> PA 731:1461 ack 1`},
		{"send(2) without a connection", `
			write EPIPE
			read ENOTCONN
			poll OUT|HUP`},
		{"send(2) before the handshake is done", `
			connect EINPROGRESS
			> S 0
			write EAGAIN
			read EAGAIN`},
		{"recv(2) of a listener", `
			listen 1
			lread ENOTCONN`},
		{"bind(2) twice, and after connect", `
			bind 1234
			bind 1235 EINVAL
			connect EINPROGRESS
			> S 0
			bind 1236 EINVAL`},
		{"listen(2) of a connection", `
			established
			elisten EINVAL`},
	})
}

func TestHalfOpen(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.5.1 figure 9: the peer has forgotten the connection, and opens it again", `
			established
			< S 70000 <mss 1000>
			> A 1 ack 1
			< R 1
			state CLOSED`},
		{"RFC 9293 3.5.1 figure 10: we send to one that has forgotten", `
			established
			write 10
			> PA 1:11 ack 1
			< R 1 ack 0
			state CLOSED
			read ECONNRESET`},
	})
}

func TestIPv6(t *testing.T) {
	h := newHarness(t, true, 1500)
	h.run(`
		established mss 1440,sackOK,TS,ws 7
		mss 1428
		< PA 1:101 ack 1
		> A 1 ack 101
		write 5000
		expects 1 3 1428
		> PA 4285:5001 ack 101
		< A 101 ack 5001
		close
		> RA 5001 ack 101`)
}

func TestIPv6Connect(t *testing.T) {
	newHarness(t, true, 1280).run(`
		connect EINPROGRESS
		> S 0 <mss 1220>
		< SA 0 ack 1
		> A 1 ack 1
		mss 1220`)
}
