package boot

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/pkg/waiter"
)

// Docker serves names on user-defined networks at 127.0.0.11 in the container's network namespace:
// rules of the host's iptables there lead port 53 to a daemon. Packets of the sandbox's own stack
// never meet these rules. So the client makes a UDP socket in the namespace, connected to
// 127.0.0.11:53, before it gives the namespace up, and a forwarder here answers at that address
// of the sandbox's stack by asking through the socket.
//
// Queries and answers are not looked into but for their first two bytes, the ID (RFC 1035 section
// 4.1.1), which the forwarder replaces by a random one of its own while the query is under way, so
// that answers find whoever asked and nobody in the sandbox can forge one for another. Queries
// over TCP (RFC 1035 section 4.2.2) are asked by UDP as well: their answers are as long as UDP
// lets them be.

// dnsAddress is where Docker's server is expected.
var dnsAddress = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 11}), 53)

const (
	// maxQueries is how many queries may be under way; another one takes the place of the
	// oldest.
	maxQueries = 256
	// queryTimeout is how long an answer is waited for. Resolvers ask again after 5 s.
	queryTimeout = 10 * time.Second
	// maxDNSMessage is the longest message in bytes.
	maxDNSMessage = 65535
	// minDNSMessage is the size of a header.
	minDNSMessage = 12
	// maxDNSConnections bounds connections by TCP, and dnsIdle how long one may say nothing.
	maxDNSConnections = 16
	dnsIdle           = 10 * time.Second
)

// forwarder passes queries on.
type forwarder struct {
	host *os.File // connected UDP socket of the host
	st   *stack.Stack
	udp  *udp.Endpoint

	mu      sync.Mutex // guards the fields below
	queries map[uint16]*query
	// oldest are the queries in the order in which they came.
	oldest []*query
	// connections is how many are served.
	connections int
}

// query is one under way.
type query struct {
	id, asked uint16 // as it is sent, and as it came
	at        time.Time
	from      tcpip.FullAddress
	answer    chan []byte // not nil: where the answer goes, for TCP
}

// startDNS begins to forward; fd is owned.
func startDNS(st *stack.Stack, fd int) error {
	unix.SetNonblock(fd, true)
	f := &forwarder{host: os.NewFile(uintptr(fd), "DNS server"), st: st, queries: map[uint16]*query{}}
	f.udp = udp.NewEndpoint(st, false)
	at := tcpip.FullAddress{Addr: dnsAddress.Addr(), Port: dnsAddress.Port()}
	if err := f.udp.Bind(at); err != nil {
		f.host.Close()
		f.udp.Close()
		return fmt.Errorf("DNS forwarder: %v: %w", dnsAddress, err)
	}
	listener := tcp.NewEndpoint(st, false)
	err := listener.Bind(at)
	if err == nil {
		err = listener.Listen(maxDNSConnections)
	}
	if err != nil {
		log.Warningf("DNS forwarder: %v by TCP: %v", dnsAddress, err)
		listener.Close()
	} else {
		go f.serveTCP(listener)
	}
	go f.receiveQueries()
	go f.receiveAnswers()
	return nil
}

// begin notes a query and gives it an ID.
func (f *forwarder) begin(q *query) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q.at = time.Now()
	for len(f.oldest) > 0 {
		o := f.oldest[0]
		if f.queries[o.id] == o && len(f.queries) < maxQueries && q.at.Sub(o.at) < queryTimeout {
			break
		}
		if f.queries[o.id] == o {
			delete(f.queries, o.id)
		}
		f.oldest[0] = nil
		f.oldest = f.oldest[1:]
	}
	for q.id = uint16(f.st.Random()); f.queries[q.id] != nil; {
		q.id = uint16(f.st.Random())
	}
	f.queries[q.id] = q
	f.oldest = append(f.oldest, q)
}

// end takes the query of an answer out, nil if there is none.
func (f *forwarder) end(id uint16) *query {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queries[id]
	delete(f.queries, id)
	return q
}

// ask sends a query on; msg is changed. What the host refuses is lost, as UDP is.
func (f *forwarder) ask(q *query, msg []byte) {
	q.asked = binary.BigEndian.Uint16(msg)
	f.begin(q)
	binary.BigEndian.PutUint16(msg, q.id)
	if _, err := f.host.Write(msg); err != nil {
		log.Debugf("DNS forwarder: %v", err)
	}
}

// receiveQueries passes on what the sandbox asks, until the stack ends.
func (f *forwarder) receiveQueries() {
	w := newWakeUp(f.udp)
	defer w.end()
	buf := make([]byte, maxDNSMessage)
	for {
		sink := byteSink{b: buf}
		res, err := f.udp.Receive(&sink, tcpip.ReceiveOptions{})
		switch {
		case err == unix.EAGAIN:
			w.wait()
		case err != nil:
			if f.udp.LocalAddress().Port == 0 {
				return // closed with the stack
			}
		case res.N >= minDNSMessage:
			f.ask(&query{from: res.From}, buf[:res.N])
		}
	}
}

// receiveAnswers gives answers to who asked, until the socket is closed.
func (f *forwarder) receiveAnswers() {
	buf := make([]byte, maxDNSMessage)
	for {
		n, err := f.host.Read(buf)
		if err != nil {
			if pe, ok := err.(*os.PathError); ok && (pe.Err == unix.ECONNREFUSED || pe.Err == unix.EHOSTUNREACH || pe.Err == unix.ENETUNREACH) {
				continue // nobody serves at the moment
			}
			log.Warningf("DNS forwarder: %v", err)
			return
		}
		if n < minDNSMessage {
			continue
		}
		q := f.end(binary.BigEndian.Uint16(buf))
		if q == nil {
			continue
		}
		binary.BigEndian.PutUint16(buf, q.asked)
		if q.answer != nil {
			select {
			case q.answer <- append([]byte(nil), buf[:n]...):
			default: // it does not wait any more
			}
			continue
		}
		f.udp.Send(&byteSource{b: buf[:n]}, tcpip.SendOptions{To: &q.from})
	}
}

// serveTCP takes connections until the stack ends.
func (f *forwarder) serveTCP(l *tcp.Endpoint) {
	w := newWakeUp(l)
	defer w.end()
	for {
		c, _, err := l.Accept()
		if err == unix.EAGAIN {
			w.wait()
			continue
		}
		if err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return
		}
		f.mu.Lock()
		ok := f.connections < maxDNSConnections
		if ok {
			f.connections++
		}
		f.mu.Unlock()
		if !ok {
			c.Abort()
			c.Close()
			continue
		}
		go func() {
			f.serveConnection(&stream{ep: c})
			c.Close()
			f.mu.Lock()
			f.connections--
			f.mu.Unlock()
		}()
	}
}

// serveConnection answers queries one after the other until the client ends or is silent.
func (f *forwarder) serveConnection(c *stream) {
	c.w = newWakeUp(c.ep)
	defer c.w.end()
	buf := make([]byte, 2+maxDNSMessage)
	for {
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n < minDNSMessage {
			return
		}
		if _, err := io.ReadFull(c, buf[2:2+n]); err != nil {
			return
		}
		q := &query{answer: make(chan []byte, 1)}
		f.ask(q, buf[2:2+n])
		select {
		case a := <-q.answer:
			binary.BigEndian.PutUint16(buf, uint16(len(a)))
			copy(buf[2:], a)
			if _, err := c.Write(buf[:2+len(a)]); err != nil {
				return
			}
		case <-time.After(queryTimeout):
			return
		}
	}
}

// stream reads and writes a TCP endpoint, giving up after dnsIdle.
type stream struct {
	ep tcpip.Endpoint
	w  *wakeUp
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	for {
		sink := byteSink{b: b}
		res, err := s.ep.Receive(&sink, tcpip.ReceiveOptions{})
		switch {
		case err == unix.EAGAIN:
			if !s.w.waitFor(dnsIdle) {
				return 0, os.ErrDeadlineExceeded
			}
		case err == nil && res.N == 0:
			return 0, io.EOF
		default:
			return res.N, err
		}
	}
}

// Write implements io.Writer.
func (s *stream) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := s.ep.Send(&byteSource{b: b[done:]}, tcpip.SendOptions{})
		done += n
		if err == unix.EAGAIN {
			if !s.w.waitFor(dnsIdle) {
				return done, os.ErrDeadlineExceeded
			}
		} else if err != nil {
			return done, err
		}
	}
	return done, nil
}

// wakeUp waits for an endpoint. It implements waiter.Listener.
type wakeUp struct {
	of    waiter.Waitable
	entry waiter.Entry
	c     chan struct{} `state:"nosave"` // the forwarder is made anew
}

func newWakeUp(of waiter.Waitable) *wakeUp {
	w := &wakeUp{of: of, c: make(chan struct{}, 1)}
	w.entry = waiter.Entry{Mask: waiter.AllEvents, Listener: w}
	of.EventRegister(&w.entry)
	return w
}

// NotifyEvent implements waiter.Listener.
func (w *wakeUp) NotifyEvent(waiter.EventMask) {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// wait waits until something has happened since the last time.
func (w *wakeUp) wait() { <-w.c }

// waitFor is wait with a limit; false: it has passed.
func (w *wakeUp) waitFor(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w.c:
		return true
	case <-t.C:
		return false
	}
}

func (w *wakeUp) end() { w.of.EventUnregister(&w.entry) }

// byteSink is a tcpip.Sink over bytes, byteSource a tcpip.Source.
type byteSink struct{ b []byte }

// Len implements tcpip.Sink.
func (s *byteSink) Len() int { return len(s.b) }

// Write implements tcpip.Sink.
func (s *byteSink) Write(b []byte) (int, error) {
	n := copy(s.b, b)
	s.b = s.b[n:]
	return n, nil
}

type byteSource struct{ b []byte }

// Len implements tcpip.Source.
func (s *byteSource) Len() int { return len(s.b) }

// Read implements tcpip.Source.
func (s *byteSource) Read(b []byte) (int, error) {
	n := copy(b, s.b)
	s.b = s.b[n:]
	return n, nil
}
