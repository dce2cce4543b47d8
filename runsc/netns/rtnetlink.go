package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A small client of rtnetlink(7). There are libraries for that; they bring in package net, and
// with it, where there is a C compiler, cgo, with which a Go program cannot change the
// credentials of all of its threads, as the sandbox has to.

// conn is a NETLINK_ROUTE socket of the namespace that the thread which made it was in.
type conn struct {
	fd  int
	seq uint32
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return &conn{fd: fd}, nil
}

func (c *conn) close() { unix.Close(c.fd) }

// Sizes in bytes: of headers, and of the buffer for answers, which is what the kernel fills at
// most.
const (
	sizeofAttr   = 4
	answerBuffer = 64 << 10
)

// message is a request that is being put together: the payload behind struct nlmsghdr.
type message []byte

func (m message) u32(v uint32) message { return binary.NativeEndian.AppendUint32(m, v) }

// attr appends an attribute.
func (m message) attr(typ uint16, value []byte) message {
	m = binary.NativeEndian.AppendUint16(m, uint16(sizeofAttr+len(value)))
	m = binary.NativeEndian.AppendUint16(m, typ)
	m = append(m, value...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	return m
}

func (m message) attrU32(typ uint16, v uint32) message {
	return m.attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

func (m message) attrString(typ uint16, s string) message { return m.attr(typ, append([]byte(s), 0)) }

// attrAddr appends an address unless it is zero.
func (m message) attrAddr(typ uint16, a netip.Addr) message {
	if !a.IsValid() {
		return m
	}
	return m.attr(typ, a.AsSlice())
}

// attributes are those of a message by type.
type attributes map[uint16][]byte

func parseAttributes(b []byte) attributes {
	a := attributes{}
	for len(b) >= sizeofAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < sizeofAttr || n > len(b) {
			break
		}
		a[binary.NativeEndian.Uint16(b[2:])&0x3fff] = b[sizeofAttr:n]
		b = b[min((n+3)&^3, len(b)):]
	}
	return a
}

func (a attributes) u32(typ uint16) uint32 {
	if v := a[typ]; len(v) >= 4 {
		return binary.NativeEndian.Uint32(v)
	}
	return 0
}

func (a attributes) text(typ uint16) string {
	v := a[typ]
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

func (a attributes) addr(typ uint16) netip.Addr {
	addr, _ := netip.AddrFromSlice(a[typ])
	return addr
}

// answer is one message of an answer: its payload.
type answer struct {
	typ  uint16
	body []byte
}

// attrs are the attributes behind a header of size bytes.
func (a answer) attrs(size int) attributes {
	if len(a.body) < size {
		return nil
	}
	return parseAttributes(a.body[size:])
}

// send sends a request and returns all of its answer, up to the acknowledgement or the end of the
// dump, whose error it returns.
func (c *conn) send(typ, flags uint16, payload message) ([]answer, error) {
	c.seq++
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(payload))
	b = append(b, payload...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	binary.NativeEndian.PutUint16(b[6:], flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(b[8:], c.seq)
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var list []answer
	for {
		buf := make([]byte, answerBuffer)
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(b))
			if length < unix.NLMSG_HDRLEN || length > len(b) {
				return nil, fmt.Errorf("rtnetlink: a message of %d bytes in %d", length, len(b))
			}
			typ, seq, body := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:length]
			b = b[min((length+3)&^3, len(b)):]
			if seq != c.seq {
				continue // of a request that was given up
			}
			switch typ {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				if len(body) >= 4 {
					if e := int32(binary.NativeEndian.Uint32(body)); e < 0 {
						return nil, unix.Errno(-e)
					}
				}
				return list, nil
			}
			list = append(list, answer{typ, body})
		}
	}
}

// dump lists everything of a kind. payload is the header of requests of that kind.
func (c *conn) dump(typ uint16, payload message) ([]answer, error) {
	return c.send(typ, unix.NLM_F_DUMP, payload)
}

// do makes a change.
func (c *conn) do(typ, flags uint16, payload message) error {
	_, err := c.send(typ, flags, payload)
	return err
}

// link is an interface of the host.
type link struct {
	index, master int
	name          string
	typ           uint16 // ARPHRD_*
	flags, mtu    uint32
	address       []byte
}

func (c *conn) links() ([]link, error) {
	list, err := c.dump(unix.RTM_GETLINK, make(message, unix.SizeofIfInfomsg))
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	var out []link
	for _, m := range list {
		a := m.attrs(unix.SizeofIfInfomsg)
		if a == nil {
			continue
		}
		out = append(out, link{
			index: int(binary.NativeEndian.Uint32(m.body[4:])), master: int(a.u32(unix.IFLA_MASTER)), name: a.text(unix.IFLA_IFNAME),
			typ: binary.NativeEndian.Uint16(m.body[2:]), flags: binary.NativeEndian.Uint32(m.body[8:]), mtu: a.u32(unix.IFLA_MTU),
			address: a[unix.IFLA_ADDRESS],
		})
	}
	return out, nil
}

// address is one of an interface.
type address struct {
	index            int
	family           uint8
	bits             int
	scope            uint8
	flags            uint32
	local, peer      netip.Addr // peer: IFA_ADDRESS
	broadcast        netip.Addr
	label            string
	preferred, valid uint32
}

func (c *conn) addresses() ([]address, error) {
	list, err := c.dump(unix.RTM_GETADDR, make(message, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	var out []address
	for _, m := range list {
		a := m.attrs(unix.SizeofIfAddrmsg)
		if a == nil {
			continue
		}
		x := address{
			family: m.body[0], bits: int(m.body[1]), flags: uint32(m.body[2]), scope: m.body[3],
			index: int(binary.NativeEndian.Uint32(m.body[4:])),
			local: a.addr(unix.IFA_LOCAL), peer: a.addr(unix.IFA_ADDRESS), broadcast: a.addr(unix.IFA_BROADCAST), label: a.text(unix.IFA_LABEL),
			preferred: ^uint32(0), valid: ^uint32(0),
		}
		if a[unix.IFA_FLAGS] != nil {
			x.flags = a.u32(unix.IFA_FLAGS)
		}
		if !x.local.IsValid() {
			x.local = x.peer
		}
		if info := a[unix.IFA_CACHEINFO]; len(info) >= 8 {
			x.preferred, x.valid = binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:])
		}
		out = append(out, x)
	}
	return out, nil
}

// request is the message about x, for RTM_NEWADDR and RTM_DELADDR.
func (x *address) request() message {
	m := message{x.family, uint8(x.bits), uint8(x.flags), x.scope}.u32(uint32(x.index))
	m = m.attrAddr(unix.IFA_LOCAL, x.local)
	m = m.attrAddr(unix.IFA_ADDRESS, x.peer)
	m = m.attrAddr(unix.IFA_BROADCAST, x.broadcast)
	if x.label != "" {
		m = m.attrString(unix.IFA_LABEL, x.label)
	}
	return m.attrU32(unix.IFA_FLAGS, x.flags)
}
