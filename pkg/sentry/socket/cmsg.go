package socket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	// cmsgHeader is the size of struct cmsghdr: length (8 bytes), level, type.
	cmsgHeader = 16
	// MaxRights is SCM_MAX_FD, the most descriptors that one message carries.
	MaxRights = 253
	// MaxControl is the longest control buffer that is looked at, in bytes
	// (net.core.optmem_max and a bit).
	MaxControl = 64 << 10
)

func cmsgAlign(n int) int { return (n + 7) &^ 7 }

// ControlIn is the ancillary data of sendmsg(2) as the application wrote it.
type ControlIn struct {
	FDs      []int32 // SCM_RIGHTS, all of them in order
	Creds    Ucred   // SCM_CREDENTIALS, as the application sees ids
	HasCreds bool
	// Raw is everything else: other levels, and types of SOL_SOCKET that are for the
	// protocol (SO_MARK …).
	Raw []RawControl
}

// ParseControl takes a control buffer apart. EINVAL: a header does not fit, an unknown type
// of SOL_SOCKET, or SCM_RIGHTS of a bad size. The parts of Raw share b's memory.
func ParseControl(b []byte) (ControlIn, error) {
	var c ControlIn
	for len(b) >= cmsgHeader {
		n := binary.NativeEndian.Uint64(b)
		if n < cmsgHeader || n > uint64(len(b)) {
			return ControlIn{}, unix.EINVAL
		}
		level := int32(binary.NativeEndian.Uint32(b[8:]))
		typ := int32(binary.NativeEndian.Uint32(b[12:]))
		data := b[cmsgHeader:n]
		if level != unix.SOL_SOCKET {
			c.Raw = append(c.Raw, RawControl{level, typ, data})
		} else if err := c.parseSocket(typ, data); err != nil {
			return ControlIn{}, err
		}
		b = b[min(cmsgAlign(int(n)), len(b)):]
	}
	return c, nil
}

func (c *ControlIn) parseSocket(typ int32, data []byte) error {
	switch typ {
	case unix.SCM_RIGHTS:
		if len(data)%4 != 0 || len(data)/4+len(c.FDs) > MaxRights {
			return unix.EINVAL
		}
		for ; len(data) > 0; data = data[4:] {
			c.FDs = append(c.FDs, int32(binary.NativeEndian.Uint32(data)))
		}
	case unix.SCM_CREDENTIALS:
		if len(data) != 12 {
			return unix.EINVAL
		}
		c.HasCreds = true
		c.Creds = Ucred{
			PID: int32(binary.NativeEndian.Uint32(data)),
			UID: binary.NativeEndian.Uint32(data[4:]),
			GID: binary.NativeEndian.Uint32(data[8:]),
		}
	case unix.SO_MARK, unix.SO_TIMESTAMPING, unix.SO_PRIORITY, unix.SCM_TXTIME:
		c.Raw = append(c.Raw, RawControl{unix.SOL_SOCKET, typ, data})
	default:
		return unix.EINVAL
	}
	return nil
}

// ControlOut builds the control buffer of recvmsg(2), up to the size that the application
// offered.
type ControlOut struct {
	buf       []byte
	limit     int
	truncated bool
}

// NewControlOut makes a builder whose result has at most limit bytes; scratch may give it
// memory.
func NewControlOut(scratch []byte, limit int) ControlOut {
	return ControlOut{buf: scratch[:0], limit: limit}
}

// Add appends a control message, or as much of it as there is room for.
func (c *ControlOut) Add(level, typ int32, data []byte) {
	room := c.limit - len(c.buf)
	if room < cmsgHeader {
		c.truncated = true
		return
	}
	n := cmsgHeader + len(data)
	if n > room {
		c.truncated = true
		n = room
		data = data[:room-cmsgHeader]
	}
	var h [cmsgHeader]byte
	binary.NativeEndian.PutUint64(h[:], uint64(n))
	binary.NativeEndian.PutUint32(h[8:], uint32(level))
	binary.NativeEndian.PutUint32(h[12:], uint32(typ))
	c.buf = append(append(c.buf, h[:]...), data...)
	for len(c.buf) < c.limit && len(c.buf)%8 != 0 {
		c.buf = append(c.buf, 0)
	}
}

// RoomForRights is how many descriptors an SCM_RIGHTS message added now can hold.
func (c *ControlOut) RoomForRights() int {
	return max(0, (c.limit-len(c.buf)-cmsgHeader)/4)
}

// AddRights appends SCM_RIGHTS.
func (c *ControlOut) AddRights(fds []int32) {
	data := make([]byte, 0, 4*len(fds))
	for _, fd := range fds {
		data = binary.NativeEndian.AppendUint32(data, uint32(fd))
	}
	c.Add(unix.SOL_SOCKET, unix.SCM_RIGHTS, data)
}

// AddCreds appends SCM_CREDENTIALS, with ids as the application is to see them.
func (c *ControlOut) AddCreds(u Ucred) {
	var b [12]byte
	u.put(b[:])
	c.Add(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, b[:])
}

// AddTimestamp appends SCM_TIMESTAMP or SCM_TIMESTAMPNS by the option that asked for it.
func (c *ControlOut) AddTimestamp(option int, ns int64) {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], uint64(ns/1e9))
	frac := ns % 1e9
	if option == unix.SO_TIMESTAMP || option == unix.SO_TIMESTAMP_NEW {
		frac /= 1000
	}
	binary.NativeEndian.PutUint64(b[8:], uint64(frac))
	c.Add(unix.SOL_SOCKET, int32(option), b[:])
}

// SetTruncated notes that something had no room (MSG_CTRUNC).
func (c *ControlOut) SetTruncated() { c.truncated = true }

// Result is the buffer and whether something was cut off.
func (c *ControlOut) Result() (b []byte, truncated bool) { return c.buf, c.truncated }

// put writes struct ucred.
func (u Ucred) put(b []byte) {
	binary.NativeEndian.PutUint32(b, uint32(u.PID))
	binary.NativeEndian.PutUint32(b[4:], u.UID)
	binary.NativeEndian.PutUint32(b[8:], u.GID)
}

// PutUcred stores struct ucred as an option's value, with ids as the application is to see
// them.
func PutUcred(buf []byte, u Ucred) (int, error) {
	var b [12]byte
	u.put(b[:])
	return copy(buf, b[:]), nil
}
