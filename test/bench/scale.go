package main

import (
	"context"
	"fmt"
	"strings"
)

// threadCounts are what throughput is measured with.
var threadCounts = []string{"1", "2", "8", "64"}

// scale measures how many operations a second the threads of one process do together; see
// micro_scale.c for what they do.
func (b *bench) scale(ctx context.Context) (*table, error) {
	t := &table{Title: "system calls and hand-offs of N threads together, operations per second", Unit: "ops/s", Base: "native", More: true}
	var names, counts []string
	for _, n := range threadCounts {
		if name := "threads_" + n; b.wanted(name) {
			names, counts = append(names, name), append(counts, n)
		}
	}
	for range b.passes {
		for _, tg := range b.targets {
			// micro takes the later -ms: a thread needs longer than a metric.
			if err := b.measure(ctx, t, tg, names, "", "-threads", strings.Join(counts, ","), "-ms", fmt.Sprint(b.ms*10)); err != nil {
				return nil, err
			}
		}
	}
	b.collectErrors(t)
	return t, nil
}
