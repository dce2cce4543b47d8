package p9

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxInFlight bounds the tags of a client; a caller without one waits.
	maxInFlight = 1024

	// maxAsync bounds the clunks whose reply nobody waits for. So many replies always fit
	// into the socket's buffer, so that they cannot block the server while nobody reads.
	maxAsync = 32

	// recvBufferSize is the client's and server's read buffer: more than most messages.
	recvBufferSize = 32 << 10

	// keepBufferSize is the most that an idle call or worker keeps as its buffer.
	keepBufferSize = 64 << 10
)

// Client is one connection to a server. All methods may be called by any number of
// goroutines. Errors are unix.Errno: the server's, or EIO once the connection is dead.
type Client struct {
	// Relieve, if not nil, is called when a request failed because the server, or this
	// process, has no room for another descriptor. It gives up files that are not in use,
	// and says whether there were any: then the request is made again. It is set before the
	// client is used.
	Relieve func() bool

	// Immutable once NewClient has returned.
	msize     uint32
	extension int

	sendMu sync.Mutex // held while a message is written
	sock   socket     // its recv half belongs to whoever set reading

	mu       sync.Mutex // guards the fields below
	tagFree  sync.Cond  // signalled when a tag becomes free
	calls    []*call    // by tag; grows to maxInFlight
	free     []*call
	waiters  callList // calls whose goroutine is parked
	reading  bool     // somebody is in readReplies
	dead     error    // why, once the connection is of no use
	users    int      // goroutines between begin and release
	closing  bool
	async    int // calls that nobody waits for
	nextFID  uint32
	freeFIDs []uint32
	channels channels

	// The fields below belong to whoever set reading.
	buf        []byte
	start, end int // what of buf is still to be taken apart
	fds        []receivedFD
}

// receivedFD is a descriptor that came with the bytes of the buffer up to end. It belongs to
// the message that holds the last of them: the kernel ends a recvmsg behind the bytes that
// were sent together with descriptors.
type receivedFD struct {
	fd  int32
	end int
}

// call is one request and its reply. It belongs to its caller from begin to release.
type call struct {
	tag  uint16
	typ  uint8
	req  encoder
	wake chan struct{} // one token: done, or be the reader

	// Guarded by Client.mu until done is set.
	pending  bool // the reply is still to come
	nobody   bool // no goroutine waits for it
	fid      uint32
	replyTyp uint8
	reply    []byte
	fd       int // came with the reply, or lostFD; -1 if none

	listed     bool
	next, prev *call
}

// callList is the list of parked calls, oldest first.
type callList struct {
	head, tail *call
}

func (l *callList) push(c *call) {
	c.listed, c.prev, c.next = true, l.tail, nil
	if l.tail != nil {
		l.tail.next = c
	} else {
		l.head = c
	}
	l.tail = c
}

func (l *callList) remove(c *call) {
	if !c.listed {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.tail = c.prev
	}
	c.listed, c.prev, c.next = false, nil, nil
}

// NewClient agrees on a version and a message size of at most msize with the server behind
// the socket fd, which the client owns from now on, even if NewClient fails.
func NewClient(fd int, msize uint32) (*Client, error) {
	if msize > MaxMessageSize {
		msize = MaxMessageSize
	}
	if msize < minMessageSize {
		msize = minMessageSize
	}
	c := &Client{msize: msize, buf: make([]byte, recvBufferSize)}
	c.sock.fd = fd
	c.tagFree.L = &c.mu
	cl := &call{tag: NoTag, wake: make(chan struct{}, 1), fd: -1}
	if err := c.version(cl); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// version is the first exchange, made before anybody else knows the client.
func (c *Client) version(cl *call) error {
	cl.req.start()
	cl.req.u32(c.msize)
	cl.req.str(versionExtended + strconv.Itoa(ExtensionVersion))
	if err := c.sock.send(cl.req.finish(tVersion, NoTag), -1); err != nil {
		return fmt.Errorf("9p: sending version: %w", err)
	}
	typ, tag, body, fd, err := c.next()
	if fd >= 0 {
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("9p: reading version: %w", err)
	}
	d := decoder{b: body}
	msize, version := d.u32(), d.str()
	if typ != rVersion || tag != NoTag || !d.ok() || msize < minMessageSize || msize > c.msize {
		return fmt.Errorf("9p: bad reply to version: %w", unix.EPROTO)
	}
	c.msize = msize
	switch ext, isExt := parseVersion(version); {
	case version == versionPlain:
	case isExt && ext <= ExtensionVersion:
		c.extension = ext
	default:
		return fmt.Errorf("9p: the server wants version %q: %w", version, unix.EPROTO)
	}
	return nil
}

// parseVersion returns the N of "9P2000.L.runsc.N".
func parseVersion(s string) (int, bool) {
	digits, found := strings.CutPrefix(s, versionExtended)
	if !found || len(digits) > 6 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return int(n), err == nil && n > 0
}

// Extension returns the agreed version of the extensions, 0 for plain 9P2000.L.
func (c *Client) Extension() int { return c.extension }

// MaxIO returns the most bytes that one Tread or Twrite moves.
func (c *Client) MaxIO() int { return int(c.msize) - ioHeaderSize }

// Dead returns why the connection is of no use any more, or nil.
func (c *Client) Dead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// Close ends the connection. Calls under way and later ones return EIO. The server drops
// all fids by itself.
func (c *Client) Close() {
	c.mu.Lock()
	c.closing = true
	c.killLocked(unix.ESHUTDOWN)
	c.closeIfUnusedLocked()
	c.mu.Unlock()
}

// kill declares the connection dead because of err and lets every waiting caller know.
func (c *Client) kill(err error) {
	c.mu.Lock()
	c.killLocked(err)
	c.mu.Unlock()
}

func (c *Client) killLocked(err error) {
	if c.dead != nil {
		return
	}
	c.dead = err
	c.sock.shutdown()
	for _, ch := range c.channels.all {
		ch.shutdown()
	}
	for c.waiters.head != nil {
		cl := c.waiters.head
		c.waiters.remove(cl)
		cl.wake <- struct{}{}
	}
	c.tagFree.Broadcast()
}

// closeIfUnusedLocked closes the socket when it is no longer wanted and no goroutine can be
// in a system call with its number.
func (c *Client) closeIfUnusedLocked() {
	if c.closing && c.users == 0 && c.sock.fd >= 0 {
		unix.Close(c.sock.fd)
		c.sock.fd = -1
		c.dropFDs()
		for _, ch := range c.channels.all {
			ch.close()
		}
		c.channels.all, c.channels.free = nil, nil
	}
}

func (c *Client) dropFDs() {
	for _, r := range c.fds {
		unix.Close(int(r.fd))
	}
	c.fds = c.fds[:0]
}

// begin starts a call of the given type: it waits for a free tag, and leaves the request's
// buffer ready for the body. EIO when the connection is dead.
func (c *Client) begin(typ uint8) (*call, error) {
	c.mu.Lock()
	for c.dead == nil && len(c.free) == 0 && len(c.calls) >= maxInFlight {
		c.tagFree.Wait()
	}
	if c.dead != nil {
		c.mu.Unlock()
		return nil, unix.EIO
	}
	var cl *call
	if n := len(c.free); n > 0 {
		cl = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		cl = &call{tag: uint16(len(c.calls)), wake: make(chan struct{}, 1), fd: -1}
		c.calls = append(c.calls, cl)
	}
	c.users++
	c.mu.Unlock()
	cl.typ = typ
	cl.req.start()
	return cl, nil
}

// release gives the call back; its reply's buffer must not be used any more.
func (c *Client) release(cl *call) {
	if cl.fd >= 0 {
		unix.Close(cl.fd)
	}
	cl.fd = -1
	if cap(cl.reply) > keepBufferSize {
		cl.reply = nil
	}
	if cap(cl.req.b) > keepBufferSize {
		cl.req.b = nil
	}
	c.mu.Lock()
	c.releaseLocked(cl)
	c.users--
	c.closeIfUnusedLocked()
	c.mu.Unlock()
}

func (c *Client) releaseLocked(cl *call) {
	cl.nobody = false
	if cl.pending { // dead connection: the tag is never used again
		return
	}
	c.free = append(c.free, cl)
	c.tagFree.Signal()
}

// send writes the call's request. The reply may come, and end a call that nobody waits for,
// before send returns, so that cl is not used once it is pending.
func (c *Client) send(cl *call) error {
	msg := cl.req.finish(cl.typ, cl.tag)
	if len(msg) > int(c.msize) {
		return unix.E2BIG
	}
	c.mu.Lock()
	cl.pending = true
	c.mu.Unlock()
	c.sendMu.Lock()
	err := c.sock.send(msg, -1)
	c.sendMu.Unlock()
	if err != nil {
		c.kill(err)
		return unix.EIO
	}
	return nil
}

// maxRelief is how often a request is made again after Relieve. The clunks of what was given
// up may still be on their way when it is repeated.
const maxRelief = 3

// roundTrip sends the request and waits for the reply. With an error the call has been
// released; otherwise the caller decodes the reply and ends with finish.
func (c *Client) roundTrip(cl *call) (decoder, error) {
	for tries := 0; ; tries++ {
		if err := c.exchange(cl); err != nil {
			c.release(cl)
			return decoder{}, err
		}
		if !cl.noRoom() || !c.relieved(tries) {
			return c.replied(cl)
		}
	}
}

// noRoom says whether the reply is that the server has no room for another descriptor.
func (cl *call) noRoom() bool {
	if cl.replyTyp != rLerror {
		return false
	}
	d := decoder{b: cl.reply}
	return isNoRoom(unix.Errno(d.u32()))
}

func isNoRoom(err error) bool { return err == unix.EMFILE || err == unix.ENFILE }

// relieved makes room for descriptors, if that was not tried too often.
func (c *Client) relieved(tries int) bool {
	return tries < maxRelief && c.Relieve != nil && c.Relieve()
}

// exchange sends the request and waits for the reply. After an error there is none.
func (c *Client) exchange(cl *call) error {
	if fitsChannel(cl.typ) && len(cl.req.b) <= channelRoom {
		if ch := c.takeChannel(); ch != nil {
			return c.overChannel(ch, cl)
		}
	}
	return c.overSocket(cl)
}

// overSocket is exchange over the connection's socket.
func (c *Client) overSocket(cl *call) error {
	if err := c.send(cl); err != nil {
		return err
	}
	return c.wait(cl)
}

// replied looks at the reply of a call.
func (c *Client) replied(cl *call) (decoder, error) {
	d := decoder{b: cl.reply}
	switch cl.replyTyp {
	case cl.typ + 1:
		return d, nil
	case rLerror:
		errno := unix.Errno(d.u32())
		if !d.ok() {
			c.kill(unix.EPROTO)
		}
		if !d.ok() || errno == 0 || errno > unix.EHWPOISON {
			errno = unix.EIO
		}
		c.release(cl)
		return decoder{}, errno
	}
	c.kill(unix.EPROTO)
	c.release(cl)
	return decoder{}, unix.EIO
}

// finish ends a call whose reply was decoded with d. A reply that was too short or too long
// means that the server cannot be trusted: EIO, and the connection is dead.
func (c *Client) finish(cl *call, d *decoder) error {
	ok := d.ok()
	if !ok {
		c.kill(unix.EPROTO)
	}
	c.release(cl)
	if !ok {
		return unix.EIO
	}
	return nil
}

// bad ends a call whose reply was well-formed but impossible.
func (c *Client) bad(cl *call) error {
	c.kill(unix.EPROTO)
	c.release(cl)
	return unix.EIO
}

// wait returns when the call's reply is there or the connection is dead, reading the socket
// itself when nobody else does.
func (c *Client) wait(cl *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if !cl.pending {
			return nil
		}
		if c.dead != nil {
			return unix.EIO
		}
		if c.reading {
			c.waiters.push(cl)
			c.mu.Unlock()
			<-cl.wake
			c.mu.Lock()
			continue
		}
		c.reading = true
		c.mu.Unlock()
		err := c.readReplies(cl)
		c.mu.Lock()
		c.reading = false
		if err != nil {
			c.killLocked(err)
		}
		// The next in the queue reads from now on.
		if next := c.waiters.head; next != nil {
			c.waiters.remove(next)
			next.wake <- struct{}{}
		}
	}
}

// readReplies reads replies and hands them out until that of cl has come. The caller has
// set c.reading.
func (c *Client) readReplies(cl *call) error {
	for {
		typ, tag, body, fd, err := c.next()
		if err != nil {
			return err
		}
		c.mu.Lock()
		if int(tag) >= len(c.calls) || !c.calls[tag].pending {
			c.mu.Unlock()
			if fd >= 0 {
				unix.Close(fd)
			}
			return unix.EPROTO
		}
		to := c.calls[tag]
		to.pending = false
		if to.nobody {
			c.finishAsyncLocked(to)
			c.mu.Unlock()
			if fd >= 0 {
				unix.Close(fd)
			}
			continue
		}
		to.replyTyp = typ
		to.reply = append(to.reply[:0], body...)
		to.fd = fd
		if to == cl {
			c.mu.Unlock()
			return nil
		}
		if to.listed {
			c.waiters.remove(to)
			to.wake <- struct{}{}
		}
		c.mu.Unlock()
	}
}

// next returns the next message, whose body is valid until the next call, and the
// descriptor that came with it, lostFD or -1. The caller has set c.reading.
func (c *Client) next() (typ uint8, tag uint16, body []byte, fd int, err error) {
	need := headerSize
	for {
		have := c.end - c.start
		if have >= headerSize {
			size := binary.LittleEndian.Uint32(c.buf[c.start:])
			if size < headerSize || size > c.msize {
				return 0, 0, nil, -1, unix.EPROTO
			}
			need = int(size)
		}
		if have >= need {
			break
		}
		if c.start == c.end {
			c.start, c.end = 0, 0
			if len(c.buf) > keepBufferSize {
				c.buf = make([]byte, recvBufferSize)
			}
		}
		if c.start+need > len(c.buf) || c.end == len(c.buf) {
			buf := c.buf
			if need > len(buf) {
				buf = make([]byte, need)
			}
			copy(buf, c.buf[c.start:c.end])
			for i := range c.fds {
				c.fds[i].end -= c.start
			}
			c.buf, c.start, c.end = buf, 0, have
		}
		var fds [maxFDs]int32
		n, nfds, err := c.sock.recv(c.buf[c.end:], &fds)
		for _, fd := range fds[:nfds] {
			c.fds = append(c.fds, receivedFD{fd, c.end + n})
		}
		if err != nil {
			return 0, 0, nil, -1, err
		}
		if n == 0 {
			return 0, 0, nil, -1, unix.ECONNRESET
		}
		if len(c.fds) > maxFDs {
			return 0, 0, nil, -1, unix.EPROTO
		}
		c.end += n
	}
	m := c.buf[c.start : c.start+need]
	c.start += need
	fd = -1
	for len(c.fds) > 0 && c.fds[0].end <= c.start {
		if fd < 0 {
			fd = int(c.fds[0].fd)
		} else {
			unix.Close(int(c.fds[0].fd))
		}
		c.fds = append(c.fds[:0], c.fds[1:]...)
	}
	return m[4], binary.LittleEndian.Uint16(m[5:]), m[headerSize:], fd, nil
}

// newFID returns an unused fid number.
func (c *Client) newFID() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.freeFIDs); n > 0 {
		fid := c.freeFIDs[n-1]
		c.freeFIDs = c.freeFIDs[:n-1]
		return fid
	}
	fid := c.nextFID
	c.nextFID++
	return fid
}

// freeFID makes the number of a fid that the server has forgotten, or never knew, usable.
func (c *Client) freeFID(fid uint32) {
	c.mu.Lock()
	c.freeFIDs = append(c.freeFIDs, fid)
	c.mu.Unlock()
}

// clunk makes the server forget fid, soon. It does not wait for the reply unless too many such
// replies are still to come.
func (c *Client) clunk(fid uint32) {
	if c.clunkBeside(fid) {
		return
	}
	c.mu.Lock()
	wait := c.async >= maxAsync
	if !wait {
		c.async++
	}
	c.mu.Unlock()
	if wait {
		c.clunkAndWait(fid)
		return
	}
	cl, err := c.begin(tClunk)
	if err != nil {
		return
	}
	cl.req.u32(fid)
	cl.nobody = true
	cl.fid = fid
	c.send(cl)
	// The call is now the reader's, which frees it when the reply comes.
	c.mu.Lock()
	c.users--
	c.closeIfUnusedLocked()
	c.mu.Unlock()
}

// clunkAndWait is clunk that waits for the reply.
func (c *Client) clunkAndWait(fid uint32) {
	cl, err := c.begin(tClunk)
	if err != nil {
		return
	}
	cl.req.u32(fid)
	if c.empty(cl) == nil {
		c.freeFID(fid)
	}
}

// finishAsyncLocked ends a call that nobody waits for.
func (c *Client) finishAsyncLocked(cl *call) {
	c.async--
	c.freeFIDs = append(c.freeFIDs, cl.fid)
	c.releaseLocked(cl)
}
