package netlink

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/auth"
)

// Requests of NETLINK_SOCK_DIAG (sock_diag(7)).
const (
	diagByFamily = 20
	diagDestroy  = 21
	// What there was before: one type for each protocol.
	diagOldTCP  = 18
	diagOldDCCP = 19
)

// diag carries out a request of NETLINK_SOCK_DIAG.
func (n *Namespace) diag(r *request) error {
	dumping := r.flags&unix.NLM_F_DUMP != 0
	switch r.typ {
	case diagOldTCP, diagOldDCCP:
		return n.diagOld(r, dumping)
	case diagByFamily, diagDestroy:
	default:
		return unix.EINVAL
	}
	if len(r.payload) < 2 {
		return unix.EINVAL
	}
	switch family := r.family(); family {
	case unix.AF_INET, unix.AF_INET6:
		return n.diagInet(r, dumping)
	case unix.AF_UNIX:
		if r.typ == diagDestroy {
			return unix.EOPNOTSUPP
		}
		return n.diagUnix(r, dumping)
	case unix.AF_NETLINK, unix.AF_PACKET:
		if r.typ == diagDestroy || !dumping {
			return unix.EOPNOTSUPP
		}
		if family == unix.AF_NETLINK {
			return n.diagNetlink(r)
		}
		return n.diagPacket(r)
	default:
		if family >= unix.AF_MAX {
			return unix.EINVAL
		}
		return unix.ENOENT
	}
}

// cookieOf is a socket's cookie as two words.
func (w *builder) cookie(c uint64) {
	w.u32(uint32(c))
	w.u32(uint32(c >> 32))
}

// noCookie stands in a request for any cookie.
const noCookie = ^uint32(0)

// checkCookie says whether a request is about the socket with cookie c.
func (r *request) checkCookie(at int, c uint64) bool {
	lo, hi := r.u32(at), r.u32(at+4)
	return lo == noCookie && hi == noCookie || lo == uint32(c) && hi == uint32(c>>32)
}

// Words of SK_MEMINFO_*.
const numMeminfo = 9

// meminfo appends what a socket's buffers hold, in bytes.
func (w *builder) meminfo(typ uint16, rqueue, rcvbuf, wqueue, sndbuf uint32) {
	at := w.nest(typ)
	for _, v := range [numMeminfo]uint32{rqueue, rcvbuf, wqueue, sndbuf, 0, wqueue, 0, 0, 0} {
		w.u32(v)
	}
	w.unnest(at)
}

// kuid is a user id as the kernel's.
func kuid(u uint32) auth.KUID { return auth.KUID(u) }
