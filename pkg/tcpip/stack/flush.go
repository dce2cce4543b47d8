package stack

// Flusher is a LinkEndpoint that cannot deliver on the goroutine of WritePackets, because that
// is the sender's and the sender holds locks that the receiver, an endpoint of the same stack,
// would want: the loopback link. It queues packets until somebody has time.
//
// By default that is a goroutine of the link's, whose start costs microseconds. A transport does
// better: it marks its packets Deferred, and calls Route.Flush when it has unlocked everything.
// What it sent, and what is sent in answer, is then delivered on its own goroutine, within
// bounds. A transport that marks a packet and does not call Flush leaves it in the queue until
// somebody else sends on the same link.
//
// Calls of Flush may nest: a HandlePacket that runs inside of one calls it again, which does
// nothing then and costs one atomic load.
type Flusher interface {
	// Flush delivers what is queued, unless another goroutine is doing so. The caller holds
	// no lock.
	Flush()
}

// Flush delivers the packets that were written with Deferred set. The caller holds no lock. It
// costs next to nothing if the route is not by lo, nor to a group or a broadcast address, whose
// packets come back by lo.
func (r *Route) Flush() {
	n := r.NIC
	if !r.Local {
		if !r.Multicast && !r.Broadcast {
			return
		}
		if n = r.stack.Loopback(); n == nil {
			return
		}
	}
	if f, ok := n.Link().(Flusher); ok {
		f.Flush()
	}
}
