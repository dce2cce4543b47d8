package p9

import (
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// maxWorkers is how many requests of one connection are carried out at a time; more
	// stay in the socket.
	maxWorkers = 32

	// maxIdleWorkers is how many goroutines of a connection stay to wait for requests.
	maxIdleWorkers = 2

	// maxFIDs bounds what one client can make the server hold, besides the host's limits.
	maxFIDs = 1 << 20
)

// Serve serves the tree of attacher over the connected stream socket fd, which it owns,
// until the client is gone or breaks the protocol, and returns then, when every fid has
// been closed: nil after an orderly end of file, unix.EPROTO when the client's bytes made
// no sense, or the socket's error.
func Serve(fd int, attacher Attacher) error {
	cn := &conn{
		attacher: attacher,
		msize:    minMessageSize,
		fids:     map[uint32]*fid{},
		active:   map[uint16]*request{},
		buf:      make([]byte, recvBufferSize),
	}
	cn.sock.fd = fd
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_NONBLOCK != 0 {
		unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&^unix.O_NONBLOCK)
	}
	cn.workers.Store(1)
	cn.running.Add(1)
	cn.work()
	cn.running.Wait()
	for _, f := range cn.fids {
		f.unref()
	}
	unix.Close(fd)
	if errors.Is(cn.broken, unix.ECONNRESET) || errors.Is(cn.broken, unix.EPIPE) {
		return nil
	}
	return cn.broken
}

// conn is one client.
type conn struct {
	attacher Attacher
	running  sync.WaitGroup
	workers  atomic.Int32
	waiting  atomic.Int32 // workers that wait for recvMu or for the socket

	recvMu     sync.Mutex // guards the fields below: who holds it reads
	buf        []byte
	start, end int
	over       bool  // nothing more is read
	broken     error // why, if not for an end of file

	// Set by Tversion, with recvMu held while no other request is active, and read by every
	// active request.
	versioned bool
	msize     uint32
	extension int

	mu     sync.Mutex // guards the fields below
	fids   map[uint32]*fid
	active map[uint16]*request
	// channels are those in use; left: there are to be no more.
	channels []*channel
	left     bool

	sendMu sync.Mutex // held while a reply is written with sock
	sock   socket
}

// request is one request from its arrival until its reply is on the way. Each worker has
// one and uses it again.
type request struct {
	typ  uint8
	tag  uint16
	body []byte // in conn.buf, or in own

	// twice says that another request with this tag is active: an error.
	twice bool

	own    []byte // memory that is kept for bodies
	out    encoder
	donate int     // descriptor to send along, -1 if none
	after  closers // closed when the reply is sent

	flushes []uint16 // guarded by conn.mu: tags of Tflush requests that wait for this one
}

type closers interface{ Close() }

// work is a worker: it reads a request and carries it out, again and again. A request that
// is quick, and that no other one follows closely, is carried out while recvMu is still
// held, because waking another goroutine to read would cost more than it does.
func (cn *conn) work() {
	defer cn.running.Done()
	r := &request{donate: -1}
	for {
		cn.waiting.Add(1)
		cn.recvMu.Lock()
		cn.waiting.Add(-1)
		for {
			if !cn.over {
				if err := cn.receive(r); err != nil {
					cn.over = true
					if err != errEOF {
						cn.broken = err
					}
					// No worker is to wait for a client that has left.
					cn.sock.shutdown()
					cn.leave()
				}
			}
			if cn.over {
				cn.recvMu.Unlock()
				cn.workers.Add(-1)
				return
			}
			if r.typ != tVersion && (!quick(r.typ) || cn.start != cn.end) {
				break
			}
			cn.perform(r)
		}
		r.own = append(r.own[:0], r.body...)
		r.body = r.own
		if cn.waiting.Load() == 0 && cn.workers.Load() < maxWorkers {
			cn.workers.Add(1)
			cn.running.Add(1)
			go cn.work()
		}
		cn.recvMu.Unlock()
		cn.perform(r)
		r.trim()
		if cn.waiting.Load() >= maxIdleWorkers {
			cn.workers.Add(-1)
			return
		}
	}
}

// trim gives back buffers that an unusual request made large.
func (r *request) trim() {
	r.body = nil
	if cap(r.own) > keepBufferSize {
		r.own = nil
	}
	if cap(r.out.b) > keepBufferSize {
		r.out.b = nil
	}
}

// quick says whether a request of this type is over soon, as a rule: metadata, but not data.
func quick(typ uint8) bool {
	switch typ {
	case tRead, tWrite, tFsync, tAllocate, tFlushf, tLconnect, tReaddirplus:
		return false
	}
	return true
}

var errEOF = errors.New("end of file")

// receive reads one request. Its body stays in cn.buf. The caller holds recvMu.
func (cn *conn) receive(r *request) error {
	need := headerSize
	for {
		have := cn.end - cn.start
		if have >= headerSize {
			size := binary.LittleEndian.Uint32(cn.buf[cn.start:])
			if size < headerSize || size > cn.msize {
				return unix.EPROTO
			}
			need = int(size)
		}
		if have >= need {
			break
		}
		if have == 0 {
			cn.start, cn.end = 0, 0
			if len(cn.buf) > keepBufferSize {
				cn.buf = make([]byte, recvBufferSize)
			}
		}
		if cn.start+need > len(cn.buf) || cn.end == len(cn.buf) {
			buf := cn.buf
			if need > len(buf) {
				buf = make([]byte, need)
			}
			copy(buf, cn.buf[cn.start:cn.end])
			cn.buf, cn.start, cn.end = buf, 0, have
		}
		n, err := cn.sock.read(cn.buf[cn.end:])
		switch {
		case err != nil:
			return err
		case n == 0 && have == 0:
			return errEOF
		case n == 0:
			return unix.EPROTO
		}
		cn.end += n
	}
	m := cn.buf[cn.start : cn.start+need]
	cn.start += need
	r.typ = m[4]
	r.tag = binary.LittleEndian.Uint16(m[5:])
	r.body = m[headerSize:]
	r.twice = false
	if r.typ != tFlush {
		cn.mu.Lock()
		if _, r.twice = cn.active[r.tag]; !r.twice {
			cn.active[r.tag] = r
		}
		cn.mu.Unlock()
	}
	return nil
}

// perform carries out a request and replies.
func (cn *conn) perform(r *request) {
	if r.typ == tFlush {
		cn.flush(r)
		return
	}
	r.out.start()
	err := error(unix.EINVAL)
	if !r.twice {
		d := decoder{b: r.body}
		err = cn.handle(r, &d)
	}
	typ := r.typ + 1
	if err != nil {
		typ = rLerror
		r.out.start()
		r.out.u32(uint32(errnoOf(err)))
	}
	if !r.twice {
		cn.mu.Lock()
		delete(cn.active, r.tag)
		cn.mu.Unlock()
	}
	cn.reply(r, typ)
	// The request is not active any more, so no flush is added.
	for _, tag := range r.flushes {
		cn.replyFlush(r, tag)
	}
	r.flushes = r.flushes[:0]
}

// flush carries out Tflush: its reply comes behind that of the request it names, which is
// never given up half-way.
func (cn *conn) flush(r *request) {
	d := decoder{b: r.body}
	old := d.u16()
	if !d.ok() {
		r.out.start()
		r.out.u32(uint32(unix.EINVAL))
		cn.reply(r, rLerror)
		return
	}
	cn.mu.Lock()
	if active := cn.active[old]; active != nil && len(active.flushes) < maxInFlight {
		active.flushes = append(active.flushes, r.tag)
		cn.mu.Unlock()
		return
	}
	cn.mu.Unlock()
	cn.replyFlush(r, r.tag)
}

func (cn *conn) replyFlush(r *request, tag uint16) {
	r.out.start()
	r.tag = tag
	cn.reply(r, tFlush+1)
}

// reply sends what is in r.out. When that fails the client is gone, which the reader finds
// out too.
func (cn *conn) reply(r *request, typ uint8) {
	msg := r.out.finish(typ, r.tag)
	cn.sendMu.Lock()
	err := cn.sock.send(msg, r.donate)
	cn.sendMu.Unlock()
	if r.after != nil {
		r.after.Close()
		r.after = nil
	}
	r.donate = -1
	if err != nil {
		cn.sock.shutdown()
	}
}

// errnoOf returns the errno that err holds, or EIO.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	return unix.EIO
}

// version carries out Tversion, which begins a session: every fid is dropped.
func (cn *conn) version(r *request, d *decoder) error {
	msize, version := d.u32(), d.str()
	if !d.ok() {
		return unix.EINVAL
	}
	cn.mu.Lock()
	if len(cn.active) > 1 || len(cn.channels) > 0 { // active is this one
		cn.mu.Unlock()
		return unix.EBUSY
	}
	fids := cn.fids
	cn.fids = map[uint32]*fid{}
	cn.mu.Unlock()
	for _, f := range fids {
		f.unref()
	}
	if msize < minMessageSize {
		return unix.EINVAL
	}
	cn.versioned = false
	cn.extension = 0
	cn.msize = min(msize, MaxMessageSize)
	answer := "unknown"
	switch ext, isExt := parseVersion(version); {
	case isExt:
		cn.versioned = true
		cn.extension = min(ext, ExtensionVersion)
		answer = versionExtended + strconv.Itoa(cn.extension)
	case version == versionPlain:
		cn.versioned = true
		answer = versionPlain
	}
	r.out.u32(cn.msize)
	r.out.str(answer)
	return nil
}
