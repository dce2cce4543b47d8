package systrap

import (
	"testing"

	"runsc/pkg/platform"
	"runsc/pkg/platform/platformtest"
)

func TestConformance(t *testing.T) {
	platformtest.Run(t, func() (platform.Platform, error) { return New(platform.Options{}) }, platformtest.Options{
		Stubs: platformtest.Stubs, MayBreak: true, Writable: [2]uintptr{threadsBase, codeBase}, Code: [2]uintptr{codeBase, codeBase + codeSize},
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
