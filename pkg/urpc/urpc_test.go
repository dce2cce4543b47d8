package urpc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type echoArgs struct {
	FilePayload
	Text string
}

type echoResult struct {
	FilePayload
	Text string
}

// startServer runs a server on a socket of its own and returns the socket's path.
func startServer(t testing.TB, s *Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		s.Serve(fd)
		close(done)
	}()
	t.Cleanup(func() {
		unix.Shutdown(fd, unix.SHUT_RD)
		<-done
		unix.Close(fd)
		s.Shutdown()
	})
	return path
}

func dial(t testing.TB, path string) *Client {
	t.Helper()
	c, err := Dial(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func testServer() *Server {
	s := NewServer()
	Register(s, "t.Echo", func(a *echoArgs, r *echoResult) error {
		r.Text, r.Files = a.Text, a.Files
		return nil
	})
	Register(s, "t.Fail", func(a *struct{}, r *struct{}) error { return errors.New("no such thing") })
	return s
}

func TestCallWithFiles(t *testing.T) {
	c := dial(t, startServer(t, testServer()))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	text := strings.Repeat("x", 1<<20) // more than one sendmsg
	var got echoResult
	if err := c.Call("t.Echo", &echoArgs{FilePayload{[]*os.File{w}}, text}, &got); err != nil {
		t.Fatal(err)
	}
	if got.Text != text || len(got.Files) != 1 {
		t.Fatalf("got %d bytes and %d files", len(got.Text), len(got.Files))
	}
	if flags, err := unix.FcntlInt(got.Files[0].Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("received file is not close-on-exec: %#x, %v", flags, err)
	}
	if _, err := got.Files[0].Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "hi" {
		t.Fatalf("read %q, %v", buf, err)
	}
	got.Files[0].Close()
}

func TestErrors(t *testing.T) {
	c := dial(t, startServer(t, testServer()))
	for _, tc := range []struct{ method, want string }{
		{"t.Fail", "no such thing"},
		{"t.Nope", `unknown method "t.Nope"`},
	} {
		err := c.Call(tc.method, nil, nil)
		var remote *RemoteError
		if !errors.As(err, &remote) || remote.Message != tc.want {
			t.Errorf("%s: got %v, want %q", tc.method, err, tc.want)
		}
	}
	// The connection outlives errors.
	var got echoResult
	if err := c.Call("t.Echo", &echoArgs{Text: "still here"}, &got); err != nil || got.Text != "still here" {
		t.Errorf("after errors: %q, %v", got.Text, err)
	}
}

func TestMalformedRequestsAreAnswered(t *testing.T) {
	path := startServer(t, testServer())
	for _, tc := range []struct {
		name, body, want string
	}{
		{"not json", "{", "malformed request"},
		{"wrong type", `{"method":3}`, "malformed request"},
		{"bad args", `{"method":"t.Echo","args":[1]}`, "bad arguments"},
		{"empty", "", "malformed request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, path)
			if err := c.conn.writeFrame([]byte(tc.body), nil); err != nil {
				t.Fatal(err)
			}
			body, _, err := c.conn.readFrame()
			if err != nil {
				t.Fatal(err)
			}
			var r reply
			if err := json.Unmarshal(body, &r); err != nil || r.Success || !strings.Contains(r.Error, tc.want) {
				t.Errorf("got %s (%v), want an error with %q", body, err, tc.want)
			}
		})
	}
	t.Run("huge frame", func(t *testing.T) {
		c := dial(t, path)
		head := binary.BigEndian.AppendUint32(nil, 1<<31)
		if _, err := unix.Write(c.conn.fd, head); err != nil {
			t.Fatal(err)
		}
		body, _, err := c.conn.readFrame()
		if err != nil || !bytes.Contains(body, []byte("too long")) {
			t.Errorf("got %s, %v", body, err)
		}
		if _, _, err := c.conn.readFrame(); err != io.EOF {
			t.Errorf("connection goes on: %v", err)
		}
	})
	// None of it hurt the server.
	if err := dial(t, path).Call("t.Echo", &echoArgs{}, nil); err != nil {
		t.Error(err)
	}
}

func TestBlockedMethodHoldsUpNobody(t *testing.T) {
	s := testServer()
	release := make(chan struct{})
	Register(s, "t.Block", func(a *struct{}, r *struct{}) error { <-release; return nil })
	path := startServer(t, s)
	blocked := dial(t, path)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		if err := blocked.Call("t.Block", nil, nil); err != nil {
			t.Error(err)
		}
	}()
	if err := dial(t, path).Call("t.Echo", &echoArgs{}, nil); err != nil {
		t.Error(err)
	}
	close(release)
	wg.Wait()
}

func TestShutdownFinishesCalls(t *testing.T) {
	s := NewServer()
	entered, release := make(chan struct{}), make(chan struct{})
	Register(s, "t.Block", func(a *struct{}, r *echoResult) error {
		close(entered)
		<-release
		r.Text = "done"
		return nil
	})
	path := startServer(t, s)
	idle, busy := dial(t, path), dial(t, path)
	result := make(chan error, 1)
	var got echoResult
	go func() { result <- busy.Call("t.Block", nil, &got) }()
	<-entered
	go func() { time.Sleep(10 * time.Millisecond); close(release) }()
	s.Shutdown()
	if err := <-result; err != nil || got.Text != "done" {
		t.Errorf("call during shutdown: %q, %v", got.Text, err)
	}
	if err := idle.Call("t.Block", nil, nil); err == nil {
		t.Error("an idle connection survived Shutdown")
	}
}

func TestUnwantedFilesAreClosed(t *testing.T) {
	path := startServer(t, testServer())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := dial(t, path)
	for _, m := range []string{"t.Fail", "t.Nope"} {
		if err := c.Call(m, &echoArgs{FilePayload{[]*os.File{w}}, ""}, nil); err == nil {
			t.Fatal("no error")
		}
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("write end is still open somewhere: %v", err)
	}
}

func TestRefusedPeer(t *testing.T) {
	s := testServer()
	s.Allow = func(p Peer) bool {
		if p.PID != os.Getpid() || p.UID != os.Getuid() {
			t.Errorf("peer = %+v", p)
		}
		return false
	}
	if err := dial(t, startServer(t, s)).Call("t.Echo", &echoArgs{}, nil); err == nil {
		t.Error("a refused peer was answered")
	}
}

func FuzzServer(f *testing.F) {
	s := testServer()
	frame := func(b string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	f.Add(frame(`{"method":"t.Echo","args":{"Text":"x"}}`))
	f.Add(frame(`{"method":"t.Fail"}`))
	f.Add(frame(`{`))
	f.Add(append(frame(`{"method":"t.Echo"}`), frame(`null`)...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.slots <- struct{}{}
		if !s.handle(fds[0]) {
			t.Fatal("handle")
		}
		go func() {
			// The answers must be drained, or the server would rightly block.
			buf := make([]byte, 4096)
			for {
				if n, err := unix.Read(fds[1], buf); n <= 0 && err != unix.EINTR {
					unix.Close(fds[1])
					return
				}
			}
		}()
		for len(data) > 0 {
			n, err := unix.SendmsgN(fds[1], data, nil, nil, unix.MSG_NOSIGNAL)
			if err != nil {
				break
			}
			data = data[n:]
		}
		unix.Shutdown(fds[1], unix.SHUT_WR)
		s.wg.Wait()
	})
}
