package ptrace

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"runsc/pkg/platform"
	"runsc/pkg/platform/platformtest"
)

// stubs counts the living stub processes of this process: its children of that name.
func stubs() int {
	n := 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		status, err := os.ReadFile(d + "/status")
		if err == nil && bytes.Contains(status, []byte("Name:\trunsc-stub\n")) && bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", os.Getpid())) {
			n++
		}
	}
	return n
}

func TestConformance(t *testing.T) {
	platformtest.Run(t, func() (platform.Platform, error) { return New() }, stubs)
}

func BenchmarkPtrace(b *testing.B) {
	p, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	platformtest.Benchmark(b, p)
}
