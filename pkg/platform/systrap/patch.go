package systrap

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
)

// A system call instruction costs a signal. A call site that is used often is changed into a
// jump to a trampoline, a few instructions near the code, which goes to the stub without one
// (stubPatched). Two kinds of sites can be changed so that each instruction boundary stays one:
//
//	mov $nr,%eax; syscall           becomes   jmp trampoline; syscall
//	syscall; cmp $imm,%rax          becomes   jmp trampoline; (three bytes)
//
// The first replaces one instruction by one of the same length; whoever jumps or returns behind
// it finds what was there before. In the second, the place behind `syscall`, to which a thread
// may be about to return, falls into the jump's operand. Trampolines are placed so that the byte
// there is no instruction of 64-bit code: such a return raises SIGILL, and the sentry moves it
// (mm.PatchedReturn).

// trampolineSize is the room for one trampoline in bytes.
const trampolineSize = 128

// invalid are opcodes that 64-bit code does not have.
var invalid = []byte{0x06, 0x0e, 0x16, 0x1e, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea}

var syscallInsn = []byte{0x0f, 0x05}

// patch is a change of one call site.
type patch struct {
	start uintptr // of the bytes that are replaced
	n     int     // how many
	ip    uintptr // behind the system call instruction
	nr    uint32  // of the first kind
	next  []byte  // the instruction behind, of the second kind; nil for the first
}

// PlanSyscallPatch implements platform.SyscallPatcher.
func (p *Platform) PlanSyscallPatch(code []byte, addr, ip, nr uintptr) (platform.SyscallPatch, bool) {
	at := int(ip - addr)
	if at < 2 || at > len(code) || !bytes.Equal(code[at-2:at], syscallInsn) {
		return nil, false
	}
	imm := binary.LittleEndian.AppendUint32(nil, uint32(nr))
	before := code[:at-2]
	// The number in the register is the one that the instruction loads, so that it is one.
	// A prefix would make it load another register.
	if mov := append([]byte{0x48, 0xc7, 0xc0}, imm...); bytes.HasSuffix(before, mov) {
		return &patch{start: ip - 9, n: 7, ip: ip, nr: uint32(nr)}, true
	}
	if mov := append([]byte{0xb8}, imm...); bytes.HasSuffix(before, mov) {
		if n := len(before) - len(mov); n > 0 && before[n-1]&0xf0 != 0x40 {
			return &patch{start: ip - 7, n: 5, ip: ip, nr: uint32(nr)}, true
		}
	}
	if after := code[at:]; len(after) >= 6 && after[0] == 0x48 && after[1] == 0x3d {
		return &patch{start: ip - 2, n: 8, ip: ip, next: slices.Clone(after[:6])}, true
	}
	return nil, false
}

// Range implements platform.SyscallPatch.
func (p *patch) Range() (start, end uintptr) { return p.start, p.start + uintptr(p.n) }

// rel32 is the operand of a jump or of an address that ends at from.
func rel32(from, to uintptr) (uint32, bool) {
	d := int64(to) - int64(from)
	return uint32(d), d == int64(int32(d))
}

// Build implements platform.SyscallPatch.
func (p *patch) Build(at uintptr) (site, trampoline []byte, moved uintptr, ok bool) {
	rel, ok := rel32(p.start+5, at)
	if !ok || p.next != nil && !slices.Contains(invalid, byte(rel>>8)) {
		return nil, nil, 0, false
	}
	site = binary.LittleEndian.AppendUint32([]byte{0xe9}, rel)
	for len(site) < p.n {
		site = append(site, 0xcc)
	}

	le := binary.LittleEndian
	var t []byte
	if p.next == nil && p.nr == unix.SYS_GETPID {
		// The answer is in a page that the application can only read. No flags change.
		t = le.AppendUint64(append(t, 0x48, 0xb9), ordersBase+offProcessID) // movabs $pid,%rcx
		t = append(t, 0x8b, 0x09, 0xe3, 7, 0x89, 0xc8)                      // mov (%rcx),%ecx; jrcxz +7; mov %ecx,%eax
		rel, _ := rel32(at+uintptr(len(t))+5, p.ip)
		t = le.AppendUint32(append(t, 0xe9), rel) // jmp behind the call
	}
	if p.next == nil {
		t = le.AppendUint32(append(t, 0xb8), p.nr) // mov $nr,%eax
	}
	t = le.AppendUint64(append(t, 0x48, 0xb9), ordersBase+offPatchFlag) // movabs $flag,%rcx
	t = append(t, 0x8b, 0x09)                                           // mov (%rcx),%ecx
	t = append(t, 0xe3, 0)                                              // jrcxz slow: no flags change
	slowFrom := len(t)
	t = le.AppendUint32(append(t, 0x65, 0x4c, 0x8b, 0x1c, 0x25), offSelf) // mov %gs:self,%r11
	t = append(t, 0x48, 0x8d, 0x0d, 0, 0, 0, 0)                           // lea places(%rip),%rcx
	placesFrom := len(t)
	t = append(t, 0xff, 0x25, 0, 0, 0, 0) // jmp *entry(%rip)
	entryFrom := len(t)
	t[slowFrom-1] = byte(len(t) - slowFrom)
	resume := p.ip
	if p.next == nil {
		rel, _ := rel32(at+uintptr(len(t))+5, p.ip-2)
		t = le.AppendUint32(append(t, 0xe9), rel) // slow: jmp to the instruction
	} else {
		t = append(t, syscallInsn...) // slow: syscall
		moved = at + uintptr(len(t))
		resume = moved
		t = append(t, p.next...)
		rel, _ := rel32(at+uintptr(len(t))+5, p.ip+uintptr(len(p.next)))
		t = le.AppendUint32(append(t, 0xe9), rel)
	}
	for len(t)%8 != 0 {
		t = append(t, 0xcc)
	}
	le.PutUint32(t[placesFrom-4:], uint32(len(t)-placesFrom))
	t = le.AppendUint64(t, uint64(p.ip))
	t = le.AppendUint64(t, uint64(resume))
	le.PutUint32(t[entryFrom-4:], uint32(len(t)-entryFrom))
	t = le.AppendUint64(t, codeBase+offPatched)
	return site, t, moved, true
}

// TrampolineSize implements platform.SyscallPatcher.
func (p *Platform) TrampolineSize() uintptr { return trampolineSize }

// hotAfter is how often a call site is used by a task before it is worth a change.
const hotAfter = 24

// site counts uses of a call site.
type site struct {
	ip   uintptr
	uses uint8
}

// hot counts a use of the call site in front of ip, by a task's own small table, and says
// whether this is the moment to change it.
func (c *taskContext) hot(ip uintptr) bool {
	s := &c.sites[(ip^ip>>6)%uintptr(len(c.sites))]
	if s.ip != ip {
		*s = site{ip: ip}
	}
	if s.uses > hotAfter {
		return false
	}
	s.uses++
	return s.uses == hotAfter
}

var _ platform.SyscallPatcher = (*Platform)(nil)
