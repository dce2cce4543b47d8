package netlink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Operations of the filter language of inet_diag.h, in which ss(8) writes its conditions.
const (
	bcNop      = 0
	bcJump     = 1
	bcSourceGE = 2
	bcSourceLE = 3
	bcDestGE   = 4
	bcDestLE   = 5
	bcAuto     = 6 // the port was chosen by the kernel
	bcSource   = 7
	bcDest     = 8
	bcDevice   = 9
	bcMark     = 10
	bcSourceEQ = 11
	bcDestEQ   = 12
)

// sizeofOp is the size of struct inet_diag_bc_op: a code, how far to go if it is true, and how
// far if it is not, in bytes from its beginning.
const sizeofOp = 4

// bytecode is a filter that was checked: every way through it goes forward, and ends exactly
// at its end (accepted) or 4 bytes behind it (rejected).
type bytecode struct{ code []byte }

// newBytecode checks a filter. EINVAL.
func newBytecode(b []byte) (*bytecode, error) {
	code := append([]byte(nil), b...)
	// starts are the places where an operation may begin: those that the ways of "yes"
	// reach, one after the other.
	starts := map[int]bool{}
	for at := 0; at < len(code); {
		if len(code)-at < sizeofOp {
			return nil, unix.EINVAL
		}
		starts[at] = true
		op, yes, no := code[at], int(code[at+1]), int(binary.NativeEndian.Uint16(code[at+2:]))
		arg := 0
		switch op {
		case bcSource, bcDest:
			arg = sizeofHostCond
			if len(code)-at < sizeofOp+arg {
				return nil, unix.EINVAL
			}
			n, ok := addrLength(code[at+sizeofOp])
			if !ok || int(code[at+sizeofOp+1]) > 8*n {
				return nil, unix.EINVAL
			}
			arg += n
		case bcSourceGE, bcSourceLE, bcDestGE, bcDestLE, bcSourceEQ, bcDestEQ, bcDevice:
			arg = 4
		case bcMark:
			arg = 8
		case bcNop, bcJump, bcAuto:
		default:
			return nil, unix.EINVAL
		}
		if len(code)-at < sizeofOp+arg || yes < sizeofOp+arg || yes%4 != 0 || yes > len(code)-at {
			return nil, unix.EINVAL
		}
		if op != bcNop && (no < sizeofOp || no%4 != 0 || no > len(code)-at+4) {
			return nil, unix.EINVAL
		}
		at += yes
	}
	for at := range starts {
		if code[at] == bcNop {
			continue
		}
		// Where "no" leads must be an operation, too, not the middle of one.
		if to := at + int(binary.NativeEndian.Uint16(code[at+2:])); to < len(code) && !starts[to] {
			return nil, unix.EINVAL
		}
	}
	return &bytecode{code}, nil
}

// sizeofHostCond is the size of struct inet_diag_hostcond without its address: family, prefix
// length, two bytes of padding, port (-1: any).
const sizeofHostCond = 8

func addrLength(family byte) (n int, ok bool) {
	switch family {
	case unix.AF_UNSPEC:
		return 0, true
	case unix.AF_INET:
		return 4, true
	case unix.AF_INET6:
		return 16, true
	}
	return 0, false
}

// run says whether the filter accepts s.
func (f *bytecode) run(s *IPSocket) bool {
	code := f.code
	at := 0
	for at < len(code) {
		arg := code[at+sizeofOp:]
		port := func() uint16 { return binary.NativeEndian.Uint16(arg[2:]) }
		yes := true
		switch code[at] {
		case bcJump:
			yes = false
		case bcSourceGE:
			yes = s.Local.Port() >= port()
		case bcSourceLE:
			yes = s.Local.Port() <= port()
		case bcSourceEQ:
			yes = s.Local.Port() == port()
		case bcDestGE:
			yes = s.Remote.Port() >= port()
		case bcDestLE:
			yes = s.Remote.Port() <= port()
		case bcDestEQ:
			yes = s.Remote.Port() == port()
		case bcAuto:
			yes = false // not known of a socket
		case bcDevice:
			yes = uint32(s.Device) == binary.NativeEndian.Uint32(arg)
		case bcMark:
			yes = s.Mark&binary.NativeEndian.Uint32(arg[4:]) == binary.NativeEndian.Uint32(arg)
		case bcSource:
			yes = hostMatches(arg, s.Local)
		case bcDest:
			yes = hostMatches(arg, s.Remote)
		}
		if yes {
			at += int(code[at+1])
		} else {
			at += int(binary.NativeEndian.Uint16(code[at+2:]))
		}
	}
	return at == len(code)
}

// hostMatches is a condition about one end.
func hostMatches(cond []byte, end netip.AddrPort) bool {
	if port := int32(binary.NativeEndian.Uint32(cond[4:])); port != -1 && port != int32(end.Port()) {
		return false
	}
	n, _ := addrLength(cond[0])
	bits := int(cond[1])
	if n == 0 || bits == 0 {
		return true
	}
	want, _ := netip.AddrFromSlice(cond[sizeofHostCond : sizeofHostCond+n])
	got := end.Addr()
	if got.Is4() && n == 16 {
		if !want.Is4In6() || bits < 96 {
			return false
		}
		want, bits = want.Unmap(), bits-96
	}
	if !got.IsValid() {
		got = netip.IPv4Unspecified()
		if n == 16 {
			got = netip.IPv6Unspecified()
		}
	}
	if got.Is4() != want.Is4() {
		return false
	}
	return netip.PrefixFrom(want, bits).Masked().Contains(got)
}
