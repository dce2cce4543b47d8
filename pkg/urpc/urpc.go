// Package urpc is remote procedure call over a unix stream socket: JSON requests and
// replies, with file descriptors beside them.
//
// A message on the wire is a frame: four bytes of length (big endian), then that many bytes
// of JSON. A request is {"method": "object.Method", "args": {…}}, a reply
// {"success": bool, "error": "…", "result": {…}}. File descriptors travel as SCM_RIGHTS
// control data of the frame's first bytes, and appear in an argument or result type that
// embeds FilePayload. A connection carries one request at a time; a caller that wants two
// answers at once opens two connections, and each connection has its own goroutine on the
// server, so a method that blocks holds up nobody else.
//
// Neither side trusts the other's bytes: a frame has at most MaxFrame bytes and MaxFiles
// descriptors, a request that cannot be decoded gets an error reply, and one whose frame
// cannot be delimited any more ends its connection only. Descriptors that no one claims are
// closed. The server asks the kernel who its peer is (SO_PEERCRED).
//
// Who closes what: a server's method owns the files in its arguments; files in a result are
// closed after the reply was sent. A client's Call keeps its caller's files open and hands
// over those of the reply.
//
// Methods are registered by name with Register, a generic function, rather than found by
// reflection: a name that a peer may call is written down, and the linker may still drop
// unused methods.
package urpc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one frame.
const (
	MaxFrame = 8 << 20 // bytes of JSON: an exec's arguments and environment fit
	MaxFiles = 128     // descriptors; the kernel's own limit is SCM_MAX_FD (253)
)

// Errors that concern the connection rather than the called method.
var (
	ErrFrameTooLong = errors.New("urpc: frame too long")
	ErrTooManyFiles = errors.New("urpc: too many files in one message")
)

// RemoteError is a failure of the called method, in its own words.
type RemoteError struct{ Message string }

// Error returns the method's message unchanged.
func (e *RemoteError) Error() string { return e.Message }

// FilePayload is embedded in an argument or result that carries files.
type FilePayload struct {
	Files []*os.File `json:"-"`
}

func (p *FilePayload) payload() []*os.File     { return p.Files }
func (p *FilePayload) setPayload(f []*os.File) { p.Files = f }

// carrier is what embedding FilePayload makes of a type.
type carrier interface {
	payload() []*os.File
	setPayload([]*os.File)
}

type request struct {
	Method string          `json:"method"`
	Args   json.RawMessage `json:"args,omitempty"`
}

type reply struct {
	Success bool            `json:"success"`
	Error   string          `json:"error,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// conn frames messages over a connected stream socket. It is used by one goroutine at a
// time.
type conn struct {
	fd int
}

// writeFrame sends one message with files beside its first bytes.
func (c *conn) writeFrame(body []byte, files []*os.File) error {
	if len(body) > MaxFrame {
		return ErrFrameTooLong
	}
	if len(files) > MaxFiles {
		return ErrTooManyFiles
	}
	buf := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(buf, uint32(len(body)))
	buf = append(buf, body...)
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	for len(buf) > 0 {
		n, err := unix.SendmsgN(c.fd, buf, oob, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("sendmsg", err)
		}
		buf, oob = buf[n:], nil
	}
	return nil
}

// readFrame receives one message. io.EOF means that the peer closed between messages. The
// caller owns the files, which are close-on-exec.
func (c *conn) readFrame() (body []byte, files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeFiles(files)
			files = nil
		}
	}()
	var head [4]byte
	if err := c.readFull(head[:], &files); err != nil {
		return nil, files, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return nil, files, ErrFrameTooLong
	}
	// The peer has to send what it announces before memory is spent on it.
	var b bytes.Buffer
	chunk := make([]byte, min(int(n), 64<<10))
	for left := int(n); left > 0; {
		part := chunk[:min(left, len(chunk))]
		if err := c.readFull(part, &files); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, files, err
		}
		b.Write(part)
		left -= len(part)
	}
	return b.Bytes(), files, nil
}

// readFull fills p, gathering descriptors that arrive on the way. It returns io.EOF only if
// nothing was read.
func (c *conn) readFull(p []byte, files *[]*os.File) error {
	var oob [4096]byte
	for got := 0; got < len(p); {
		n, oobn, flags, _, err := unix.Recvmsg(c.fd, p[got:], oob[:], unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvmsg", err)
		}
		if oobn > 0 {
			*files = append(*files, parseRights(oob[:oobn])...)
		}
		if len(*files) > MaxFiles || flags&unix.MSG_CTRUNC != 0 {
			return ErrTooManyFiles
		}
		if n == 0 {
			if got == 0 {
				return io.EOF
			}
			return io.ErrUnexpectedEOF
		}
		got += n
	}
	return nil
}

// parseRights returns the descriptors in control data.
func parseRights(oob []byte) []*os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "urpc"))
		}
	}
	return files
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Client calls methods over one connection. It is not for concurrent use.
type Client struct {
	conn conn
}

// NewClient takes ownership of a connected, blocking stream socket.
func NewClient(fd int) *Client { return &Client{conn: conn{fd: fd}} }

// Dial connects to the unix stream socket at path; a leading '@' means the abstract
// namespace. It waits at most timeout for a server whose backlog is full.
func Dial(path string, timeout time.Duration) (*Client, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	tv := unix.NsecToTimeval(int64(timeout))
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{})
	return NewClient(fd), nil
}

// PeerPID returns the process that made the listening socket.
func (c *Client) PeerPID() (int, error) {
	cred, err := unix.GetsockoptUcred(c.conn.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// Call invokes a method and waits for its reply, for ever if need be. args and result may be
// nil. A failure of the method is a *RemoteError; any other error concerns the connection,
// which is then of no more use.
func (c *Client) Call(method string, args, result any) error {
	var files []*os.File
	if p, ok := args.(carrier); ok {
		files = p.payload()
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("urpc: encoding arguments of %s: %w", method, err)
	}
	body, err := json.Marshal(request{Method: method, Args: raw})
	if err != nil {
		return err
	}
	if err := c.conn.writeFrame(body, files); err != nil {
		return fmt.Errorf("urpc: calling %s: %w", method, err)
	}
	body, files, err = c.conn.readFrame()
	if err != nil {
		return fmt.Errorf("urpc: waiting for the reply to %s: %w", method, err)
	}
	var r reply
	if err := json.Unmarshal(body, &r); err != nil {
		closeFiles(files)
		return fmt.Errorf("urpc: reply to %s: %w", method, err)
	}
	if !r.Success {
		closeFiles(files)
		return &RemoteError{Message: r.Error}
	}
	if p, ok := result.(carrier); ok {
		p.setPayload(files)
	} else {
		closeFiles(files)
	}
	if result == nil || len(r.Result) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		return fmt.Errorf("urpc: result of %s: %w", method, err)
	}
	return nil
}

// Close ends the connection.
func (c *Client) Close() error {
	if c.conn.fd < 0 {
		return nil
	}
	fd := c.conn.fd
	c.conn.fd = -1
	return unix.Close(fd)
}
