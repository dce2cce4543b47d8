package systrap

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"runsc/pkg/platform"
	"runsc/pkg/platform/platformtest"
)

// stubPIDs lists the living stub processes that are children of parent.
func stubPIDs(parent int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		status, err := os.ReadFile(d + "/status")
		if err == nil && bytes.Contains(status, []byte("Name:\trunsc-stub\n")) && bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", parent)) {
			pid, _ := strconv.Atoi(filepath.Base(d))
			pids = append(pids, pid)
		}
	}
	return pids
}

func stubs() int { return len(stubPIDs(os.Getpid())) }

func TestConformance(t *testing.T) {
	platformtest.Run(t, func() (platform.Platform, error) { return New(platform.Options{}) }, platformtest.Options{
		Stubs: stubs, MayBreak: true, Writable: [2]uintptr{threadsBase, codeBase}, Code: [2]uintptr{codeBase, codeBase + codeSize},
	})
}

func BenchmarkSystrap(b *testing.B) {
	p, err := New(platform.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	platformtest.Benchmark(b, p)
}
