package cgroup

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Stats is what a cgroup has used, in the shape in which runc's events show it.
type Stats struct {
	CPU     CPUStats                `json:"cpu"`
	Memory  MemoryStats             `json:"memory"`
	Pids    PidsStats               `json:"pids"`
	Blkio   BlkioStats              `json:"blkio"`
	Hugetlb map[string]HugetlbStats `json:"hugetlb"`

	// OOMKills counts processes killed for want of memory.
	OOMKills uint64 `json:"-"`
}

// CPUStats is processor time, in nanoseconds.
type CPUStats struct {
	Usage struct {
		Total  uint64   `json:"total"`
		Percpu []uint64 `json:"percpu,omitempty"`
		Kernel uint64   `json:"kernel"`
		User   uint64   `json:"user"`
	} `json:"usage"`
	Throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling"`
}

// MemoryEntry is one kind of memory, in bytes.
type MemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// MemoryStats is memory in use.
type MemoryStats struct {
	Cache uint64            `json:"cache,omitempty"`
	Usage MemoryEntry       `json:"usage"`
	Swap  MemoryEntry       `json:"swap"`
	Raw   map[string]uint64 `json:"raw,omitempty"`
}

// PidsStats counts processes.
type PidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlkioEntry is one counter of a block device.
type BlkioEntry struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value"`
}

// BlkioStats is what went to and came from block devices.
type BlkioStats struct {
	ServiceBytes []BlkioEntry `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []BlkioEntry `json:"ioServicedRecursive,omitempty"`
}

// HugetlbStats is one size of huge pages, in bytes.
type HugetlbStats struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// unlimited is how runc shows a limit that is not set.
const unlimited = ^uint64(0)

// number reads a file with one number; "max" and what cannot be read are 0 and unlimited.
func number(d *Dir, name string) uint64 {
	s, err := read(d.Path, name)
	if err != nil {
		return 0
	}
	if s == "max" {
		return unlimited
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// keyed reads a file of lines "key value".
func keyed(d *Dir, name string) map[string]uint64 {
	s, err := read(d.Path, name)
	if err != nil {
		return nil
	}
	m := make(map[string]uint64)
	for _, line := range strings.Split(s, "\n") {
		if key, value, ok := strings.Cut(line, " "); ok {
			if n, err := strconv.ParseUint(value, 10, 64); err == nil {
				m[key] = n
			}
		}
	}
	return m
}

// Stats reads the counters. Those that the host does not have stay zero.
func (c *Cgroup) Stats() *Stats {
	s := &Stats{Hugetlb: make(map[string]HugetlbStats)}
	s.readCPU(c)
	s.readMemory(c)
	if d := c.dir("pids"); d != nil {
		s.Pids.Current = number(d, "pids.current")
		if limit := number(d, "pids.max"); limit != unlimited {
			s.Pids.Limit = limit
		}
	}
	if d := c.dir("blkio"); d != nil {
		s.Blkio.ServiceBytes = blkioV1(d, "blkio.throttle.io_service_bytes_recursive")
		s.Blkio.Serviced = blkioV1(d, "blkio.throttle.io_serviced_recursive")
	} else if d := c.dir("io"); d != nil {
		s.readIO(d)
	}
	if d := c.dir("hugetlb"); d != nil {
		s.readHugetlb(d)
	}
	return s
}

// tick is the unit of cpuacct.stat: USER_HZ is 100 on every architecture we run on.
const tick = 10_000_000

func (s *Stats) readCPU(c *Cgroup) {
	if d := c.dir("cpuacct"); d != nil {
		s.CPU.Usage.Total = number(d, "cpuacct.usage")
		if list, err := read(d.Path, "cpuacct.usage_percpu"); err == nil {
			for _, f := range strings.Fields(list) {
				n, _ := strconv.ParseUint(f, 10, 64)
				s.CPU.Usage.Percpu = append(s.CPU.Usage.Percpu, n)
			}
		}
		m := keyed(d, "cpuacct.stat")
		s.CPU.Usage.User, s.CPU.Usage.Kernel = m["user"]*tick, m["system"]*tick
	}
	d := c.dir("cpu")
	if d == nil {
		return
	}
	m := keyed(d, "cpu.stat")
	s.CPU.Throttling.Periods, s.CPU.Throttling.ThrottledPeriods = m["nr_periods"], m["nr_throttled"]
	s.CPU.Throttling.ThrottledTime = m["throttled_time"]
	if d.V2 {
		const microsecond = 1000
		s.CPU.Throttling.ThrottledTime = m["throttled_usec"] * microsecond
		s.CPU.Usage.Total = m["usage_usec"] * microsecond
		s.CPU.Usage.User, s.CPU.Usage.Kernel = m["user_usec"]*microsecond, m["system_usec"]*microsecond
	}
}

func (s *Stats) readMemory(c *Cgroup) {
	d := c.dir("memory")
	if d == nil {
		return
	}
	s.Memory.Raw = keyed(d, "memory.stat")
	if d.V2 {
		s.Memory.Cache = s.Memory.Raw["file"]
		s.Memory.Usage = MemoryEntry{
			Limit: number(d, "memory.max"), Usage: number(d, "memory.current"), Max: number(d, "memory.peak"),
			Failcnt: keyed(d, "memory.events")["max"],
		}
		s.Memory.Swap = MemoryEntry{Limit: number(d, "memory.swap.max"), Usage: number(d, "memory.swap.current")}
		s.OOMKills = keyed(d, "memory.events")["oom_kill"]
		return
	}
	s.Memory.Cache = s.Memory.Raw["cache"]
	entry := func(prefix string) MemoryEntry {
		return MemoryEntry{
			Limit: number(d, prefix+".limit_in_bytes"), Usage: number(d, prefix+".usage_in_bytes"),
			Max: number(d, prefix+".max_usage_in_bytes"), Failcnt: number(d, prefix+".failcnt"),
		}
	}
	s.Memory.Usage, s.Memory.Swap = entry("memory"), entry("memory.memsw")
	s.OOMKills = keyed(d, "memory.oom_control")["oom_kill"]
}

// blkioV1 reads lines like "8:0 Read 4096".
func blkioV1(d *Dir, name string) []BlkioEntry {
	text, err := read(d.Path, name)
	if err != nil {
		return nil
	}
	var list []BlkioEntry
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue // "Total" of all devices
		}
		if e, ok := device(f[0]); ok {
			e.Op = f[1]
			e.Value, _ = strconv.ParseUint(f[2], 10, 64)
			list = append(list, e)
		}
	}
	return list
}

// readIO reads lines like "8:0 rbytes=1 wbytes=2 rios=3 wios=4".
func (s *Stats) readIO(d *Dir) {
	text, err := read(d.Path, "io.stat")
	if err != nil {
		return
	}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		e, ok := device(f[0])
		if !ok {
			continue
		}
		for _, kv := range f[1:] {
			key, value, _ := strings.Cut(kv, "=")
			e.Value, _ = strconv.ParseUint(value, 10, 64)
			switch key {
			case "rbytes":
				e.Op = "Read"
				s.Blkio.ServiceBytes = append(s.Blkio.ServiceBytes, e)
			case "wbytes":
				e.Op = "Write"
				s.Blkio.ServiceBytes = append(s.Blkio.ServiceBytes, e)
			case "rios":
				e.Op = "Read"
				s.Blkio.Serviced = append(s.Blkio.Serviced, e)
			case "wios":
				e.Op = "Write"
				s.Blkio.Serviced = append(s.Blkio.Serviced, e)
			}
		}
	}
}

// device parses "major:minor".
func device(s string) (e BlkioEntry, ok bool) {
	major, minor, ok := strings.Cut(s, ":")
	var err1, err2 error
	e.Major, err1 = strconv.ParseUint(major, 10, 32)
	e.Minor, err2 = strconv.ParseUint(minor, 10, 32)
	return e, ok && err1 == nil && err2 == nil
}

func (s *Stats) readHugetlb(d *Dir) {
	suffix := ".usage_in_bytes"
	if d.V2 {
		suffix = ".current"
	}
	files, _ := filepath.Glob(filepath.Join(d.Path, "hugetlb.*"+suffix))
	for _, f := range files {
		size := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "hugetlb."), suffix)
		if strings.Contains(size, ".") {
			continue // hugetlb.2MB.rsvd.…
		}
		h := HugetlbStats{Usage: number(d, "hugetlb."+size+suffix)}
		if !d.V2 {
			h.Max = number(d, "hugetlb."+size+".max_usage_in_bytes")
			h.Failcnt = number(d, "hugetlb."+size+".failcnt")
		}
		s.Hugetlb[size] = h
	}
}
