package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/urpc"
	"runsc/runsc/config"
)

func TestLastWords(t *testing.T) {
	for _, tc := range []struct {
		name, stderr, want string
		orderly            bool
	}{
		{"fatal", "noise\nFATAL ERROR: no such user\n", "no such user", true},
		{"panic", "panic: boom\n\tre-panic\n\ngoroutine 7 [running]:\nruntime.gopanic(0x1)\n\t/go/panic.go:1\npanic({0x1})\n\t/x\n" +
			"runsc/pkg/mm.(*VMA).Split(0x0, 0x1)\n\t/mm.go:3\nmain.main()\n", "panic: boom in runsc/pkg/mm.(*VMA).Split", false},
		{"runtime error", "fatal error: all goroutines are asleep - deadlock!\n", "fatal error: all goroutines are asleep - deadlock!", false},
		{"something else", "one\ntwo\n", "two", false},
		{"nothing", "", "", false},
	} {
		if got, orderly := LastWords([]byte(tc.stderr)); got != tc.want || orderly != tc.orderly {
			t.Errorf("%s: %q, %v; want %q, %v", tc.name, got, orderly, tc.want, tc.orderly)
		}
	}
}

func TestStderrKeepsTheCrash(t *testing.T) {
	log := strings.Repeat("I1129 a message of a log\n", 10000)
	crash := "panic: boom\n\ngoroutine 7 [running]:\nruntime.gopanic(0x1)\n\t/go/panic.go:1\nrunsc/pkg/mm.Split(0x0)\n\t/mm.go:3\n"
	others := strings.Repeat("goroutine 8 [select]:\nmain.wait()\n\t/main.go:1\n\n", 20000)
	for _, tc := range []struct {
		name, written, want string
	}{
		{"a crash", crash, "panic: boom in runsc/pkg/mm.Split"},
		{"after a log", log + crash, "panic: boom in runsc/pkg/mm.Split"},
		{"before all goroutines", log + crash + others, "panic: boom in runsc/pkg/mm.Split"},
		{"only a log", log + "the last line\n", "the last line"},
		{"Fatal", log + fatalPrefix + "no memory\n", "no memory"},
	} {
		for _, size := range []int{7, 4096, len(tc.written)} {
			var s Stderr
			for rest := []byte(tc.written); len(rest) > 0; {
				n := min(size, len(rest))
				if got, err := s.Write(rest[:n]); got != n || err != nil {
					t.Fatalf("%s: Write: %d, %v", tc.name, got, err)
				}
				rest = rest[n:]
			}
			if len(s.Bytes()) > 2*maxStderr {
				t.Errorf("%s: keeps %d bytes", tc.name, len(s.Bytes()))
			}
			if got, _ := LastWords(s.Bytes()); got != tc.want {
				t.Errorf("%s in pieces of %d: %q; want %q", tc.name, size, got, tc.want)
			}
		}
	}
}

func FuzzLastWords(f *testing.F) {
	f.Add([]byte("panic: x\ngoroutine 1 [running]:\nf()\n"))
	f.Add([]byte("FATAL ERROR: "))
	f.Add([]byte("SIGSYS: bad system call\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if words, _ := LastWords(data); strings.Contains(words, "\n") {
			t.Errorf("more than one line: %q", words)
		}
	})
}

// startController serves calls for a loader that is not there, as far as that goes: these
// are the calls that the controller itself refuses.
func startController(t *testing.T, conf *config.Config) *urpc.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	c := NewController("root", conf, new(Loader), fd)
	served := make(chan struct{})
	go func() {
		c.Serve()
		close(served)
	}()
	client, err := urpc.Dial(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		c.Shutdown()
		<-served
		unix.Close(fd)
	})
	return client
}

func TestControllerChecksItsArguments(t *testing.T) {
	client := startController(t, config.Default())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	one := urpc.FilePayload{Files: []*os.File{w}}
	for _, tc := range []struct {
		method string
		args   any
		want   string
	}{
		{MethodSignal, &SignalArgs{ContainerID: "root", Signal: 65}, "no signal 65"},
		{MethodSignal, &SignalArgs{ContainerID: "root", Signal: -1}, "no signal -1"},
		{MethodSignal, &SignalArgs{ContainerID: "root", Signal: 1, Mode: 9}, "no signal mode 9"},
		{MethodExecuteAsync, &ExecuteArgs{FilePayload: one, ExecArgs: ExecArgs{Argv: []string{"x"}}}, "3 files"},
		{MethodExecuteAsync, &ExecuteArgs{}, "3 files"},
		{MethodCreate, &CreateArgs{FilePayload: one, Spec: []byte("{}")}, "at least 4"},
		{MethodCreate, &CreateArgs{FilePayload: one, Spec: []byte("{")}, "JSON"},
		{MethodDestroy, &ContainerArgs{ContainerID: "root"}, "without its sandbox"},
		{MethodProfileHeap, &ProfileArgs{FilePayload: one}, "--profile"},
		{MethodLogLevel, &LogLevelArgs{Level: "loud"}, "invalid log level"},
	} {
		err := client.Call(tc.method, tc.args, nil)
		if _, ok := err.(*urpc.RemoteError); !ok || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.method, err, tc.want)
		}
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("files of refused calls are still open: %v", err)
	}
}

func TestProfileWritesToTheFile(t *testing.T) {
	conf := config.Default()
	conf.Profile = true
	client := startController(t, conf)
	f, err := os.Create(filepath.Join(t.TempDir(), "heap"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := client.Call(MethodProfileHeap, &ProfileArgs{FilePayload: urpc.FilePayload{Files: []*os.File{f}}}, nil); err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() == 0 {
		t.Errorf("profile: %v, %v", st.Size(), err)
	}
}

func FuzzMountList(f *testing.F) {
	f.Add([]byte(`[{"destination":"/a","type":"bind","goferIndex":1}]`))
	f.Add([]byte(`{"process":{"args":["x"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		// What a client sends to create a container must never do more than fail.
		c := &Controller{conf: config.Default(), loader: new(Loader)}
		c.create(&CreateArgs{ContainerID: "x", Spec: data}, nil)
	})
}
