package tcp

import (
	"time"

	"runsc/pkg/tcpip/header"
)

// The sender's half of selective acknowledgement.

// ackInfo is what one acknowledgement told.
type ackInfo struct {
	priorFack   uint32
	priorFlight int

	acked     int // sequence numbers acknowledged cumulatively
	delivered int // and selectively, counted once
	// advanced: SND.UNA moved. windowChanged: the window did. newlySacked: there were new
	// blocks. originalSacked: some of them of segments that were sent before the loss was
	// suspected, and never again. retransAcked: a retransmission was acknowledged, so that
	// its round trip time is not known (Karn). duplicates: segments reported as received
	// twice (RFC 2883).
	advanced, windowChanged, newlySacked, originalSacked, retransAcked, ece bool
	// newlyLost: more was found to be lost.
	newlyLost    bool
	duplicates   int
	duplicateTLP bool
	finAcked     bool
	// firstAt and lastAt are when the first and the last of the acknowledged segments that
	// were sent once were sent; sackedAt likewise of selectively acknowledged ones. 0: none.
	firstAt, lastAt, sackedAt time.Duration
	// sample is the newest segment delivered, for the delivery rate.
	sample    sentSegment
	hasSample bool
}

// segmentDelivered notes that the peer has s, newly.
func (e *Endpoint) segmentDelivered(s *sentSegment, a *ackInfo, opts *header.TCPOptions) {
	a.delivered += s.size()
	e.rackUpdate(s, opts)
	if !a.hasSample || s.delivered > a.sample.delivered || s.delivered == a.sample.delivered && after(s.end, a.sample.end) {
		a.sample, a.hasSample = *s, true
	}
	if after(s.end, e.rack.fack) {
		e.rack.fack = s.end
	}
	if before(s.end, a.priorFack) && s.flags&sentEver == 0 && !e.rack.reordering {
		// RFC 8985 section 6.2, step 3: it was delivered behind one that was sent later.
		e.rack.reordering = true
		e.count.reorderingSeen++
	}
}

// processSACK marks what the blocks of a segment cover. Hostile blocks, which the peer cannot
// have received, are left out.
func (e *Endpoint) processSACK(s *segment, a *ackInfo) {
	blocks := s.opts.SACK()
	if len(blocks) == 0 {
		return
	}
	if e.duplicateSACK(s, blocks, a) {
		blocks = blocks[1:]
	}
	for _, b := range blocks {
		if !before(b.Start, b.End) || before(b.Start, e.snd.una) || after(b.End, e.snd.nxt) ||
			!after(b.End, s.ack) {
			continue
		}
		e.markSacked(b.Start, b.End, a, &s.opts)
	}
}

// duplicateSACK says whether the first block reports a duplicate (RFC 2883 section 4), and takes
// note of it.
func (e *Endpoint) duplicateSACK(s *segment, blocks []header.SACKBlock, a *ackInfo) bool {
	first := blocks[0]
	below := before(first.Start, s.ack)
	inside := len(blocks) > 1 && !before(first.Start, blocks[1].Start) && !after(first.End, blocks[1].End)
	if !below && !inside || !before(first.Start, first.End) {
		return false
	}
	// What is older than a window tells nothing (RFC 2883 section 5).
	if before(first.Start, e.snd.una-uint32(e.snd.maxWnd)) || after(first.End, e.snd.nxt) {
		return true
	}
	n := max((int(first.End-first.Start)+e.mss-1)/max(e.mss, 1), 1)
	a.duplicates += n
	e.count.dsacks += uint32(n)
	e.stack.Stats().TCP.TCPDSACKRecv.Inc()
	if e.rec.canUndo && !before(first.Start, e.rec.undoMarker) {
		e.rec.undoRetrans = max(e.rec.undoRetrans-n, 0)
	}
	if e.tlp.active && first.End == e.tlp.end {
		a.duplicateTLP = true
	}
	return true
}

// markSacked marks the segments in [start, end). One that is covered in part is split, at
// multiples of what a packet carries only, so that a peer that names single bytes cannot make
// many segments out of one.
func (e *Endpoint) markSacked(start, end uint32, a *ackInfo, opts *header.TCPOptions) {
	q := &e.sent
	mss := uint32(max(e.sendMSS(), 1))
	for i := q.find(start); i < q.list.len(); i++ {
		s := q.list.at(i)
		if !before(s.seq, end) {
			return
		}
		if s.flags&sentSacked != 0 {
			continue
		}
		if before(s.seq, start) {
			cut := s.seq + (start-s.seq+mss-1)/mss*mss
			if before(cut, s.end) && before(cut, end) {
				q.split(i, cut)
			}
			continue
		}
		if after(s.end, end) {
			n := (end - s.seq) / mss * mss
			if n == 0 {
				return
			}
			q.split(i, s.seq+n)
			s = q.list.at(i)
		}
		if s.flags&sentEver == 0 {
			if beforeOrEqual(s.end, e.rec.point) {
				a.originalSacked = true
			}
			a.sackedAt = s.at
		}
		e.segmentDelivered(s, a, opts)
		q.setSacked(s)
		a.newlySacked = true
	}
}

// The receiver's half.

// sackState is the blocks to report, the one that changed last first (RFC 2018 section 4).
type sackState struct {
	blocks [header.TCPMaximumSACKBlocks]header.SACKBlock
	n      int
	// duplicate is to be reported with the next acknowledgement (RFC 2883).
	hasDuplicate bool
	duplicate    header.SACKBlock
}

// add notes that [start, end) came behind a gap.
func (k *sackState) add(start, end uint32) {
	b := header.SACKBlock{Start: start, End: end}
	// Blocks that touch it become one with it.
	n := 0
	for i := range k.n {
		x := k.blocks[i]
		if !after(x.Start, b.End) && !before(x.End, b.Start) {
			b.Start, b.End = earlier(b.Start, x.Start), later(b.End, x.End)
			continue
		}
		k.blocks[n] = x
		n++
	}
	n = min(n, len(k.blocks)-1)
	copy(k.blocks[1:n+1], k.blocks[:n])
	k.blocks[0] = b
	k.n = n + 1
}

// trim drops blocks that are not behind nxt any more.
func (k *sackState) trim(nxt uint32) {
	n := 0
	for i := range k.n {
		if x := k.blocks[i]; after(x.Start, nxt) {
			k.blocks[n] = x
			n++
		}
	}
	k.n = n
}

// cut drops what is from seq on: it was thrown away.
func (k *sackState) cut(seq uint32) {
	n := 0
	for i := range k.n {
		x := k.blocks[i]
		if !before(x.Start, seq) {
			continue
		}
		x.End = earlier(x.End, seq)
		k.blocks[n] = x
		n++
	}
	k.n = n
}

// setDuplicate notes that [start, end) came twice.
func (k *sackState) setDuplicate(start, end uint32) {
	k.hasDuplicate, k.duplicate = true, header.SACKBlock{Start: start, End: end}
}

// fill puts the blocks into the options of a segment that is sent.
func (k *sackState) fill(o *header.TCPOptions) {
	n := 0
	if k.hasDuplicate {
		o.SACKBlocks[0] = k.duplicate
		k.hasDuplicate = false
		n = 1
	}
	n += copy(o.SACKBlocks[n:], k.blocks[:k.n])
	o.SACKCount = n
}
