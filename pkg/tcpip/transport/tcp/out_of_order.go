package tcp

import "runsc/pkg/tcpip/buffer"

// outOfOrderQueue is the bytes that came behind a gap, ordered, without overlaps.
type outOfOrderQueue struct {
	pieces fifo[outOfOrderPiece]
	memory int
	// hasFin: the stream ends at finSeq.
	hasFin bool
	finSeq uint32
}

// outOfOrderPiece is a View whose first byte has the sequence number seq.
type outOfOrderPiece struct {
	seq uint32
	v   buffer.View
}

func (p *outOfOrderPiece) end() uint32 { return p.seq + uint32(p.v.Len()) }

func (q *outOfOrderQueue) empty() bool { return q.pieces.len() == 0 }

// find returns the index of the first piece that ends behind seq. Most segments come in rising
// order even behind a gap, so the end is tried first.
func (q *outOfOrderQueue) find(seq uint32) int {
	n := q.pieces.len()
	if n == 0 || beforeOrEqual(q.pieces.at(n-1).end(), seq) {
		return n
	}
	low, high := 0, n
	for low < high {
		if mid := (low + high) / 2; after(q.pieces.at(mid).end(), seq) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// insert adds v, which the queue takes, at seq, but for what is there already. It returns how
// many bytes were new.
func (q *outOfOrderQueue) insert(seq uint32, v buffer.View) int {
	added := 0
	for i := q.find(seq); v.Len() > 0; {
		n := v.Len()
		if i < q.pieces.len() {
			p := q.pieces.at(i)
			if beforeOrEqual(p.seq, seq) {
				skip := min(int(p.end()-seq), n)
				v.TrimFront(skip)
				seq += uint32(skip)
				i++
				continue
			}
			n = min(n, int(p.seq-seq))
		}
		i = q.put(i, seq, v.Slice(0, n))
		v.TrimFront(n)
		seq += uint32(n)
		added += n
	}
	v.Release()
	return added
}

// put adds v before piece i, with which and with whose predecessor it does not overlap, and
// returns the index of the piece behind it.
func (q *outOfOrderQueue) put(i int, seq uint32, v buffer.View) int {
	if !wasteful(v) {
		q.pieces.insert(i, outOfOrderPiece{seq, v})
		q.memory += v.Memory() + viewOverhead
		return i + 1
	}
	if i > 0 {
		if p := q.pieces.at(i - 1); p.end() == seq && p.v.Room() >= v.Len() {
			copy(p.v.Grow(v.Len()), v.Bytes())
			v.Release()
			return i
		}
	}
	w := buffer.NewView(v.Len())
	copy(w.Bytes(), v.Bytes())
	v.Release()
	q.pieces.insert(i, outOfOrderPiece{seq, w})
	q.memory += w.Memory() + viewOverhead
	return i + 1
}

// next takes the first piece out if it begins at or before seq, without what is before. false: it
// does not.
func (q *outOfOrderQueue) next(seq uint32) (buffer.View, bool) {
	for q.pieces.len() > 0 {
		p := q.pieces.at(0)
		if after(p.seq, seq) {
			break
		}
		v, end := p.v, p.end()
		q.memory -= v.Memory() + viewOverhead
		skip := seq - p.seq
		q.pieces.pop()
		if beforeOrEqual(end, seq) {
			v.Release()
			continue
		}
		v.TrimFront(int(skip))
		return v, true
	}
	return buffer.View{}, false
}

// dropLast throws the highest piece away, and returns its sequence number.
func (q *outOfOrderQueue) dropLast() uint32 {
	i := q.pieces.len() - 1
	p := q.pieces.at(i)
	seq := p.seq
	q.memory -= p.v.Memory() + viewOverhead
	p.v.Release()
	q.pieces.remove(i, 1)
	return seq
}

func (q *outOfOrderQueue) purge() {
	for q.pieces.len() > 0 {
		q.pieces.at(0).v.Release()
		q.pieces.pop()
	}
	*q = outOfOrderQueue{}
}
