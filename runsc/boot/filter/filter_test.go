package filter

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	_ "runsc/pkg/platform/ptrace"
	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/host"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/hostinet"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/link/fdbased"
)

const childEnv = "FILTER_TEST_CHILD"

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func must1[T any](v T, err error) T {
	must(err)
	return v
}

// Descriptors of the children.
const (
	peerFD    = 3 // one end of a socket pair, whose other end echoes one message
	controlFD = 4 // a bound unix socket
	fileFD    = 5 // a file
)

var usual = Options{ControlFD: controlFD}

// workloads are what a filtered process must be able to do.
var workloads = map[string]func(){
	"runtime": func() {
		must(Install(usual))
		var done sync.WaitGroup
		for range 50 {
			done.Add(1)
			go func() {
				defer done.Done()
				runtime.LockOSThread() // new threads
				defer runtime.UnlockOSThread()
				b := make([]byte, 1<<20)
				time.Sleep(time.Millisecond)
				b[0] = 1
			}()
		}
		done.Wait()
		for range 3 {
			runtime.GC()
		}
		<-time.After(5 * time.Millisecond)
		_ = time.Now().Local().String()
		_ = make([]byte, 256<<20)
	},
	"files": func() {
		must(Install(usual))
		f := os.NewFile(fileFD, "file")
		must1(f.WriteString("hello"))
		must1(f.WriteAt([]byte("j"), 0))
		b := make([]byte, 5)
		must1(f.ReadAt(b, 0))
		must1(f.Stat())
		must(f.Sync())
		must(f.Truncate(1 << 16))
		must1(unix.Preadv2(fileFD, [][]byte{b}, 0, 0))
		must(unix.Fallocate(fileFD, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
		fd := must1(unix.MemfdCreate("m", unix.MFD_CLOEXEC))
		must(unix.Ftruncate(fd, 1<<20))
		m := must1(unix.Mmap(fd, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
		m[5] = 1
		must(unix.Madvise(m, unix.MADV_DONTNEED))
		must(unix.Munmap(m))
		must1(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))
	},
	"sockets": func() {
		must(Install(usual))
		must(unix.Sendmsg(peerFD, []byte("ping"), nil, nil, unix.MSG_NOSIGNAL))
		b := make([]byte, 10)
		n, _, _, _, err := unix.Recvmsg(peerFD, b, nil, unix.MSG_CMSG_CLOEXEC)
		must(err)
		if string(b[:n]) != "ping" {
			panic(string(b[:n]))
		}
		must1(unix.GetsockoptUcred(peerFD, unix.SOL_SOCKET, unix.SO_PEERCRED))
		must(unix.SetNonblock(controlFD, true))
		must(unix.Listen(controlFD, 5))
		if _, _, err := unix.Accept4(controlFD, unix.SOCK_CLOEXEC); err != unix.EAGAIN {
			panic(err)
		}
		must(unix.SetNonblock(peerFD, true))
		f := os.NewFile(peerFD, "peer") // in Go's poller
		f.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		f.Read(b)
		f.Close()
	},
	"hostnet": func() {
		o := usual
		o.HostNetwork = true
		must(Install(o))
		// By the package that the rules are for: every kind of socket, and a conversation.
		layer, ctx := socket.NewStack(), &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}
		hostinet.Register(layer, host.New(vfs.New()))
		open := func(family, typ int) socket.Socket { return must1(layer.Socket(ctx, family, typ, 0)) }
		var a socket.Addr
		a.Set([]byte{unix.AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
		l := open(unix.AF_INET, unix.SOCK_STREAM)
		must(l.Bind(ctx, &a))
		must(l.Listen(ctx, 5))
		must(l.GetSockName(ctx, &a))
		c := open(unix.AF_INET, unix.SOCK_STREAM)
		if err := c.Connect(ctx, &a, true); err != nil && err != unix.EINPROGRESS {
			panic(err)
		}
		peer := must1(l.Accept(ctx, &a, true))
		must1(peer.SendMsg(ctx, &socket.Message{Data: usermem.BytesSequence([]byte("x")), Flags: unix.MSG_OOB}))
		must1(c.RecvMsg(ctx, &socket.Message{Data: usermem.BytesSequence(make([]byte, 1)), Flags: unix.MSG_DONTWAIT | unix.MSG_OOB}))
		must(c.GetPeerName(ctx, &a))
		must(c.Shutdown(ctx, unix.SHUT_WR))
		for _, op := range hostinet.OptionList {
			buf := make([]byte, op.Size)
			for _, s := range []socket.Socket{c, open(unix.AF_INET6, unix.SOCK_DGRAM)} {
				s.GetSockOpt(ctx, op.Level, op.Name, buf)
				s.SetSockOpt(ctx, op.Level, op.Name, buf)
			}
		}
		if len(layer.Devices().List()) == 0 {
			panic("the host has no interfaces")
		}
		must1(c.Ioctl(ctx, nowhere{}, unix.TIOCINQ, 0))
		c.Release(ctx)
	},
	"packet link": func() {
		// A namespace of its own, and lo as an interface to take over.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return // not root: nothing to see
		}
		fd := must1(fdbased.OpenPacketSocket(1))
		must(Install(usual))
		l := must1(fdbased.New(fdbased.Options{FD: fd, MTU: 1500, VNetHeader: true}))
		l.Attach(&drain{})
		l.WritePackets([]*buffer.Packet{buffer.NewFrom([]byte("a frame that nobody can read"))})
		time.Sleep(5 * time.Millisecond)
		l.Attach(nil)
		l.Close()
	},
	"profile": func() {
		o := usual
		o.Profile = true
		must(Install(o))
		var b bytes.Buffer
		must(pprof.StartCPUProfile(&b))
		for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
		}
		pprof.StopCPUProfile()
		must(pprof.Lookup("goroutine").WriteTo(&b, 2))
	},
	"ptrace platform": func() {
		p := must1(platform.New("ptrace", platform.Options{DeviceFD: -1}))
		o := usual
		o.Platform = p.SeccompRules()
		must(Install(o))
		must1(unix.Pwrite(fileFD, append([]byte{0x0f, 0x05, 0xeb, 0xfc}, make([]byte, 4092)...), 0))
		as := must1(p.NewAddressSpace())
		must(as.MapFile(0x10000, file(fileFD), memmap.Range{End: 4096}, memmap.AccessType{Read: true, Execute: true}, true))
		c, ac := p.NewContext(), arch.NewContext()
		ac.SetIP(0x10000)
		for range 1000 {
			if ev := must1(c.Switch(as, ac)); ev.Kind != platform.EventSyscall {
				panic(fmt.Sprintf("%+v", ev))
			}
		}
		as.Release()
		p.Close()
	},
	"panic": func() {
		must(Install(usual))
		defer func() { recover() }()
		var p *int
		*p = 1
	},
}

// nowhere is application memory that takes everything. It implements usermem.IO.
type nowhere struct{ usermem.IO }

// CopyOut implements usermem.IO.
func (nowhere) CopyOut(_ uintptr, b []byte) (int, error) { return len(b), nil }

// drain takes packets and drops them. It implements stack.LinkDispatcher.
type drain struct{}

// DeliverPackets implements stack.LinkDispatcher.
func (*drain) DeliverPackets(pkts []*buffer.Packet) {
	for _, p := range pkts {
		p.Release()
	}
}

type file int

func (f file) FD() int                                                            { return int(f) }
func (f file) Blocks(memmap.Range, memmap.AccessType, [][]byte) ([][]byte, error) { return nil, nil }
func (f file) IncRef(memmap.Range)                                                {}
func (f file) DecRef(memmap.Range)                                                {}

// attack is a system call that a filtered process must not survive.
type attack struct {
	nr   uintptr
	args [6]uintptr
	o    Options
	name string // what Describe says; "" if it kills at once
}

var page = make([]byte, 3*4096)

func pageAddr() uintptr { return (uintptr(unsafe.Pointer(&page[0])) + 4095) &^ 4095 }

var hostnet = Options{ControlFD: -1, HostNetwork: true}

var attacks = map[string]attack{
	"execve":              {unix.SYS_EXECVE, [6]uintptr{}, usual, ""},
	"fork":                {unix.SYS_FORK, [6]uintptr{}, usual, ""},
	"open":                {unix.SYS_OPEN, [6]uintptr{}, usual, ""},
	"openat2":             {unix.SYS_OPENAT2, [6]uintptr{}, usual, ""},
	"socket":              {unix.SYS_SOCKET, [6]uintptr{unix.AF_INET, unix.SOCK_STREAM}, usual, ""},
	"unix socket hostnet": {unix.SYS_SOCKET, [6]uintptr{unix.AF_UNIX, unix.SOCK_STREAM}, hostnet, ""},
	"raw socket hostnet":  {unix.SYS_SOCKET, [6]uintptr{unix.AF_INET, unix.SOCK_RAW}, hostnet, ""},
	"netlink hostnet":     {unix.SYS_SOCKET, [6]uintptr{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC}, hostnet, ""},
	"SCTP hostnet":        {unix.SYS_SOCKET, [6]uintptr{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, hostnet, ""},
	"option hostnet":      {unix.SYS_SETSOCKOPT, [6]uintptr{peerFD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, hostnet, "setsockopt"},
	"no wait hostnet":     {unix.SYS_SENDMSG, [6]uintptr{peerFD, pageAddr(), unix.MSG_ZEROCOPY}, hostnet, "sendmsg"},
	"connect":             {unix.SYS_CONNECT, [6]uintptr{peerFD}, usual, ""},
	"ptrace":              {unix.SYS_PTRACE, [6]uintptr{unix.PTRACE_ATTACH, 1}, usual, ""},
	"mount":               {unix.SYS_MOUNT, [6]uintptr{}, usual, ""},
	"bpf":                 {unix.SYS_BPF, [6]uintptr{}, usual, ""},
	"clone a process":     {unix.SYS_CLONE, [6]uintptr{uintptr(unix.SIGCHLD)}, usual, "clone"},
	"clone a namespace":   {unix.SYS_CLONE, [6]uintptr{goThread | unix.CLONE_NEWUSER}, usual, "clone"},
	"executable mmap":     {unix.SYS_MMAP, [6]uintptr{0, 4096, unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uintptr(0)}, usual, "mmap"},
	"executable mprotect": {unix.SYS_MPROTECT, [6]uintptr{pageAddr(), 4096, unix.PROT_READ | unix.PROT_EXEC}, usual, "mprotect"},
	"kill":                {unix.SYS_KILL, [6]uintptr{1, 0}, usual, "kill"},
	"tgkill another":      {unix.SYS_TGKILL, [6]uintptr{1, 1, 0}, usual, "tgkill"},
	"ioctl":               {unix.SYS_IOCTL, [6]uintptr{1, unix.TIOCSTI}, usual, "ioctl"},
	"ioctl, high bits":    {unix.SYS_IOCTL, [6]uintptr{1, unix.TIOCGWINSZ | 1<<32}, usual, "ioctl"},
	"fcntl":               {unix.SYS_FCNTL, [6]uintptr{1, unix.F_SETOWN, 1}, usual, "fcntl"},
	"accept elsewhere":    {unix.SYS_ACCEPT4, [6]uintptr{peerFD}, usual, "accept4"},
	"sendto an address":   {unix.SYS_SENDTO, [6]uintptr{peerFD, 0, 0, 0, pageAddr(), 16}, usual, "sendto"},
	"setsockopt":          {unix.SYS_SETSOCKOPT, [6]uintptr{peerFD, unix.SOL_SOCKET, unix.SO_MARK}, usual, "setsockopt"},
	"prctl":               {unix.SYS_PRCTL, [6]uintptr{unix.PR_SET_DUMPABLE, 1}, usual, "prctl"},
	"unlink":              {unix.SYS_UNLINK, [6]uintptr{}, usual, "unlink"},
	"setitimer":           {unix.SYS_SETITIMER, [6]uintptr{}, usual, "setitimer"},
	"another filter":      {unix.SYS_SECCOMP, [6]uintptr{}, usual, "seccomp"},
	"SIGSYS handler":      {unix.SYS_RT_SIGACTION, [6]uintptr{uintptr(unix.SIGSYS), 0, 0, 8}, usual, ""},
	"no such call":        {9999, [6]uintptr{}, usual, "#9999"},
	"x32":                 {1 << 30, [6]uintptr{}, usual, ""},
}

func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if f := workloads[name]; f != nil {
		f()
		os.Stdout.WriteString("done")
		os.Exit(0)
	}
	if a, ok := attacks[name]; ok {
		must(Install(a.o))
		unix.RawSyscall6(a.nr, a.args[0], a.args[1], a.args[2], a.args[3], a.args[4], a.args[5])
		os.Stdout.WriteString("done")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child runs a workload or an attack in a process of its own.
func child(t *testing.T, name string) (stdout, stderr string, ws unix.WaitStatus) {
	t.Helper()
	pair := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	control := must1(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	must(unix.Bind(control, &unix.SockaddrUnix{Name: t.TempDir() + "/s"}))
	mem := must1(unix.MemfdCreate("file", unix.MFD_CLOEXEC))
	peer := os.NewFile(uintptr(pair[1]), "peer")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[0]), "pair"), os.NewFile(uintptr(control), "control"), os.NewFile(uintptr(mem), "file")}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	must(cmd.Start())
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	go func() {
		defer peer.Close()
		b := make([]byte, 16)
		if n, err := peer.Read(b); err == nil {
			peer.Write(b[:n])
			peer.Read(b) // until the child closes
		}
	}()
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	return out.String(), errOut.String(), unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))
}

func TestWorkloads(t *testing.T) {
	for name := range workloads {
		t.Run(name, func(t *testing.T) {
			out, errOut, ws := child(t, name)
			if out != "done" {
				t.Errorf("status %#x, %q: %s", ws, seccomp.Describe([]byte(errOut)), errOut)
			}
		})
	}
}

func TestAttacks(t *testing.T) {
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			out, errOut, ws := child(t, name)
			if out != "" {
				t.Fatalf("the process survived")
			}
			got := seccomp.Describe([]byte(errOut))
			switch {
			case a.name == "":
				if seccomp.DescribeStatus(ws) == "" {
					t.Errorf("status %#x: %s", ws, errOut)
				}
			case !strings.Contains(got, " "+a.name+" "):
				t.Errorf("described as %q: %s", got, errOut)
			}
		})
	}
}

func TestWidened(t *testing.T) {
	if w := Widened(usual); len(w) != 0 {
		t.Errorf("the usual filter is wider by %v", w)
	}
	if w := Widened(Options{HostNetwork: true, Profile: true, Extra: map[string]seccomp.Rules{"x": nil}}); len(w) != 3 {
		t.Errorf("%v", w)
	}
}
