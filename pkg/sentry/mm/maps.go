package mm

import (
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// region is one VMA as /proc shows it.
type region struct {
	ar  usermem.AddrRange
	v   vma // with a reference on v.id
	tag string
	rss residency
}

// residency says how much of a range is in memory, in bytes.
type residency struct {
	anon, file, shmem uint64
	shared            uint64 // of those, pages that others use too
}

func (r *residency) total() uint64 { return r.anon + r.file + r.shmem }

func (r *residency) add(o residency) {
	r.anon += o.anon
	r.file += o.file
	r.shmem += o.shmem
	r.shared += o.shared
}

// residentIn measures ar. mappingMu and activeMu are held for reading at least.
func (m *MemoryManager) residentIn(ar usermem.AddrRange, v *vma) residency {
	var r residency
	for it := m.pmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; it = it.Next() {
		p := it.Value()
		fr := p.fileRange(it.Start(), usermem.AddrRange(it.Range()).Intersect(ar))
		switch {
		case p.private:
			n := m.mf.Resident(fr)
			r.anon += n
			if p.needCOW {
				r.shared += n
			}
		case m.isOurs(p.file):
			n := m.mf.Resident(fr)
			r.shmem += n
			r.shared += n
		default:
			r.file += fr.Length()
			r.shared += fr.Length()
		}
	}
	return r
}

// regions lists the VMAs, lowest first; the caller calls release on each. Files are asked
// for their names only afterwards, without locks.
func (m *MemoryManager) regions(measure bool) []region {
	m.metadataMu.Lock()
	stack := m.metadata.startStack
	m.metadataMu.Unlock()
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	out := make([]region, 0, m.vmas.Len())
	for it := m.vmas.First(); it.Ok(); it = it.Next() {
		r := region{ar: vmaRange(it), v: *it.Value()}
		switch {
		case r.v.name != "":
			if r.tag = r.v.name; !r.v.private && r.v.id != nil {
				r.tag = strings.Replace(r.tag, "[anon:", "[anon_shmem:", 1)
			}
		case r.v.id != nil:
		case r.v.mappable != nil:
		case r.v.stack || stack != 0 && r.ar.Contains(stack):
			r.tag = "[stack]"
		case m.brk.Length() > 0 && r.ar.Start < memmap.PageUp(m.brk.End) && m.brk.Start < r.ar.End:
			r.tag = "[heap]"
		}
		if r.v.id != nil {
			r.v.id.IncRef()
		}
		if measure {
			r.rss = m.residentIn(r.ar, &r.v)
		}
		out = append(out, r)
	}
	return out
}

func (r *region) release() {
	if r.v.id != nil {
		r.v.id.DecRef()
	}
}

// mapsNameColumn is where names begin in /proc/PID/maps.
const mapsNameColumn = 73

var mapsEscape = strings.NewReplacer("\n", `\012`)

// line writes the region's line of /proc/PID/maps.
func (r *region) line(w io.Writer) {
	name := r.tag
	var dev, ino uint64
	offset := uint64(0)
	if id := r.v.id; id != nil {
		if name == "" {
			name = mapsEscape.Replace(id.MappedName())
		}
		dev, ino = id.DeviceID(), id.InodeID()
		offset = r.v.offset
	}
	share := 's'
	if r.v.private {
		share = 'p'
	}
	s := fmt.Sprintf("%08x-%08x %s%c %08x %02x:%02x %d ", r.ar.Start, r.ar.End, r.v.perms, share, offset, unix.Major(dev), unix.Minor(dev), ino)
	if name == "" {
		fmt.Fprintf(w, "%s\n", s)
		return
	}
	fmt.Fprintf(w, "%-*s%s\n", mapsNameColumn, s, name)
}

// WriteMaps writes /proc/PID/maps.
func (m *MemoryManager) WriteMaps(w io.Writer) {
	for _, r := range m.regions(false) {
		r.line(w)
		r.release()
	}
}

// smap is what a stanza of smaps says, in bytes.
type smap struct {
	size, rss, pss, sharedDirty, sharedClean, privateDirty, privateClean, anon, locked uint64
}

func (r *region) smap() smap {
	own := r.rss.anon - min(r.rss.anon, r.rss.shared)
	s := smap{
		size: uint64(r.ar.Length()), rss: r.rss.total(), anon: r.rss.anon,
		privateDirty: own, sharedClean: r.rss.file, sharedDirty: r.rss.total() - r.rss.file - own,
	}
	s.pss = s.privateDirty + (s.sharedClean+s.sharedDirty)/2
	if r.v.lock != lockNone {
		s.locked = s.pss
	}
	return s
}

func (s *smap) add(o smap) {
	s.size += o.size
	s.rss += o.rss
	s.pss += o.pss
	s.sharedDirty += o.sharedDirty
	s.sharedClean += o.sharedClean
	s.privateDirty += o.privateDirty
	s.privateClean += o.privateClean
	s.anon += o.anon
	s.locked += o.locked
}

// write writes the counters that smaps and smaps_rollup share.
func (s *smap) write(w io.Writer) {
	for _, f := range [...]struct {
		name string
		n    uint64
	}{
		{"Rss", s.rss}, {"Pss", s.pss}, {"Pss_Dirty", s.privateDirty + s.sharedDirty/2},
		{"Shared_Clean", s.sharedClean}, {"Shared_Dirty", s.sharedDirty},
		{"Private_Clean", s.privateClean}, {"Private_Dirty", s.privateDirty},
		{"Referenced", s.rss}, {"Anonymous", s.anon}, {"KSM", 0}, {"LazyFree", 0}, {"AnonHugePages", 0},
		{"ShmemPmdMapped", 0}, {"FilePmdMapped", 0}, {"Shared_Hugetlb", 0}, {"Private_Hugetlb", 0},
		{"Swap", 0}, {"SwapPss", 0}, {"Locked", s.locked},
	} {
		fmt.Fprintf(w, "%-16s%8d kB\n", f.name+":", f.n>>10)
	}
}

// vmFlags is the last line of a stanza (proc_pid_smaps(5)).
func (r *region) vmFlags() string {
	var b strings.Builder
	v := &r.v
	for _, f := range [...]struct {
		on   bool
		code string
	}{
		{v.perms.Read, "rd"}, {v.perms.Write, "wr"}, {v.perms.Execute, "ex"}, {!v.private, "sh"},
		{v.maxPerms.Read, "mr"}, {v.maxPerms.Write, "mw"}, {v.maxPerms.Execute, "me"},
		{!v.private && v.maxPerms.Write, "ms"}, {v.growsDown, "gd"}, {v.lock != lockNone, "lo"},
		{v.dontFork, "dc"}, {v.private && v.perms.Write && !v.noReserve, "ac"}, {v.noReserve, "nr"},
		{v.wipeOnFork, "wf"}, {v.dontDump, "dd"},
	} {
		if f.on {
			b.WriteString(f.code)
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// WriteSmaps writes /proc/PID/smaps.
func (m *MemoryManager) WriteSmaps(w io.Writer) {
	for _, r := range m.regions(true) {
		r.line(w)
		s := r.smap()
		fmt.Fprintf(w, "%-16s%8d kB\n%-16s%8d kB\n%-16s%8d kB\n", "Size:", s.size>>10, "KernelPageSize:", pageSize>>10, "MMUPageSize:", pageSize>>10)
		s.write(w)
		fmt.Fprintf(w, "THPeligible:           0\nVmFlags: %s\n", r.vmFlags())
		r.release()
	}
}

// WriteSmapsRollup writes /proc/PID/smaps_rollup.
func (m *MemoryManager) WriteSmapsRollup(w io.Writer) {
	var sum smap
	var lo, hi uintptr
	for _, r := range m.regions(true) {
		if sum.size == 0 {
			lo = r.ar.Start
		}
		hi = r.ar.End
		sum.add(r.smap())
		r.release()
	}
	fmt.Fprintf(w, "%-*s[rollup]\n", mapsNameColumn, fmt.Sprintf("%08x-%08x ---p 00000000 00:00 0 ", lo, hi))
	sum.write(w)
}

// Usage is the sizes that statm and status show, in bytes.
type Usage struct {
	Peak, Size     uint64 // VmPeak, VmSize
	Locked         uint64
	HWM            uint64 // highest RSS that was seen
	RSS            uint64
	Anon           uint64 // RssAnon, RssFile, RssShmem are parts of RSS
	File           uint64
	Shmem          uint64
	Data           uint64 // VmData
	Stack          uint64
	Exe, Lib       uint64 // text of the program and of everything else
	PTE            uint64 // page tables, estimated
	SharedResident uint64 // statm's third field
}

// Usage measures the address space. It asks the host about every page range: for
// statistics only.
func (m *MemoryManager) Usage() Usage {
	m.metadataMu.Lock()
	code := m.metadata.code
	m.metadataMu.Unlock()
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	u := Usage{Peak: m.sizes.peakAS, Size: m.sizes.as, Locked: m.sizes.locked, Data: m.sizes.data}
	var r residency
	var text uint64
	for it := m.vmas.First(); it.Ok(); it = it.Next() {
		v := it.Value()
		ar := vmaRange(it)
		r.add(m.residentIn(ar, v))
		if v.growsDown {
			u.Stack += uint64(ar.Length())
		}
		if v.perms.Execute && !v.perms.Write && v.mappable != nil {
			text += uint64(ar.Length())
		}
	}
	u.Anon, u.File, u.Shmem = r.anon, r.file, r.shmem
	u.RSS = r.total()
	u.SharedResident = r.file + r.shmem
	if code.Length() > 0 {
		u.Exe = uint64(memmap.PageUp(code.End) - memmap.PageDown(code.Start))
	}
	u.Lib = text - min(text, u.Exe)
	u.PTE = memmap.PageUp(u.RSS/512 + pageSize)
	u.HWM = m.noteRSS(u.RSS)
	return u
}

// noteRSS remembers the highest RSS and returns it.
func (m *MemoryManager) noteRSS(rss uint64) uint64 {
	for {
		old := m.maxRSS.Load()
		if rss <= old {
			return old
		}
		if m.maxRSS.CompareAndSwap(old, rss) {
			return rss
		}
	}
}

// VirtualSize is VmSize in bytes, without asking the host.
func (m *MemoryManager) VirtualSize() uint64 {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	return m.sizes.as
}

// rssMaxAge is how old a measurement may be that MaxRSS relies on.
const rssMaxAge = time.Second

// MaxRSS is the highest resident size that was seen so far, in bytes, for getrusage(2). It
// measures at most once a second.
func (m *MemoryManager) MaxRSS() uint64 {
	now := time.Now().UnixNano()
	if last := m.rssMeasured.Load(); now-last > int64(rssMaxAge) && m.rssMeasured.CompareAndSwap(last, now) {
		m.Usage()
	}
	return m.maxRSS.Load()
}
