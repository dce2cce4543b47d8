package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sort"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// set writes limits; at creation, directories that are not ours are left alone.
func (c *Cgroup) set(res *specs.LinuxResources, creating bool) error {
	s := setter{c: c, creating: creating}
	s.cpu(res.CPU)
	s.memory(res.Memory)
	s.pids(res.Pids)
	s.blockIO(res.BlockIO)
	s.hugepages(res.HugepageLimits)
	s.network(res.Network)
	s.rdma(res.Rdma)
	s.unified(res.Unified)
	return s.err
}

// Update changes limits of a running container. Only fields that are set count.
func (c *Cgroup) Update(res *specs.LinuxResources) error {
	if c == nil {
		return errors.New("the container has no cgroup")
	}
	return c.set(res, false)
}

// setter writes control files until the first error.
type setter struct {
	c        *Cgroup
	creating bool
	err      error
}

// dir returns where to write a controller's limit, nil if there is no need to. A limit for
// which the host has no controller is an error, since the caller relies on it.
func (s *setter) dir(controller string) *Dir {
	if s.err != nil {
		return nil
	}
	d := s.c.dir(controller)
	if d == nil {
		s.err = fmt.Errorf("cannot set %s limit: the host has no such cgroup controller for us", controller)
		return nil
	}
	if s.creating && !d.owned() {
		return nil
	}
	return d
}

func (s *setter) write(d *Dir, name, value string) {
	if s.err == nil && d != nil {
		s.err = write(d.Path, name, value)
	}
}

// writeOptional is write for knobs that kernels may lack.
func (s *setter) writeOptional(d *Dir, name, value string) {
	if s.err != nil || d == nil {
		return
	}
	if err := write(d.Path, name, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.err = err
	}
}

// weightFromShares maps cpu.shares (2 to 262144) to cpu.weight (1 to 10000), linearly.
func weightFromShares(shares uint64) uint64 {
	shares = min(max(shares, 2), 262144)
	return 1 + (shares-2)*9999/262142
}

const defaultPeriod = 100000 // microseconds

func (s *setter) cpu(r *specs.LinuxCPU) {
	if r == nil {
		return
	}
	if r.Shares != nil && *r.Shares != 0 || r.Quota != nil && *r.Quota != 0 || r.Period != nil && *r.Period != 0 ||
		r.RealtimePeriod != nil || r.RealtimeRuntime != nil || r.Idle != nil || r.Burst != nil {
		if d := s.dir("cpu"); d != nil && d.V2 {
			s.cpuV2(d, r)
		} else if d != nil {
			s.cpuV1(d, r)
		}
	}
	if r.Cpus != "" || r.Mems != "" {
		d := s.dir("cpuset")
		if r.Cpus != "" {
			s.write(d, "cpuset.cpus", r.Cpus)
		}
		if r.Mems != "" {
			s.write(d, "cpuset.mems", r.Mems)
		}
	}
}

func (s *setter) cpuV1(d *Dir, r *specs.LinuxCPU) {
	if r.Shares != nil && *r.Shares != 0 {
		s.write(d, "cpu.shares", strconv.FormatUint(*r.Shares, 10))
	}
	// The kernel refuses a period below the quota at any moment, so that the order of
	// writing depends on which of the two grows.
	period := r.Period != nil && *r.Period != 0
	quota := r.Quota != nil && *r.Quota != 0
	if period {
		err := write(d.Path, "cpu.cfs_period_us", strconv.FormatUint(*r.Period, 10))
		if err != nil && !quota {
			s.err = errors.Join(s.err, err)
		}
		period = err != nil
	}
	if quota {
		s.write(d, "cpu.cfs_quota_us", strconv.FormatInt(*r.Quota, 10))
		if period {
			s.write(d, "cpu.cfs_period_us", strconv.FormatUint(*r.Period, 10))
		}
	}
	if r.Burst != nil {
		s.writeOptional(d, "cpu.cfs_burst_us", strconv.FormatUint(*r.Burst, 10))
	}
	if r.RealtimePeriod != nil && *r.RealtimePeriod != 0 {
		s.writeOptional(d, "cpu.rt_period_us", strconv.FormatUint(*r.RealtimePeriod, 10))
	}
	if r.RealtimeRuntime != nil && *r.RealtimeRuntime != 0 {
		s.writeOptional(d, "cpu.rt_runtime_us", strconv.FormatInt(*r.RealtimeRuntime, 10))
	}
	if r.Idle != nil {
		s.writeOptional(d, "cpu.idle", strconv.FormatInt(*r.Idle, 10))
	}
}

func (s *setter) cpuV2(d *Dir, r *specs.LinuxCPU) {
	if r.Idle != nil {
		s.writeOptional(d, "cpu.idle", strconv.FormatInt(*r.Idle, 10))
	}
	if r.Shares != nil && *r.Shares != 0 {
		s.write(d, "cpu.weight", strconv.FormatUint(weightFromShares(*r.Shares), 10))
	}
	if r.Quota != nil && *r.Quota != 0 || r.Period != nil && *r.Period != 0 {
		quota, period := "max", uint64(defaultPeriod)
		if old, err := read(d.Path, "cpu.max"); err == nil {
			// update may change one of the two.
			if f := strings.Fields(old); len(f) == 2 {
				quota = f[0]
				if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
					period = n
				}
			}
		}
		if r.Quota != nil && *r.Quota != 0 {
			quota = "max"
			if *r.Quota > 0 {
				quota = strconv.FormatInt(*r.Quota, 10)
			}
		}
		if r.Period != nil && *r.Period != 0 {
			period = *r.Period
		}
		s.write(d, "cpu.max", quota+" "+strconv.FormatUint(period, 10))
	}
	if r.Burst != nil {
		s.writeOptional(d, "cpu.max.burst", strconv.FormatUint(*r.Burst, 10))
	}
}

func (s *setter) memory(r *specs.LinuxMemory) {
	if r == nil {
		return
	}
	set := func(p *int64) bool { return p != nil && *p != 0 }
	if !set(r.Limit) && !set(r.Reservation) && !set(r.Swap) && r.Swappiness == nil &&
		(r.DisableOOMKiller == nil || !*r.DisableOOMKiller) {
		return
	}
	d := s.dir("memory")
	if d == nil {
		return
	}
	if d.V2 {
		s.memoryV2(d, r, set)
		return
	}
	limit := func(v int64) string { return strconv.FormatInt(max(v, -1), 10) }
	// The sum with swap may never be below the limit: raise it first, lower it last.
	first, second := r.Limit, r.Swap
	names := [2]string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if set(first) && set(second) {
		old, err := read(d.Path, names[1])
		n, perr := strconv.ParseUint(old, 10, 64)
		if err == nil && perr == nil && (*r.Swap < 0 || uint64(*r.Swap) > n) {
			first, second = second, first
			names[0], names[1] = names[1], names[0]
		}
	}
	for i, p := range []*int64{first, second} {
		if !set(p) {
			continue
		}
		if names[i] == "memory.memsw.limit_in_bytes" {
			s.writeOptional(d, names[i], limit(*p)) // swap accounting may be off
		} else {
			s.write(d, names[i], limit(*p))
		}
	}
	if set(r.Reservation) {
		s.write(d, "memory.soft_limit_in_bytes", limit(*r.Reservation))
	}
	if r.Swappiness != nil {
		s.writeOptional(d, "memory.swappiness", strconv.FormatUint(*r.Swappiness, 10))
	}
	if r.DisableOOMKiller != nil && *r.DisableOOMKiller {
		s.writeOptional(d, "memory.oom_control", "1")
	}
}

func (s *setter) memoryV2(d *Dir, r *specs.LinuxMemory, set func(*int64) bool) {
	limit := func(v int64) string {
		if v < 0 {
			return "max"
		}
		return strconv.FormatInt(v, 10)
	}
	if set(r.Swap) {
		// OCI's swap is memory and swap together; version 2 counts swap alone.
		switch {
		case *r.Swap < 0:
			s.writeOptional(d, "memory.swap.max", "max")
		case !set(r.Limit) || *r.Limit < 0:
			s.err = errors.New("memory+swap limit given without a memory limit")
		case *r.Swap < *r.Limit:
			s.err = errors.New("memory+swap limit is below the memory limit")
		default:
			s.writeOptional(d, "memory.swap.max", strconv.FormatInt(*r.Swap-*r.Limit, 10))
		}
	}
	if set(r.Limit) {
		s.write(d, "memory.max", limit(*r.Limit))
	}
	if set(r.Reservation) {
		s.write(d, "memory.low", limit(*r.Reservation))
	}
}

func (s *setter) pids(r *specs.LinuxPids) {
	if r == nil || r.Limit == 0 {
		return
	}
	value := "max"
	if r.Limit > 0 {
		value = strconv.FormatInt(r.Limit, 10)
	}
	s.write(s.dir("pids"), "pids.max", value)
}

func (s *setter) blockIO(r *specs.LinuxBlockIO) {
	if r == nil {
		return
	}
	empty := (r.Weight == nil || *r.Weight == 0) && (r.LeafWeight == nil || *r.LeafWeight == 0) && len(r.WeightDevice)+
		len(r.ThrottleReadBpsDevice)+len(r.ThrottleWriteBpsDevice)+len(r.ThrottleReadIOPSDevice)+len(r.ThrottleWriteIOPSDevice) == 0
	if empty {
		return
	}
	if s.c.dir("blkio") == nil && s.c.dir("io") != nil {
		s.ioV2(s.dir("io"), r)
		return
	}
	d := s.dir("blkio")
	if r.Weight != nil && *r.Weight != 0 {
		// BFQ calls it differently, and kernels without CFQ have only that.
		s.eitherOf(d, []string{"blkio.weight", "blkio.bfq.weight"}, strconv.Itoa(int(*r.Weight)))
	}
	if r.LeafWeight != nil && *r.LeafWeight != 0 {
		s.writeOptional(d, "blkio.leaf_weight", strconv.Itoa(int(*r.LeafWeight)))
	}
	for _, w := range r.WeightDevice {
		if w.Weight != nil {
			s.eitherOf(d, []string{"blkio.weight_device", "blkio.bfq.weight_device"}, fmt.Sprintf("%d:%d %d", w.Major, w.Minor, *w.Weight))
		}
		if w.LeafWeight != nil {
			s.writeOptional(d, "blkio.leaf_weight_device", fmt.Sprintf("%d:%d %d", w.Major, w.Minor, *w.LeafWeight))
		}
	}
	for _, t := range throttles(r) {
		s.write(d, t.v1, fmt.Sprintf("%d:%d %d", t.major, t.minor, t.rate))
	}
}

// eitherOf writes to the first of several files that exists; to none is all right.
func (s *setter) eitherOf(d *Dir, names []string, value string) {
	if s.err != nil || d == nil {
		return
	}
	for _, name := range names {
		err := write(d.Path, name, value)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			s.err = err
			return
		}
	}
}

type throttle struct {
	v1, v2       string
	major, minor int64
	rate         uint64
}

func throttles(r *specs.LinuxBlockIO) []throttle {
	var list []throttle
	for _, g := range []struct {
		v1, v2  string
		devices []specs.LinuxThrottleDevice
	}{
		{"blkio.throttle.read_bps_device", "rbps", r.ThrottleReadBpsDevice},
		{"blkio.throttle.write_bps_device", "wbps", r.ThrottleWriteBpsDevice},
		{"blkio.throttle.read_iops_device", "riops", r.ThrottleReadIOPSDevice},
		{"blkio.throttle.write_iops_device", "wiops", r.ThrottleWriteIOPSDevice},
	} {
		for _, t := range g.devices {
			list = append(list, throttle{g.v1, g.v2, t.Major, t.Minor, t.Rate})
		}
	}
	return list
}

func (s *setter) ioV2(d *Dir, r *specs.LinuxBlockIO) {
	if r.Weight != nil && *r.Weight != 0 {
		// 10 to 1000 becomes 1 to 10000.
		w := 1 + (uint64(*r.Weight)-min(10, uint64(*r.Weight)))*9999/990
		if d != nil && s.err == nil && write(d.Path, "io.bfq.weight", strconv.Itoa(int(*r.Weight))) != nil {
			s.writeOptional(d, "io.weight", strconv.FormatUint(w, 10))
		}
	}
	for _, t := range throttles(r) {
		rate := "max"
		if t.rate != 0 {
			rate = strconv.FormatUint(t.rate, 10)
		}
		s.write(d, "io.max", fmt.Sprintf("%d:%d %s=%s", t.major, t.minor, t.v2, rate))
	}
}

func (s *setter) hugepages(list []specs.LinuxHugepageLimit) {
	for _, h := range list {
		d := s.dir("hugetlb")
		if d == nil {
			return
		}
		name := "hugetlb." + h.Pagesize + ".limit_in_bytes"
		if d.V2 {
			name = "hugetlb." + h.Pagesize + ".max"
		}
		s.write(d, name, strconv.FormatUint(h.Limit, 10))
	}
}

func (s *setter) network(r *specs.LinuxNetwork) {
	if r == nil {
		return
	}
	// Version 2 has no such controllers; runc ignores these there, too.
	if r.ClassID != nil && *r.ClassID != 0 && s.c.dir("net_cls") != nil {
		s.write(s.dir("net_cls"), "net_cls.classid", strconv.FormatUint(uint64(*r.ClassID), 10))
	}
	for _, p := range r.Priorities {
		if s.c.dir("net_prio") != nil {
			s.write(s.dir("net_prio"), "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority))
		}
	}
}

func (s *setter) rdma(devices map[string]specs.LinuxRdma) {
	for _, name := range sortedKeys(devices) {
		r := devices[name]
		var b strings.Builder
		b.WriteString(name)
		if r.HcaHandles != nil {
			fmt.Fprintf(&b, " hca_handle=%d", *r.HcaHandles)
		}
		if r.HcaObjects != nil {
			fmt.Fprintf(&b, " hca_object=%d", *r.HcaObjects)
		}
		s.write(s.dir("rdma"), "rdma.max", b.String())
	}
}

// unified writes files of version 2 as they are given.
func (s *setter) unified(files map[string]string) {
	for _, name := range sortedKeys(files) {
		if strings.ContainsRune(name, '/') || name == "" {
			s.err = errors.Join(s.err, fmt.Errorf("unified resource %q is not a file name", name))
			return
		}
		controller, _, _ := strings.Cut(name, ".")
		d := s.c.dir(controller)
		if d == nil || !d.V2 {
			s.err = errors.Join(s.err, fmt.Errorf("cannot set unified resource %q: no such controller of cgroup version 2", name))
			return
		}
		s.write(s.dir(controller), name, files[name])
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// noLimit is what memory.limit_in_bytes reads when nothing was set: the largest multiple of
// a page that fits a signed counter. Anything near it means the same.
const noLimit = math.MaxInt64 &^ 0xffffff

// Limits returns how many processors and how many bytes of memory the cgroup grants; 0
// means that it sets no limit.
func (c *Cgroup) Limits() (cpus int, memory uint64, err error) {
	if c == nil {
		return 0, 0, nil
	}
	if d := c.dir("cpu"); d != nil {
		cpus = d.quota()
	}
	if d := c.dir("cpuset"); d != nil {
		name := "cpuset.cpus"
		if d.V2 {
			name = "cpuset.cpus.effective"
		}
		if list, err := read(d.Path, name); err == nil && list != "" {
			n, err := countCPUs(list)
			if err != nil {
				return 0, 0, err
			}
			if cpus == 0 || n < cpus {
				cpus = n
			}
		}
	}
	if d := c.dir("memory"); d != nil {
		name := "memory.limit_in_bytes"
		if d.V2 {
			name = "memory.max"
		}
		if s, err := read(d.Path, name); err == nil && s != "max" {
			if n, err := strconv.ParseUint(s, 10, 64); err == nil && n < noLimit {
				memory = n
			}
		}
	}
	return cpus, memory, nil
}

// quota returns the processors that the bandwidth limit amounts to, rounded up.
func (d *Dir) quota() int {
	var quota, period string
	if d.V2 {
		s, _ := read(d.Path, "cpu.max")
		quota, period, _ = strings.Cut(s, " ")
	} else {
		quota, _ = read(d.Path, "cpu.cfs_quota_us")
		period, _ = read(d.Path, "cpu.cfs_period_us")
	}
	q, err := strconv.ParseInt(quota, 10, 64)
	p, perr := strconv.ParseInt(period, 10, 64)
	if err != nil || perr != nil || q <= 0 || p <= 0 {
		return 0
	}
	return int((q + p - 1) / p)
}

// countCPUs counts a list like 0-3,7.
func countCPUs(list string) (int, error) {
	n := 0
	for _, part := range strings.Split(list, ",") {
		from, to, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(to)
		}
		if err != nil || a < 0 || b < a || b > 1<<20 {
			return 0, fmt.Errorf("bad list of processors %q", list)
		}
		n += b - a + 1
	}
	return n, nil
}
