// Package strace writes system calls as a person reads them: `openat(AT_FDCWD, "/etc/passwd",
// O_RDONLY) = 3`.
//
// The system call table of the kernel gives a Format for each argument (format.go). A Call is
// one system call with its values and the memory that its pointers lead to; Args writes what
// is known when the call begins, and Finish what the kernel filled in, when it has returned.
// Package tracer makes log lines of them.
//
// Memory is the application's and may be anything: every length is bounded by Call.Limit
// before it is read, nothing is read twice, and what cannot be read is shown as its address.
// FuzzFormats tries.
//
// No locks. Formatting allocates; it happens only while tracing is on.
//
// Sources: strace(1) for the looks, the manual pages for the structures.
package strace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/usermem"
)

// Call is a system call under way.
type Call struct {
	Name    string
	Formats []Format
	Values  [6]uintptr
	// Memory is what pointers lead to.
	Memory usermem.IO
	// Limit is how many bytes of a string or buffer are shown, and how many elements of an
	// array.
	Limit int
	// Names gives names to descriptors; it may be nil.
	Names FileNamer

	text []string // the arguments so far; empty: to be decoded at the end
}

// FileNamer knows what descriptors refer to.
type FileNamer interface {
	// FileName is the path of an open descriptor, or "".
	FileName(fd int32) string
}

// isOut says whether the kernel fills what the argument points to.
func (f Format) isOut() bool {
	switch f {
	case ReadBuf, ReadIovec, Stat, Statx, Statfs, TimespecOut, TimevalOut, ItimervalOut, ItimerspecOut,
		SigActionOut, SigSetOut, SigInfoOut, WaitStatusOut, Rusage, RlimitOut, SockAddrOut, MsgHdrOut,
		EpollEventsOut, PipeFDsOut, UnameOut, CapDataOut:
		return true
	}
	return false
}

// Begin decodes the arguments that the call brings.
func (c *Call) Begin() {
	c.text = make([]string, min(len(c.Formats), len(c.Values)))
	for i := range c.text {
		if !c.Formats[i].isOut() {
			c.text[i] = c.argument(i, 0)
		}
	}
}

// String is the call as far as it is known.
func (c *Call) String() string {
	parts := make([]string, len(c.text))
	for i, t := range c.text {
		if parts[i] = t; t == "" {
			parts[i] = hex(uint64(c.Values[i]))
		}
	}
	return c.Name + "(" + strings.Join(parts, ", ") + ")"
}

// Finish decodes what the kernel filled in, when the call has returned result. After an error
// it filled in nothing.
func (c *Call) Finish(result uintptr, err error) string {
	for i := range c.text {
		if c.text[i] == "" && err == nil {
			c.text[i] = c.argument(i, result)
		}
	}
	return c.String()
}

// Result writes what a call returned.
func Result(result uintptr, err error) string {
	if err == nil {
		if v := int64(result); v >= 0 && v < 1<<31 || v < 0 && v > -4096 {
			return strconv.FormatInt(v, 10)
		}
		return hex(uint64(result))
	}
	if e, ok := err.(unix.Errno); ok {
		return "-1 " + unix.ErrnoName(e) + " (" + e.Error() + ")"
	}
	return "? " + err.Error()
}

func hex(v uint64) string {
	if v == 0 {
		return "0"
	}
	return "0x" + strconv.FormatUint(v, 16)
}

// argument decodes argument i. result counts for Out formats only.
func (c *Call) argument(i int, result uintptr) string {
	v := uint64(c.Values[i])
	p := c.Values[i]
	next := uint64(0)
	if i+1 < len(c.Values) {
		next = uint64(c.Values[i+1])
	}
	switch c.Formats[i] {
	case Dec:
		return strconv.Itoa(int(int32(v)))
	case Dec64:
		return strconv.FormatInt(int64(v), 10)
	case Oct:
		return fileMode(v & 0xffff)
	case FD:
		return c.descriptor(int32(v))
	case AtFD:
		if int32(v) == unix.AT_FDCWD {
			return "AT_FDCWD"
		}
		return c.descriptor(int32(v))
	case OpenFlags:
		return openFlags(v & 0xffffffff)
	case AtFlags:
		return flags(v&0xffffffff, atTable)
	case MmapProt:
		return flags(v, protTable)
	case MmapFlags:
		return flags(v, mapTable)
	case ClockID:
		return value(v&0xffffffff, clockTable)
	case Signal:
		return signal(v & 0xffffffff)
	case SigMaskHow:
		return value(v&0xffffffff, maskHowTable)
	case CloneFlags:
		return cloneFlags(v)
	case WaitOptions:
		return flags(v&0xffffffff, waitTable)
	case RlimitResource:
		return value(v&0xffffffff, rlimitTable)
	case FutexOp:
		return futexOp(v & 0xffffffff)
	case SockFamily:
		return value(v&0xffffffff, familyTable)
	case SockType:
		return sockType(v & 0xffffffff)
	case SockProtocol:
		return value(v&0xffffffff, protocolTable)
	case SockFlags:
		return flags(v&0xffffffff, msgFlagTable)
	case SockLevel:
		return value(v&0xffffffff, levelTable)
	case SockOptName:
		level := uint64(0)
		if i > 0 {
			level = uint64(c.Values[i-1]) & 0xffffffff
		}
		return value(v&0xffffffff, sockOptTables[level])
	case EpollOp:
		return value(v&0xffffffff, epollOpTable)
	case IoctlRequest:
		return value(v&0xffffffff, ioctlTable)
	case FcntlCmd:
		return value(v&0xffffffff, fcntlTable)
	case PrctlOption:
		return value(v&0xffffffff, prctlTable)
	case ArchPrctlCode:
		return value(v&0xffffffff, archPrctlTable)
	case PtraceRequest:
		return value(v&0xffffffff, ptraceTable)
	case SeekWhence, Whence:
		return value(v&0xffffffff, whenceTable)
	case MountFlags:
		return flags(v, mountTable)
	case Hex, Pointer:
		if v == 0 && c.Formats[i] == Pointer {
			return "NULL"
		}
		return hex(v)
	}
	// The others are pointers.
	if p == 0 {
		return "NULL"
	}
	if s, ok := c.pointed(c.Formats[i], p, next, uint64(result)); ok {
		return s
	}
	return hex(v)
}

func (c *Call) descriptor(fd int32) string {
	s := strconv.Itoa(int(fd))
	if c.Names != nil && fd >= 0 {
		if n := c.Names.FileName(fd); n != "" {
			s += "<" + n + ">"
		}
	}
	return s
}

// read copies n bytes at p.
func (c *Call) read(p uintptr, n int) ([]byte, bool) {
	b := make([]byte, n)
	if m, err := c.Memory.CopyIn(p, b); err != nil || m < n {
		return nil, false
	}
	return b, true
}

// pointed decodes what p points to. next is the argument behind it.
func (c *Call) pointed(f Format, p uintptr, next, result uint64) (string, bool) {
	le := binary.LittleEndian
	fixed := func(n int, show func(b []byte) string) (string, bool) {
		b, ok := c.read(p, n)
		if !ok {
			return "", false
		}
		return show(b), true
	}
	switch f {
	case Path, String:
		return c.cstring(p)
	case Argv:
		return c.strings(p, true)
	case Envp:
		return c.strings(p, false)
	case ReadBuf:
		return c.buffer(p, result)
	case WriteBuf:
		return c.buffer(p, next)
	case ReadIovec:
		return c.iovec(p, next, result)
	case WriteIovec:
		return c.iovec(p, next, 1<<62)
	case Stat:
		return fixed(144, func(b []byte) string {
			return fmt.Sprintf("{dev=%#x, ino=%d, mode=%s, nlink=%d, uid=%d, gid=%d, rdev=%#x, size=%d, blksize=%d, blocks=%d, mtime=%d}",
				le.Uint64(b), le.Uint64(b[8:]), fileMode(uint64(le.Uint32(b[24:]))), le.Uint64(b[16:]), le.Uint32(b[28:]),
				le.Uint32(b[32:]), le.Uint64(b[40:]), int64(le.Uint64(b[48:])), le.Uint64(b[56:]), le.Uint64(b[64:]), int64(le.Uint64(b[88:])))
		})
	case Statx:
		return fixed(128, func(b []byte) string {
			return fmt.Sprintf("{mask=%#x, mode=%s, nlink=%d, uid=%d, gid=%d, ino=%d, size=%d, blocks=%d}", le.Uint32(b),
				fileMode(uint64(le.Uint16(b[28:]))), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:]), le.Uint64(b[32:]),
				le.Uint64(b[40:]), le.Uint64(b[48:]))
		})
	case Statfs:
		return fixed(120, func(b []byte) string {
			return fmt.Sprintf("{type=%#x, bsize=%d, blocks=%d, bfree=%d, bavail=%d, files=%d, ffree=%d}", le.Uint64(b), le.Uint64(b[8:]),
				le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:]))
		})
	case Timespec, TimespecOut:
		return fixed(16, timespec)
	case Timeval, TimevalOut:
		return fixed(16, timeval)
	case Itimerval, ItimervalOut:
		return fixed(32, func(b []byte) string { return "{interval=" + timeval(b) + ", value=" + timeval(b[16:]) + "}" })
	case Itimerspec, ItimerspecOut:
		return fixed(32, func(b []byte) string { return "{interval=" + timespec(b) + ", value=" + timespec(b[16:]) + "}" })
	case Utimbuf:
		return fixed(16, func(b []byte) string {
			return fmt.Sprintf("{actime=%d, modtime=%d}", int64(le.Uint64(b)), int64(le.Uint64(b[8:])))
		})
	case SigAction, SigActionOut:
		return fixed(32, func(b []byte) string {
			handler := hex(le.Uint64(b))
			switch le.Uint64(b) {
			case 0:
				handler = "SIG_DFL"
			case 1:
				handler = "SIG_IGN"
			}
			return fmt.Sprintf("{handler=%s, flags=%s, mask=%s}", handler, flags(le.Uint64(b[8:]), saTable), signalSet(le.Uint64(b[24:])))
		})
	case SigSet, SigSetOut:
		return fixed(8, func(b []byte) string { return signalSet(le.Uint64(b)) })
	case SigInfo, SigInfoOut:
		return fixed(32, func(b []byte) string {
			return fmt.Sprintf("{signo=%s, code=%d, pid=%d, uid=%d}", signal(uint64(le.Uint32(b))), int32(le.Uint32(b[8:])),
				int32(le.Uint32(b[16:])), le.Uint32(b[20:]))
		})
	case CloneArgs:
		return fixed(64, func(b []byte) string {
			return fmt.Sprintf("{flags=%s, exit_signal=%s, stack=%#x, stack_size=%#x, tls=%#x}", flags(le.Uint64(b), cloneTable),
				signal(le.Uint64(b[32:])), le.Uint64(b[40:]), le.Uint64(b[48:]), le.Uint64(b[56:]))
		})
	case WaitStatusOut:
		if result == 0 {
			return "", false // nobody has ended
		}
		return fixed(4, func(b []byte) string { return waitStatus(le.Uint32(b)) })
	case Rusage:
		return fixed(144, func(b []byte) string {
			return fmt.Sprintf("{utime=%s, stime=%s, maxrss=%d}", timeval(b), timeval(b[16:]), le.Uint64(b[32:]))
		})
	case Rlimit, RlimitOut:
		return fixed(16, func(b []byte) string {
			return "{cur=" + limit(le.Uint64(b)) + ", max=" + limit(le.Uint64(b[8:])) + "}"
		})
	case SockAddr:
		return c.sockaddr(p, next)
	case SockAddrOut:
		if next == 0 {
			return "", false
		}
		b, ok := c.read(uintptr(next), 4)
		if !ok {
			return "", false
		}
		return c.sockaddr(p, uint64(le.Uint32(b)))
	case MsgHdrIn, MsgHdrOut:
		return c.message(p, f == MsgHdrIn, result)
	case SockOptVal:
		if next == 0 || next > 256 {
			return "", false
		}
		if next == 4 {
			return fixed(4, func(b []byte) string { return fmt.Sprintf("[%d]", int32(le.Uint32(b))) })
		}
		return c.buffer(p, next)
	case PollFDs:
		return c.pollFDs(p, next)
	case SelectFDs:
		return c.fdSet(p)
	case EpollEvent:
		return fixed(12, epollEvent)
	case EpollEventsOut:
		return c.array(p, 12, result, epollEvent)
	case PipeFDsOut:
		return fixed(8, func(b []byte) string {
			return fmt.Sprintf("[%d, %d]", int32(le.Uint32(b)), int32(le.Uint32(b[4:])))
		})
	case UnameOut:
		return fixed(6*65, func(b []byte) string {
			field := func(i int) string { s, _, _ := strings.Cut(string(b[65*i:65*(i+1)]), "\x00"); return strconv.Quote(s) }
			return "{sysname=" + field(0) + ", nodename=" + field(1) + ", release=" + field(2) + ", version=" + field(3) + ", machine=" + field(4) + "}"
		})
	case CapHeader:
		return fixed(8, func(b []byte) string {
			return fmt.Sprintf("{version=%#x, pid=%d}", le.Uint32(b), int32(le.Uint32(b[4:])))
		})
	case CapData, CapDataOut:
		return fixed(24, func(b []byte) string {
			set := func(o int) uint64 { return uint64(le.Uint32(b[o:])) | uint64(le.Uint32(b[o+12:]))<<32 }
			return fmt.Sprintf("{effective=%#x, permitted=%#x, inheritable=%#x}", set(0), set(4), set(8))
		})
	}
	return "", false
}

var saTable = []name{
	{1, "SA_NOCLDSTOP"}, {2, "SA_NOCLDWAIT"}, {4, "SA_SIGINFO"}, {0x800, "SA_EXPOSE_TAGBITS"}, {0x04000000, "SA_RESTORER"},
	{0x08000000, "SA_ONSTACK"}, {0x10000000, "SA_RESTART"}, {0x40000000, "SA_NODEFER"}, {0x80000000, "SA_RESETHAND"},
}

func timespec(b []byte) string {
	return fmt.Sprintf("{%d, %d}", int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:])))
}

func timeval(b []byte) string { return timespec(b) }

func limit(v uint64) string {
	if v == unix.RLIM_INFINITY {
		return "RLIM_INFINITY"
	}
	return strconv.FormatUint(v, 10)
}

func waitStatus(v uint32) string {
	s := unix.WaitStatus(v)
	switch {
	case s.Exited():
		return fmt.Sprintf("[exited %d]", s.ExitStatus())
	case s.Signaled():
		core := ""
		if s.CoreDump() {
			core = ", core dumped"
		}
		return "[killed by " + signal(uint64(s.Signal())) + core + "]"
	case s.Stopped():
		return "[stopped by " + signal(uint64(s.StopSignal())) + "]"
	case s.Continued():
		return "[continued]"
	}
	return hex(uint64(v))
}

func epollEvent(b []byte) string {
	le := binary.LittleEndian
	return "{" + flags(uint64(le.Uint32(b)), epollTable) + ", data=" + hex(le.Uint64(b[4:])) + "}"
}

// quote shows bytes, at most Limit of them.
func (c *Call) quote(b []byte, whole bool) string {
	if len(b) > c.Limit {
		b, whole = b[:c.Limit], false
	}
	s := strconv.Quote(string(b))
	if !whole {
		s += "..."
	}
	return s
}

// cstring reads a string page by page, so that one at the end of a mapping is found whole.
func (c *Call) cstring(p uintptr) (string, bool) {
	var b []byte
	for len(b) <= c.Limit {
		n := int(4096 - (p+uintptr(len(b)))%4096)
		part := make([]byte, min(n, 4096, c.Limit+1-len(b)))
		m, err := c.Memory.CopyIn(p+uintptr(len(b)), part)
		part = part[:m]
		for i, ch := range part {
			if ch == 0 {
				return c.quote(append(b, part[:i]...), true), true
			}
		}
		b = append(b, part...)
		if err != nil {
			if len(b) == 0 {
				return "", false
			}
			break
		}
	}
	return c.quote(b, false), true
}

// buffer shows n bytes.
func (c *Call) buffer(p uintptr, n uint64) (string, bool) {
	show := int(min(n, uint64(c.Limit)))
	b, ok := c.read(p, show)
	if !ok {
		return "", false
	}
	return c.quote(b, uint64(show) == n), true
}

// maxElements bounds how much of an array is shown.
func (c *Call) maxElements() uint64 { return uint64(min(max(c.Limit/16, 4), 64)) }

// array shows n structures of size bytes.
func (c *Call) array(p uintptr, size int, n uint64, show func(b []byte) string) (string, bool) {
	var out []string
	for i := range min(n, c.maxElements()) {
		b, ok := c.read(p+uintptr(i)*uintptr(size), size)
		if !ok {
			if i == 0 {
				return "", false
			}
			break
		}
		out = append(out, show(b))
	}
	if uint64(len(out)) < n {
		out = append(out, "...")
	}
	return "[" + strings.Join(out, ", ") + "]", true
}

// strings shows a null-terminated list of strings, or only how long it is.
func (c *Call) strings(p uintptr, content bool) (string, bool) {
	var out []string
	const most = 4096
	for i := 0; ; i++ {
		b, ok := c.read(p+uintptr(8*i), 8)
		if !ok {
			return "", false
		}
		q := uintptr(binary.LittleEndian.Uint64(b))
		if q == 0 || i == most {
			if !content {
				return fmt.Sprintf("%#x /* %d vars */", p, i), true
			}
			return "[" + strings.Join(out, ", ") + "]", true
		}
		if content && i < int(c.maxElements()) {
			s, ok := c.cstring(q)
			if !ok {
				s = hex(uint64(q))
			}
			out = append(out, s)
		} else if content && i == int(c.maxElements()) {
			out = append(out, "...")
		}
	}
}

// iovec shows a vector of count buffers that hold bytes bytes in all.
func (c *Call) iovec(p uintptr, count, bytes uint64) (string, bool) {
	left := bytes
	return c.array(p, 16, count, func(b []byte) string {
		le := binary.LittleEndian
		base, n := le.Uint64(b), le.Uint64(b[8:])
		filled := min(n, left)
		left -= filled
		s, ok := c.buffer(uintptr(base), filled)
		if !ok {
			s = hex(base)
		}
		return fmt.Sprintf("{base=%s, len=%d}", s, n)
	})
}

func (c *Call) pollFDs(p uintptr, n uint64) (string, bool) {
	return c.array(p, 8, n, func(b []byte) string {
		le := binary.LittleEndian
		s := fmt.Sprintf("{fd=%s, events=%s", c.descriptor(int32(le.Uint32(b))), flags(uint64(le.Uint16(b[4:])), pollTable))
		if r := le.Uint16(b[6:]); r != 0 {
			s += ", revents=" + flags(uint64(r), pollTable)
		}
		return s + "}"
	})
}

// fdSet shows select(2)'s sets; the call's first argument says how many descriptors count.
func (c *Call) fdSet(p uintptr) (string, bool) {
	n := int(min(max(int32(c.Values[0]), 0), 1024))
	b, ok := c.read(p, (n+63)/64*8)
	if !ok {
		return "", false
	}
	var out []string
	for i := range n {
		if b[i/8]&(1<<(i%8)) != 0 {
			out = append(out, strconv.Itoa(i))
		}
	}
	return "[" + strings.Join(out, " ") + "]", true
}

// sockaddr shows a socket address of n bytes.
func (c *Call) sockaddr(p uintptr, n uint64) (string, bool) {
	if n < 2 {
		return "", false
	}
	b, ok := c.read(p, int(min(n, 128)))
	if !ok {
		return "", false
	}
	return Sockaddr(b), true
}

// Sockaddr writes a socket address.
func Sockaddr(b []byte) string {
	if len(b) < 2 {
		return "{}"
	}
	family := uint64(binary.LittleEndian.Uint16(b))
	s := "{" + value(family, familyTable)
	switch {
	case family == unix.AF_UNIX:
		path := string(b[2:])
		switch {
		case path == "":
		case path[0] == 0:
			s += ", path=" + strconv.Quote("@"+path[1:])
		default:
			path, _, _ = strings.Cut(path, "\x00")
			s += ", path=" + strconv.Quote(path)
		}
	case family == unix.AF_INET && len(b) >= 8:
		s += ", addr=" + netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])).String()
	case family == unix.AF_INET6 && len(b) >= 24:
		s += ", addr=" + netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[2:])).String()
	case family == unix.AF_NETLINK && len(b) >= 12:
		s += fmt.Sprintf(", pid=%d, groups=%#x", binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]))
	default:
		s += fmt.Sprintf(", data=%x", b[2:])
	}
	return s + "}"
}

// message shows a struct msghdr.
func (c *Call) message(p uintptr, in bool, result uint64) (string, bool) {
	b, ok := c.read(p, 56)
	if !ok {
		return "", false
	}
	le := binary.LittleEndian
	var out []string
	if name, n := le.Uint64(b), uint64(le.Uint32(b[8:])); name != 0 {
		if s, ok := c.sockaddr(uintptr(name), n); ok {
			out = append(out, "name="+s)
		}
	}
	bytes := result
	if in {
		bytes = 1 << 62
	}
	if s, ok := c.iovec(uintptr(le.Uint64(b[16:])), le.Uint64(b[24:]), bytes); ok {
		out = append(out, "iov="+s)
	}
	if n := le.Uint64(b[40:]); n > 0 {
		out = append(out, fmt.Sprintf("controllen=%d", n))
	}
	out = append(out, "flags="+flags(uint64(le.Uint32(b[48:])), msgFlagTable))
	return "{" + strings.Join(out, ", ") + "}", true
}
