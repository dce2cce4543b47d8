package seccomp

import (
	"fmt"
	"maps"
	"slices"

	"runsc/pkg/bpf"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data, in bytes.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16

	// SizeofData is the size of struct seccomp_data.
	SizeofData = 64
)

// x32Bit marks the system calls of the x32 ABI, which are never allowed.
const x32Bit = 0x40000000

// insn is a BPF instruction whose jumps may be symbolic: a count of instructions, or one
// of the constants below.
type insn struct {
	bpf.Instruction
	jt, jf int
}

const (
	pass = -1 // behind the condition
	fail = -2 // behind the rule
)

func stmt(code uint16, k uint32) insn { return insn{Instruction: bpf.Stmt(code, k)} }

func jump(code uint16, k uint32, jt, jf int) insn {
	return insn{bpf.Instruction{OpCode: bpf.JMP | code | bpf.K, K: k}, jt, jf}
}

func loadLow(arg int) insn  { return stmt(bpf.LD|bpf.W|bpf.ABS, uint32(offArgs+8*arg)) }
func loadHigh(arg int) insn { return stmt(bpf.LD|bpf.W|bpf.ABS, uint32(offArgs+8*arg+4)) }

func (AnyValue) code(int) []insn { return nil }

func (m EqualTo) code(arg int) []insn {
	return []insn{
		loadHigh(arg), jump(bpf.JEQ, uint32(m>>32), 0, fail),
		loadLow(arg), jump(bpf.JEQ, uint32(m), pass, fail),
	}
}

func (m NotEqual) code(arg int) []insn {
	return []insn{
		loadHigh(arg), jump(bpf.JEQ, uint32(m>>32), 0, pass),
		loadLow(arg), jump(bpf.JEQ, uint32(m), fail, pass),
	}
}

// above compares: larger values go to yes, smaller ones to no; op decides for equal ones.
func above(arg int, v uint64, op uint16, yes, no int) []insn {
	return []insn{
		loadHigh(arg), jump(bpf.JGT, uint32(v>>32), yes, 0), jump(bpf.JEQ, uint32(v>>32), 0, no),
		loadLow(arg), jump(op, uint32(v), yes, no),
	}
}

func (m GreaterThan) code(arg int) []insn        { return above(arg, uint64(m), bpf.JGT, pass, fail) }
func (m GreaterThanOrEqual) code(arg int) []insn { return above(arg, uint64(m), bpf.JGE, pass, fail) }
func (m LessThan) code(arg int) []insn           { return above(arg, uint64(m), bpf.JGE, fail, pass) }
func (m LessThanOrEqual) code(arg int) []insn    { return above(arg, uint64(m), bpf.JGT, fail, pass) }

func (m Masked) code(arg int) []insn {
	var c []insn
	half := func(load insn, mask, value uint32) {
		if mask == 0 && value == 0 {
			return
		}
		c = append(c, load)
		if mask != 0xffffffff {
			c = append(c, stmt(bpf.ALU|bpf.AND|bpf.K, mask))
		}
		c = append(c, jump(bpf.JEQ, value, 0, fail))
	}
	half(loadHigh(arg), uint32(m.Mask>>32), uint32(m.Value>>32))
	half(loadLow(arg), uint32(m.Mask), uint32(m.Value))
	return c
}

// code is the rule in BPF, with action at its end; if it does not hold, execution goes on
// behind it.
func (r Rule) code(action Action) []bpf.Instruction {
	var c []insn
	for arg, m := range r {
		if m == nil {
			continue
		}
		part := m.code(arg)
		for i := range part { // conditions end where the next begins
			rest := len(part) - i - 1
			if part[i].jt == pass {
				part[i].jt = rest
			}
			if part[i].jf == pass {
				part[i].jf = rest
			}
		}
		c = append(c, part...)
	}
	c = append(c, stmt(bpf.RET|bpf.K, uint32(action)))
	out := make([]bpf.Instruction, len(c))
	for i, in := range c { // a rule has at most 6*5+1 instructions: jumps fit into 8 bits
		rest := len(c) - i - 1
		if in.jt == fail {
			in.jt = rest
		}
		if in.jf == fail {
			in.jf = rest
		}
		in.JumpIfTrue, in.JumpIfFalse = uint8(in.jt), uint8(in.jf)
		out[i] = in.Instruction
	}
	return out
}

// call is the code of one system call.
type call struct {
	nr   uintptr
	body []bpf.Instruction
}

// Build compiles sets: a call gets the action of the first set that means it, and
// otherwise def. Calls of another architecture or ABI kill the process.
func Build(sets []RuleSet, def Action) ([]bpf.Instruction, error) {
	return BuildForeign(sets, def, KillProcess)
}

// BuildForeign is Build with an action of its own for calls of another architecture or ABI,
// which sets cannot name.
func BuildForeign(sets []RuleSet, def, foreign Action) ([]bpf.Instruction, error) {
	bodies := map[uintptr][]bpf.Instruction{}
	closed := map[uintptr]bool{} // the number's body cannot fall through
	for _, s := range sets {
		for nr, rules := range s.Rules {
			if nr >= x32Bit {
				return nil, fmt.Errorf("seccomp: no system call has the number %d", nr)
			}
			if closed[nr] {
				continue
			}
			if len(rules) == 0 {
				rules = []Rule{{}}
			}
			for _, r := range rules {
				bodies[nr] = append(bodies[nr], r.code(s.Action)...)
				if r == (Rule{}) {
					closed[nr] = true
					break
				}
			}
		}
	}
	var calls []call
	for _, nr := range slices.Sorted(maps.Keys(bodies)) {
		body := bodies[nr]
		if !closed[nr] {
			body = append(body, bpf.Stmt(bpf.RET|bpf.K, uint32(def)))
		}
		calls = append(calls, call{nr, body})
	}
	p := []bpf.Instruction{
		bpf.Stmt(bpf.LD|bpf.W|bpf.ABS, offArch),
		bpf.Jump(bpf.JMP|bpf.JEQ|bpf.K, unix.AUDIT_ARCH_X86_64, 1, 0),
		bpf.Stmt(bpf.RET|bpf.K, uint32(foreign)),
		bpf.Stmt(bpf.LD|bpf.W|bpf.ABS, offNumber),
		bpf.Jump(bpf.JMP|bpf.JGE|bpf.K, x32Bit, 0, 1),
		bpf.Stmt(bpf.RET|bpf.K, uint32(foreign)),
	}
	p = append(p, search(calls, def)...)
	if len(p) > bpf.MaxLength {
		return nil, fmt.Errorf("seccomp: filter has %d instructions, at most %d are possible", len(p), bpf.MaxLength)
	}
	return p, nil
}

// search is a binary search for the number in A among calls, which are sorted.
func search(calls []call, def Action) []bpf.Instruction {
	switch len(calls) {
	case 0:
		return []bpf.Instruction{bpf.Stmt(bpf.RET|bpf.K, uint32(def))}
	case 1:
		return append([]bpf.Instruction{
			bpf.Jump(bpf.JMP|bpf.JEQ|bpf.K, uint32(calls[0].nr), 1, 0),
			bpf.Stmt(bpf.RET|bpf.K, uint32(def)),
		}, calls[0].body...)
	}
	mid := len(calls) / 2
	low, high := search(calls[:mid], def), search(calls[mid:], def)
	nr := uint32(calls[mid].nr)
	var c []bpf.Instruction
	if len(low) <= 255 {
		c = append(c, bpf.Jump(bpf.JMP|bpf.JGE|bpf.K, nr, uint8(len(low)), 0))
	} else {
		c = append(c, bpf.Jump(bpf.JMP|bpf.JGE|bpf.K, nr, 0, 1), bpf.Stmt(bpf.JMP|bpf.JA, uint32(len(low))))
	}
	return append(append(c, low...), high...)
}
