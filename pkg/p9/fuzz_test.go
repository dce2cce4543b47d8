package p9

import (
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzServer sends any bytes, behind a version and an attach, to a server. It must end, hold
// nothing afterwards, and not panic.
func FuzzServer(f *testing.F) {
	const root, other = uint32(0), uint32(1)
	seed := func(msgs ...[]byte) {
		var all []byte
		for _, m := range msgs {
			all = append(all, m...)
		}
		f.Add(all)
	}
	seed(message(tWalk, 1, le(root, other, uint16(1), "dir")...), message(tClunk, 1, le(other)...))
	seed(message(tWalkgetattr, 1, le(root, uint16(2), other, "dir", uint32(2), "file")...),
		message(tUopen, 2, le(uint32(2), uint32(3), uint32(0))...), message(tRead, 3, le(uint32(3), uint64(0), uint32(10))...))
	seed(message(tUcreate, 1, le(root, other, "new", uint32(2), uint32(0o644), uint32(1), uint32(2))...),
		message(tWrite, 2, le(other, uint64(1), uint32(2), uint16(0x4141))...),
		message(tFlush, 3, le(uint16(2))...), message(tFsync, 4, le(other, uint32(0))...))
	seed(message(tUmkdir, 1, le(root, other, "d", uint32(0o755), uint32(1), uint32(2))...),
		message(tRenameat2, 2, le(root, "d", other, "e", uint32(1))...),
		message(tUnlinkat, 3, le(root, "d", uint32(unix.AT_REMOVEDIR))...))
	seed(message(tUsymlink, 1, le(root, other, "l", "target", uint32(1), uint32(2))...), message(tReadlink, 2, le(other)...))
	seed(message(tUmknod, 1, le(root, other, "n", uint32(unix.S_IFIFO), uint32(0), uint32(0), uint32(1), uint32(2))...))
	seed(message(tSetxattr, 1, le(root, "user.a", uint32(0), uint32(1), uint8(1))...),
		message(tGetxattr, 1, le(root, "user.a", uint32(9))...), message(tListxattr, 1, le(root, uint32(99))...),
		message(tXattrwalk, 1, le(root, other, "user.a")...), message(tRead, 1, le(other, uint64(0), uint32(10))...))
	seed(message(tXattrcreate, 1, le(root, "user.a", uint64(1), uint32(0))...), message(tWrite, 1, le(root, uint64(0), uint32(1), uint8(1))...),
		message(tClunk, 1, le(root)...))
	seed(message(tLopen, 1, le(root, uint32(0))...), message(tReaddir, 1, le(root, uint64(0), uint32(100))...),
		message(tWalkopen, 1, le(root, other, "dir", uint32(0))...),
		message(tReaddirplus, 1, le(root, uint64(0), uint32(1000))...))
	seed(message(tSetattrclunk, 1, le(root, uint32(SetMode), [3]uint32{1}, [5]uint64{})...))
	seed(message(tUlink, 1, le(root, other, "x")...), message(tStatfs, 1, le(root)...), message(tLconnect, 1, le(root, uint32(1))...))
	seed(message(tLcreate, 1, le(root, "x", uint32(2), uint32(0), uint32(0))...), message(tAllocate, 1, le(root, uint32(0), uint64(0), uint64(1))...))
	seed(message(tVersion, NoTag, le(uint32(8192), "9P2000.L")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		tree := newMemTree()
		for _, n := range []string{"dir", "dir2"} {
			d, _ := tree.root.Mkdir(n, 0o755, 0, 0)
			file, h, _ := d.(*memNode).Create("file", unix.O_RDWR, 0o644, 0, 0)
			h.Close()
			file.Close()
			d.Close()
		}
		client, server := pair(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			Serve(server, tree)
		}()
		drained := make(chan struct{})
		go func() { // so that the server does not wait for us to read
			defer close(drained)
			var buf [4096]byte
			for {
				if n, err := unix.Read(client, buf[:]); n <= 0 && err != unix.EINTR {
					return
				}
			}
		}()
		s := socket{fd: client}
		s.send(message(tVersion, NoTag, le(uint32(65536), "9P2000.L.runsc.1")...), -1)
		s.send(message(tAttach, 1, le(root, NoFID, "", "", uint32(0))...), -1)
		s.send(b, -1)
		unix.Shutdown(client, unix.SHUT_WR)
		<-done
		<-drained
		unix.Close(client)
		if tree.open != 0 || tree.handles != 0 {
			t.Errorf("%d nodes and %d handles are still open", tree.open, tree.handles)
		}
	})
}

// FuzzClient answers a client's calls with any bytes. Every call must return.
func FuzzClient(f *testing.F) {
	attr := func() []byte { var e encoder; e.full(&Attr{}); return e.b }()
	f.Add(message(tGetattr+1, 0, attr...))
	f.Add(append(message(tGetattr+1, 0, attr...), message(tWalkgetattr+1, 0, append(le(uint32(0), uint16(1)), attr...)...)...))
	f.Add(append(message(tGetattr+1, 0, attr...), message(rLerror, 0, le(uint32(2))...)...))
	f.Add(message(rLerror, 0, le(uint32(1<<31))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := pair(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s := socket{fd: server}
			s.send(versionReply(MaxMessageSize, "9P2000.L.runsc.1"), -1)
			s.send(b, 2)
			unix.Shutdown(server, unix.SHUT_WR)
		}()
		c, err := NewClient(client, MaxMessageSize)
		if err != nil {
			t.Fatal(err)
		}
		file := &ClientFile{c: c, fid: 1}
		file.GetAttr()
		var r [2]WalkResult
		file.Walk([]string{"a", "b"}, r[:])
		file.ReadDir(0, nil)
		file.ReadDirPlus(0, nil, nil)
		file.Readlink()
		file.ReadAt(make([]byte, 10), 0)
		file.ListXattr()
		file.GetXattr("user.a", make([]byte, 10))
		if host, err := file.OpenFD(0); err == nil {
			host.Close()
		}
		if res, host, err := file.WalkOpen("x", 0); err == nil {
			res.File.Close()
			host.Close()
		}
		if res, host, err := file.Create("x", 0, 0, 0, 0); err == nil {
			res.File.Close()
			if host != nil {
				host.Close()
			}
		}
		<-done
		c.Close()
		unix.Close(server)
	})
}
