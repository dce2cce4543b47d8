package proc

import (
	"sort"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/auth"
)

func TestSysctls(t *testing.T) {
	s := newSysctls()
	if got := s.Int("net/core/somaxconn"); got != 4096 {
		t.Errorf("somaxconn %d", got)
	}
	for _, c := range []struct {
		name, value string
		err         error
		want        string
	}{
		{"net/core/somaxconn", " 1024\n", nil, "1024"},
		{"net.ipv4.ip_unprivileged_port_start", "0", nil, "0"},
		{"vm/overcommit_memory", "3", unix.EINVAL, "0"},
		{"kernel/pid_max", "x", unix.EINVAL, "32768"},
		{"kernel/core_pattern", "/tmp/core.%p", nil, "/tmp/core.%p"},
		{"kernel/nonsense", "1", unix.ENOENT, ""},
	} {
		if err := s.Set(c.name, c.value); err != c.err {
			t.Errorf("set %s=%q: %v, want %v", c.name, c.value, err, c.err)
		}
	}
	if s.Get("net/core/somaxconn") != "1024" || s.Get("kernel/core_pattern") != "/tmp/core.%p" {
		t.Error("a value was not kept")
	}
	if !sort.SliceIsSorted(taskFiles, func(i, j int) bool { return taskFiles[i].name < taskFiles[j].name }) {
		t.Error("the table of files is not sorted")
	}
	for i := 1; i < len(sysctls); i++ {
		if sysctls[i-1].name == sysctls[i].name {
			t.Errorf("%s is there twice", sysctls[i].name)
		}
	}
}

func TestParseIDMap(t *testing.T) {
	m, err := parseIDMap([]byte("0 1000 1\n 1   5 10 \n"))
	if err != nil || len(m) != 2 || m[1] != (auth.IDMapEntry{First: 1, FirstParent: 5, Length: 10}) {
		t.Errorf("%v %v", m, err)
	}
	for _, bad := range []string{"0 1", "0 1 2 3", "a b c", "0 -1 1", "0 1 99999999999"} {
		if _, err := parseIDMap([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestCPUMask(t *testing.T) {
	for _, c := range []struct {
		n          int
		affinity   []byte
		mask, list string
	}{
		{2, nil, "3", "0-1"},
		{4, []byte{0b1011}, "b", "0-1,3"},
		{33, nil, "1,ffffffff", "0-32"},
		{40, []byte{1, 0, 0, 0, 1}, "1,00000001", "0,32"},
	} {
		if mask, list := cpuMask(c.n, c.affinity); mask != c.mask || list != c.list {
			t.Errorf("%d %v: %s %s", c.n, c.affinity, mask, list)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("0 1000 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseIDMap(b)
		parseInt(b)
		newSysctls().Set("kernel/pid_max", string(b))
	})
}
