package hostinet

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
)

// sizeofCmsghdr is the size of struct cmsghdr: length (8 bytes), level, type.
const sizeofCmsghdr = 16

// sendable are the control messages that the host is passed, with the longest data that they have.
var sendable = map[[2]int32]int{
	{unix.IPPROTO_IP, unix.IP_PKTINFO}:      12,
	{unix.IPPROTO_IP, unix.IP_TTL}:          4,
	{unix.IPPROTO_IP, unix.IP_TOS}:          4,
	{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO}:  20,
	{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}: 4,
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:   4,
	{unix.IPPROTO_UDP, udpSegment}:          2,
}

// encodeControl makes the host's control data. EINVAL: something is not known here.
func encodeControl(list []socket.RawControl) ([]byte, error) {
	var b []byte
	for _, r := range list {
		if most, ok := sendable[[2]int32{r.Level, r.Type}]; !ok || len(r.Data) > most {
			return nil, unix.EINVAL
		}
		if len(b)+sizeofCmsghdr+24 > maxControl {
			return nil, unix.ENOBUFS
		}
		b = binary.NativeEndian.AppendUint64(b, uint64(sizeofCmsghdr+len(r.Data)))
		b = binary.NativeEndian.AppendUint32(b, uint32(r.Level))
		b = binary.NativeEndian.AppendUint32(b, uint32(r.Type))
		b = append(b, r.Data...)
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
	}
	return b, nil
}

// decodeControl adds what the host gave. Descriptors never come by sockets of IP.
func decodeControl(c *socket.Control, b []byte) {
	for len(b) >= sizeofCmsghdr {
		n := int(binary.NativeEndian.Uint64(b))
		if n < sizeofCmsghdr || n > len(b) {
			return
		}
		level, typ := int32(binary.NativeEndian.Uint32(b[8:])), int32(binary.NativeEndian.Uint32(b[12:]))
		if level != unix.SOL_SOCKET || typ != unix.SCM_RIGHTS && typ != unix.SCM_CREDENTIALS {
			c.AddRaw(level, typ, b[sizeofCmsghdr:n])
		}
		b = b[min((n+7)&^7, len(b)):]
	}
}
