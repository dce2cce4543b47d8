package tcp

import "time"

// timestampState is the timestamps option (RFC 7323 section 3).
type timestampState struct {
	ok bool
	// recent is TS.Recent, which came at recentAt.
	recent   uint32
	recentAt time.Duration
	// offset makes timestamps of different peers unrelated (RFC 7323 section 7.1).
	offset uint32
}

// timestampUnit is a tick of the timestamp clock.
const timestampUnit = time.Millisecond

// pawsExpiry is how long TS.Recent is good for: half of the clock's range at the fastest allowed
// rate (RFC 7323 section 5.5).
const pawsExpiry = 24 * 24 * time.Hour

// tsVal is the timestamp of now.
func (e *Endpoint) tsVal() uint32 { return e.tsValAt(e.now) }

// tsValAt is the timestamp of a segment that was sent at t.
func (e *Endpoint) tsValAt(t time.Duration) uint32 {
	return uint32(t/timestampUnit) + e.ts.offset
}

// pawsReject says whether a segment is older than what came before (RFC 7323 section 5.3, R1).
func (e *Endpoint) pawsReject(s *segment) bool {
	return e.ts.ok && s.opts.HasTimestamp && s.flags&flagRst == 0 &&
		before(s.opts.TSVal, e.ts.recent) && e.now-e.ts.recentAt < pawsExpiry
}

// updateRecent takes the timestamp of an acceptable segment (RFC 7323 section 4.3): that of the
// oldest one not acknowledged is echoed, so that delayed acknowledgements are in the sample.
func (e *Endpoint) updateRecent(s *segment) {
	if e.ts.ok && s.opts.HasTimestamp && !after(s.seq, e.rcv.acked) && !before(s.opts.TSVal, e.ts.recent) {
		e.ts.recent, e.ts.recentAt = s.opts.TSVal, e.now
	}
}
