package urpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxConns bounds the connections, and so the goroutines and buffers, that clients can make
// the server hold. More than this wait in the socket's backlog.
const maxConns = 512

// Peer is who called, as the kernel knows it.
type Peer struct {
	PID, UID, GID int
}

// handler decodes arguments, runs a method and returns its result.
type handler interface {
	call(args json.RawMessage, files []*os.File) (result any, err error)
}

type method[A, R any] func(args *A, result *R) error

func (m method[A, R]) call(raw json.RawMessage, files []*os.File) (any, error) {
	var args A
	if len(raw) > 0 && !bytes.Equal(raw, []byte("null")) {
		if err := json.Unmarshal(raw, &args); err != nil {
			closeFiles(files)
			return nil, fmt.Errorf("bad arguments: %w", err)
		}
	}
	if p, ok := any(&args).(carrier); ok {
		p.setPayload(files)
	} else {
		closeFiles(files)
	}
	var result R
	if err := m(&args, &result); err != nil {
		return nil, err
	}
	return &result, nil
}

// Server answers calls on any number of connections.
type Server struct {
	// Allow decides who may call; nil allows only the server's own user and root.
	// It is set before Serve.
	Allow func(Peer) bool

	methods map[string]handler // only changed before Serve

	mu     sync.Mutex // guards the fields below
	conns  map[*serverConn]struct{}
	closed bool

	wg    sync.WaitGroup // one per connection
	slots chan struct{}  // capacity maxConns
}

type serverConn struct {
	conn
	busy bool // guarded by Server.mu: a request was read and its reply not yet sent
	shut bool // guarded by Server.mu
}

// NewServer returns a server without methods.
func NewServer() *Server {
	return &Server{
		methods: make(map[string]handler),
		conns:   make(map[*serverConn]struct{}),
		slots:   make(chan struct{}, maxConns),
	}
}

// Register makes f callable as name. Not to be called once the server runs.
func Register[A, R any](s *Server, name string, f func(args *A, result *R) error) {
	if _, ok := s.methods[name]; ok {
		panic("urpc: method registered twice: " + name)
	}
	s.methods[name] = method[A, R](f)
}

// Serve accepts connections on a listening socket until it fails or is shut down. It needs
// no system calls but accept4, getsockopt, recvmsg, sendmsg, shutdown and close. The
// descriptor stays the caller's.
func (s *Server) Serve(listenFD int) error {
	for {
		s.slots <- struct{}{}
		fd, _, err := unix.Accept4(listenFD, unix.SOCK_CLOEXEC)
		if err != nil {
			<-s.slots
			if err == unix.EINTR || err == unix.ECONNABORTED {
				continue
			}
			return os.NewSyscallError("accept", err)
		}
		if !s.allowed(fd) || !s.handle(fd) {
			unix.Close(fd)
			<-s.slots
		}
	}
}

func (s *Server) allowed(fd int) bool {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return false
	}
	p := Peer{PID: int(cred.Pid), UID: int(cred.Uid), GID: int(cred.Gid)}
	if s.Allow != nil {
		return s.Allow(p)
	}
	return p.UID == 0 || p.UID == os.Getuid()
}

// handle starts the goroutine of a connection, which then owns fd and the slot.
func (s *Server) handle(fd int) bool {
	c := &serverConn{conn: conn{fd: fd}}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		for s.serveOne(c) {
		}
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		unix.Close(c.fd)
		<-s.slots
	}()
	return true
}

// serveOne answers one request and says whether the connection is still good.
func (s *Server) serveOne(c *serverConn) bool {
	body, files, err := c.readFrame()
	if err != nil {
		if err != io.EOF && (errors.Is(err, ErrFrameTooLong) || errors.Is(err, ErrTooManyFiles)) {
			s.send(c, reply{Error: err.Error()}, nil)
		}
		return false
	}
	s.mu.Lock()
	if c.shut {
		s.mu.Unlock()
		closeFiles(files)
		return false
	}
	c.busy = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		c.busy = false
		s.mu.Unlock()
	}()

	var req request
	if err := json.Unmarshal(body, &req); err != nil {
		closeFiles(files)
		return s.send(c, reply{Error: "malformed request: " + err.Error()}, nil)
	}
	m, ok := s.methods[req.Method]
	if !ok {
		closeFiles(files)
		return s.send(c, reply{Error: fmt.Sprintf("unknown method %q", req.Method)}, nil)
	}
	result, err := m.call(req.Args, files)
	if err != nil {
		return s.send(c, reply{Error: err.Error()}, nil)
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return s.send(c, reply{Error: "encoding result: " + err.Error()}, nil)
	}
	var out []*os.File
	if p, ok := result.(carrier); ok {
		out = p.payload()
		defer closeFiles(out)
	}
	return s.send(c, reply{Success: true, Result: raw}, out)
}

func (s *Server) send(c *serverConn, r reply, files []*os.File) bool {
	body, err := json.Marshal(r)
	if err == nil && len(body) > MaxFrame {
		files = nil
		body, err = json.Marshal(reply{Error: "result too long"})
	}
	return err == nil && c.writeFrame(body, files) == nil
}

// Shutdown lets the calls under way finish and send their replies, and ends all other
// connections. The listening socket must have been shut down or be given up by the caller.
func (s *Server) Shutdown() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.shut = true
		if c.busy {
			unix.Shutdown(c.fd, unix.SHUT_RD)
		} else {
			unix.Shutdown(c.fd, unix.SHUT_RDWR)
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}
