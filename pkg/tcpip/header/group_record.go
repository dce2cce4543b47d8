package header

import "net/netip"

// Types of group records, in the reports of IGMPv3 and MLDv2 (RFC 3376 section 4.2.12, RFC 3810
// section 5.2.12).
const (
	GroupModeIsInclude   = 1
	GroupModeIsExclude   = 2
	GroupChangeToInclude = 3
	GroupChangeToExclude = 4
	GroupAllowNewSources = 5
	GroupBlockOldSources = 6
)

// GroupRecord is one record of a report to be written.
type GroupRecord struct {
	// Type is GroupModeIsInclude and so on.
	Type    uint8
	Group   netip.Addr
	Sources []netip.Addr
}

// GroupRecordWalker goes through the records of a report.
type GroupRecordWalker struct {
	rest      []byte
	left      int
	size      int // of an address: 4 or 16
	malformed bool
	sources   []byte

	// Type and Group are of the current record.
	Type  uint8
	Group netip.Addr
	// Count is the number of its sources; see Source.
	Count int
}

// Next goes on to the next record and says whether there is one.
func (w *GroupRecordWalker) Next() bool {
	if w.left == 0 || w.malformed {
		return false
	}
	if len(w.rest) < 4+w.size {
		w.malformed = true
		return false
	}
	w.left--
	w.Type, w.Count = w.rest[0], int(be.Uint16(w.rest[2:]))
	begin := 4 + w.size
	end := begin + w.Count*w.size
	next := end + int(w.rest[1])*4 // auxiliary data
	if next > len(w.rest) {
		w.malformed = true
		return false
	}
	if w.size == 4 {
		w.Group = get4(w.rest[4:begin])
	} else {
		w.Group = get16(w.rest[4:begin])
	}
	w.sources, w.rest = w.rest[begin:end], w.rest[next:]
	return true
}

// Source is source i of the current record, less than Count.
func (w *GroupRecordWalker) Source(i int) netip.Addr {
	if w.size == 4 {
		return addressAt4(w.sources, i)
	}
	return addressAt16(w.sources, i)
}

// Malformed says that the walk ended at a record that is not complete.
func (w *GroupRecordWalker) Malformed() bool { return w.malformed }

// groupRecordsLength is the size of records in bytes, with addresses of size bytes.
func groupRecordsLength(records []GroupRecord, size int) int {
	n := 0
	for i := range records {
		n += 4 + size + size*len(records[i].Sources)
	}
	return n
}

// encodeGroupRecords writes the records with addresses of size bytes.
func encodeGroupRecords(b []byte, records []GroupRecord, size int) {
	put := put4
	if size == 16 {
		put = put16
	}
	for i := range records {
		r := &records[i]
		b[0], b[1] = r.Type, 0
		be.PutUint16(b[2:], uint16(len(r.Sources)))
		put(b[4:], r.Group)
		b = b[4+size:]
		for _, a := range r.Sources {
			put(b, a)
			b = b[size:]
		}
	}
}

// validReport says whether the records after a report's eight bytes are complete.
func validReport(h []byte, t uint8, size int) bool {
	if len(h) < 8 || h[0] != t {
		return false
	}
	w := walkReport(h, size)
	for w.Next() {
	}
	return !w.malformed
}

func walkReport(h []byte, size int) GroupRecordWalker {
	return GroupRecordWalker{rest: h[8:], left: int(be.Uint16(h[6:])), size: size}
}

func encodeReport(h []byte, t uint8, records []GroupRecord, size int) int {
	n := 8 + groupRecordsLength(records, size)
	_ = h[n-1]
	clear(h[:8])
	h[0] = t
	be.PutUint16(h[6:], uint16(len(records)))
	encodeGroupRecords(h[8:], records, size)
	return n
}

// IGMPv3Report is a view of a report of version 3 (RFC 3376 section 4.2). Convert to IGMP for
// the checksum.
type IGMPv3Report []byte

// Valid says whether the message with its records lies in the view.
func (h IGMPv3Report) Valid() bool { return validReport(h, IGMPTypeReportV3, 4) }

// Records begins a walk over the records.
func (h IGMPv3Report) Records() GroupRecordWalker { return walkReport(h, 4) }

// IGMPv3ReportLength is the size in bytes that Encode writes.
func IGMPv3ReportLength(records []GroupRecord) int {
	return IGMPv3ReportSize + groupRecordsLength(records, 4)
}

// Encode writes the message with a checksum of 0 and returns its size in bytes.
func (h IGMPv3Report) Encode(records []GroupRecord) int {
	return encodeReport(h, IGMPTypeReportV3, records, 4)
}

// MLDv2Report is a view of a report of version 2 (RFC 3810 section 5.2), the whole ICMPv6 message.
// Convert to ICMPv6 for the checksum.
type MLDv2Report []byte

// Valid says whether the message with its records lies in the view.
func (h MLDv2Report) Valid() bool { return validReport(h, ICMPv6MLDv2Report, 16) }

// Records begins a walk over the records.
func (h MLDv2Report) Records() GroupRecordWalker { return walkReport(h, 16) }

// MLDv2ReportLength is the size in bytes that Encode writes.
func MLDv2ReportLength(records []GroupRecord) int {
	return MLDv2ReportSize + groupRecordsLength(records, 16)
}

// Encode writes the message with a checksum of 0 and returns its size in bytes.
func (h MLDv2Report) Encode(records []GroupRecord) int {
	return encodeReport(h, ICMPv6MLDv2Report, records, 16)
}
