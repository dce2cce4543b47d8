// Package tcp is the Transmission Control Protocol (RFC 9293) with what has been added to it
// since: window scaling, timestamps and PAWS (RFC 7323), selective acknowledgements (RFC 2018,
// 2883, 6675), RACK-TLP loss detection (RFC 8985), proportional rate reduction (RFC 6937),
// NewReno and CUBIC congestion control (RFC 6582, 9438), ECN (RFC 3168), an initial window of ten
// segments (RFC 6928), defences against blind attacks (RFC 5961, 6528) and SYN floods (RFC 4987).
// What applications see, options and readiness and errors, is as in Linux (tcp(7)).
//
// The main types:
//
//	Protocol   TCP of one stack: resets for strangers, TIME_WAIT, the list of endpoints
//	Endpoint   one socket's connection or listener
//	conn       what the demultiplexer points to: the endpoint of four numbers, or its TIME_WAIT
//	request    a connection that a listener was asked for and that is not established (SYN queue)
//
// An Endpoint works in two directions. Send copies a message once, into Views of the send queue
// (send_queue.go), and output.go cuts segments that refer to them, as large as the link's
// segmentation offload takes; what is in flight is a list of ranges with their times
// (sent_queue.go), on which sack.go, rack.go and recovery.go decide what is lost. A segment that
// comes in (input.go) leaves its Views in the receive queue (receive_queue.go), from where Receive
// copies to the application.
//
// # Locks
//
// Endpoint.mu guards the protocol's state. It is never held while an application's memory is
// copied, nor while a waiter is told, nor while packets of lo are delivered; so nobody waits for
// it long. Still the link's goroutine does not wait at all: a segment that finds mu taken goes to
// the endpoint's backlog, and whoever holds mu works it off before he leaves (lock.go). sendMu
// and receiveMu keep two threads that send, or receive, on one socket apart; only calls of the
// socket's user take them.
//
//	Endpoint.sendMu, receiveMu → a listener's mu → mu of a connection that it makes →
//	Protocol.mu, TIME_WAIT's lock → stack
//
// No two connections' locks are held together. Packets for this host itself are marked Deferred
// and flushed after the last unlock (stack.Flusher).
//
// # Time
//
// An endpoint has one timer of the clock for all its deadlines (timers.go). It is set only when a
// deadline comes before the time it is set for; so a connection in full swing sets it a few times
// a second, and one that is idle not at all.
package tcp
