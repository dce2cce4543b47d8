package tty

// Sizes of the queues, in bytes.
const (
	// inputSize is the longest line plus one, and what a reader may be behind.
	inputSize = 4096
	// outputSize is how much output waits for the peer.
	outputSize = 32 << 10
	// outputReserve is kept free for echoes.
	outputReserve = 4096
)

// Marks of bytes in the input ring.
const (
	markLine = 1 // the last byte of a line
	markEOF  = 2 // … which is not part of it (VEOF)
)

// inputRing holds what readers of the replica get. In canonical mode bytes from canon on
// belong to the line being edited.
type inputRing struct {
	data [inputSize]byte
	mark [inputSize]uint8
	// tail ≤ canon ≤ head count bytes since the beginning; they index modulo inputSize.
	tail, canon, head uint64
}

func (r *inputRing) len() int  { return int(r.head - r.tail) }
func (r *inputRing) room() int { return inputSize - r.len() }

func (r *inputRing) put(c byte, mark uint8) {
	r.data[r.head%inputSize], r.mark[r.head%inputSize] = c, mark
	r.head++
}

func (r *inputRing) at(pos uint64) byte { return r.data[pos%inputSize] }

func (r *inputRing) clear() { r.tail, r.canon = r.head, r.head }

// commit ends the line at head.
func (r *inputRing) commit() { r.canon = r.head }

// readRaw takes up to len(b) bytes.
func (r *inputRing) readRaw(b []byte) int {
	n := min(len(b), r.len())
	for i := range n {
		b[i] = r.at(r.tail)
		r.tail++
	}
	r.canon = max(r.canon, r.tail)
	return n
}

// readLine takes bytes of the first line. An end of file that follows the last byte taken
// is taken with it.
func (r *inputRing) readLine(b []byte) int {
	n := 0
	for r.tail < r.canon {
		m := r.mark[r.tail%inputSize]
		if m&markEOF != 0 {
			r.tail++
			break
		}
		if n == len(b) {
			break
		}
		b[n] = r.at(r.tail)
		n++
		r.tail++
		if m&markLine != 0 {
			break
		}
	}
	return n
}

// byteQueue is a FIFO of bytes of bounded size.
type byteQueue struct {
	b     []byte
	start int
}

func (q *byteQueue) len() int { return len(q.b) - q.start }

func (q *byteQueue) put(b ...byte) {
	if q.start > 0 && len(q.b)+len(b) > cap(q.b) {
		n := copy(q.b, q.b[q.start:])
		q.b, q.start = q.b[:n], 0
	}
	q.b = append(q.b, b...)
}

// peek returns what is queued; it is valid until the next call.
func (q *byteQueue) peek() []byte { return q.b[q.start:] }

func (q *byteQueue) drop(n int) {
	q.start += n
	if q.start == len(q.b) {
		q.b, q.start = q.b[:0], 0
		if cap(q.b) > outputSize {
			q.b = nil
		}
	}
}

func (q *byteQueue) clear() { q.b, q.start = q.b[:0], 0 }
