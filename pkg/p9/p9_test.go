package p9

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCodecRoundTrip(t *testing.T) {
	attr := Attr{Valid: AttrAll, QID: QID{QTDir, 3, 1 << 63}, Mode: 0o40755, UID: 1, GID: 2, NLink: 3,
		RDev: 4, Size: 1 << 62, BlockSize: 4096, Blocks: 9, ATime: Time{-1, 5}, MTime: Time{6, 7},
		CTime: Time{8, 9}, BTime: Time{10, 11}, Gen: 12, DataVersion: 13}
	set := SetAttr{Valid: setAll, Mode: 1, UID: 2, GID: 3, Size: 4, ATime: Time{5, 6}, MTime: Time{-7, 8}}
	stat := FSStat{1, 2, 3, 4, 5, 6, 7, 8, 9}
	entry := Dirent{QID: QID{1, 2, 3}, Offset: 4, Type: 5, Name: "name"}
	var e encoder
	e.full(&attr)
	if len(e.b) != fullSize {
		t.Errorf("attributes take %d bytes, want %d", len(e.b), fullSize)
	}
	e.setAttr(&set)
	e.fsStat(&stat)
	before := len(e.b)
	e.dirent(&entry)
	if got := len(e.b) - before; got != entry.encodedSize() {
		t.Errorf("entry takes %d bytes, encodedSize says %d", got, entry.encodedSize())
	}
	d := decoder{b: e.b}
	var gotAttr Attr
	d.full(&gotAttr)
	gotSet, gotStat, gotEntry := d.setAttr(), d.fsStat(), d.dirent()
	if !d.ok() || !reflect.DeepEqual([]any{gotAttr, gotSet, gotStat, gotEntry}, []any{attr, set, stat, entry}) {
		t.Errorf("decoded %v %v %v %v, ok %v", gotAttr, gotSet, gotStat, gotEntry, d.ok())
	}
	for n := range e.b {
		d := decoder{b: e.b[:n]}
		d.full(&gotAttr)
		d.setAttr()
		d.fsStat()
		d.dirent()
		if d.ok() {
			t.Errorf("the first %d of %d bytes decode", n, len(e.b))
		}
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "...": true, "..a": true, ".a": true, strings.Repeat("x", 255): true,
		"": false, ".": false, "..": false, "a/b": false, "/": false, "a\x00": false, strings.Repeat("x", 256): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

func TestFilesThroughTheProtocol(t *testing.T) {
	c, root := connect(t, newMemTree())
	if c.Extension() != ExtensionVersion || c.MaxIO() != MaxMessageSize-ioHeaderSize {
		t.Fatalf("extension %d, MaxIO %d", c.Extension(), c.MaxIO())
	}
	dir, err := root.Mkdir("dir", 0o700, 7, 8)
	if err != nil || dir.Attr.Mode != unix.S_IFDIR|0o700 || dir.Attr.UID != 7 || dir.Attr.GID != 8 {
		t.Fatalf("Mkdir = %+v, %v", dir, err)
	}
	if _, err := root.Mkdir("dir", 0o700, 7, 8); err != unix.EEXIST {
		t.Errorf("second Mkdir: %v", err)
	}
	file, host, err := dir.File.Create("file", unix.O_RDWR, 0o640, 1, 2)
	if err != nil || host != nil {
		t.Fatalf("Create: %v, host %v", err, host)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 150000) // more than two messages
	if n, err := file.File.WriteAt(data, 0); n != len(data) || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	got := make([]byte, len(data)+5)
	if n, err := file.File.ReadAt(got, 0); n != len(data) || err != nil || !bytes.Equal(got[:n], data) {
		t.Fatalf("ReadAt = %d, %v", n, err)
	}
	link, err := dir.File.Symlink("link", "../target", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if target, err := link.File.Readlink(); target != "../target" || err != nil {
		t.Errorf("Readlink = %q, %v", target, err)
	}
	if _, err := file.File.Readlink(); err != unix.EINVAL {
		t.Errorf("Readlink of a file: %v", err)
	}

	var walked [3]WalkResult
	n, err := root.Walk([]string{"dir", "link", "beyond"}, walked[:])
	if n != 2 || err != nil || walked[1].Attr.QID.Type != QTSymlink {
		t.Errorf("Walk through a symlink = %d, %v, %+v", n, err, walked[1].Attr)
	}
	n, err = root.Probe([]string{"dir", "none", "beyond"}, walked[:])
	if n != 1 || err != unix.ENOENT || walked[0].File != nil {
		t.Errorf("Probe into nothing = %d, %v", n, err)
	}
	for _, bad := range []string{"..", ".", "", "a/b"} {
		if n, err := root.Walk([]string{bad}, walked[:]); n != 0 || err != unix.EINVAL {
			t.Errorf("Walk(%q) = %d, %v", bad, n, err)
		}
		if err := root.Unlink(bad, 0); err != unix.EINVAL {
			t.Errorf("Unlink(%q) = %v", bad, err)
		}
	}
	var clone [1]WalkResult
	if n, err := root.Walk(nil, clone[:]); n != 1 || err != nil || clone[0].Attr.QID.Type != QTDir {
		t.Errorf("clone = %d, %v, %+v", n, err, clone[0].Attr)
	}

	opened, host, err := dir.File.Open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil || host != nil {
		t.Fatalf("open directory: %v, host %v", err, host)
	}
	entries, err := opened.ReadDir(0, nil)
	if err != nil || len(entries) != 2 || entries[0].Name != "file" || entries[1].Type != unix.DT_LNK {
		t.Errorf("ReadDir = %+v, %v", entries, err)
	}
	if rest, err := opened.ReadDir(entries[1].Offset, nil); len(rest) != 0 || err != nil {
		t.Errorf("ReadDir at the end = %+v, %v", rest, err)
	}

	entries, attrs, eof, err := opened.ReadDirPlus(0, nil, nil)
	if err != nil || !eof || len(entries) != 2 || len(attrs) != 2 || attrs[0] != (Attr{}) && attrs[0].QID != file.Attr.QID || attrs[1].Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("ReadDirPlus = %+v, %+v, %v, %v", entries, attrs, eof, err)
	}

	hostFD, err := file.File.OpenFD(unix.O_RDONLY)
	if err != nil || hostFD.Num() < 0 {
		t.Fatalf("OpenFD: %v", err)
	}
	hostFD.Close()
	if _, err := dir.File.OpenFD(unix.O_RDONLY); err != unix.EOPNOTSUPP {
		t.Errorf("OpenFD of what has no descriptor: %v", err)
	}
	again, hostFD, err := dir.File.WalkOpen("file", unix.O_RDONLY)
	if err != nil || again.Attr.QID != file.Attr.QID {
		t.Fatalf("WalkOpen = %+v, %v", again, err)
	}
	hostFD.Close()
	if _, err := again.File.GetAttr(); err != nil {
		t.Errorf("GetAttr after WalkOpen: %v", err)
	}
	if _, _, err := root.WalkOpen("dir", unix.O_RDONLY); err != unix.EOPNOTSUPP {
		t.Errorf("WalkOpen of what has no descriptor: %v", err)
	}
	if _, _, err := dir.File.WalkOpen("..", unix.O_RDONLY); err != unix.EINVAL {
		t.Errorf("WalkOpen(..): %v", err)
	}
	sock, err := file.File.Connect(unix.SOCK_STREAM)
	if err != nil {
		t.Errorf("Connect: %v", err)
	} else {
		sock.Close()
	}

	if a, err := file.File.SetGetAttr(SetAttr{Valid: SetMode | SetSize, Mode: 0o4755, Size: 3}); err != nil || a.Mode != unix.S_IFREG|0o4755 || a.Size != 3 {
		t.Errorf("SetGetAttr = %+v, %v", a, err)
	}
	if err := file.File.SetAttr(SetAttr{Valid: 1 << 20}); err != unix.EINVAL {
		t.Errorf("SetAttr of unknown bits: %v", err)
	}
	if err := file.File.SetXattr("user.a", []byte("value"), 0); err != nil {
		t.Error(err)
	}
	var buf [16]byte
	if n, err := file.File.GetXattr("user.a", nil); n != 5 || err != nil {
		t.Errorf("GetXattr size = %d, %v", n, err)
	}
	if n, err := file.File.GetXattr("user.a", buf[:]); err != nil || string(buf[:n]) != "value" {
		t.Errorf("GetXattr = %q, %v", buf[:n], err)
	}
	if names, err := file.File.ListXattr(); err != nil || !reflect.DeepEqual(names, []string{"user.a"}) {
		t.Errorf("ListXattr = %q, %v", names, err)
	}
	if err := file.File.RemoveXattr("user.a"); err != nil {
		t.Error(err)
	}
	if _, err := file.File.GetXattr("user.a", buf[:]); err != unix.ENODATA {
		t.Errorf("GetXattr of nothing: %v", err)
	}
	if s, err := root.StatFS(); err != nil || s.FSID != 1<<40 || s.NameLength != 255 {
		t.Errorf("StatFS = %+v, %v", s, err)
	}
	if err := file.File.Flush(); err != unix.EDQUOT {
		t.Errorf("Flush: %v", err)
	}
	if err := root.Rename("dir", root, "moved", unix.RENAME_NOREPLACE); err != nil {
		t.Error(err)
	}
	if a, err := root.Link(file.File, "hard"); err != nil || a.QID != file.Attr.QID {
		t.Errorf("Link = %+v, %v", a, err)
	}
	if err := file.File.SetAttrClose(SetAttr{Valid: SetMode, Mode: 0o600}); err != nil {
		t.Error(err)
	}
	if _, err := file.File.GetAttr(); err != unix.EBADF {
		t.Errorf("GetAttr of a closed fid: %v", err)
	}
}

func TestManyGoroutinesShareAConnection(t *testing.T) {
	c, root := connect(t, newMemTree())
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			name := fmt.Sprintf("file%d", g)
			f, _, err := root.Create(name, unix.O_RDWR, 0o600, 0, 0)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 200 {
				data := []byte(fmt.Sprintf("%d:%d", g, i))
				if n, err := f.File.WriteAt(data, 0); n != len(data) || err != nil {
					t.Errorf("WriteAt = %d, %v", n, err)
					return
				}
				got := make([]byte, len(data))
				if _, err := f.File.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
					t.Errorf("ReadAt = %q, want %q, %v", got, data, err)
					return
				}
				var r [1]WalkResult
				if _, err := root.Walk([]string{name}, r[:]); err != nil {
					t.Error(err)
					return
				}
				host, err := r[0].File.OpenFD(unix.O_RDONLY)
				if err != nil {
					t.Error(err)
					return
				}
				host.Close()
				r[0].File.Close()
			}
			f.File.Close()
		}()
	}
	wg.Wait()
	if err := c.Dead(); err != nil {
		t.Errorf("connection died: %v", err)
	}
	if n := int(c.nextFID); n > 16*2+maxAsync+16+maxBeside*(1+maxChannels) {
		t.Errorf("%d fid numbers used: they are not used again", n)
	}
}

// within fails the test when f takes long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

func TestSlowRequestsDoNotHoldUpOthersAndFlushWaits(t *testing.T) {
	tree := newMemTree()
	tree.block, tree.syncing = make(chan struct{}), make(chan struct{}, 1)
	c, root := connect(t, tree)
	f, _, err := root.Create("f", unix.O_RDWR, 0o600, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() { slow <- f.File.Sync(true) }()
	<-tree.syncing
	within(t, "GetAttr beside fsync", func() {
		if _, err := root.GetAttr(); err != nil {
			t.Error(err)
		}
	})
	// The tag of fsync is 0 or 1: flush both, from a call of our own.
	flushed := make(chan error, 2)
	for old := range uint16(2) {
		go func() {
			cl, err := c.begin(tFlush)
			if err == nil {
				cl.req.u16(old)
				err = c.empty(cl)
			}
			flushed <- err
		}()
	}
	if err := <-flushed; err != nil {
		t.Errorf("flush of a tag that is not active: %v", err)
	}
	select {
	case err := <-flushed:
		t.Errorf("flush came before the reply to what it flushed: %v", err)
	case err := <-slow:
		t.Errorf("fsync returned: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(tree.block)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	if err := <-flushed; err != nil {
		t.Error(err)
	}
}

func TestDeadServerFailsAllCalls(t *testing.T) {
	client, server := pair(t)
	go func() {
		// Answer the version, then read some requests, never reply, and die.
		var buf [4096]byte
		unix.Read(server, buf[:])
		unix.Write(server, versionReply(MaxMessageSize, "9P2000.L.runsc.1"))
		unix.Read(server, buf[:])
		unix.Close(server)
	}()
	c, err := NewClient(client, MaxMessageSize)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "call on a dead connection", func() {
		var wg sync.WaitGroup
		for range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 3 {
					if _, err := c.Attach(""); err != unix.EIO {
						t.Errorf("Attach = %v", err)
					}
				}
			}()
		}
		wg.Wait()
	})
	if c.Dead() == nil {
		t.Error("Dead() = nil")
	}
	c.Close()
	if c.sock.fd != -1 {
		t.Error("Close left the socket open")
	}
}

func TestCloseFailsCallsUnderWay(t *testing.T) {
	tree := newMemTree()
	tree.block, tree.syncing = make(chan struct{}), make(chan struct{}, 1)
	c, root := connect(t, tree)
	f, _, err := root.Create("f", unix.O_RDWR, 0o600, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() { slow <- f.File.Sync(true) }()
	<-tree.syncing
	c.Close()
	within(t, "Close", func() {
		if err := <-slow; err != unix.EIO {
			t.Errorf("Sync = %v", err)
		}
	})
	if _, err := root.GetAttr(); err != unix.EIO {
		t.Errorf("GetAttr = %v", err)
	}
	close(tree.block)
}

func message(typ uint8, tag uint16, body ...byte) []byte {
	var e encoder
	e.start()
	e.b = append(e.b, body...)
	return append([]byte(nil), e.finish(typ, tag)...)
}

func versionReply(msize uint32, version string) []byte {
	var e encoder
	e.u32(msize)
	e.str(version)
	return message(rVersion, NoTag, e.b...)
}

func TestClientRefusesBadReplies(t *testing.T) {
	attr := func() []byte { var e encoder; e.full(&Attr{}); return e.b }()
	for name, reply := range map[string][]byte{
		"wrong type":     message(tWalk+1, 0, attr...),
		"request type":   message(tGetattr, 0, attr...),
		"unknown tag":    message(tGetattr+1, 9, attr...),
		"short body":     message(tGetattr+1, 0, attr[:100]...),
		"long body":      message(tGetattr+1, 0, append(attr, 0)...),
		"empty body":     message(tGetattr+1, 0),
		"short error":    message(rLerror, 0, 1, 0),
		"tiny size":      {3, 0, 0, 0, 0, 0, 0},
		"huge size":      {0, 0, 0, 0x7f, 0, 0, 0},
		"twice":          append(message(rLerror, 1, 2, 0, 0, 0), message(rLerror, 1, 2, 0, 0, 0)...),
		"end of file":    nil,
		"half a message": message(tGetattr+1, 0, attr...)[:50],
	} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			go func() {
				var buf [4096]byte
				unix.Read(server, buf[:])
				unix.Write(server, versionReply(MaxMessageSize, "9P2000.L.runsc.1"))
				unix.Read(server, buf[:])
				unix.Write(server, reply)
				unix.Shutdown(server, unix.SHUT_WR)
				for {
					if n, _ := unix.Read(server, buf[:]); n <= 0 {
						break
					}
				}
				unix.Close(server)
			}()
			c, err := NewClient(client, MaxMessageSize)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			within(t, "GetAttr", func() {
				if _, err := (&ClientFile{c: c, fid: 1}).GetAttr(); err != unix.EIO {
					t.Errorf("GetAttr = %v, want EIO", err)
				}
			})
			if c.Dead() == nil {
				t.Error("the connection lives")
			}
		})
	}
}

func TestClientRefusesBadVersions(t *testing.T) {
	for name, reply := range map[string][]byte{
		"larger messages": versionReply(MaxMessageSize+1, "9P2000.L"),
		"tiny messages":   versionReply(16, "9P2000.L"),
		"unknown":         versionReply(8192, "unknown"),
		"later extension": versionReply(8192, "9P2000.L.runsc.99"),
		"error":           message(rLerror, NoTag, 1, 0, 0, 0),
		"nothing":         nil,
	} {
		client, server := pair(t)
		go func() {
			var buf [4096]byte
			unix.Read(server, buf[:])
			unix.Write(server, reply)
			unix.Close(server)
		}()
		if _, err := NewClient(client, MaxMessageSize); err == nil {
			t.Errorf("%s: NewClient succeeded", name)
		}
	}
}

// raw is a client that sends what it likes.
type raw struct {
	t  *testing.T
	fd int
}

func (r raw) send(b []byte) {
	if _, err := unix.Write(r.fd, b); err != nil {
		r.t.Fatal(err)
	}
}

// recv returns the next message.
func (r raw) recv() (typ uint8, tag uint16, body []byte) {
	r.t.Helper()
	var head [headerSize]byte
	if !readFull(r.fd, head[:]) {
		r.t.Fatal("connection closed")
	}
	body = make([]byte, binary.LittleEndian.Uint32(head[:])-headerSize)
	readFull(r.fd, body)
	return head[4], binary.LittleEndian.Uint16(head[5:]), body
}

func readFull(fd int, b []byte) bool {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

func (r raw) expectError(what string, req []byte, want unix.Errno) {
	r.t.Helper()
	r.send(req)
	typ, tag, body := r.recv()
	if typ != rLerror || tag != binary.LittleEndian.Uint16(req[5:]) || len(body) != 4 || binary.LittleEndian.Uint32(body) != uint32(want) {
		r.t.Errorf("%s: reply type %d tag %d body %v, want error %v", what, typ, tag, body, want)
	}
}

func le(v ...any) []byte {
	var b bytes.Buffer
	for _, x := range v {
		if s, ok := x.(string); ok {
			binary.Write(&b, binary.LittleEndian, uint16(len(s)))
			b.WriteString(s)
			continue
		}
		binary.Write(&b, binary.LittleEndian, x)
	}
	return b.Bytes()
}

func newRaw(t *testing.T, tree *memTree, version string) raw {
	r := raw{t, serve(t, tree)}
	t.Cleanup(func() { unix.Close(r.fd) })
	r.send(message(tVersion, NoTag, le(uint32(65536), version)...))
	typ, _, body := r.recv()
	if want := le(uint32(65536), version); typ != rVersion || !bytes.Equal(body, want) {
		t.Fatalf("version reply type %d %q", typ, body)
	}
	r.send(message(tAttach, 1, le(uint32(0), NoFID, "", "", uint32(0))...))
	if typ, _, _ := r.recv(); typ != tAttach+1 {
		t.Fatalf("attach reply type %d", typ)
	}
	return r
}

func TestServerRefusesHostileRequests(t *testing.T) {
	tree := newMemTree()
	dir, _ := tree.root.Mkdir("dir", 0o755, 0, 0)
	dir.Close()
	r := newRaw(t, tree, "9P2000.L.runsc.1")
	const root = uint32(0)
	walk16 := func(n uint16) []byte { return le(root, uint32(5), n) }
	for _, c := range []struct {
		what string
		req  []byte
		want unix.Errno
	}{
		{"type 0", message(0, 7), unix.EOPNOTSUPP},
		{"type 255", message(255, 7), unix.EOPNOTSUPP},
		{"reply as request", message(tWalk+1, 7), unix.EOPNOTSUPP},
		{"auth", message(tAuth, 7), unix.EOPNOTSUPP},
		{"truncated walk", message(tWalk, 7, walk16(1)...), unix.EINVAL},
		{"walk of too many", message(tWalk, 7, walk16(17)...), unix.EINVAL},
		{"walk of 65535", message(tWalk, 7, walk16(65535)...), unix.EINVAL},
		{"string beyond the end", message(tWalk, 7, le(root, uint32(5), uint16(1), uint16(500))...), unix.EINVAL},
		{"walk to ..", message(tWalk, 7, le(root, uint32(5), uint16(1), "..")...), unix.EINVAL},
		{"walk to a/b", message(tWalk, 7, le(root, uint32(5), uint16(1), "a/b")...), unix.EINVAL},
		{"walk to a\\0", message(tWalk, 7, le(root, uint32(5), uint16(1), "a\x00")...), unix.EINVAL},
		{"unknown fid", message(tGetattr, 7, le(uint32(99), uint64(0))...), unix.EBADF},
		{"clunk of unknown fid", message(tClunk, 7, le(uint32(99))...), unix.EBADF},
		{"clunk of NoFID", message(tClunk, 7, le(NoFID)...), unix.EBADF},
		{"attach again", message(tAttach, 7, le(root, NoFID, "", "", uint32(0))...), unix.EBADF},
		{"attach as NoFID", message(tAttach, 7, le(NoFID, NoFID, "", "", uint32(0))...), unix.EINVAL},
		{"fid in use", message(tWalkgetattr, 7, le(root, uint16(1), root, "dir")...), unix.EBADF},
		{"fid twice", message(tWalkgetattr, 7, le(root, uint16(2), uint32(3), "dir", uint32(3), "dir")...), unix.EBADF},
		{"mkdir as fid in use", message(tUmkdir, 7, le(root, root, "x", uint32(0), uint32(0), uint32(0))...), unix.EBADF},
		{"read of unopened fid", message(tRead, 7, le(root, uint64(0), uint32(1))...), unix.EBADF},
		{"huge read", message(tRead, 7, le(root, uint64(0), uint32(1<<31))...), unix.EINVAL},
		{"huge readdir", message(tReaddir, 7, le(root, uint64(0), uint32(1<<31))...), unix.EINVAL},
		{"write that lies about its size", message(tWrite, 7, le(root, uint64(0), uint32(1<<31), uint8(0))...), unix.EINVAL},
		{"xattr size", message(tGetxattr, 7, le(root, "user.a", uint32(1<<31))...), unix.EINVAL},
		{"trailing bytes", message(tClunk, 7, le(root, uint8(0))...), unix.EINVAL},
		{"write access both ways", message(tLopen, 7, le(root, uint32(3))...), unix.EINVAL},
		{"unlink flags", message(tUnlinkat, 7, le(root, "dir", uint32(1<<31))...), unix.EINVAL},
		{"rename to unknown fid", message(tRenameat, 7, le(root, "dir", uint32(99), "b")...), unix.EBADF},
		{"nanoseconds", message(tSetattr, 7, le(root, uint32(SetATime|SetATimeSet), [3]uint32{}, uint64(0), uint64(0), uint64(1e9), uint64(0), uint64(0))...), unix.EINVAL},
		{"negative size", message(tSetattr, 7, le(root, uint32(SetSize), [3]uint32{}, uint64(1<<63), [4]uint64{})...), unix.EINVAL},
		{"socket type", message(tLconnect, 7, le(root, uint32(77))...), unix.EINVAL},
		{"create without name", message(tUcreate, 7, le(root, uint32(9), "", uint32(0), uint32(0), uint32(0), uint32(0))...), unix.EINVAL},
	} {
		r.expectError(c.what, c.req, c.want)
	}
	// After all that, the connection still works.
	r.send(message(tGetattr, 9, le(root, uint64(0))...))
	if typ, tag, _ := r.recv(); typ != tGetattr+1 || tag != 9 {
		t.Errorf("getattr reply type %d tag %d", typ, tag)
	}
	// Descriptors that a client sends are not kept (the cleanup of serve sees leaks of the
	// server's own; these the kernel closes).
	if err := unix.Sendmsg(r.fd, message(tGetattr, 9, le(root, uint64(0))...), unix.UnixRights(2, 2), nil, 0); err != nil {
		t.Fatal(err)
	}
	if typ, _, _ := r.recv(); typ != tGetattr+1 {
		t.Errorf("getattr with descriptors: reply type %d", typ)
	}
}

func TestServerEndsBrokenConnections(t *testing.T) {
	for name, b := range map[string][]byte{
		"size 0":        {0, 0, 0, 0, 100, 0, 0},
		"size 6":        {6, 0, 0, 0, 100, 0, 0},
		"size over max": {255, 255, 255, 255, 100, 0, 0},
		"above msize":   {1, 0, 1, 0, 100, 0, 0},
	} {
		r := newRaw(t, newMemTree(), "9P2000.L")
		r.send(b)
		var one [1]byte
		if n, err := unix.Read(r.fd, one[:]); n > 0 {
			t.Errorf("%s: read %d, %v; want the end", name, n, err)
		}
	}
}

func TestPlainClientsGetNoExtensions(t *testing.T) {
	r := newRaw(t, newMemTree(), "9P2000.L")
	r.expectError("extension", message(tUopen, 7, le(uint32(0), NoFID, uint32(0))...), unix.EOPNOTSUPP)
	// The walk that v9fs makes: clone, create, write, an attribute by fid, read it back.
	ok := func(what string, req []byte) []byte {
		t.Helper()
		r.send(req)
		typ, _, body := r.recv()
		if typ != req[4]+1 {
			t.Fatalf("%s: reply type %d %v", what, typ, body)
		}
		return body
	}
	ok("clone", message(tWalk, 1, le(uint32(0), uint32(1), uint16(0))...))
	ok("lcreate", message(tLcreate, 1, le(uint32(1), "f", uint32(unix.O_RDONLY), uint32(0o644), uint32(5))...))
	ok("write", message(tWrite, 1, le(uint32(1), uint64(0), uint32(3), [3]byte{'a', 'b', 'c'})...))
	if body := ok("read", message(tRead, 1, le(uint32(1), uint64(1), uint32(9))...)); string(body[4:]) != "bc" {
		t.Errorf("read %q", body[4:])
	}
	ok("walk", message(tWalk, 1, le(uint32(0), uint32(2), uint16(1), "f")...))
	ok("xattrcreate", message(tXattrcreate, 1, le(uint32(2), "user.x", uint64(2), uint32(0))...))
	ok("write xattr", message(tWrite, 1, le(uint32(2), uint64(0), uint32(2), [2]byte{'h', 'i'})...))
	ok("clunk", message(tClunk, 1, le(uint32(2))...))
	if body := ok("xattrwalk", message(tXattrwalk, 1, le(uint32(1), uint32(2), "user.x")...)); binary.LittleEndian.Uint64(body) != 2 {
		t.Errorf("xattrwalk size %v", body)
	}
	if body := ok("read xattr", message(tRead, 1, le(uint32(2), uint64(0), uint32(9))...)); string(body[4:]) != "hi" {
		t.Errorf("xattr %q", body[4:])
	}
	ok("walk in vain", message(tWalk, 1, le(uint32(0), uint32(0), uint16(0))...))
	// A new session drops all fids.
	ok("version", message(tVersion, NoTag, le(uint32(8192), "9P2000.L")...))
	r.expectError("old fid", message(tClunk, 7, le(uint32(0))...), unix.EBADF)
	ok("unknown version", message(tVersion, NoTag, le(uint32(8192), "9P2000.u")...))
	r.expectError("request without version", message(tClunk, 7, le(uint32(0))...), unix.EINVAL)
}

func TestErrnoOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want unix.Errno
	}{
		{unix.ENOENT, unix.ENOENT},
		{fmt.Errorf("wrapped: %w", unix.EPERM), unix.EPERM},
		{errors.New("other"), unix.EIO},
		{unix.Errno(0), unix.EIO},
	} {
		if got := errnoOf(c.err); got != c.want {
			t.Errorf("errnoOf(%v) = %v", c.err, got)
		}
	}
}

func BenchmarkGetAttr(b *testing.B) {
	_, root := connect(b, newMemTree())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := root.GetAttr(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetAttrParallel(b *testing.B) {
	_, root := connect(b, newMemTree())
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := root.GetAttr(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
