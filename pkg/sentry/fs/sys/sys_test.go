package sys

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

func TestFiles(t *testing.T) {
	ns := auth.NewRootUserNamespace()
	ctx := &context.Background{Creds: auth.NewRootCredentials(ns)}
	v := vfs.New()
	mns := v.NewMountNamespace(ns, New(ctx, v, Options{NumCPU: 36, TotalMemory: 1 << 30}), "sysfs", 0)
	open := func(path string, flags uint32) (*vfs.FileDescription, error) {
		return v.OpenAt(ctx, &vfs.PathOp{Root: mns.Root(), Start: mns.Root(), Pathname: path}, vfs.OpenOpts{Flags: flags})
	}
	for path, want := range map[string]string{
		"/devices/system/cpu/online":                             "0-35\n",
		"/devices/system/cpu/cpu33/topology/thread_siblings":     "2,00000000\n",
		"/devices/system/cpu/cpu0/topology/core_siblings":        "f,ffffffff\n",
		"/devices/system/cpu/cpu35/cache/index3/shared_cpu_list": "0-35\n",
		"/devices/system/cpu/cpu1/node0/cpulist":                 "0-35\n",
		"/devices/system/node/online":                            "0\n",
		"/kernel/mm/transparent_hugepage/enabled":                "always [madvise] never\n",
		"/class/net/lo/mtu":                                      "65536\n",
		"/class/net/lo/statistics/rx_bytes":                      "0\n",
	} {
		f, err := open(path, unix.O_RDONLY)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		b := make([]byte, 100)
		n, err := f.Read(ctx, usermem.BytesSequence(b))
		if string(b[:n]) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", path, b[:n], err, want)
		}
		f.DecRef(ctx)
	}
	if _, err := open("/devices/system/cpu/online", unix.O_WRONLY); err != unix.EACCES {
		t.Errorf("writing: %v", err)
	}
	if _, err := open("/x", unix.O_RDWR|unix.O_CREAT); err == nil {
		t.Error("a file can be made")
	}
	d, err := open("/devices/system/cpu", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	l := &lister{}
	d.IterDirents(ctx, l)
	if n := strings.Count(strings.Join(l.names, " "), "cpu"); n != 36 {
		t.Errorf("%d CPUs listed", n)
	}
}

type lister struct{ names []string }

func (l *lister) Add(d vfs.Dirent) bool { l.names = append(l.names, d.Name); return true }
