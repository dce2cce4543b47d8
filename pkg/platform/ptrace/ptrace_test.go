package ptrace

import (
	"testing"

	"runsc/pkg/platform/platformtest"
)

func TestConformance(t *testing.T) {
	platformtest.Run(t, newPlatform, platformtest.Options{Stubs: platformtest.Stubs, Code: [2]uintptr{stubBase, stubBase + 256}})
}

func BenchmarkPtrace(b *testing.B) {
	p, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	platformtest.Benchmark(b, p)
}
