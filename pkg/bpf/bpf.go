// Package bpf is the classic Berkeley packet filter machine: its instructions, the check
// that a program is well formed, and an interpreter.
//
// Two kinds of program exist. A socket filter looks at a packet in network byte order and
// says how many bytes of it to keep; a seccomp filter looks at struct seccomp_data in
// native byte order and returns an action. They share instructions; the seccomp kind may
// use fewer and loads only aligned words inside the structure.
//
// Instructions are data (struct sock_filter); Compile and CompileSeccomp turn them, if they
// pass the checks, into a Program, which can be run. A Program can only jump forward and
// ends in a return, so that running it takes at most one step per instruction, MaxLength in
// all, whatever it was given: applications install filters of their own choice.
//
// Callers: pkg/seccomp builds filters for the sandbox's own processes and tests them here;
// the sentry runs applications' seccomp and socket filters. There is no state and no lock;
// a Program is immutable and may be run by many goroutines.
//
// Sources: bpf(4) of the BSDs, Documentation/networking/filter.rst, seccomp(2).
package bpf

import "fmt"

// Instruction is struct sock_filter.
type Instruction struct {
	// OpCode is class, size, mode, operation and source, or'ed together.
	OpCode uint16
	// JumpIfTrue and JumpIfFalse count instructions that a conditional jump skips.
	JumpIfTrue, JumpIfFalse uint8
	// K is the immediate operand.
	K uint32
}

// SizeofInstruction is the size of struct sock_filter in bytes.
const SizeofInstruction = 8

const (
	// MaxLength is the most instructions a program may have (BPF_MAXINSNS).
	MaxLength = 4096
	// ScratchWords is the number of words of scratch memory (BPF_MEMWORDS).
	ScratchWords = 16
)

// Instruction classes.
const (
	LD   = 0x00
	LDX  = 0x01
	ST   = 0x02
	STX  = 0x03
	ALU  = 0x04
	JMP  = 0x05
	RET  = 0x06
	MISC = 0x07
)

// Sizes and modes of loads.
const (
	W = 0x00
	H = 0x08
	B = 0x10

	IMM = 0x00
	ABS = 0x20
	IND = 0x40
	MEM = 0x60
	LEN = 0x80
	MSH = 0xa0
)

// ALU operations and jumps; the source of the second operand; what RET returns.
const (
	ADD = 0x00
	SUB = 0x10
	MUL = 0x20
	DIV = 0x30
	OR  = 0x40
	AND = 0x50
	LSH = 0x60
	RSH = 0x70
	NEG = 0x80
	MOD = 0x90
	XOR = 0xa0

	JA   = 0x00
	JEQ  = 0x10
	JGT  = 0x20
	JGE  = 0x30
	JSET = 0x40

	K = 0x00
	X = 0x08
	A = 0x10 // RET only

	TAX = 0x00
	TXA = 0x80
)

// Stmt is an instruction that does not branch.
func Stmt(code uint16, k uint32) Instruction { return Instruction{OpCode: code, K: k} }

// Jump is a conditional jump over jt or jf instructions.
func Jump(code uint16, k uint32, jt, jf uint8) Instruction {
	return Instruction{OpCode: code, JumpIfTrue: jt, JumpIfFalse: jf, K: k}
}

// Program is a checked program. The zero Program has no instructions and returns 0.
type Program struct {
	insns []Instruction
}

// Length is the number of instructions.
func (p Program) Length() int { return len(p.insns) }

// Instructions is a copy of the program as it was given.
func (p Program) Instructions() []Instruction { return append([]Instruction(nil), p.insns...) }

// Error says which instruction is wrong.
type Error struct {
	PC     int
	Insn   Instruction
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("bpf: instruction %d (%04x %d %d %#x): %s", e.PC, e.Insn.OpCode, e.Insn.JumpIfTrue, e.Insn.JumpIfFalse, e.Insn.K, e.Reason)
}
