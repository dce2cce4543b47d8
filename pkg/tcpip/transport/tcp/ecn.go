package tcp

// ecnState is explicit congestion notification (RFC 3168 section 6.1).
type ecnState struct {
	// ok: both ends agreed. asked: our SYN has ECE and CWR.
	ok, asked bool
	// echo: a mark came, and every acknowledgement has ECE until CWR comes.
	echo bool
	// sendCWR: the window was reduced, and the next new segment says so. fresh: the segment
	// that is being sent is new.
	sendCWR, fresh bool
	// seen: the peer sent packets that can be marked.
	seen bool
}

// Values of net.ipv4.tcp_ecn.
const (
	ecnOff    = 0
	ecnAlways = 1
	ecnAccept = 2
)

// handleECN takes the marks of a segment with data.
func (e *Endpoint) handleECN(s *segment) {
	if !e.ecn.ok {
		return
	}
	if s.flags&flagCwr != 0 {
		e.ecn.echo = false
	}
	if s.pkt.TOS&3 != 0 {
		e.ecn.seen = true
	}
	if s.ce {
		e.count.deliveredCE++
		if !e.ecn.echo {
			e.enterQuickAck(2)
		}
		e.ecn.echo = true
	}
}
