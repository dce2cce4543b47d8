package tcp

import "runsc/pkg/tcpip/buffer"

// sendQueue is the bytes of the stream that the peer has not acknowledged, sent or not: a row of
// Views. The oldest byte's sequence number is start.
type sendQueue struct {
	start  uint32
	size   int
	chunks fifo[sendChunk]
}

// sendChunk is a View whose first byte has the sequence number seq.
type sendChunk struct {
	seq uint32
	v   buffer.View
}

func (q *sendQueue) len() int    { return q.size }
func (q *sendQueue) end() uint32 { return q.start + uint32(q.size) }

// append adds v, which the queue takes, to the end.
func (q *sendQueue) append(v buffer.View) {
	q.chunks.push(sendChunk{q.end(), v})
	q.size += v.Len()
}

// reserve returns another View of the last chunk if bytes can be added behind it, and its length:
// its spare room belongs to the caller, who may fill it without a lock, until commit.
func (q *sendQueue) reserve() (v buffer.View, used int) {
	n := q.chunks.len()
	if n == 0 {
		return buffer.View{}, 0
	}
	last := q.chunks.at(n - 1)
	if last.v.Room() == 0 {
		return buffer.View{}, 0
	}
	return last.v.Clone(), last.v.Len()
}

// commit adds what was written to v, got by reserve, behind its first used bytes. The chunk may
// have been acknowledged and be gone meanwhile.
func (q *sendQueue) commit(v buffer.View, used int) {
	added := v.Len() - used
	if n := q.chunks.len(); n > 0 {
		last := q.chunks.at(n - 1)
		if b := last.v.Bytes(); len(b) > 0 && v.Len() > 0 && len(b) <= used && &b[len(b)-1] == &v.Bytes()[used-1] {
			last.v.Grow(added)
			q.size += added
			v.Release()
			return
		}
	}
	v.TrimFront(used)
	q.append(v)
}

// acknowledge drops what is before una.
func (q *sendQueue) acknowledge(una uint32) {
	n := int(int32(una - q.start))
	if n <= 0 {
		return
	}
	n = min(n, q.size)
	q.start += uint32(n)
	q.size -= n
	for q.chunks.len() > 0 {
		c := q.chunks.at(0)
		end := c.seq + uint32(c.v.Len())
		if after(end, q.start) {
			if d := q.start - c.seq; int32(d) > 0 {
				c.v.TrimFront(int(d))
				c.seq = q.start
			}
			return
		}
		c.v.Release()
		q.chunks.pop()
	}
}

// fill adds references to the n bytes from seq on, which are in the queue, to pkt.
func (q *sendQueue) fill(pkt *buffer.Packet, seq uint32, n int) {
	// The last chunk that begins at or before seq.
	low, high := 0, q.chunks.len()
	for high-low > 1 {
		if mid := (low + high) / 2; beforeOrEqual(q.chunks.at(mid).seq, seq) {
			low = mid
		} else {
			high = mid
		}
	}
	for ; n > 0; low++ {
		c := q.chunks.at(low)
		from := int(seq - c.seq)
		m := min(n, c.v.Len()-from)
		pkt.AppendView(c.v.Slice(from, from+m))
		seq += uint32(m)
		n -= m
	}
}

// purge drops everything.
func (q *sendQueue) purge() {
	for q.chunks.len() > 0 {
		q.chunks.at(0).v.Release()
		q.chunks.pop()
	}
	q.start += uint32(q.size)
	q.size = 0
	q.chunks = fifo[sendChunk]{}
}
