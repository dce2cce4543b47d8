package fsgofer

import (
	"testing"

	"golang.org/x/sys/unix"
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
