package tcp

import "testing"

func TestSending(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.10.2: data is cut into segments, the last has PSH", `
			established
			write 2500
			> A 1:1001 ack 1
			> A 1001:2001 ack 1
			> PA 2001:2501 ack 1
			outq 2500
			unsent 0
			< A 1 ack 2501
			outq 0
			notimer send`},
		{"RFC 6928 2: the initial window is ten segments", `
			window 65535
			established
			cwnd 10
			write 15000
			expects 1 10 1000
			unsent 5000
			< A 1 ack 2001
			expects 10001 4 1000
			< A 1 ack 14001
			> PA 14001:15001 ack 1
			< A 1 ack 15001
			cwnd 24`},
		{"RFC 5681 3.1: the window does not grow when it is not used", `
			established
			write 1000
			> PA 1:1001 ack 1
			< A 1 ack 1001
			write 1000
			> PA 1001:2001 ack 1
			< A 1 ack 2001
			cwnd 10`},
		{"RFC 9293 3.7.4: Nagle holds small segments back while one is in flight", `
			established
			write 100
			> PA 1:101 ack 1
			write 100
			write 100
			unsent 200
			< A 1 ack 101
			> PA 101:301 ack 1`},
		{"RFC 9293 3.7.4: Nagle does not hold full segments back", `
			established
			write 100
			> PA 1:101 ack 1
			write 1100
			> A 101:1101 ack 1
			< A 1 ack 1101
			> PA 1101:1201 ack 1`},
		{"RFC 9293 3.7.4: a small segment behind full ones goes (Minshall)", `
			established
			write 1100
			> A 1:1001 ack 1
			> PA 1001:1101 ack 1
			write 100
			< A 1 ack 1001
			< A 1 ack 1101
			> PA 1101:1201 ack 1`},
		{"tcp(7) TCP_NODELAY: small segments go at once", `
			established
			set nodelay 1
			write 100
			> PA 1:101 ack 1
			write 100
			> PA 101:201 ack 1`},
		{"tcp(7) TCP_NODELAY: setting it sends what is held back", `
			established
			write 100
			> PA 1:101 ack 1
			write 100
			set nodelay 1
			> PA 101:201 ack 1`},
		{"tcp(7) TCP_CORK: no partial segments, until it is pulled", `
			established
			set cork 1
			write 100
			write 1000
			> A 1:1001 ack 1
			write 50
			< A 1 ack 1001
			set cork 0
			> PA 1001:1151 ack 1`},
		{"tcp(7) TCP_CORK: 200 ms at most", `
			established
			set cork 1
			write 100
			+199ms
			+2ms
			> PA 1:101 ack 1`},
		{"send(2) MSG_MORE: as cork for one message", `
			established
			more 100
			write 50
			> PA 1:151 ack 1`},
		{"send(2) MSG_MORE: the acknowledgement of other data lets it go", `
			established
			write 10
			> PA 1:11 ack 1
			more 100
			< A 1 ack 11
			> PA 11:111 ack 1`},
		{"RFC 9293 3.8.6: the peer's window bounds", `
			window 3000
			established
			write 5000
			expects 1 3 1000
			< A 1 ack 1001 win 2000
			< A 1 ack 2001 win 2000
			> A 3001:4001 ack 1`},
		{"RFC 9293 3.8.6.2.1: the sender avoids silly windows", `
			window 3000
			established
			write 5000
			expects 1 3 1000
			< A 1 ack 3001 win 500
			+100ms
			unsent 2000
			< A 1 ack 3001 win 999
			< A 1 ack 3001 win 1000
			> A 3001:4001 ack 1`},
		{"RFC 9293 3.8.6.2.1 (4): after a while it sends what fits", `
			window 3000
			established
			write 5000
			expects 1 3 1000
			< A 1 ack 3001 win 500
			+201ms
			> A 3001:3501 ack 1`},
		{"RFC 9293 3.7.1: windows under two segments make small segments", `
			window 1000
			established
			write 1000
			> A 1:501 ack 1
			> PA 501:1001 ack 1`},
		{"RFC 9293 3.8.6.1: a zero window is probed with backoff", `
			window 2000
			established
			write 3000
			expects 1 2 1000
			< A 1 ack 2001 win 0
			+201ms
			> A 2000 ack 1
			< A 1 ack 2001 win 0
			+401ms
			> A 2000 ack 1
			< A 1 ack 2001 win 0
			+801ms
			> A 2000 ack 1
			probes 1
			< A 1 ack 2001 win 0
			probes 0
			< A 1 ack 2001 win 2000
			> PA 2001:3001 ack 1`},
		{"RFC 9293 3.8.6.1: a peer that answers probes is never given up", `
			sysctl retries2 3
			window 2000
			established
			write 3000
			expects 1 2 1000
			< A 1 ack 2001 win 0
			probed 20
			state ESTABLISHED`},
		{"RFC 9293 3.8.6.1: a peer that does not answer is", `
			sysctl retries2 3
			window 2000
			established
			write 3000
			expects 1 2 1000
			< A 1 ack 2001 win 0
			+201ms
			> A 2000 ack 1
			+401ms
			> A 2000 ack 1
			+801ms
			> A 2000 ack 1
			+1601ms
			error ETIMEDOUT`},
		{"RFC 9293 3.8.6: data beyond a shrunk window is sent again", `
			window 3000
			established
			write 3000
			expects 1 3 1000
			< A 1 ack 1001 win 0
			+201ms
			> A 1001:2001 ack 1`},
		{"RFC 9293 3.10.7.4 fifth: an older window does not count", `
			window 3000
			established
			write 1000
			> PA 1:1001 ack 1
			< A 1 ack 1001 win 4000
			< A 1 ack 1 win 100
			peerwindow 4000`},
		{"RFC 5681 4.1: after idle time the window starts anew", `
			established
			set nodelay 1
			write 15000
			expects 1 10 1000
			< A 1 ack 10001
			expects 10001 5 1000
			< A 1 ack 15001
			cwnd 20
			+10s
			write 20000
			expects 15001 10 1000
			cwnd 10`},
		{"RFC 5681 4.1: unless tcp_slow_start_after_idle is off", `
			sysctl ss_after_idle 0
			established
			set nodelay 1
			write 15000
			expects 1 10 1000
			< A 1 ack 10001
			expects 10001 5 1000
			< A 1 ack 15001
			+10s
			write 20000
			expects 15001 20 1000`},
		{"RFC 5681 3.1: slow start doubles per round trip", `
			window 65535
			established mss 1000,ws 4
			set sndbuf 200000
			write 100000
			expects 1 10 1000
			< A 1 ack 10001
			expects 10001 20 1000
			< A 1 ack 30001
			expects 30001 40 1000
			cwnd 40`},
		{"RFC 5681 3.1: Reno's congestion avoidance adds one segment per window", `
			established
			set reno 1
			set sndbuf 200000
			write 60000
			expects 1 10 1000
			threshold 10
			< A 1 ack 5001
			expects 10001 5 1000
			cwnd 10
			< A 1 ack 10001
			expects 15001 6 1000
			cwnd 11
			< A 1 ack 20001
			expects 21001 10 1000
			cwnd 11
			+1ms
			< A 1 ack 21001
			expects 31001 2 1000
			cwnd 12`},
		{"poll(2): writable while a third of the buffer is free", `
			window 1000
			established
			set sndbuf 30000
			poll OUT
			fill
			> A 1:501 ack 1
			> PA 501:1001 ack 1
			write EAGAIN
			poll 
			events 
			< A 1 ack 1001 win 65535
			expects 1001 10 1000
			events 
			poll 
			< A 1 ack 11001
			expects 11001 18 1000
			> PA 29001:29937 ack 1
			events OUT
			poll OUT`},
	})
}

func TestReceiving(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.10.7.4 seventh: data in order", `
			established
			< PA 1:1001 ack 1
			> A 1 ack 1001
			events IN
			poll IN|OUT
			inq 1000
			peek 100 of 100
			read 600 of 600
			read 400 of 1000
			read EAGAIN
			poll OUT`},
		{"RFC 9293 3.10.7.4: data behind a gap waits", `
			established
			< PA 1001:2001 ack 1
			> A 1 ack 1
			read EAGAIN
			events 
			< PA 1:1001 ack 1
			> A 1 ack 2001
			read 2000 of 3000`},
		{"RFC 9293 3.10.7.4 first: overlapping data is taken once", `
			established
			< PA 1:1001 ack 1
			> A 1 ack 1001
			< PA 501:1501 ack 1
			> A 1 ack 1501
			< PA 1:2001 ack 1
			> A 1 ack 2001
			read 2000 of 3000`},
		{"RFC 9293 3.10.7.4: overlaps behind a gap", `
			established
			< A 301:401 ack 1
			> A 1 ack 1
			< A 101:201 ack 1
			> A 1 ack 1
			< A 151:351 ack 1
			> A 1 ack 1
			< A 1:601 ack 1
			> A 1 ack 601
			read 600 of 1000`},
		{"RFC 9293 3.10.7.4 first: data beyond the window is cut off", `
			listen 1
			set rcvbuf 4000
			established
			< A 1:1001 ack 1
			> A 1 ack 1001
			fillwindow`},
		{"RFC 9293 3.10.7.4 first: old data is acknowledged", `
			established
			< PA 1:1001 ack 1
			> A 1 ack 1001
			< PA 1:1001 ack 1
			> A 1 ack 1001
			read 1000 of 2000`},
		{"RFC 9293 3.8.6.3: an acknowledgement is delayed", `
			established
			set ackpending 1
			< PA 1:101 ack 1
			timer ack
			+39ms
			+1ms
			> A 1 ack 101`},
		{"RFC 5681 4.2: every second full segment is acknowledged", `
			established
			< A 1:1001 ack 1
			> A 1 ack 1001
			set ackpending 1
			< A 1001:2001 ack 1
			< A 2001:3001 ack 1
			> A 1 ack 3001
			< A 3001:4001 ack 1
			+40ms
			> A 1 ack 4001`},
		{"RFC 9293 3.8.6.3: a reader that is behind acknowledges by reading", `
			established
			< A 1:1001 ack 1
			> A 1 ack 1001
			set ackpending 1
			< A 1001:10001 ack 1
			> A 1 ack 10001
			< A 10001:14001 ack 1
			timer ack
			read 3000
			> A 1 ack 14001
			notimer ack
			< A 14001:17001 ack 1
			< A 17001:24001 ack 1
			> A 1 ack 24001
			< A 24001:27001 ack 1
			+40ms
			> A 1 ack 27001`},
		{"RFC 5681 4.2: a gap is acknowledged at once, and so is what fills it", `
			established
			< A 1:1001 ack 1
			> A 1 ack 1001
			set ackpending 1
			< A 2001:2101 ack 1
			> A 1 ack 1001
			< A 1001:2001 ack 1
			> A 1 ack 2101`},
		{"RFC 9293 3.8.6.3: data carries the acknowledgement", `
			established
			set ackpending 1
			< PA 1:101 ack 1
			write 10
			> PA 1:11 ack 101
			notimer ack`},
		{"tcp(7) TCP_QUICKACK: at once", `
			established
			set ackpending 1
			< PA 1:101 ack 1
			set quickack 1
			> A 1 ack 101`},
		{"RFC 5681 4.2: the first segments are acknowledged at once", `
			established
			< PA 1:11 ack 1
			> A 1 ack 11
			< PA 11:21 ack 1
			> A 1 ack 21`},
		{"RFC 9293 3.8.6.2.2: the window closes, and opens in large steps", `
			listen 1
			set rcvbuf 20000
			established
			fillwindow
			read 1460 of 1460
			> A 1 ack $ win 1460
			read 1460 of 1460
			read 1460 of 1460
			> A 1 ack $ win 2920
			read 1460 of 1460
			read 4380 of 4380
			> A 1 ack $ win 7300`},
		{"RFC 9293 3.8.6.1: a probe of our closed window is answered", `
			listen 1
			set rcvbuf 20000
			established
			fillwindow
			< A $-1 ack 1
			> A 1 ack $ win 0
			< A $:$+1 ack 1
			> A 1 ack $ win 0`},
		{"RFC 9293 3.8.4: a keep-alive probe is answered", `
			established
			< A 0 ack 1
			> A 1 ack 1
			+1s
			< A 0:1 ack 1
			> A 1 ack 1`},
		{"RFC 9293 3.8.6: acknowledgements count with a closed window", `
			listen 1
			set rcvbuf 20000
			established
			write 100
			> PA 1:101 ack 1
			fillwindow
			< A $ ack 101
			outq 0`},
		{"tcp(7) TCP_WINDOW_CLAMP bounds the window", `
			listen 1
			set clamp 5000
			< S 0 <mss 1000>
			> SA 0 ack 1 win 5000
			< A 1 ack 1
			accept
			< A 1:1001 ack 1
			> A 1 ack 1001 win 5000`},
		{"socket(7) SO_RCVLOWAT: readable from there on", `
			established
			set rcvlowat 100
			< PA 1:51 ack 1
			> A 1 ack 51
			poll OUT
			events 
			< PA 51:101 ack 1
			> A 1 ack 101
			poll IN|OUT
			events IN`},
		{"recv(2) MSG_TRUNC: data is thrown away unseen", `
			established
			< PA 1:1001 ack 1
			> A 1 ack 1001
			discard 400
			read 600 of 1000`},
		{"RFC 2018 4: the block that came last is first", `
			established mss 1000,sackOK
			< A 1001:2001 ack 1
			> A 1 ack 1 <sack 1001:2001>
			< A 3001:4001 ack 1
			> A 1 ack 1 <sack 3001:4001 1001:2001>
			< A 5001:6001 ack 1
			> A 1 ack 1 <sack 5001:6001 3001:4001 1001:2001>
			< A 2001:3001 ack 1
			> A 1 ack 1 <sack 1001:4001 5001:6001>
			< A 1:1001 ack 1
			> A 1 ack 4001 <sack 5001:6001>
			< A 4001:5001 ack 1
			> A 1 ack 6001 <>`},
		{"RFC 2018 3: four blocks, three with timestamps", `
			established mss 1000,sackOK
			< A 1001:2001 ack 1
			> A 1 ack 1
			< A 3001:4001 ack 1
			> A 1 ack 1
			< A 5001:6001 ack 1
			> A 1 ack 1
			< A 7001:8001 ack 1
			> A 1 ack 1 <sack 7001:8001 5001:6001 3001:4001 1001:2001>
			< A 9001:9901 ack 1
			> A 1 ack 1 <sack 9001:9901 7001:8001 5001:6001 3001:4001>`},
		{"RFC 2018 3: three blocks with timestamps", `
			established mss 1000,sackOK,TS
			< A 1001:2001 ack 1
			> A 1 ack 1
			< A 3001:4001 ack 1
			> A 1 ack 1
			< A 5001:6001 ack 1
			> A 1 ack 1
			< A 7001:8001 ack 1
			> A 1 ack 1 <sack 7001:8001 5001:6001 3001:4001,TS>`},
		{"RFC 2883 4.1.1: a duplicate is reported", `
			established mss 1000,sackOK
			< A 1:1001 ack 1
			> A 1 ack 1001 <>
			< A 1:1001 ack 1
			> A 1 ack 1001 <sack 1:1001>
			< A 1001:1101 ack 1
			> A 1 ack 1101 <>`},
		{"RFC 2883 4.1.3: a duplicate behind a gap comes with its block", `
			established mss 1000,sackOK
			< A 1001:2001 ack 1
			> A 1 ack 1 <sack 1001:2001>
			< A 1001:1501 ack 1
			> A 1 ack 1 <sack 1001:1501 1001:2001>
			< A 3001:3101 ack 1
			> A 1 ack 1 <sack 3001:3101 1001:2001>`},
		{"RFC 2883 4.2: part of a segment is a duplicate", `
			established mss 1000,sackOK
			< A 1:1001 ack 1
			> A 1 ack 1001
			< A 501:1501 ack 1
			> A 1 ack 1501 <sack 501:1001>`},
		{"RFC 7323 5.3 R1: PAWS drops old segments", `
			established mss 1000,TS
			< PA 1:101 ack 1
			> A 1 ack 101
			< PA 101:201 ack 1 <TS -10 0>
			> A 1 ack 101
			inq 100
			< PA 101:201 ack 1
			> A 1 ack 201`},
		{"RFC 7323 5.3 R1: but not a RST", `
			established mss 1000,TS
			< R 1 <TS -10 0>
			state CLOSED`},
		{"RFC 7323 3.2: a segment without timestamp is dropped", `
			established mss 1000,TS
			< PA 1:101 ack 1 noTS
			inq 0`},
		{"RFC 7323 4.3: the timestamp of the oldest segment that is not acknowledged is echoed", `
			established mss 1000,TS
			< A 1:1001 ack 1 <TS 0 0>
			> A 1 ack 1001 <TS 3601000>
			set ackpending 1
			+10ms
			< A 1001:1101 ack 1
			+20ms
			< A 1101:1201 ack 1
			+30ms
			> A 1 ack 1201 <TS 3601010>`},
		{"RFC 7323 4.3: that of a segment behind a gap is not", `
			established mss 1000,TS
			< A 1:1001 ack 1
			> A 1 ack 1001 <TS 3601000>
			+10ms
			< A 2001:2101 ack 1
			> A 1 ack 1001 <TS 3601000>
			+10ms
			< A 1001:2001 ack 1
			> A 1 ack 2101 <TS 3601020>`},
		{"RFC 7323 5.5: a timestamp of 24 days ago is forgotten", `
			established mss 1000,TS
			+600h
			< PA 1:101 ack 1 <TS -2160000001 0>
			> A 1 ack 101
			inq 100`},
		{"RFC 3168 6.1.3: a mark is echoed until CWR comes", `
			sysctl ecn 1
			listen 1
			< SEC 0 <mss 1000>
			> SAE 0 ack 1
			< A 1 ack 1
			accept
			< A 1:101 ack 1 tos 3
			> AE 1 ack 101
			< A 101:201 ack 1 tos 2
			> AE 1 ack 201
			< AC 201:301 ack 1 tos 2
			> A 1 ack 301`},
		{"RFC 3168 6.1.2: the window is reduced once for an echo, and CWR says so", `
			sysctl ecn 1
			window 65535
			listen 1
			< SEC 0 <mss 1000>
			> SAE 0 ack 1 tos 0
			< A 1 ack 1
			accept
			set sndbuf 50000
			write 30000
			expects 1 10 1000
			cwnd 10
			< AE 1 ack 2001
			> AC 10001:11001 ack 1 tos 2
			castate 2
			ssthresh 7
			< AE 1 ack 4001
			ssthresh 7
			< A 1 ack 10001
			expects 11001 6 1000
			castate 0
			cwnd 7`},
		{"RFC 3168 6.1.5: retransmissions are not marked as capable", `
			sysctl ecn 1
			listen 1
			< SEC 0 <mss 1000>
			> SAE 0 ack 1
			< A 1 ack 1 tos 0
			accept
			write 1000
			> PA 1:1001 ack 1 tos 2
			+201ms
			> PA 1:1001 ack 1 tos 0`},
	})
}

func TestUrgent(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.8.5: urgent data is sent with the pointer behind it", `
			established
			write 100
			> PA 1:101 ack 1
			oob 1
			> PAU 101:102 ack 1 urg 1
			write 10
			> PA 102:112 ack 1`},
		{"RFC 9293 3.8.5: urgent data out of band", `
			established
			< PAU 1:11 ack 1 urg 10
			> A 1 ack 11
			poll IN|OUT|PRI
			events IN|PRI
			atmark 0
			read 9 of 100
			atmark 1
			readoob 10
			readoob EINVAL
			poll OUT
			atmark 1
			< PA 11:21 ack 1
			> A 1 ack 21
			skip 1
			read 10 of 100
			atmark 0`},
		{"RFC 9293 3.8.5: in line it is part of the stream, and reading stops at the mark", `
			established
			set oobinline 1
			< PAU 1:11 ack 1 urg 10
			> A 1 ack 11
			readoob EINVAL
			read 9 of 100
			atmark 1
			read 1 of 100`},
		{"RFC 9293 3.8.5: the pointer comes before the data", `
			established
			< AU 1 ack 1 urg 20
			poll OUT
			events PRI
			readoob EAGAIN
			< PA 1:31 ack 1
			> A 1 ack 31
			read 19 of 100
			readoob 20
			skip 1
			read 10 of 100`},
		{"RFC 6093 3.1: one byte is urgent, the last", `
			established
			< PAU 1:4 ack 1 urg 3
			> A 1 ack 4
			< PAU 4:8 ack 1 urg 4
			> A 1 ack 8
			readoob 7`},
		{"RFC 9293 3.8.5: an old pointer is ignored", `
			established
			< PA 1:11 ack 1
			> A 1 ack 11
			< AU 11 ack 1 urg 0
			poll IN|OUT`},
	})
}

func TestKeepAlive(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.8.4: an idle connection is probed, and given up", `
			established
			set keepalive 1
			set keepidle 10
			set keepintvl 3
			set keepcnt 2
			+9s
			+1s
			> A 0 ack 1
			+3s
			> A 0 ack 1
			+3s
			> RA 1 ack 1
			error ETIMEDOUT
			state CLOSED
			nothing 0`},
		{"RFC 9293 3.8.4: an answer starts the time anew", `
			established
			set keepalive 1
			set keepidle 10
			set keepintvl 10
			set keepcnt 1
			+10s
			> A 0 ack 1
			< A 1 ack 1
			+9s
			+1s
			> A 0 ack 1
			< A 1 ack 1
			state ESTABLISHED`},
		{"RFC 9293 3.8.4: traffic does, too", `
			established
			set keepalive 1
			set keepidle 10
			+9s
			< PA 1:11 ack 1
			> A 1 ack 11
			+9s
			+1s
			> A 0 ack 11`},
		{"RFC 9293 3.8.4: it is off by default", `
			established
			nothing 0`},
		{"RFC 9293 3.8.4: and can be turned off", `
			established
			set keepalive 1
			set keepidle 10
			set keepalive 0
			nothing 0
			+1h`},
		{"RFC 5482: the user timeout ends an idle connection, too", `
			established
			set keepalive 1
			set keepidle 10
			set keepintvl 5
			set usertimeout 12000
			+10s
			> A 0 ack 1
			+5s
			> RA 1 ack 1
			error ETIMEDOUT`},
		{"RFC 5482: data that is not acknowledged in time ends the connection", `
			established
			set usertimeout 1000
			write 10
			> PA 1:11 ack 1
			+201ms
			> PA 1:11 ack 1
			+401ms
			> PA 1:11 ack 1
			+397ms
			state ESTABLISHED
			+2ms
			state CLOSED
			error ETIMEDOUT`},
		{"RFC 5482: a closed window does not hold longer", `
			established
			set usertimeout 1000
			write 10
			> PA 1:11 ack 1
			< A 1 ack 11 win 0
			write 10
			+201ms
			> A 10 ack 1
			+401ms
			> A 10 ack 1
			+599ms
			error ETIMEDOUT`},
	})
}
