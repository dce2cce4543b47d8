package console

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestNewSetsSize(t *testing.T) {
	m, s, err := New(&specs.Box{Height: 33, Width: 99})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	defer s.Close()
	ws, err := unix.IoctlGetWinsize(int(s.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Row != 33 || ws.Col != 99 {
		t.Errorf("size = %+v, %v", ws, err)
	}
}

func TestSend(t *testing.T) {
	// The second path does not fit into sun_path.
	for _, dir := range []string{"d", strings.Repeat("long", 40)} {
		base := t.TempDir()
		if err := os.Mkdir(filepath.Join(base, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		short := filepath.Join(base, "s")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		path := filepath.Join(base, dir, "s")
		if err := os.Rename(short, path); err != nil {
			t.Fatal(err)
		}
		m, s, err := New(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		defer s.Close()
		if err := Send(path, m); err != nil {
			t.Fatal(err)
		}
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		name, oob := make([]byte, 256), make([]byte, 256)
		n, oobn, _, _, err := c.ReadMsgUnix(name, oob)
		c.Close()
		if err != nil || string(name[:n]) != m.Name() {
			t.Errorf("received %q, %v", name[:n], err)
		}
		cm, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(cm) != 1 {
			t.Fatalf("control messages: %v, %v", cm, err)
		}
		fds, err := unix.ParseUnixRights(&cm[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("rights: %v, %v", fds, err)
		}
		got := os.NewFile(uintptr(fds[0]), "master")
		s.Write([]byte("x"))
		buf := make([]byte, 1)
		if _, err := got.Read(buf); err != nil || !bytes.Equal(buf, []byte("x")) {
			t.Errorf("through the terminal: %q, %v", buf, err)
		}
		got.Close()
	}
	if err := Send(filepath.Join(t.TempDir(), "none"), os.Stdin); err == nil {
		t.Error("no error without a listener")
	}
}

func TestMakeRawAndBack(t *testing.T) {
	m, s, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	defer s.Close()
	old, err := MakeRaw(s)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS)
	if err != nil || raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || old.Lflag&unix.ICANON == 0 {
		t.Errorf("raw = %+v, old = %+v, %v", raw, old, err)
	}
	if err := (&Session{in: s, old: old}).Restore(); err != nil {
		t.Fatal(err)
	}
	if now, _ := unix.IoctlGetTermios(int(s.Fd()), unix.TCGETS); *now != *old {
		t.Errorf("restored = %+v, want %+v", now, old)
	}
}
