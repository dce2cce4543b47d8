package bpf

import "encoding/binary"

// Ancillary data of socket filters: absolute loads from AncillaryOffset on do not read the
// packet (SKF_AD_OFF in linux/filter.h).
const AncillaryOffset = 0xfffff000

// Packet is the input of a socket filter.
type Packet struct {
	Data []byte
	// Ancillary holds the values at AncillaryOffset+4*i: protocol, packet type, interface
	// index and so on. Loads beyond it end the program with 0.
	Ancillary []uint32
}

// Run runs a socket filter and returns how many bytes of the packet to keep. A load
// outside of the packet drops it (returns 0).
func (p Program) Run(pkt *Packet) uint32 {
	return p.run(pkt.Data, pkt.Ancillary, false)
}

// RunNative runs a seccomp filter over data in native byte order.
func (p Program) RunNative(data []byte) uint32 { return p.run(data, nil, true) }

func (p Program) run(data []byte, ancillary []uint32, native bool) uint32 {
	var a, x uint32
	var m [ScratchWords]uint32
	// Every instruction moves pc forward (checked at compile time), so this ends.
	for pc := 0; pc < len(p.insns); pc++ {
		in := p.insns[pc]
		switch in.OpCode {
		case LD | W | ABS:
			v, ok := loadWord(data, ancillary, uint64(in.K), native)
			if !ok {
				return 0
			}
			a = v
		case LD | H | ABS, LD | B | ABS, LD | W | IND, LD | H | IND, LD | B | IND:
			off := uint64(in.K)
			if in.OpCode&0xe0 == IND {
				off = uint64(in.K + x)
			}
			v, ok := load(data, ancillary, off, in.OpCode&0x18, native)
			if !ok {
				return 0
			}
			a = v
		case LD | W | LEN:
			a = uint32(len(data))
		case LDX | W | LEN:
			x = uint32(len(data))
		case LD | IMM:
			a = in.K
		case LDX | IMM:
			x = in.K
		case LD | MEM:
			a = m[in.K&(ScratchWords-1)]
		case LDX | MEM:
			x = m[in.K&(ScratchWords-1)]
		case LDX | B | MSH:
			if uint64(in.K) >= uint64(len(data)) {
				return 0
			}
			x = uint32(data[in.K]&0xf) * 4
		case ST:
			m[in.K&(ScratchWords-1)] = a
		case STX:
			m[in.K&(ScratchWords-1)] = x
		case RET | K:
			return in.K
		case RET | A:
			return a
		case MISC | TAX:
			x = a
		case MISC | TXA:
			a = x
		case ALU | NEG:
			a = -a
		case JMP | JA:
			pc += int(in.K)
		default:
			operand := in.K
			if in.OpCode&X != 0 {
				operand = x
			}
			if in.OpCode&0x07 == JMP {
				if jumps(in.OpCode&0xf0, a, operand) {
					pc += int(in.JumpIfTrue)
				} else {
					pc += int(in.JumpIfFalse)
				}
				continue
			}
			v, ok := alu(in.OpCode&0xf0, a, operand)
			if !ok {
				return 0
			}
			a = v
		}
	}
	return 0
}

func jumps(op uint16, a, b uint32) bool {
	switch op {
	case JEQ:
		return a == b
	case JGT:
		return a > b
	case JGE:
		return a >= b
	}
	return a&b != 0
}

// alu reports false for a division by zero, which ends the program with 0.
func alu(op uint16, a, b uint32) (uint32, bool) {
	switch op {
	case ADD:
		return a + b, true
	case SUB:
		return a - b, true
	case MUL:
		return a * b, true
	case DIV:
		if b == 0 {
			return 0, false
		}
		return a / b, true
	case MOD:
		if b == 0 {
			return 0, false
		}
		return a % b, true
	case OR:
		return a | b, true
	case AND:
		return a & b, true
	case XOR:
		return a ^ b, true
	case LSH:
		return a << (b & 31), true
	}
	return a >> (b & 31), true
}

func loadWord(data []byte, ancillary []uint32, off uint64, native bool) (uint32, bool) {
	if off+4 <= uint64(len(data)) {
		if native {
			return binary.NativeEndian.Uint32(data[off:]), true
		}
		return binary.BigEndian.Uint32(data[off:]), true
	}
	return loadAncillary(ancillary, off)
}

func load(data []byte, ancillary []uint32, off uint64, size uint16, native bool) (uint32, bool) {
	switch {
	case size == W:
		return loadWord(data, ancillary, off, native)
	case size == H && off+2 <= uint64(len(data)):
		if native {
			return uint32(binary.NativeEndian.Uint16(data[off:])), true
		}
		return uint32(binary.BigEndian.Uint16(data[off:])), true
	case size == B && off < uint64(len(data)):
		return uint32(data[off]), true
	}
	return loadAncillary(ancillary, off)
}

// loadAncillary ignores the size of the load, as Linux does.
func loadAncillary(ancillary []uint32, off uint64) (uint32, bool) {
	if off < AncillaryOffset || off > 0xffffffff {
		return 0, false
	}
	i := (off - AncillaryOffset) / 4
	if i >= uint64(len(ancillary)) {
		return 0, false
	}
	return ancillary[i], true
}
