package cgroup

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// fakeHost makes directories that look like mounted hierarchies: "v1 cpu,cpuacct" or "v2".
func fakeHost(t *testing.T, own string, hierarchies ...string) (host, string) {
	t.Helper()
	dir := t.TempDir()
	var mountinfo, self strings.Builder
	for i, h := range hierarchies {
		kind, controllers, _ := strings.Cut(h, " ")
		point := filepath.Join(dir, strings.ReplaceAll(strings.ReplaceAll(h, " ", "-"), ",", "-"))
		if err := os.MkdirAll(filepath.Join(point, own), 0o755); err != nil {
			t.Fatal(err)
		}
		fstype, key := "cgroup", controllers
		if kind == "v2" {
			fstype, key = "cgroup2", ""
			os.WriteFile(filepath.Join(point, "cgroup.controllers"), []byte(controllers+"\n"), 0o644)
			controllers = ""
		}
		mountinfo.WriteString("3" + string(rune('0'+i)) + " 31 0:30 / " + point + " rw,relatime shared:9 - " + fstype + " cgroup rw," + controllers + "\n")
		self.WriteString(string(rune('1'+i)) + ":" + key + ":/" + own + "\n")
	}
	mountinfo.WriteString("99 31 0:30 / /proc rw - proc proc rw\n")
	h := host{filepath.Join(dir, "mountinfo"), filepath.Join(dir, "self")}
	os.WriteFile(h.mountinfo, []byte(mountinfo.String()), 0o644)
	os.WriteFile(h.selfCgroup, []byte(self.String()), 0o644)
	return h, dir
}

func specWith(path string) *specs.Spec { return &specs.Spec{Linux: &specs.Linux{CgroupsPath: path}} }

func TestPaths(t *testing.T) {
	h, dir := fakeHost(t, "me/here", "v1 cpu,cpuacct", "v1 memory", "v1 name=systemd", "v2 hugetlb")
	for _, tc := range []struct{ path, want string }{
		{"/docker/abc", "docker/abc"},
		{"docker/abc", "me/here/docker/abc"},
		{"", "me/here/id"},
	} {
		c, err := fromSpec(h, specWith(tc.path), "id", false)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range c.Dirs {
			got = append(got, d.Path)
		}
		want := []string{dir + "/v1-cpu-cpuacct/" + tc.want, dir + "/v1-memory/" + tc.want, dir + "/v1-name=systemd/" + tc.want, dir + "/v2-hugetlb/" + tc.want}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v", tc.path, got, want)
		}
		if d := c.dir("cpuacct"); d == nil || d.V2 || !d.owned() {
			t.Errorf("cpuacct is in %+v", d)
		}
	}
	if _, err := fromSpec(h, specWith("/../x"), "id", false); err == nil {
		t.Error(".. accepted")
	}
}

func TestMountedSubtree(t *testing.T) {
	// As seen in a container without a cgroup namespace of its own.
	dir := t.TempDir()
	h := host{filepath.Join(dir, "mountinfo"), filepath.Join(dir, "self")}
	os.WriteFile(h.mountinfo, []byte("1 1 0:1 /docker/x "+dir+"/m\\0401 rw - cgroup cgroup rw,pids\n"), 0o644)
	os.WriteFile(h.selfCgroup, []byte("3:pids:/docker/x/sub\n"), 0o644)
	c, err := fromSpec(h, specWith("y"), "id", false)
	if err != nil || c.Dirs[0].Path != dir+"/m 1/sub/y" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestSystemdPaths(t *testing.T) {
	for in, want := range map[string]string{
		"system.slice:docker:1234":    "/system.slice/docker-1234.scope",
		":runsc:x":                    "/system.slice/runsc-x.scope",
		"a-b.slice:p:n":               "/a.slice/a-b.slice/p-n.scope",
		"-.slice:p:n":                 "/p-n.scope",
		"user.slice:p:some.slice":     "/user.slice/some.slice",
		"/docker/x":                   "",
		"a:b":                         "",
		"a--b.slice:p:n":              "",
		"../x.slice:p:n":              "",
		"nosuffix:p:n":                "",
		"system.slice:docker:":        "",
		"system.slice:docker:x:extra": "",
	} {
		got, err := systemdPath(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
}

// prepare puts control files where the kernel would.
func prepare(t *testing.T, d *Dir, files ...string) {
	t.Helper()
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name, value, _ := strings.Cut(f, "=")
		if err := os.WriteFile(filepath.Join(d.Path, name), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, d *Dir, files map[string]string) {
	t.Helper()
	for name, want := range files {
		if got, err := read(d.Path, name); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestLimitsV1(t *testing.T) {
	h, _ := fakeHost(t, "", "v1 cpu", "v1 memory", "v1 pids", "v1 blkio", "v1 cpuset", "v1 hugetlb", "v1 net_cls")
	c, err := fromSpec(h, specWith("/x"), "id", false)
	if err != nil {
		t.Fatal(err)
	}
	prepare(t, c.dir("cpu"), "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us")
	prepare(t, c.dir("memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes=0", "memory.soft_limit_in_bytes", "memory.swappiness")
	prepare(t, c.dir("pids"), "pids.max")
	prepare(t, c.dir("blkio"), "blkio.bfq.weight", "blkio.throttle.read_bps_device")
	prepare(t, c.dir("cpuset"), "cpuset.cpus=0", "cpuset.mems=0")
	prepare(t, c.dir("hugetlb"), "hugetlb.2MB.limit_in_bytes")
	prepare(t, c.dir("net_cls"), "net_cls.classid")
	bps := specs.LinuxThrottleDevice{Rate: 1000}
	bps.Major, bps.Minor = 8, 1
	res := &specs.LinuxResources{
		CPU:            &specs.LinuxCPU{Shares: ptr[uint64](512), Quota: ptr[int64](150000), Period: ptr[uint64](100000), Cpus: "0-3,6"},
		Memory:         &specs.LinuxMemory{Limit: ptr[int64](1 << 30), Swap: ptr[int64](2 << 30), Reservation: ptr[int64](1 << 20), Swappiness: ptr[uint64](3)},
		Pids:           &specs.LinuxPids{Limit: 77},
		BlockIO:        &specs.LinuxBlockIO{Weight: ptr[uint16](300), ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{bps}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		Network:        &specs.LinuxNetwork{ClassID: ptr[uint32](5)},
	}
	if err := c.Install(res); err != nil {
		t.Fatal(err)
	}
	expect(t, c.dir("cpu"), map[string]string{"cpu.shares": "512", "cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"})
	expect(t, c.dir("memory"), map[string]string{"memory.limit_in_bytes": "1073741824", "memory.memsw.limit_in_bytes": "2147483648",
		"memory.soft_limit_in_bytes": "1048576", "memory.swappiness": "3"})
	expect(t, c.dir("pids"), map[string]string{"pids.max": "77"})
	expect(t, c.dir("blkio"), map[string]string{"blkio.bfq.weight": "300", "blkio.throttle.read_bps_device": "8:1 1000"})
	expect(t, c.dir("cpuset"), map[string]string{"cpuset.cpus": "0-3,6"})
	expect(t, c.dir("hugetlb"), map[string]string{"hugetlb.2MB.limit_in_bytes": "4194304"})
	expect(t, c.dir("net_cls"), map[string]string{"net_cls.classid": "5"})
	if cpus, mem, err := c.Limits(); err != nil || cpus != 2 || mem != 1<<30 {
		t.Errorf("Limits = %d, %d, %v", cpus, mem, err)
	}
	if err := c.Update(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: -1}}); err != nil {
		t.Fatal(err)
	}
	expect(t, c.dir("pids"), map[string]string{"pids.max": "max"})
}

func TestLimitsV2(t *testing.T) {
	h, _ := fakeHost(t, "", "v2 cpu cpuset memory pids io hugetlb")
	c, err := fromSpec(h, specWith("/x"), "id", false)
	if err != nil {
		t.Fatal(err)
	}
	d := &c.Dirs[0]
	prepare(t, d, "cpu.weight", "cpu.max=max 100000", "memory.max", "memory.low", "memory.swap.max", "memory.high", "pids.max", "io.max", "io.weight",
		"cpuset.cpus", "cpuset.cpus.effective=0-1", "hugetlb.2MB.max")
	iops := specs.LinuxThrottleDevice{Rate: 10}
	iops.Major = 253
	res := &specs.LinuxResources{
		CPU:            &specs.LinuxCPU{Shares: ptr[uint64](1024), Quota: ptr[int64](50000), Cpus: "0-1"},
		Memory:         &specs.LinuxMemory{Limit: ptr[int64](1 << 20), Swap: ptr[int64](3 << 20), Reservation: ptr[int64](1 << 10)},
		Pids:           &specs.LinuxPids{Limit: 9},
		BlockIO:        &specs.LinuxBlockIO{Weight: ptr[uint16](1000), ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{iops}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 1}},
		Unified:        map[string]string{"memory.high": "12345"},
	}
	if err := c.Install(res); err != nil {
		t.Fatal(err)
	}
	expect(t, d, map[string]string{
		"cpu.weight": "39", "cpu.max": "50000 100000", "cpuset.cpus": "0-1", "memory.max": "1048576", "memory.low": "1024",
		"memory.swap.max": "2097152", "pids.max": "9", "io.weight": "10000", "io.max": "253:0 wiops=10", "hugetlb.2MB.max": "1", "memory.high": "12345",
	})
	if cpus, mem, err := c.Limits(); err != nil || cpus != 1 || mem != 1<<20 {
		t.Errorf("Limits = %d, %d, %v", cpus, mem, err)
	}
	for name, res := range map[string]*specs.LinuxResources{
		"swap below limit": {Memory: &specs.LinuxMemory{Limit: ptr[int64](2), Swap: ptr[int64](1)}},
		"unified path":     {Unified: map[string]string{"../memory.max": "1"}},
		"no controller":    {Rdma: map[string]specs.LinuxRdma{"mlx": {}}},
	} {
		if err := c.Update(res); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestExistingCgroupIsNeitherConfiguredNorRemoved(t *testing.T) {
	h, dir := fakeHost(t, "", "v1 pids")
	path := filepath.Join(dir, "v1-pids/theirs")
	prepare(t, &Dir{Path: path}, "pids.max=5", "cgroup.procs")
	c, err := fromSpec(h, specWith("/theirs"), "id", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Install(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: 1}}); err != nil {
		t.Fatal(err)
	}
	expect(t, &c.Dirs[0], map[string]string{"pids.max": "5"})
	leave, err := c.Join()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, &c.Dirs[0], map[string]string{"cgroup.procs": "0"})
	leave()
	if err := c.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("removed a cgroup that was there before")
	}
}

func TestUninstallSurvivesTheStateFile(t *testing.T) {
	h, dir := fakeHost(t, "", "v1 pids", "v2 ")
	c, err := fromSpec(h, specWith("/a/b/c"), "id", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Install(nil); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody has come to use a parent that we made.
	os.Mkdir(filepath.Join(dir, "v1-pids/a/other"), 0o755)
	again := new(Cgroup)
	if err := json.Unmarshal(data, again); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, nothing is left to do
		if err := again.Uninstall(); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{"v1-pids/a": true, "v1-pids/a/b": false, "v2-/a": false} {
		if _, err := os.Stat(filepath.Join(dir, path)); (err == nil) != want {
			t.Errorf("%s exists: %v", path, err == nil)
		}
	}
}

func TestNoCgroups(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	os.WriteFile(empty, nil, 0o644)
	c, err := fromSpec(host{empty, filepath.Join(dir, "none")}, specWith("/x"), "id", false)
	if c != nil || err != nil {
		t.Errorf("got %v, %v", c, err)
	}
	if err := c.Install(nil); err != nil {
		t.Error(err)
	}
	if fd, err := c.OpenForClone(); fd != -1 || err != nil {
		t.Error(fd, err)
	}
	if err := c.Uninstall(); err != nil {
		t.Error(err)
	}
}

func TestCountCPUs(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-1,4,6-7": 5, "3-1": -1, "x": -1, "0-99999999": -1} {
		n, err := countCPUs(list)
		if err != nil {
			n = -1
		}
		if n != want {
			t.Errorf("%q: %d, want %d", list, n, want)
		}
	}
}
