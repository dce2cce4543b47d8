package fdbased

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
	"runsc/pkg/tcpip/buffer"
	"runsc/runsc/boot/filter"
)

// allowed are the rules that follow from Syscalls and a descriptor.
func allowed(k Kind, fd int) seccomp.Rules {
	r := seccomp.Rules{}
	for _, c := range Syscalls(k) {
		var rule seccomp.Rule
		if c.Number != unix.SYS_PPOLL {
			rule[0] = seccomp.Int32(int32(fd))
		}
		if c.FlagsArg >= 0 {
			rule[c.FlagsArg] = seccomp.MaskedEqual(uint64(uint32(^c.Flags)), 0)
		}
		r[c.Number] = append(r[c.Number], rule)
	}
	return r
}

// The sentry's own filter allows all of it.
func TestSentryFilterHasTheSyscalls(t *testing.T) {
	rules := filter.Rules(filter.Options{ControlFD: -1})
	for _, k := range []Kind{KindPacket, KindTAP, KindTUN} {
		for _, c := range Syscalls(k) {
			var args [6]uint64
			args[0] = 7
			if c.FlagsArg >= 0 {
				args[c.FlagsArg] = c.Flags
			}
			if !rules.Match(c.Number, args) {
				t.Errorf("kind %d: %s is not allowed", k, seccomp.SyscallName(c.Number))
			}
		}
	}
}

const childEnv = "FDBASED_TEST_CHILD"

// TestNothingElseIsCalled runs a link in a process whose filter has of all calls about sockets, devices
// and waiting only those that Syscalls lists.
func TestNothingElseIsCalled(t *testing.T) {
	for k, name := range map[Kind]string{KindPacket: "packet", KindTAP: "tap"} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fds[0]), "")
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), childEnv+"="+name)
		cmd.ExtraFiles = []*os.File{file}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		file.Close()
		unix.SetsockoptTimeval(fds[1], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
		b := make([]byte, 1000)
		for range 10 {
			unix.Write(fds[1], frameOf("ping"))
			n, err := readFrom(fds[1], b)
			if err != nil || string(b[:n]) != string(frameOf("ping")) {
				t.Errorf("%s: %d bytes came back, %v", name, n, err)
				break
			}
		}
		unix.Write(fds[1], frameOf("end"))
		if err := cmd.Wait(); err != nil {
			t.Errorf("kind %d: %v\n%s", k, err, out.String())
		}
		unix.Close(fds[1])
	}
}

// TestChild is the child of the test above.
func TestChild(t *testing.T) {
	kinds := map[string]Kind{"packet": KindPacket, "tap": KindTAP}
	kind, ok := kinds[os.Getenv(childEnv)]
	if !ok {
		t.Skip("skipped: it is the child of another test")
	}
	const fd = 3
	e, err := New(Options{FD: fd, Kind: kind, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	rules := filter.Rules(filter.Options{ControlFD: -1})
	for _, nr := range []uintptr{
		unix.SYS_RECVMMSG, unix.SYS_RECVMSG, unix.SYS_RECVFROM, unix.SYS_SENDMMSG, unix.SYS_SENDMSG, unix.SYS_SENDTO, unix.SYS_SHUTDOWN,
		unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_IOCTL, unix.SYS_FCNTL, unix.SYS_READV, unix.SYS_WRITEV,
		unix.SYS_PPOLL, unix.SYS_POLL,
	} {
		delete(rules, nr)
	}
	rules.Merge(allowed(kind, fd))
	if err := seccomp.InstallRules(rules); err != nil {
		t.Fatal(err)
	}
	end := make(chan bool)
	e.Attach(dispatcher(func(p *buffer.Packet) {
		if data := bytesOf(p); data == "end" {
			close(end)
		} else {
			e.WritePackets([]*buffer.Packet{raw(linkA, linkB, []byte(data))})
		}
		p.Release()
	}))
	<-end
	patience := time.Millisecond
	e.sendAgain(unix.EAGAIN, &patience)
	e.Close()
	unix.Exit(0) // the testing package would write files now
}
