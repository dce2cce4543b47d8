// Package sniffer looks at what crosses a link: an Endpoint wraps any other stack.LinkEndpoint and
// writes a line of text for each packet (text.go), or the packets themselves to a file in the pcap
// format (pcap.go), or both. It is for finding out what goes wrong, and costs accordingly.
//
// Packets are seen as they cross the link: one that is to be cut up by the link (Segmentation) is
// seen whole, and its checksum may not be complete yet. Those that are sent are seen before the
// link below has them, in the order of the calls of WritePackets.
//
// A link that comes out of a saved state is not looked at any more: it passes packets on.
//
// Locks: Endpoint.mu guards the output, and is held while it is written. It is a leaf but for what
// the file's write(2) does.
package sniffer

import (
	"os"
	"sync"

	"runsc/pkg/log"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/stack"
)

// Options is what to do with packets.
type Options struct {
	// Clock of nil is the host's; packets are stamped with it.
	Clock tcpip.Clock
	// Name of the interface, for the lines of text.
	Name string
	// Text is called for each packet with a line that describes it; nil: no text. It is
	// called with the sniffer's lock held.
	Text func(line string)
	// PCAP gets the packets; nil: no file. The Endpoint owns it if New succeeds.
	PCAP *os.File
	// MaxBytes is how long the file may become; the capture ends before. 0: no bound.
	MaxBytes int64
	// Snap is how much of each packet is kept, in bytes; 0: all.
	Snap int
}

// ToLog is an Options.Text that writes to the process's log.
func ToLog(line string) { log.Infof("%s", line) }

// Endpoint is a link that is looked at. It implements stack.LinkEndpoint and stack.Flusher.
type Endpoint struct {
	// LinkEndpoint is the link below.
	stack.LinkEndpoint
	clock tcpip.Clock
	name  string
	text  func(string) `state:"nosave"`

	mu     sync.Mutex // guards the fields below
	pcap   *pcap      `state:"nosave"` // nil: none, or it has ended
	pieces [][]byte
	head   []byte // of the packet that is being described
	line   []byte
}

var (
	_ stack.LinkEndpoint = (*Endpoint)(nil)
	_ stack.Flusher      = (*Endpoint)(nil)
)

// New wraps lower, which the caller does not use any more. An error comes from writing the file's
// header.
func New(lower stack.LinkEndpoint, o Options) (*Endpoint, error) {
	if o.Clock == nil {
		o.Clock = tcpip.RealClock{}
	}
	e := &Endpoint{LinkEndpoint: lower, clock: o.Clock, name: o.Name, text: o.Text, head: make([]byte, headSize)}
	if o.PCAP != nil {
		ethernet := lower.Capabilities()&stack.CapResolution != 0
		var err error
		if e.pcap, err = newPCAP(o.PCAP, ethernet, o.Snap, o.MaxBytes); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// WritePackets implements stack.LinkEndpoint.
func (e *Endpoint) WritePackets(pkts []*buffer.Packet) error {
	e.look(pkts, "out")
	return e.LinkEndpoint.WritePackets(pkts)
}

// Attach implements stack.LinkEndpoint.
func (e *Endpoint) Attach(d stack.LinkDispatcher) {
	if d == nil {
		e.LinkEndpoint.Attach(nil)
		return
	}
	e.LinkEndpoint.Attach(&dispatcher{e, d})
}

// Flush implements stack.Flusher.
func (e *Endpoint) Flush() {
	if f, ok := e.LinkEndpoint.(stack.Flusher); ok {
		f.Flush()
	}
}

// Close implements stack.LinkEndpoint. It closes the file too.
func (e *Endpoint) Close() {
	e.LinkEndpoint.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pcap != nil {
		e.pcap.file.Close()
		e.pcap = nil
	}
}

// dispatcher looks at packets that come in.
type dispatcher struct {
	e     *Endpoint
	above stack.LinkDispatcher
}

// DeliverPackets implements stack.LinkDispatcher.
func (d *dispatcher) DeliverPackets(pkts []*buffer.Packet) {
	d.e.look(pkts, "in")
	d.above.DeliverPackets(pkts)
}

// look describes packets that go in that direction. Nothing of them is changed.
func (e *Endpoint) look(pkts []*buffer.Packet, direction string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.text == nil && e.pcap == nil {
		return
	}
	now := e.clock.Now()
	for _, p := range pkts {
		// What was consumed of a packet that came in is its link header.
		pieces := e.pieces[:0]
		if p.Consumed() > 0 {
			pieces = append(pieces, p.LinkHeader)
		}
		pieces = p.Slices(pieces)
		if e.pcap != nil {
			e.pcap.add(now, pieces)
		}
		if e.text != nil {
			n, size := 0, 0
			for _, b := range pieces {
				n += copy(e.head[n:], b)
				size += len(b)
			}
			link := len(p.LinkHeader)
			e.line = append(append(append(append(e.line[:0], e.name...), ' '), direction...), ' ')
			e.line = describe(e.line, p, e.head[min(link, n):n], size-link)
			e.text(string(e.line))
		}
		clear(pieces)
		e.pieces = pieces
	}
	if e.pcap != nil {
		if err := e.pcap.flush(); err != nil {
			if err != errFull {
				log.Warningf("packet capture of %s: %v", e.name, err)
			}
			e.pcap.file.Close()
			e.pcap = nil
		}
	}
}
