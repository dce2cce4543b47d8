package fdbased

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Kind is what a descriptor is.
type Kind uint8

// The kinds.
const (
	// KindPacket is a packet socket (SOCK_RAW) that is bound to an interface.
	KindPacket Kind = iota
	// KindTAP is a TAP device with Ethernet headers, KindTUN a TUN device without, both
	// without packet information (IFF_NO_PI).
	KindTAP
	KindTUN
)

// Options is what an Endpoint is made of.
type Options struct {
	// FD is the descriptor. New takes it, and closes it if it fails.
	FD   int
	Kind Kind
	// MTU of the interface in bytes, without the link header.
	MTU uint32
	// LinkAddress is the interface's hardware address.
	LinkAddress tcpip.LinkAddress
	// VNetHeader: frames have a virtio_net_hdr of 10 bytes in front (PACKET_VNET_HDR,
	// IFF_VNET_HDR), so that checksums and segmentation are left to the host.
	VNetHeader bool
	// NoGRO: segments of TCP are delivered as they come.
	NoGRO bool
	// NoSegmentation and NoTXChecksum: packets are cut up and their checksums are computed
	// here. NoSegmentation goes with NoTXChecksum. NoRXChecksum: what the host says that it
	// has checked is checked again.
	NoSegmentation, NoTXChecksum, NoRXChecksum bool
}

// Stats count what went wrong with frames.
type Stats struct {
	// RXErrors counts failed reads, RXMalformed frames that are too short or too long.
	RXErrors, RXMalformed atomic.Uint64
	// TXDropped counts frames for which the host had no room, TXErrors those that it refused.
	TXDropped, TXErrors atomic.Uint64
	// RXCoalesced counts segments that became part of another packet (GRO).
	RXCoalesced atomic.Uint64
}

// Endpoint is a link by a descriptor of the host. It implements stack.LinkEndpoint.
type Endpoint struct {
	kind                Kind
	vnet                bool
	noGRO, noRXChecksum bool
	// offloads are those that the host was asked for.
	offloads stack.Capabilities
	stats    Stats
	mtu      atomic.Uint32
	addr     atomic.Pointer[tcpip.LinkAddress]
	// noUDP: the host does not know UDP segmentation.
	noUDP atomic.Bool

	// use is held for reading by senders, so that fd is not closed while they use it.
	use sync.RWMutex
	// open: fd is one. It is false after Close, and after a restore until Reopen.
	open bool `state:"nosave"`
	fd   int  `state:"nosave"`

	attach     sync.Mutex // guards the fields below; it is taken before use
	dispatcher stack.LinkDispatcher
	// file is an epoll instance in Go's poller, by which the receiver waits for fd; nil: not open.
	// With fd itself there, each frame that has been sent would wake the poller for its room.
	file     *os.File       `state:"nosave"`
	receiver *receiver      `state:"nosave"` // nil: none runs
	running  sync.WaitGroup `state:"nosave"`
}

var _ stack.LinkEndpoint = (*Endpoint)(nil)

// New makes a link. It sets the descriptor to non-blocking mode.
func New(o Options) (*Endpoint, error) {
	if o.Kind > KindTUN {
		unix.Close(o.FD)
		return nil, fmt.Errorf("link by descriptor %d: unknown kind %d", o.FD, o.Kind)
	}
	e := &Endpoint{kind: o.Kind, vnet: o.VNetHeader, noGRO: o.NoGRO, noRXChecksum: o.NoRXChecksum}
	if o.VNetHeader {
		e.offloads = stack.CapTXChecksum | stack.CapRXChecksum | stack.CapSegmentation | stack.CapUDPSegmentation
	}
	if o.NoRXChecksum {
		e.offloads &^= stack.CapRXChecksum
	}
	if o.NoSegmentation || o.NoTXChecksum {
		e.offloads &^= stack.CapSegmentation | stack.CapUDPSegmentation
	}
	if o.NoTXChecksum {
		e.offloads &^= stack.CapTXChecksum
	}
	e.mtu.Store(o.MTU)
	e.addr.Store(&o.LinkAddress)
	if err := e.Reopen(o.FD); err != nil {
		return nil, err
	}
	return e, nil
}

// Reopen gives an Endpoint that has none a descriptor of the same kind, which it takes as New does,
// and goes on to deliver if it is attached. An Endpoint has none after Close, and when it comes out
// of a saved state.
func (e *Endpoint) Reopen(fd int) error {
	e.attach.Lock()
	defer e.attach.Unlock()
	if e.file != nil {
		unix.Close(fd)
		return fmt.Errorf("link by descriptor %d: it is open", fd)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("link by descriptor %d: %w", fd, err)
	}
	file, err := pollReadable(fd)
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("link by descriptor %d: %w", fd, err)
	}
	e.file = file
	e.use.Lock()
	e.fd, e.open = fd, true
	e.use.Unlock()
	e.receive()
	return nil
}

// pollReadable returns a file in Go's poller that becomes readable when fd does.
func pollReadable(fd int) (*os.File, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(epfd), "link")
	if err := file.SetReadDeadline(time.Time{}); err != nil { // it cannot be waited for
		file.Close()
		return nil, err
	}
	return file, nil
}

// MTU implements stack.LinkEndpoint.
func (e *Endpoint) MTU() uint32 { return e.mtu.Load() }

// SetMTU implements stack.LinkEndpoint. It does not change the host's interface, which drops what
// is longer than its own.
func (e *Endpoint) SetMTU(mtu uint32) { e.mtu.Store(mtu) }

// LinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress { return *e.addr.Load() }

// SetLinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) SetLinkAddress(a tcpip.LinkAddress) { e.addr.Store(&a) }

// Capabilities implements stack.LinkEndpoint. CapUDPSegmentation goes away when the host turns
// out not to know it.
func (e *Endpoint) Capabilities() stack.Capabilities {
	c := e.offloads
	if e.kind != KindTUN {
		c |= stack.CapResolution
	}
	if e.noUDP.Load() {
		c &^= stack.CapUDPSegmentation
	}
	return c
}

// MaxSegmentation implements stack.LinkEndpoint. Linux cuts up a packet before the device if it
// does not stay under gso_max_size, usually 65536, with its link header.
func (e *Endpoint) MaxSegmentation() uint32 { return buffer.MaxPacket - header.EthernetSize }

// HardwareType is ARPHRD_ETHER, or ARPHRD_NONE of a TUN device.
func (e *Endpoint) HardwareType() uint16 {
	if e.kind == KindTUN {
		return unix.ARPHRD_NONE
	}
	return unix.ARPHRD_ETHER
}

// Stats are counted from New on.
func (e *Endpoint) Stats() *Stats { return &e.stats }

// Attach implements stack.LinkEndpoint. It waits for a delivery that is going on, so it must not
// be called from within one.
func (e *Endpoint) Attach(d stack.LinkDispatcher) {
	e.attach.Lock()
	defer e.attach.Unlock()
	e.detach()
	e.dispatcher = d
	e.receive()
}

// receive starts the receiver if there is something to receive from and to deliver to. attach is
// held.
func (e *Endpoint) receive() {
	if e.dispatcher == nil || e.file == nil {
		return
	}
	r, file := newReceiver(e, e.dispatcher), e.file
	e.receiver = r
	e.running.Go(func() { r.run(file) })
}

// detach ends the receiver. attach is held.
func (e *Endpoint) detach() {
	r := e.receiver
	if r == nil {
		return
	}
	r.stop.Store(true)
	e.file.SetReadDeadline(time.Unix(1, 0)) // long ago: it ends the wait
	e.running.Wait()
	e.file.SetReadDeadline(time.Time{})
	e.receiver = nil
}

// Close implements stack.LinkEndpoint. What is sent afterwards is dropped.
func (e *Endpoint) Close() {
	e.attach.Lock()
	defer e.attach.Unlock()
	if e.file == nil {
		return
	}
	e.detach()
	e.use.Lock()
	defer e.use.Unlock()
	e.file.Close()
	unix.Close(e.fd)
	e.file, e.open, e.dispatcher = nil, false, nil
}

// iovec describes b, which is not empty.
func iovec(b []byte) unix.Iovec {
	return unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
}
