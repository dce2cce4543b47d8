package p9

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/spin"
)

// A channel carries one request at a time in memory that both sides map, beside the connection
// it belongs to. Its turn word says who may write the memory: the client puts a message there
// and gives the turn to the server, which puts the reply in its place and gives it back. Who
// waits for its turn looks at the word for a while, where that is cheap, and then sleeps in
// recvmsg(2) of the channel's socket, which the other side rings with one byte. So a request
// that is one of many costs no system call, an idle channel costs no CPU, and a peer that died
// is an end of file. Descriptors come over the socket, behind the turn. Beside its request the
// client names fids that it has done with.
//
// Neither side believes the other: a message is copied out once, with a length that was read
// once, before it is looked at; the memory cannot be shrunk (F_SEAL_SHRINK).

const (
	channelSize   = 64 << 10
	channelHeader = 4096
	// channelRoom is the longest message.
	channelRoom = channelSize - channelHeader

	// maxChannels is how many a connection has, at most: requests that find none free go
	// over the connection's socket.
	maxChannels = 4

	channelSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
)

// Values of the turn word.
const (
	turnClient = iota
	turnServer
)

// channelWords is the beginning of a channel's memory. Each side writes words in cache lines
// of its own, but for those that belong to who has the turn.
type channelWords struct {
	turn   uint32
	length uint32 // of the message
	hasFD  uint32 // a descriptor comes with the reply
	clunks uint32 // how many of fids the server is to forget before it looks at the request
	_      [48]byte
	side   [2]struct {
		asleep uint32 // wants to be rung
		cpu    uint32 // 1 + the CPU it was on last
		_      [56]byte
	}
	fids [maxBeside]uint32
}

// maxBeside is how many fids the client gives up beside one request.
const maxBeside = 64

// lookFor is how long to wait for a turn without sleeping: more than most operations of a
// file system take.
const lookFor = 60 // µs

// patience is whether looking has paid lately.
type patience struct {
	luck int
	skip int
}

const (
	maxLuck   = 8  // so many times without luck in a row, and no more looking
	skipLooks = 32 // for so many times
)

// try says whether to look this time.
func (p *patience) try() bool {
	if p.skip > 0 {
		p.skip--
		return false
	}
	return true
}

// learn tells how it went.
func (p *patience) learn(seen bool) {
	if seen {
		p.luck = maxLuck
	} else if p.luck--; p.luck <= 0 {
		p.luck, p.skip = 1, skipLooks
	}
}

// channel is one side of a channel. It belongs to one goroutine at a time.
type channel struct {
	mem      []byte
	words    *channelWords
	sock     socket
	me       int // turnClient or turnServer
	patience patience
	cycles   uint64 // of lookFor
	fd       int    // came over the socket, or lostFD; -1 if none did
}

// newChannel maps the memory. It takes the socket, and leaves memory to the caller.
func newChannel(memory, sock, me int) (*channel, error) {
	mem, err := unix.Mmap(memory, 0, channelSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(sock)
		return nil, fmt.Errorf("mapping a channel's memory: %w", err)
	}
	ch := &channel{mem: mem, words: (*channelWords)(unsafe.Pointer(&mem[0])), me: me, fd: -1}
	ch.sock.fd = sock
	ch.cycles = lookFor * spin.CyclesPerMicrosecond()
	ch.patience.luck = maxLuck
	return ch, nil
}

// shutdown makes whoever waits for a turn, here or there, give up.
func (ch *channel) shutdown() { ch.sock.shutdown() }

// close gives up the channel, which nobody uses any more.
func (ch *channel) close() {
	ch.dropFD()
	unix.Close(ch.sock.fd)
	unix.Munmap(ch.mem)
}

func (ch *channel) dropFD() {
	if ch.fd >= 0 {
		unix.Close(ch.fd)
	}
	ch.fd = -1
}

// ring is what wakes the other side.
var ring = []byte{0}

// pass writes a message, which is at most channelRoom long, and gives the turn to the other
// side, and the descriptor fd unless that is negative.
func (ch *channel) pass(msg []byte, fd int) error {
	w := ch.words
	copy(ch.mem[channelHeader:], msg)
	w.length = uint32(len(msg))
	w.hasFD = 0
	if fd >= 0 {
		w.hasFD = 1
	}
	set(&w.side[ch.me].cpu, 1+spin.CurrentCPU())
	// Either this side sees that the other one sleeps, or that one sees its turn before it
	// does: so each writes its word before it reads the other's. Swap, not Store, which under
	// the race detector does not keep that order.
	atomic.SwapUint32(&w.turn, uint32(1-ch.me))
	if fd >= 0 || atomic.LoadUint32(&w.side[1-ch.me].asleep) != 0 {
		return ch.sock.send(ring, fd)
	}
	return nil
}

// set writes a word unless it is so already: the other side may be looking at its cache line.
func set(word *uint32, v uint32) {
	if atomic.LoadUint32(word) != v {
		atomic.StoreUint32(word, v)
	}
}

// mine says whether it is this side's turn.
func (ch *channel) mine() bool { return atomic.LoadUint32(&ch.words.turn) == uint32(ch.me) }

// await returns when it is this side's turn. An error means that the other side is gone.
func (ch *channel) await() error {
	w, other := ch.words, uint32(1-ch.me)
	if atomic.LoadUint32(&w.turn) != other {
		return nil
	}
	if atomic.LoadUint32(&w.side[other].cpu) != 1+spin.CurrentCPU() && ch.patience.try() {
		seen := spin.While(&w.turn, other, ch.cycles)
		ch.patience.learn(seen)
		if seen {
			return nil
		}
	}
	atomic.SwapUint32(&w.side[ch.me].asleep, 1) // before the turn is read: see pass
	var err error
	for atomic.LoadUint32(&w.turn) == other && err == nil {
		err = ch.heed()
	}
	atomic.StoreUint32(&w.side[ch.me].asleep, 0)
	return err
}

// heed waits for a ring, which may be an old one, or the descriptor that came with it.
func (ch *channel) heed() error {
	var b [1]byte
	var fds [maxFDs]int32
	n, nfds, err := ch.sock.recv(b[:], &fds)
	for i, fd := range fds[:nfds] {
		if i > 0 || ch.fd != -1 || ch.me == turnServer {
			unix.Close(int(fd))
			continue
		}
		ch.fd = int(fd)
	}
	if err == nil && n == 0 {
		err = unix.ECONNRESET
	}
	return err
}

// message copies the message out of the memory: its type, and its body in place of what buf
// had. It is this side's turn.
func (ch *channel) message(buf []byte) (typ uint8, body []byte, err error) {
	n := atomic.LoadUint32(&ch.words.length)
	if n < headerSize || n > channelRoom {
		return 0, buf, unix.EPROTO
	}
	m := ch.mem[channelHeader : channelHeader+n]
	return m[4], append(buf[:0], m[headerSize:]...), nil
}

// giveUp names fids, maxBeside at most, that the server is to forget. It is this side's turn.
func (ch *channel) giveUp(fids []uint32) {
	ch.words.clunks = uint32(copy(ch.words.fids[:], fids))
}

// givenUp copies to dst what giveUp named. It is this side's turn.
func (ch *channel) givenUp(dst *[maxBeside]uint32) []uint32 {
	n := min(atomic.LoadUint32(&ch.words.clunks), maxBeside)
	return dst[:copy(dst[:n], ch.words.fids[:n])]
}

// descriptor returns what came beside the message, lostFD or -1. It is this side's turn.
func (ch *channel) descriptor() (int, error) {
	if atomic.LoadUint32(&ch.words.hasFD) == 0 {
		ch.dropFD()
		return -1, nil
	}
	// What may lie in front of it are rings that came too late, one for each time that this
	// side went to sleep.
	for i := 0; ch.fd == -1; i++ {
		if i == maxStaleRings {
			return -1, unix.EPROTO
		}
		if err := ch.heed(); err != nil {
			return -1, err
		}
	}
	fd := ch.fd
	ch.fd = -1
	return fd, nil
}

const maxStaleRings = 64

// sealedMemory makes a channel's memory.
func sealedMemory() (int, error) {
	fd, err := unix.MemfdCreate("runsc-channel", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	if err := unix.Ftruncate(fd, channelSize); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, channelSeals); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// checkMemory says whether fd is what sealedMemory makes: memory that does not go away.
func checkMemory(fd int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if seals&unix.F_SEAL_SHRINK == 0 || st.Size < channelSize {
		return unix.EPROTO
	}
	return nil
}

// fitsChannel says whether requests of a type go over a channel: those that are over soon, and
// whose replies are short.
func fitsChannel(typ uint8) bool {
	switch typ {
	case tVersion, tFlush, tAttach, tChannel, tRead, tWrite, tReaddir, tReaddirplus, tFsync, tFlushf,
		tAllocate, tLconnect, tGetxattr, tSetxattr, tListxattr:
		return false
	}
	return true
}
