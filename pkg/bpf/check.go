package bpf

import "errors"

// ErrLength is returned for a program that is empty or longer than MaxLength.
var ErrLength = errors.New("bpf: program is empty or too long")

// Compile checks a socket filter. The instructions are copied: the caller may change
// its own later.
func Compile(insns []Instruction) (Program, error) { return compile(insns, socketOp, -1) }

// CompileSeccomp checks a seccomp filter for input of dataSize bytes.
func CompileSeccomp(insns []Instruction, dataSize int) (Program, error) {
	return compile(insns, seccompOp, dataSize)
}

// seccompOp says whether seccomp(2) knows an instruction: word loads only, no MOD, no
// packet header length.
func seccompOp(code uint16) bool {
	switch code {
	case LD | B | ABS, LD | H | ABS, LD | B | IND, LD | H | IND, LD | W | IND, LDX | B | MSH,
		ALU | MOD | K, ALU | MOD | X:
		return false
	}
	return socketOp(code)
}

// socketOp says whether an instruction exists at all.
func socketOp(code uint16) bool {
	switch code {
	case LD | W | ABS, LD | H | ABS, LD | B | ABS, LD | W | IND, LD | H | IND, LD | B | IND,
		LD | W | LEN, LD | IMM, LD | MEM, LDX | IMM, LDX | MEM, LDX | W | LEN, LDX | B | MSH,
		ST, STX, RET | K, RET | A, MISC | TAX, MISC | TXA, ALU | NEG, JMP | JA:
		return true
	}
	switch code & 0x07 {
	case ALU:
		switch code &^ (0x07 | X) {
		case ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR:
			return true
		}
	case JMP:
		switch code &^ (0x07 | X) {
		case JEQ, JGT, JGE, JSET:
			return true
		}
	}
	return false
}

func compile(insns []Instruction, known func(uint16) bool, dataSize int) (Program, error) {
	if len(insns) == 0 || len(insns) > MaxLength {
		return Program{}, ErrLength
	}
	p := Program{insns: append([]Instruction(nil), insns...)}
	for pc, in := range p.insns {
		if reason := checkOne(in, known, dataSize, len(p.insns)-pc-1); reason != "" {
			return Program{}, &Error{pc, in, reason}
		}
	}
	last := len(p.insns) - 1
	if c := p.insns[last].OpCode; c != RET|K && c != RET|A {
		return Program{}, &Error{last, p.insns[last], "the last instruction does not return"}
	}
	if pc := p.uninitialized(); pc >= 0 {
		return Program{}, &Error{pc, p.insns[pc], "loads scratch memory that some path did not store"}
	}
	return p, nil
}

// checkOne looks at one instruction that has rest others behind it.
func checkOne(in Instruction, known func(uint16) bool, dataSize, rest int) string {
	if !known(in.OpCode) {
		return "unknown operation"
	}
	switch in.OpCode {
	case LD | MEM, LDX | MEM, ST, STX:
		if in.K >= ScratchWords {
			return "no such word of scratch memory"
		}
	case ALU | DIV | K, ALU | MOD | K:
		if in.K == 0 {
			return "division by zero"
		}
	case ALU | LSH | K, ALU | RSH | K:
		if in.K >= 32 {
			return "shift too far"
		}
	case LD | W | ABS:
		if dataSize >= 0 && (in.K&3 != 0 || uint64(in.K)+4 > uint64(dataSize)) {
			return "load outside of the data or unaligned"
		}
	case JMP | JA:
		if uint64(in.K) >= uint64(rest) {
			return "jump behind the end"
		}
	default:
		if in.OpCode&0x07 == JMP && (int(in.JumpIfTrue) >= rest || int(in.JumpIfFalse) >= rest) {
			return "jump behind the end"
		}
	}
	return ""
}

// uninitialized returns the first instruction that may load a scratch word before it was
// stored, or -1. As all jumps go forward, one pass sees every predecessor first: stored[pc]
// is the set of words stored on every path to pc.
func (p Program) uninitialized() int {
	stored := make([]uint16, len(p.insns)+1)
	for i := range stored {
		stored[i] = 0xffff
	}
	stored[0] = 0
	for pc, in := range p.insns {
		s := stored[pc]
		switch in.OpCode {
		case ST, STX:
			s |= 1 << in.K
		case LD | MEM, LDX | MEM:
			if s&(1<<in.K) == 0 {
				return pc
			}
		case JMP | JA:
			stored[pc+1+int(in.K)] &= s
			continue
		case RET | K, RET | A:
			continue
		}
		if in.OpCode&0x07 == JMP {
			stored[pc+1+int(in.JumpIfTrue)] &= s
			stored[pc+1+int(in.JumpIfFalse)] &= s
			continue
		}
		stored[pc+1] &= s
	}
	return -1
}
