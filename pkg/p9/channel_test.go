package p9

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withChannel connects and makes requests until the connection has a channel.
func withChannel(t *testing.T, tree *memTree) (*Client, *ClientFile) {
	t.Helper()
	c, root := connect(t, tree)
	for range channelsAfter + 1 {
		if _, err := root.GetAttr(); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.channels.all) != 1 {
		t.Fatalf("%d channels after %d requests", len(c.channels.all), channelsAfter+1)
	}
	return c, root
}

// serverSide makes another client's connection whose server side is the test: it returns both
// ends of a channel, the client's being in use by c.
func serverSide(t *testing.T) (c *Client, theirs *channel) {
	t.Helper()
	memory, err := sealedMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memory)
	a, b := pair(t)
	mine, err := newChannel(memory, a, turnClient)
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err = newChannel(memory, b, turnServer); err != nil {
		t.Fatal(err)
	}
	sock, _ := pair(t)
	c = &Client{msize: MaxMessageSize, extension: ExtensionVersion}
	c.sock.fd = sock
	c.tagFree.L = &c.mu
	c.channels.requests = channelsAfter
	c.channels.all = []*channel{mine}
	c.channels.free = []*clientChannel{{channel: mine}}
	t.Cleanup(func() { c.Close(); theirs.close() })
	return c, theirs
}

func TestChannelsCarryRequestsAndDescriptors(t *testing.T) {
	c, root := withChannel(t, newMemTree())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 200 {
				name := fmt.Sprintf("f%d-%d", g, i)
				f, _, err := root.Create(name, unix.O_RDWR, 0o640, 1, 2)
				if err != nil {
					t.Errorf("Create(%s) = %v", name, err)
					return
				}
				if a, err := f.File.GetAttr(); err != nil || a.UID != 1 || a.GID != 2 {
					t.Errorf("GetAttr(%s) = %+v, %v", name, a, err)
				}
				f.File.Close()
				if err := root.Unlink(name, 0); err != nil {
					t.Errorf("Unlink(%s) = %v", name, err)
				}
				if err := root.Unlink(name, 0); err != unix.ENOENT {
					t.Errorf("second Unlink(%s) = %v", name, err)
				}
			}
		}()
	}
	wg.Wait()
	if n := len(c.channels.all); n > maxChannels || n != len(c.channels.free) {
		t.Errorf("%d channels, %d free", n, len(c.channels.free))
	}
	// A new session would pull the fids from under the channels.
	cl, err := c.begin(tVersion)
	if err != nil {
		t.Fatal(err)
	}
	cl.req.u32(MaxMessageSize)
	cl.req.str(versionPlain)
	if _, err := c.roundTrip(cl); err != unix.EBUSY {
		t.Errorf("Tversion beside channels: %v", err)
	}
}

// Closed fids are given up beside the next request, and soon if there is none.
func TestChannelsGiveUpFIDs(t *testing.T) {
	tree := newMemTree()
	c, root := withChannel(t, tree)
	nodes := func() int {
		tree.mu.Lock()
		defer tree.mu.Unlock()
		return tree.open
	}
	if _, err := root.Mkdir("d", 0o755, 0, 0); err != nil {
		t.Fatal(err)
	}
	before := nodes()
	for n := range 3*maxBeside + 2 {
		var all []*ClientFile
		for range n {
			var r [1]WalkResult
			if _, err := root.Walk([]string{"d"}, r[:]); err != nil {
				t.Fatal(err)
			}
			all = append(all, r[0].File)
		}
		for _, f := range all {
			f.Close()
		}
		if n%2 == 0 {
			for range n/maxBeside + 1 {
				if _, err := root.GetAttr(); err != nil {
					t.Fatal(err)
				}
			}
			if got := nodes(); got != before {
				t.Fatalf("%d nodes are open after %d were closed and a request, %d were before", got, n, before)
			}
			continue
		}
		within(t, "giving up the fids", func() {
			for nodes() != before {
				time.Sleep(time.Millisecond)
			}
		})
	}
	if n := int(c.nextFID); n > 1+(3+2)*maxBeside+maxAsync {
		t.Errorf("%d fid numbers used: they are not used again", n)
	}
}

func TestChannelAfterALongSleep(t *testing.T) {
	c, root := withChannel(t, newMemTree())
	server := &c.channels.all[0].words.side[turnServer].asleep
	for range 50 {
		for atomic.LoadUint32(server) == 0 { // it sleeps, soon
		}
		if _, err := root.GetAttr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChannelPassesDescriptors(t *testing.T) {
	c, theirs := serverSide(t)
	const rounds = 20
	go func() {
		for i := range rounds {
			theirs.await()
			if i%2 == 0 { // an old ring is in front
				theirs.sock.send(ring, -1)
			}
			theirs.pass(message(tGetattr+1, 0), 1)
		}
	}()
	for i := range rounds {
		cl, err := c.begin(tGetattr)
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.roundTrip(cl)
		if err != nil || cl.fd < 0 || !d.ok() {
			t.Fatalf("reply %d: %v, descriptor %d", i, err, cl.fd)
		}
		c.finish(cl, &d)
	}
}

func TestClientRefusesBadChannels(t *testing.T) {
	for name, answer := range map[string]func(ch *channel){
		"short message": func(ch *channel) { ch.pass(nil, -1) },
		"long message": func(ch *channel) {
			ch.words.length = channelSize
			atomic.StoreUint32(&ch.words.turn, turnClient)
			ch.sock.send(ring, -1)
		},
		"no descriptor": func(ch *channel) {
			copy(ch.mem[channelHeader:], message(tGetattr+1, 0))
			ch.words.length, ch.words.hasFD = headerSize, 1
			atomic.StoreUint32(&ch.words.turn, turnClient)
			for range 2 * maxStaleRings {
				ch.sock.send(ring, -1)
			}
		},
		"gone": func(ch *channel) { ch.shutdown() },
	} {
		t.Run(name, func(t *testing.T) {
			c, theirs := serverSide(t)
			go func() {
				theirs.await()
				answer(theirs)
			}()
			within(t, "the call", func() {
				cl, err := c.begin(tGetattr)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.roundTrip(cl); err != unix.EIO {
					t.Errorf("round trip = %v", err)
				}
			})
			if c.Dead() == nil {
				t.Error("the connection is still used")
			}
		})
	}
}

func TestServerRefusesBadChannels(t *testing.T) {
	for name, length := range map[string]uint32{"short": 3, "long": channelRoom + 1, "huge": ^uint32(0)} {
		t.Run(name, func(t *testing.T) {
			c, root := withChannel(t, newMemTree())
			ch := c.takeChannel()
			ch.words.length = length
			atomic.StoreUint32(&ch.words.turn, turnServer)
			ch.sock.send(ring, -1)
			within(t, "the end of the connection", func() {
				if err := ch.await(); err == nil {
					t.Error("the server replied")
				}
				c.giveChannel(ch)
				if _, err := root.StatFS(); err != unix.EIO {
					t.Errorf("StatFS = %v", err)
				}
			})
		})
	}
	t.Run("type", func(t *testing.T) {
		c, root := withChannel(t, newMemTree())
		for _, typ := range []uint8{tVersion, tFlush, tRead, tChannel, 0, 255} {
			ch := c.takeChannel()
			cl, err := c.begin(typ)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.overChannel(ch, cl); err != nil || cl.replyTyp != rLerror {
				t.Errorf("type %d: %v, reply %d", typ, err, cl.replyTyp)
			}
			c.release(cl)
		}
		if _, err := root.GetAttr(); err != nil {
			t.Error(err)
		}
	})
	t.Run("too many", func(t *testing.T) {
		c, _ := withChannel(t, newMemTree())
		var all []*channel
		for range maxChannels - 1 {
			ch, err := c.makeChannel()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, ch)
		}
		if _, err := c.makeChannel(); err != unix.EBUSY {
			t.Errorf("one more channel: %v", err)
		}
		for _, ch := range all {
			ch.close()
		}
	})
}

func TestCloseEndsCallsOverChannels(t *testing.T) {
	c, _ := serverSide(t)
	asleep := &c.channels.all[0].words.side[turnClient].asleep
	done := make(chan error)
	go func() {
		cl, err := c.begin(tGetattr)
		if err == nil {
			_, err = c.roundTrip(cl)
		}
		done <- err
	}()
	within(t, "Close", func() {
		for atomic.LoadUint32(asleep) == 0 {
		}
		c.Close()
		if err := <-done; err != unix.EIO {
			t.Errorf("the call returned %v", err)
		}
	})
	if c.sock.fd != -1 || c.channels.all != nil {
		t.Error("Close left the socket or a channel open")
	}
}

func TestMemoryThatCouldShrinkIsRefused(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Ftruncate(fd, channelSize)
	if err := checkMemory(fd); err != unix.EPROTO {
		t.Errorf("unsealed memory: %v", err)
	}
	small, _ := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	defer unix.Close(small)
	unix.FcntlInt(uintptr(small), unix.F_ADD_SEALS, channelSeals)
	if err := checkMemory(small); err != unix.EPROTO {
		t.Errorf("small memory: %v", err)
	}
	var p [2]int
	unix.Pipe2(p[:], unix.O_CLOEXEC)
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if err := checkMemory(p[0]); err == nil {
		t.Error("a pipe is taken for memory")
	}
}

// TestNoRingIsLost has requests that nobody waits for meet servers that are about to sleep.
func TestNoRingIsLost(t *testing.T) {
	for range 40 {
		c, root := connect(t, newMemTree())
		within(t, "files made and closed", func() {
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for i := range 60 {
						f, opened, err := root.Create(fmt.Sprintf("f%d-%d", g, i), unix.O_RDWR, 0o600, 0, 0)
						if err != nil {
							t.Error(err)
							return
						}
						if opened != nil {
							opened.Close()
						}
						f.File.Close()
					}
				}()
			}
			wg.Wait()
		})
		c.Close()
	}
}
