package cgroup

import (
	"reflect"
	"testing"
)

func TestStatsV1(t *testing.T) {
	h, _ := fakeHost(t, "", "v1 cpu,cpuacct", "v1 memory", "v1 pids", "v1 blkio")
	c, err := fromSpec(h, specWith("/x"), "id", false)
	if err != nil {
		t.Fatal(err)
	}
	prepare(t, c.dir("cpu"), "cpuacct.usage=300\n", "cpuacct.usage_percpu=100 200 \n", "cpuacct.stat=user 2\nsystem 1\n", "cpu.stat=nr_periods 5\nnr_throttled 4\nthrottled_time 3\n")
	prepare(t, c.dir("memory"), "memory.usage_in_bytes=10\n", "memory.limit_in_bytes=20\n", "memory.failcnt=1\n", "memory.stat=cache 7\nrss 8\n", "memory.oom_control=oom_kill_disable 0\noom_kill 2\n")
	prepare(t, c.dir("pids"), "pids.current=3\n", "pids.max=max\n")
	prepare(t, c.dir("blkio"), "blkio.throttle.io_service_bytes_recursive=8:0 Read 4096\n8:0 Write 1\nTotal 4097\n")
	s := c.Stats()
	if s.CPU.Usage.Total != 300 || len(s.CPU.Usage.Percpu) != 2 || s.CPU.Usage.User != 2*tick || s.CPU.Throttling.ThrottledTime != 3 {
		t.Errorf("cpu: %+v", s.CPU)
	}
	if s.Memory.Usage != (MemoryEntry{Limit: 20, Usage: 10, Failcnt: 1}) || s.Memory.Cache != 7 || s.OOMKills != 2 {
		t.Errorf("memory: %+v", s.Memory)
	}
	if s.Pids != (PidsStats{Current: 3}) {
		t.Errorf("pids: %+v", s.Pids)
	}
	if want := []BlkioEntry{{8, 0, "Read", 4096}, {8, 0, "Write", 1}}; !reflect.DeepEqual(s.Blkio.ServiceBytes, want) {
		t.Errorf("blkio: %+v", s.Blkio)
	}
}

func TestStatsV2(t *testing.T) {
	h, _ := fakeHost(t, "", "v2 cpu memory pids io hugetlb")
	c, err := fromSpec(h, specWith("/x"), "id", false)
	if err != nil {
		t.Fatal(err)
	}
	prepare(t, &c.Dirs[0], "cpu.stat=usage_usec 30\nuser_usec 20\nsystem_usec 10\n", "memory.current=5\n", "memory.max=max\n", "memory.events=max 3\noom_kill 1\n",
		"pids.current=2\n", "pids.max=9\n", "io.stat=253:1 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\nbroken\n", "hugetlb.2MB.current=4\n", "hugetlb.2MB.rsvd.current=4\n")
	s := c.Stats()
	if s.CPU.Usage.Total != 30000 || s.CPU.Usage.Kernel != 10000 {
		t.Errorf("cpu: %+v", s.CPU)
	}
	if s.Memory.Usage != (MemoryEntry{Limit: unlimited, Usage: 5, Failcnt: 3}) || s.OOMKills != 1 {
		t.Errorf("memory: %+v", s.Memory)
	}
	if s.Pids != (PidsStats{2, 9}) || len(s.Blkio.ServiceBytes) != 2 || s.Blkio.Serviced[1] != (BlkioEntry{253, 1, "Write", 2}) {
		t.Errorf("pids %+v, io %+v", s.Pids, s.Blkio)
	}
	if !reflect.DeepEqual(s.Hugetlb, map[string]HugetlbStats{"2MB": {Usage: 4}}) {
		t.Errorf("hugetlb: %+v", s.Hugetlb)
	}
}
