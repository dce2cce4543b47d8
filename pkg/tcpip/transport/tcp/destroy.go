package tcp

import "golang.org/x/sys/unix"

// Destroy ends the connection, or the listening, by order of an administrator (SOCK_DESTROY of
// sock_diag(7)): the peer gets a RST, and the socket's user ECONNABORTED.
func (e *Endpoint) Destroy() {
	e.lock()
	var children []*Endpoint
	if e.state == StateListen {
		children = e.stopListening()
	} else {
		e.abort()
	}
	if !e.rcv.reading {
		e.recvQ.purge()
	}
	e.reset(unix.ECONNABORTED)
	e.unlock()
	for _, c := range children {
		c.Abort()
	}
}
