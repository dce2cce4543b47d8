package arch

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Layout of an XSAVE area: the legacy region of fxsave, the header, the rest.
const (
	sizeofLegacyFP     = 512
	sizeofXStateHeader = 64

	offFCW      = 0
	offMXCSR    = 24
	offMXMask   = 28
	offSoftware = 464 // bytes that the CPU leaves to software
	offXStateBV = 512
	offXCompBV  = 520

	initialFCW   = 0x37f
	initialMXCSR = 0x1f80

	componentX87 = 1 << 0
	componentSSE = 1 << 1
)

// FPState is an XSAVE area of XStateSize bytes in the standard format.
type FPState []byte

// NewFPState is the state at the start of a program.
func NewFPState() FPState {
	f := make(FPState, cpu.xsaveSize)
	f.Reset()
	return f
}

// Reset makes f the state at the start of a program.
func (f FPState) Reset() {
	clear(f)
	binary.LittleEndian.PutUint16(f[offFCW:], initialFCW)
	binary.LittleEndian.PutUint32(f[offMXCSR:], initialMXCSR)
	binary.LittleEndian.PutUint32(f[offMXMask:], cpu.mxcsrMask)
	binary.LittleEndian.PutUint64(f[offXStateBV:], componentX87|componentSSE)
	f.clearSoftware()
}

// Clone is a copy.
func (f FPState) Clone() FPState { return append(FPState(nil), f...) }

// Legacy is the part that fxsave knows, struct user_fpregs_struct.
func (f FPState) Legacy() []byte { return f[:sizeofLegacyFP] }

// Load replaces f by src, an XSAVE area that an application or a checkpoint made, perhaps
// of another size. Components that src lacks, or that are not in mask, get their initial
// state. EINVAL: the CPU would refuse it; f is unchanged then.
func (f FPState) Load(src []byte, mask uint64) error {
	if len(src) < sizeofLegacyFP+sizeofXStateHeader {
		return unix.EINVAL
	}
	bv := binary.LittleEndian.Uint64(src[offXStateBV:])
	if bv&^cpu.xcr0 != 0 || binary.LittleEndian.Uint32(src[offMXCSR:])&^cpu.mxcsrMask != 0 {
		return unix.EINVAL
	}
	for _, b := range src[offXCompBV : sizeofLegacyFP+sizeofXStateHeader] {
		if b != 0 { // compacted, or reserved bits
			return unix.EINVAL
		}
	}
	if len(src) < cpu.xsaveSize {
		for i := 2; i < 63; i++ {
			if bv&(1<<i) == 0 {
				continue
			}
			size, offset, _, _ := cpuid(0xd, uint32(i))
			if int(size)+int(offset) > len(src) {
				return unix.EINVAL
			}
		}
	}
	n := copy(f, src)
	clear(f[n:])
	f.keep(mask)
	f.clearSoftware()
	return nil
}

// LoadLegacy replaces f by src, 512 bytes that fxsave made; everything else gets its
// initial state.
func (f FPState) LoadLegacy(src []byte) error {
	if len(src) < sizeofLegacyFP || binary.LittleEndian.Uint32(src[offMXCSR:])&^cpu.mxcsrMask != 0 {
		return unix.EINVAL
	}
	clear(f)
	copy(f, src[:sizeofLegacyFP])
	binary.LittleEndian.PutUint64(f[offXStateBV:], componentX87|componentSSE)
	f.clearSoftware()
	return nil
}

// keep gives components that are not in mask their initial state.
func (f FPState) keep(mask uint64) {
	bv := binary.LittleEndian.Uint64(f[offXStateBV:]) & mask
	binary.LittleEndian.PutUint64(f[offXStateBV:], bv)
	if bv&componentX87 == 0 {
		// The header decides, but readers of the legacy region see consistent values.
		clear(f[:offMXCSR])
		clear(f[32:160])
		binary.LittleEndian.PutUint16(f[offFCW:], initialFCW)
	}
	if bv&componentSSE == 0 {
		clear(f[160:416])
	}
}

// clearSoftware gives the bytes that the CPU leaves to software the content that ptrace(2)
// shows there: XCR0, from which debuggers learn the layout.
func (f FPState) clearSoftware() {
	clear(f[offSoftware:sizeofLegacyFP])
	binary.LittleEndian.PutUint64(f[offSoftware:], cpu.xcr0)
}
