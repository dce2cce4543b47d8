package buffer

// Compact moves the packet's bytes to one View that is no larger than it has to be, so that a
// small packet that came in a large chunk does not keep all of it. What was consumed stays
// consumed, and the header slices of the packet follow. It costs a copy: who keeps packets for
// long does it, when memory gets short.
func (p *Packet) Compact() {
	if len(p.views) == 0 {
		return
	}
	v := NewView(p.size)
	if v.Memory() >= p.Memory()-packetMemory {
		v.Release()
		return
	}
	n := 0
	for i := range p.views {
		n += copy(v.b[n:], p.views[i].b)
	}
	moved := func(h []byte) []byte {
		if at := p.inViews(h); at >= 0 {
			return v.b[at : at+len(h)]
		}
		return h
	}
	p.LinkHeader, p.NetworkHeader, p.TransportHeader = moved(p.LinkHeader), moved(p.NetworkHeader), moved(p.TransportHeader)
	for i := range p.views {
		p.views[i].Release()
	}
	p.views = append(p.views[:0], v)
}

// inViews returns where in the row of Views h lies, or -1.
func (p *Packet) inViews(h []byte) int {
	if len(h) == 0 {
		return -1
	}
	before := 0
	for i := range p.views {
		b := p.views[i].b
		if at := offsetIn(b, h); at >= 0 {
			return before + at
		}
		before += len(b)
	}
	return -1
}
