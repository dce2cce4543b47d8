package tcp

// State is a connection's state (RFC 9293 section 3.3.2), with the numbers of Linux (tcp_info,
// /proc/net/tcp).
type State uint8

// The states.
const (
	StateEstablished State = 1
	StateSynSent     State = 2
	StateSynReceived State = 3
	StateFinWait1    State = 4
	StateFinWait2    State = 5
	StateTimeWait    State = 6
	StateClosed      State = 7
	StateCloseWait   State = 8
	StateLastAck     State = 9
	StateListen      State = 10
	StateClosing     State = 11
)

var stateNames = [...]string{
	StateEstablished: "ESTABLISHED", StateSynSent: "SYN-SENT", StateSynReceived: "SYN-RECEIVED",
	StateFinWait1: "FIN-WAIT-1", StateFinWait2: "FIN-WAIT-2", StateTimeWait: "TIME-WAIT",
	StateClosed: "CLOSED", StateCloseWait: "CLOSE-WAIT", StateLastAck: "LAST-ACK",
	StateListen: "LISTEN", StateClosing: "CLOSING",
}

// String is the name in the RFC.
func (s State) String() string {
	if int(s) < len(stateNames) && stateNames[s] != "" {
		return stateNames[s]
	}
	return "unknown"
}

// in says whether s is one of states.
func (s State) in(states ...State) bool {
	for _, t := range states {
		if s == t {
			return true
		}
	}
	return false
}

// synchronized says whether both ends know each other's sequence numbers.
func (s State) synchronized() bool {
	return s != StateClosed && s != StateListen && s != StateSynSent && s != StateSynReceived
}

// canSend says whether the application may send in this state.
func (s State) canSend() bool { return s == StateEstablished || s == StateCloseWait }
