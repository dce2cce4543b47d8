package fsgofer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/usermem"
)

// BenchmarkGetAttr is the round trip of a request that costs the server one system call.
func BenchmarkGetAttr(b *testing.B) {
	root := connect(b, Config{Root: b.TempDir()})
	defer root.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := root.GetAttr(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateUnlink makes a file, closes it and removes it.
func BenchmarkCreateUnlink(b *testing.B) {
	root := connect(b, Config{Root: b.TempDir()})
	defer root.Close()
	b.ReportAllocs()
	for b.Loop() {
		f, opened, err := root.Create("file", unix.O_RDWR|unix.O_EXCL, 0o600, 0, 0)
		if err != nil {
			b.Fatal(err)
		}
		opened.Close()
		f.File.Close()
		if err := root.Unlink("file", 0); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmark runs with the gofer in a process of its own, as it is in life.
func benchmark(b *testing.B, shared bool, run func(s *sandbox)) {
	old := start
	defer func() { start = old }()
	start = startProcess
	s := mount(b, b.TempDir(), shared)
	must(b, os.MkdirAll(s.host("a/b/c"), 0o755))
	must(b, os.WriteFile(s.host("a/b/c/f"), make([]byte, 1<<20), 0o644))
	b.ReportAllocs()
	run(s)
}

func BenchmarkSentryStat(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			benchmark(b, shared, func(s *sandbox) {
				op := s.op("a/b/c/f")
				for b.Loop() {
					if _, err := s.v.StatAt(task, op); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkSentryColdStat(b *testing.B) {
	dir := b.TempDir()
	for i := range 500 {
		must(b, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644))
	}
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("500 files,shared=%v", shared), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := mount(b, dir, shared)
				b.StartTimer()
				for i := range 500 {
					s.stat(fmt.Sprint(i))
				}
			}
		})
	}
}

func BenchmarkSentryOpenClose(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			benchmark(b, shared, func(s *sandbox) {
				for b.Loop() {
					s.open("a/b/c/f", unix.O_RDONLY).DecRef(task)
				}
			})
		})
	}
}

func BenchmarkSentryCreateUnlink(b *testing.B) {
	benchmark(b, false, func(s *sandbox) {
		for b.Loop() {
			s.open("a/b/c/new", unix.O_CREAT|unix.O_RDWR).DecRef(task)
			must(b, s.v.UnlinkAt(task, s.op("a/b/c/new")))
		}
	})
}

func BenchmarkSentryRead4K(b *testing.B) {
	benchmark(b, false, func(s *sandbox) {
		f := s.open("a/b/c/f", unix.O_RDONLY)
		defer f.DecRef(task)
		seq := usermem.BytesSequence(make([]byte, 4096))
		for b.Loop() {
			if _, err := f.PRead(task, seq, 8192); err != nil {
				b.Fatal(err)
			}
		}
	})
}
