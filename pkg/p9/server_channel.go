package p9

import (
	"golang.org/x/sys/unix"
)

// channel carries out Tchannel.
func (cn *conn) channel(r *request, d *decoder) error {
	if !d.ok() {
		return unix.EINVAL
	}
	memory, err := sealedMemory()
	if err != nil {
		return err
	}
	defer unix.Close(memory)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ch, err := newChannel(memory, pair[0], turnServer)
	if err != nil {
		unix.Close(pair[1])
		return err
	}
	if err := ch.sock.send(ring, memory); err != nil {
		unix.Close(pair[1])
		ch.close()
		return err
	}
	cn.mu.Lock()
	if cn.left || len(cn.channels) == maxChannels {
		cn.mu.Unlock()
		unix.Close(pair[1])
		ch.close()
		return unix.EBUSY
	}
	cn.channels = append(cn.channels, ch)
	cn.running.Add(1)
	cn.mu.Unlock()
	go cn.serveChannel(ch)
	r.donate = pair[1]
	r.after = ownedFD(pair[1])
	return nil
}

// leave ends all channels: the client is gone. It is called once the connection's socket is at
// its end.
func (cn *conn) leave() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.left = true
	for _, ch := range cn.channels {
		ch.shutdown()
	}
}

// serveChannel carries out the requests of one channel until the client leaves it, perhaps
// before it had it: there was no room for its descriptors. One that breaks the protocol loses the
// connection.
func (cn *conn) serveChannel(ch *channel) {
	defer cn.running.Done()
	r := &request{donate: -1}
	for ch.await() == nil {
		var err error
		if r.typ, r.own, err = ch.message(r.own); err == nil {
			err = cn.performOverChannel(ch, r)
		}
		if err != nil {
			cn.sock.shutdown()
			break
		}
		r.trim()
	}
	cn.mu.Lock()
	for i, other := range cn.channels {
		if other == ch {
			cn.channels = append(cn.channels[:i], cn.channels[i+1:]...)
			break
		}
	}
	cn.mu.Unlock()
	ch.close()
}

// performOverChannel carries out the request whose body is r.own and passes the reply.
func (cn *conn) performOverChannel(ch *channel, r *request) error {
	var fids [maxBeside]uint32
	for _, n := range ch.givenUp(&fids) {
		if f, err := cn.remove(n); err == nil {
			f.unref()
		}
	}
	r.body = r.own
	r.out.start()
	err := error(unix.EINVAL)
	if fitsChannel(r.typ) {
		d := decoder{b: r.body}
		err = cn.handle(r, &d)
	}
	if err == nil && len(r.out.b) > channelRoom {
		err = unix.EMSGSIZE
	}
	typ := r.typ + 1
	if err != nil {
		typ = rLerror
		r.out.start()
		r.out.u32(uint32(errnoOf(err)))
	}
	err = ch.pass(r.out.finish(typ, 0), r.donate)
	if r.after != nil {
		r.after.Close()
		r.after = nil
	}
	r.donate = -1
	return err
}
