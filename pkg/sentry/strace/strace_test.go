package strace

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/usermem"
)

type names map[int32]string

func (n names) FileName(fd int32) string { return n[fd] }

// memory is application memory that begins at address 0x1000; building it appends.
type memory struct{ b []byte }

func newMemory() *memory { return &memory{make([]byte, 0x1000, 0x10000)} }

func (m *memory) put(v any) uintptr {
	at := uintptr(len(m.b))
	switch v := v.(type) {
	case string:
		m.b = append(append(m.b, v...), 0)
	default:
		m.b, _ = binary.Append(m.b, binary.LittleEndian, v)
	}
	return at
}

func TestFormats(t *testing.T) {
	m := newMemory()
	stat := make([]byte, 144)
	binary.LittleEndian.PutUint32(stat[24:], unix.S_IFREG|0o644)
	binary.LittleEndian.PutUint64(stat[48:], 1234)
	argv := m.put([]uint64{uint64(m.put("ls")), uint64(m.put("-l")), 0})
	iov := m.put([]uint64{uint64(m.put("hello")), 5, uint64(m.put("world")), 5})
	for _, c := range []struct {
		name    string
		formats []Format
		values  [6]uintptr
		ret     uintptr
		err     error
		want    string
	}{
		{"openat", []Format{AtFD, Path, OpenFlags, Oct}, [6]uintptr{uintptr(0xffffffffffffff9c), m.put("/etc/passwd"), unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC, 0o644}, 3, nil,
			`openat(AT_FDCWD, "/etc/passwd", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3`},
		{"open", []Format{Path, OpenFlags}, [6]uintptr{0x999999, 0}, 0, unix.EFAULT, `open(0x999999, O_RDONLY) = -1 EFAULT (bad address)`},
		{"read", []Format{FD, ReadBuf, Dec64}, [6]uintptr{5, m.put("some text here"), 100}, 4, nil, `read(5</tmp/x>, "some", 100) = 4`},
		{"read", []Format{FD, ReadBuf, Dec64}, [6]uintptr{5, 0x1000, 100}, 0, linux.ERESTARTSYS, `read(5</tmp/x>, 0x1000, 100) = ? ERESTARTSYS`},
		{"write", []Format{FD, WriteBuf, Dec64}, [6]uintptr{1, m.put("a\nb\x00c"), 5}, 5, nil, `write(1, "a\nb\x00c", 5) = 5`},
		{"writev", []Format{FD, WriteIovec, Dec}, [6]uintptr{1, iov, 2}, 10, nil, `writev(1, [{base="hello", len=5}, {base="world", len=5}], 2) = 10`},
		{"readv", []Format{FD, ReadIovec, Dec}, [6]uintptr{1, iov, 2}, 7, nil, `readv(1, [{base="hello", len=5}, {base="wo", len=5}], 2) = 7`},
		{"execve", []Format{Path, Argv, Envp}, [6]uintptr{m.put("/bin/ls"), argv, argv}, 0, nil, `execve("/bin/ls", ["ls", "-l"], ` + hex(uint64(argv)) + ` /* 2 vars */) = 0`},
		{"mmap", []Format{Hex, Dec64, MmapProt, MmapFlags, FD, Dec64}, [6]uintptr{0, 4096, 3, 0x22, ^uintptr(0), 0}, 0x7f0000000000, nil,
			`mmap(0, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000`},
		{"fstat", []Format{FD, Stat}, [6]uintptr{3, m.put(stat)}, 0, nil, `fstat(3, {dev=0x0, ino=0, mode=S_IFREG|0644, nlink=0, uid=0, gid=0, rdev=0x0, size=1234, blksize=0, blocks=0, mtime=0}) = 0`},
		{"nanosleep", []Format{Timespec, TimespecOut}, [6]uintptr{m.put([]int64{1, 500}), 0}, 0, nil, `nanosleep({1, 500}, NULL) = 0`},
		{"rt_sigprocmask", []Format{SigMaskHow, SigSet, SigSetOut, Dec64}, [6]uintptr{0, m.put(uint64(1<<1 | 1<<16)), m.put(^uint64(0)), 8}, 0, nil,
			`rt_sigprocmask(SIG_BLOCK, [INT CHLD], ~[], 8) = 0`},
		{"rt_sigaction", []Format{Signal, SigAction, SigActionOut, Dec64}, [6]uintptr{2, m.put([]uint64{1, 0x14000000, 0, 0}), 0, 8}, 0, nil,
			`rt_sigaction(SIGINT, {handler=SIG_IGN, flags=SA_RESTORER|SA_RESTART, mask=[]}, NULL, 8) = 0`},
		{"connect", []Format{FD, SockAddr, Dec}, [6]uintptr{3, m.put([]byte{2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}), 16}, 0, nil, `connect(3, {AF_INET, addr=127.0.0.1:80}, 16) = 0`},
		{"bind", []Format{FD, SockAddr, Dec}, [6]uintptr{3, m.put([]byte("\x01\x00\x00name")), 7}, 0, nil, `bind(3, {AF_UNIX, path="@name"}, 7) = 0`},
		{"clone", []Format{CloneFlags}, [6]uintptr{unix.CLONE_VM | unix.CLONE_VFORK | 17}, 7, nil, `clone(CLONE_VM|CLONE_VFORK|SIGCHLD) = 7`},
		{"wait4", []Format{Dec, WaitStatusOut, WaitOptions, Rusage}, [6]uintptr{^uintptr(0), m.put(uint32(0x300)), 1, 0}, 9, nil, `wait4(-1, [exited 3], WNOHANG, NULL) = 9`},
		{"futex", []Format{Hex, FutexOp, Dec}, [6]uintptr{0x10, 128, 1}, 0, unix.EAGAIN, `futex(0x10, FUTEX_WAIT|FUTEX_PRIVATE_FLAG, 1) = -1 EAGAIN (resource temporarily unavailable)`},
		{"poll", []Format{PollFDs, Dec, Dec}, [6]uintptr{m.put([]uint32{5, 1, 7, 4 | 4<<16}), 2, 100}, 1, nil, `poll([{fd=5</tmp/x>, events=POLLIN}, {fd=7, events=POLLOUT, revents=POLLOUT}], 2, 100) = 1`},
		{"setsockopt", []Format{FD, SockLevel, SockOptName, SockOptVal, Dec}, [6]uintptr{3, 1, 2, m.put(int32(1)), 4}, 0, nil, `setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0`},
		{"pipe2", []Format{PipeFDsOut, OpenFlags}, [6]uintptr{m.put([]int32{3, 4}), unix.O_CLOEXEC}, 0, nil, `pipe2([3, 4], O_RDONLY|O_CLOEXEC) = 0`},
		{"select", []Format{Dec, SelectFDs, SelectFDs, SelectFDs, Timeval}, [6]uintptr{6, m.put(uint64(0b100001)), 0, 0, 0}, 1, nil, `select(6, [0 5], NULL, NULL, NULL) = 1`},
		{"epoll_wait", []Format{FD, EpollEventsOut, Dec, Dec}, [6]uintptr{4, m.put([]uint32{1, 9, 0}), 8, 0}, 1, nil, `epoll_wait(4, [{POLLIN, data=0x9}], 8, 0) = 1`},
	} {
		call := &Call{Name: c.name, Formats: c.formats, Values: c.values, Memory: &usermem.Bytes{B: m.b}, Limit: 64, Names: names{5: "/tmp/x"}}
		call.Begin()
		if got := call.Finish(c.ret, c.err) + " = " + Result(c.ret, c.err); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestLimit(t *testing.T) {
	m := newMemory()
	p := m.put("0123456789")
	c := &Call{Name: "x", Formats: []Format{Path, WriteBuf, Dec}, Values: [6]uintptr{p, p, 10}, Memory: &usermem.Bytes{B: m.b}, Limit: 4}
	c.Begin()
	if got, want := c.String(), `x("0123"..., "0123"..., 10)`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzFormats(f *testing.F) {
	f.Add([]byte("hello"), uint64(0x10), uint64(1<<40), uint64(5))
	f.Fuzz(func(t *testing.T, mem []byte, a, b, ret uint64) {
		for format := Hex; format <= Pointer; format++ {
			c := &Call{Name: "x", Formats: []Format{format, format}, Values: [6]uintptr{uintptr(a), uintptr(b)}, Memory: &usermem.Bytes{B: mem}, Limit: 32}
			c.Begin()
			if s := c.Finish(uintptr(ret), nil); len(s) > 1<<20 {
				t.Errorf("format %d: %d bytes", format, len(s))
			}
		}
	})
}
