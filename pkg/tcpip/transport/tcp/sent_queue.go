package tcp

import "time"

// What is known of a sent segment.
const (
	sentSyn uint8 = 1 << iota
	sentFin
	// sentSacked: the peer has it (RFC 2018). Never together with sentLost.
	sentSacked
	// sentLost: it is believed to be lost, and so was every retransmission.
	sentLost
	// sentAgain: a retransmission is in flight; with sentLost: the original was lost.
	sentAgain
	// sentEver: it was retransmitted at least once.
	sentEver
)

// sentSegment is a range of sequence numbers in flight that was sent at one time. With
// segmentation offload it is many segments on the wire.
type sentSegment struct {
	seq, end uint32
	// at is when it was sent last, and order the how-manieth transmission that was: of two at
	// the same time only order knows which was first.
	at    time.Duration
	order uint64
	flags uint8
	// delivered is how many bytes had been delivered when it was sent, at deliveredAt, and
	// firstAt when the first of those was sent that were in flight: the beginning of a sample
	// of the delivery rate. limited: the application did not fill the window then.
	delivered            uint64
	deliveredAt, firstAt time.Duration
	limited              bool
}

func (s *sentSegment) size() int { return int(s.end - s.seq) }

// sentSegmentMemory is what one costs.
const sentSegmentMemory = 64

// sentQueue is what is in flight, in order of sequence numbers without gaps, from SND.UNA to
// SND.NXT.
type sentQueue struct {
	list fifo[sentSegment]
	// Sums of sequence numbers, for the pipe of RFC 6675 section 4: those that the peer has,
	// those that are lost, and those retransmitted and not known lost again.
	sacked, lost, again int
	// pending is what is lost and was not retransmitted since.
	pending int
	// highestSacked is the end of the highest segment with sentSacked, valid while sacked > 0.
	highestSacked uint32
	order         uint64 // transmissions so far
}

// add puts a segment that is sent for the first time at the end.
func (q *sentQueue) add(s sentSegment) {
	q.order++
	s.order = q.order
	q.list.push(s)
}

func (q *sentQueue) empty() bool { return q.list.len() == 0 }

func (q *sentQueue) memory() int { return q.list.len() * sentSegmentMemory }

// find returns the index of the segment that has seq in it, or that of the next one.
func (q *sentQueue) find(seq uint32) int {
	low, high := 0, q.list.len()
	for low < high {
		if mid := (low + high) / 2; after(q.list.at(mid).end, seq) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// split cuts segment i at seq, which lies inside of it.
func (q *sentQueue) split(i int, seq uint32) {
	s := *q.list.at(i)
	first := s
	first.end, first.flags = seq, s.flags&^sentFin
	s.seq, s.flags = seq, s.flags&^sentSyn
	*q.list.at(i) = first
	q.list.insert(i+1, s)
}

// setSacked marks segment i as received by the peer.
func (q *sentQueue) setSacked(s *sentSegment) {
	n := s.size()
	q.forget(s, n)
	s.flags = s.flags&^(sentLost|sentAgain) | sentSacked
	if q.sacked == 0 || after(s.end, q.highestSacked) {
		q.highestSacked = s.end
	}
	q.sacked += n
}

// setLost marks a segment as lost, its retransmission too if there is one in flight.
func (q *sentQueue) setLost(s *sentSegment) {
	n := s.size()
	if s.flags&sentSacked != 0 {
		return
	}
	q.forget(s, n)
	s.flags = s.flags&^sentAgain | sentLost
	q.lost += n
	q.pending += n
}

// clearLost takes back that segments were lost.
func (q *sentQueue) clearLost() {
	for i := range q.list.len() {
		s := q.list.at(i)
		if s.flags&sentLost != 0 {
			q.forget(s, s.size())
			s.flags &^= sentLost
			if s.flags&sentAgain != 0 {
				q.again += s.size()
			}
		}
	}
}

// clearSacked takes back that the peer has segments, because it reneged (RFC 2018 section 8).
func (q *sentQueue) clearSacked() {
	for i := range q.list.len() {
		q.list.at(i).flags &^= sentSacked
	}
	q.sacked = 0
}

// setSentAgain notes that a segment was retransmitted now.
func (q *sentQueue) setSentAgain(s *sentSegment, now time.Duration) {
	q.order++
	s.order = q.order
	q.forget(s, s.size())
	s.flags |= sentAgain | sentEver
	s.at = now
	q.again += s.size()
	if s.flags&sentLost != 0 {
		q.lost += s.size()
	}
}

// forget takes n bytes of segment s out of the sums.
func (q *sentQueue) forget(s *sentSegment, n int) {
	if s.flags&sentSacked != 0 {
		q.sacked -= n
	}
	if s.flags&sentLost != 0 {
		q.lost -= n
		if s.flags&sentAgain == 0 {
			q.pending -= n
		}
	}
	if s.flags&sentAgain != 0 {
		q.again -= n
	}
}

func (q *sentQueue) purge() { *q = sentQueue{} }
