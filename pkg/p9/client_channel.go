package p9

import "golang.org/x/sys/unix"

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
}

// clientChannel is a channel and what it still does for nobody.
type clientChannel struct {
	*channel
	// pending: a reply that nobody waits for is to come, to the Tclunk of fid.
	pending bool
	fid     uint32
}

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
	return &clientChannel{channel: ch}
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

// giveChannel makes the channel free again.
func (c *Client) giveChannel(ch *clientChannel) {
	c.mu.Lock()
	c.channels.free = append(c.channels.free, ch)
	c.users--
	c.closeIfUnusedLocked()
	c.mu.Unlock()
}

// overChannel sends the request through ch and waits for the reply. An error has killed the
// connection.
func (c *Client) overChannel(ch *clientChannel, cl *call) error {
	err := c.settle(ch)
	if err == nil {
		err = ch.pass(cl.req.finish(cl.typ, cl.tag), -1)
	}
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

// settle waits for the reply that nobody waited for.
func (c *Client) settle(ch *clientChannel) error {
	if !ch.pending {
		return nil
	}
	if err := ch.await(); err != nil {
		return err
	}
	ch.pending = false
	c.freeFID(ch.fid)
	if _, err := ch.descriptor(); err != nil {
		return err
	}
	return nil
}

// clunkOverChannel makes the server forget fid without waiting for the reply.
func (c *Client) clunkOverChannel(ch *clientChannel, fid uint32) {
	err := c.settle(ch)
	if err == nil {
		var e encoder
		var store [32]byte
		e.b = store[:headerSize]
		e.u32(fid)
		ch.pending, ch.fid = true, fid
		err = ch.pass(e.finish(tClunk, 0), -1)
	}
	if err != nil {
		c.kill(err)
	}
	c.giveChannel(ch)
}
