package tcpip

import (
	"net/netip"
	"time"

	"runsc/pkg/waiter"
)

// Source is the message that is being sent. The stack reads it once, in order, into its own
// packets, so that bytes of an application are copied exactly once.
type Source interface {
	// Len is the number of bytes that are left.
	Len() int
	// Read fills b from the front of what is left and returns how much it filled: less than
	// len(b) only with an error (EFAULT) or at the end of the message.
	Read(b []byte) (int, error)
}

// Sink takes the message that is being received.
type Sink interface {
	// Len is the room that is left.
	Len() int
	// Write appends b and returns how much fitted: less than len(b) only with an error
	// (EFAULT) or when the room is used up.
	Write(b []byte) (int, error)
}

// ShutdownFlags are the directions that Shutdown ends.
type ShutdownFlags uint8

// The directions.
const (
	ShutdownRead ShutdownFlags = 1 << iota
	ShutdownWrite
)

// SendOptions is how to send a message. The zero value is a plain send.
type SendOptions struct {
	// To is the destination; nil: the connected one (EDESTADDRREQ without it).
	To *FullAddress
	// More: MSG_MORE, more of the same packet or stream is to come.
	More bool
	// OutOfBand: MSG_OOB, TCP's urgent data.
	OutOfBand bool
	// DontRoute: MSG_DONTROUTE, only to a neighbour.
	DontRoute bool
	// Control is what the control messages of sendmsg(2) ask for.
	Control SendControl
}

// SendControl is the ancillary data of a send (ip(7), ipv6(7), udp(7)).
type SendControl struct {
	// HasPacketInfo: IP_PKTINFO, IPV6_PKTINFO: leave by NIC if it is not 0, from Source if
	// it is valid.
	HasPacketInfo bool
	NIC           NICID
	Source        netip.Addr
	// HasTTL: IP_TTL, IPV6_HOPLIMIT.
	HasTTL bool
	TTL    uint8
	// HasTOS: IP_TOS, IPV6_TCLASS.
	HasTOS bool
	TOS    uint8
	// SegmentSize is UDP_SEGMENT: cut the message into datagrams of this size; 0: do not.
	SegmentSize uint16
}

// ReceiveOptions is how to receive. The zero value is a plain receive.
type ReceiveOptions struct {
	// Peek: MSG_PEEK, leave the data where it is. PeekOffset is where in the stream to begin.
	Peek       bool
	PeekOffset int
	// OutOfBand: MSG_OOB. EINVAL: there is no urgent data.
	OutOfBand bool
	// ErrorQueue: MSG_ERRQUEUE, take from the error queue. EAGAIN: it is empty.
	ErrorQueue bool
	// Discard: MSG_TRUNC of a stream: count the bytes but do not copy them. N of the result
	// is bounded by the Sink's room.
	Discard bool
	// DontWait: the caller does not wait, whatever comes (MSG_DONTWAIT, O_NONBLOCK). It makes a
	// difference for datagram sockets that were shut down for reading and have nothing queued:
	// who would wait gets 0 bytes, who would not gets EAGAIN, as in Linux.
	DontWait bool
}

// ReceiveResult is what came.
type ReceiveResult struct {
	// N is the number of bytes written to the sink; MessageLen is the whole length of the
	// datagram, at least N (for a stream, N).
	N, MessageLen int
	// From is the sender, of datagrams.
	From    FullAddress
	Control ReceiveControl
	// OutOfBand: the byte returned is urgent data (MSG_OOB).
	OutOfBand bool
	// Error is what the error queue had (sock_extended_err), if ErrorQueue was asked for.
	Error QueuedError
}

// ReceiveControl is the ancillary data of a packet. A transport fills in all that it knows; the
// caller takes what the socket's options ask for.
type ReceiveControl struct {
	// Timestamp is the time of arrival; zero: not taken (SocketOptions.Timestamps is off).
	Timestamp time.Time
	// HasPacketInfo: the fields to the next comment are set.
	HasPacketInfo bool
	NIC           NICID
	// LocalAddr is the address that the packet was delivered to, Destination that of the
	// header (they differ for broadcasts); DestinationPort that of the header.
	LocalAddr, Destination netip.Addr
	DestinationPort        uint16
	TTL                    uint8
	TOS                    uint8
	FlowLabel              uint32
	// IPOptions are IPv4's options as in the header; it belongs to the caller.
	IPOptions []byte
	// SegmentSize is UDP_GRO: the message is datagrams of this size, the last may be
	// shorter; 0: it is one.
	SegmentSize uint16
	// Dropped is how many packets the socket had dropped for want of room when this one was
	// queued (SO_RXQ_OVFL).
	Dropped uint32
	// Auxdata is of packet sockets only.
	Auxdata PacketAuxdata
}

// PacketAuxdata is struct tpacket_auxdata (packet(7), PACKET_AUXDATA).
type PacketAuxdata struct {
	// Status is TP_STATUS_*; Length that of the packet as it came, Captured as it was queued.
	Status, Length, Captured uint32
	// Link and Network are where those headers begin in the packet.
	Link, Network uint16
}

// QueuedError is an entry of the error queue (ip(7), IP_RECVERR): struct sock_extended_err.
type QueuedError struct {
	Errno uint32
	// Origin is SO_EE_ORIGIN_LOCAL, ICMP or ICMP6.
	Origin     uint8
	Type, Code uint8
	// Info is the path MTU for EMSGSIZE.
	Info uint32
	// Offender is who sent the error; Destination where the packet was to go, with its port.
	Offender    netip.Addr
	Destination FullAddress
}

// Endpoint is one socket's end in the stack, whichever its transport. Nothing here blocks: what
// would, returns EAGAIN (Connect: EINPROGRESS, then EALREADY and EISCONN), and the caller waits
// for readiness.
//
// Readiness is poll(2)'s of that socket type, error and hang-up included.
type Endpoint interface {
	waiter.Waitable

	// Close ends the socket; the protocol may go on without it (linger, TIME_WAIT). It never
	// blocks. Nothing may be called after it.
	Close()
	// Abort ends it at once, TCP with RST; for the end of a stack and for SO_LINGER of 0.
	Abort()

	Bind(addr FullAddress) error
	// Connect sets the peer; TCP begins the handshake and returns EINPROGRESS. An address
	// whose family is not valid (zero Addr) dissolves a datagram socket's connection.
	Connect(addr FullAddress) error
	Listen(backlog int) error
	// Accept takes the oldest connection.
	Accept() (Endpoint, FullAddress, error)
	Shutdown(how ShutdownFlags) error

	// LocalAddress is what getsockname(2) returns, never an error: unbound is zero.
	LocalAddress() FullAddress
	// RemoteAddress is what getpeername(2) returns. ENOTCONN.
	RemoteAddress() (FullAddress, error)

	// Send takes as much of src as the stream has room for, or all of the datagram, and
	// returns how much.
	Send(src Source, opts SendOptions) (int, error)
	// Receive moves what has come to dst. At the end of a stream N is 0 without an error.
	Receive(dst Sink, opts ReceiveOptions) (ReceiveResult, error)

	// ReceiveQueued is SIOCINQ: bytes that can be read (of a datagram socket: of the next
	// datagram). SendQueued is SIOCOUTQ: bytes not yet acknowledged or sent.
	ReceiveQueued() int
	SendQueued() int

	// TakeError returns the pending error and clears it (SO_ERROR); nil: none.
	TakeError() error
	// Options are those which all transports share. The same pointer each time.
	Options() *SocketOptions
}
