package p9

import (
	"time"

	"golang.org/x/sys/unix"
)

// channelsAfter is how many requests a connection sees before it gets channels: a short-lived
// sandbox does without.
const channelsAfter = 64

// channels are the channels of a client. All fields are guarded by Client.mu.
type channels struct {
	all  []*channel
	free []*clientChannel // the last used at the end
	// requests counts up to channelsAfter. making: somebody asks for another channel. none:
	// the server has no more.
	requests     int
	making, none bool

	// clunks are fids that the server is to forget: beside the next requests, or when timer
	// fires, which is set if timed.
	clunks []uint32
	timer  *time.Timer // nil at first
	timed  bool
}

// clientChannel is a channel and the fids that the request on it gives up.
type clientChannel struct {
	*channel
	clunks []uint32
}

// clunkDelay bounds how long the server keeps what a closed fid holds, the room on the disk of a
// file that was deleted for example, when no request follows.
const clunkDelay = 10 * time.Millisecond

// takeChannel returns a channel for one request, or nil if there is none free. giveChannel
// follows.
func (c *Client) takeChannel() *clientChannel {
	if c.extension < extensionChannel {
		return nil
	}
	c.mu.Lock()
	s := &c.channels
	if s.requests < channelsAfter {
		s.requests++
		c.mu.Unlock()
		return nil
	}
	if n := len(s.free); n > 0 && c.dead == nil {
		ch := s.free[n-1]
		s.free = s.free[:n-1]
		c.users++
		s.load(ch)
		c.mu.Unlock()
		return ch
	}
	if c.dead != nil || s.making || s.none || len(s.all) == maxChannels {
		c.mu.Unlock()
		return nil
	}
	s.making = true
	c.mu.Unlock()
	ch, err := c.makeChannel()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.making = false
	if err != nil {
		s.none = true
		return nil
	}
	s.all = append(s.all, ch)
	if c.dead != nil {
		ch.shutdown()
	}
	c.users++
	made := &clientChannel{channel: ch}
	s.load(made)
	return made
}

// load lets the next request on ch give up fids. The caller holds Client.mu.
func (s *channels) load(ch *clientChannel) {
	n := max(len(s.clunks)-maxBeside, 0)
	ch.clunks = append(ch.clunks, s.clunks[n:]...)
	s.clunks = s.clunks[:n]
}

// makeChannel asks the server for a channel. An error leaves the connection as good as it was,
// unless the server broke the protocol.
func (c *Client) makeChannel() (*channel, error) {
	cl, err := c.begin(tChannel)
	if err != nil {
		return nil, err
	}
	if err := c.overSocket(cl); err != nil {
		c.release(cl)
		return nil, err
	}
	d, err := c.replied(cl)
	if err != nil {
		return nil, err
	}
	sock := cl.fd
	cl.fd = -1
	if err := c.finish(cl, &d); err != nil || sock < 0 {
		if sock >= 0 {
			unix.Close(sock)
		}
		return nil, unix.EIO
	}
	// The memory comes over the channel's own socket, first of all.
	hello := &channel{fd: -1}
	hello.sock.fd = sock
	if err := hello.heed(); err != nil || hello.fd < 0 {
		unix.Close(sock)
		return nil, unix.EPROTO
	}
	defer hello.dropFD()
	if err := checkMemory(hello.fd); err != nil {
		unix.Close(sock)
		return nil, err
	}
	return newChannel(hello.fd, sock, turnClient)
}

// giveChannel makes the channel free again, and the numbers of the fids that were given up.
func (c *Client) giveChannel(ch *clientChannel) {
	c.mu.Lock()
	c.freeFIDs = append(c.freeFIDs, ch.clunks...)
	ch.clunks = ch.clunks[:0]
	c.channels.free = append(c.channels.free, ch)
	c.users--
	c.closeIfUnusedLocked()
	c.mu.Unlock()
}

// overChannel sends the request through ch and waits for the reply. An error has killed the
// connection.
func (c *Client) overChannel(ch *clientChannel, cl *call) error {
	ch.giveUp(ch.clunks)
	err := ch.pass(cl.req.finish(cl.typ, cl.tag), -1)
	if err == nil {
		err = ch.await()
	}
	if err == nil {
		cl.replyTyp, cl.reply, err = ch.message(cl.reply)
	}
	if err == nil {
		cl.fd, err = ch.descriptor()
	}
	if err != nil {
		c.kill(err)
		c.giveChannel(ch)
		return unix.EIO
	}
	c.giveChannel(ch)
	return nil
}

// clunkBeside makes the server forget fid beside a later request, and says whether it could.
func (c *Client) clunkBeside(fid uint32) bool {
	c.mu.Lock()
	s := &c.channels
	if len(s.all) == 0 || c.dead != nil {
		c.mu.Unlock()
		return false
	}
	s.clunks = append(s.clunks, fid)
	full := len(s.clunks) >= maxBeside
	switch {
	case s.timed:
	case s.timer == nil:
		s.timer = time.AfterFunc(clunkDelay, c.clunkLate)
	default:
		s.timer.Reset(clunkDelay)
	}
	s.timed = true
	c.mu.Unlock()
	if full {
		c.clunkNow()
	}
	return true
}

// clunkLate is called by the timer.
func (c *Client) clunkLate() {
	c.mu.Lock()
	c.channels.timed = false
	c.mu.Unlock()
	c.clunkNow()
}

// clunkNow makes a request of its own of what clunkBeside has gathered.
func (c *Client) clunkNow() {
	for {
		c.mu.Lock()
		s := &c.channels
		n := len(s.clunks)
		if n == 0 || c.dead != nil {
			c.mu.Unlock()
			return
		}
		fid := s.clunks[n-1]
		s.clunks = s.clunks[:n-1]
		c.mu.Unlock()
		c.clunkAndWait(fid)
	}
}
