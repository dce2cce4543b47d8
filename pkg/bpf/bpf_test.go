package bpf

import (
	"encoding/binary"
	"errors"
	"testing"
)

func TestRun(t *testing.T) {
	pkt := []byte{0x45, 0x00, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef}
	for _, tc := range []struct {
		name string
		prog []Instruction
		want uint32
	}{
		{"ret", []Instruction{Stmt(RET|K, 7)}, 7},
		{"word", []Instruction{Stmt(LD|W|ABS, 4), Stmt(RET|A, 0)}, 0xdeadbeef},
		{"half", []Instruction{Stmt(LD|H|ABS, 2), Stmt(RET|A, 0)}, 0x1234},
		{"byte indirect", []Instruction{Stmt(LDX|IMM, 3), Stmt(LD|B|IND, 2), Stmt(RET|A, 0)}, 0xad},
		{"beyond the end", []Instruction{Stmt(LD|W|ABS, 5), Stmt(RET|K, 9)}, 0},
		{"length", []Instruction{Stmt(LD|W|LEN, 0), Stmt(RET|A, 0)}, 8},
		{"header length", []Instruction{Stmt(LDX|B|MSH, 0), Stmt(MISC|TXA, 0), Stmt(RET|A, 0)}, 20},
		{"ancillary", []Instruction{Stmt(LD|W|ABS, AncillaryOffset+4), Stmt(RET|A, 0)}, 22},
		{"ancillary missing", []Instruction{Stmt(LD|W|ABS, AncillaryOffset+400), Stmt(RET|K, 1)}, 0},
		{"scratch", []Instruction{Stmt(LD|IMM, 5), Stmt(ST, 15), Stmt(LDX|MEM, 15), Stmt(ALU|ADD|X, 0), Stmt(RET|A, 0)}, 10},
		{"divide by zero X", []Instruction{Stmt(LD|IMM, 5), Stmt(ALU|DIV|X, 0), Stmt(RET|K, 3)}, 0},
		{"mod", []Instruction{Stmt(LD|IMM, 17), Stmt(ALU|MOD|K, 5), Stmt(RET|A, 0)}, 2},
		{"neg", []Instruction{Stmt(LD|IMM, 1), Stmt(ALU|NEG, 0), Stmt(RET|A, 0)}, 0xffffffff},
		{"shift", []Instruction{Stmt(LD|IMM, 1), Stmt(ALU|LSH|K, 31), Stmt(ALU|RSH|K, 30), Stmt(RET|A, 0)}, 2},
		{"jump", []Instruction{Stmt(JMP|JA, 1), Stmt(RET|K, 1), Jump(JMP|JSET|K, 1, 0, 1), Stmt(RET|K, 2), Stmt(RET|K, 3)}, 3},
	} {
		p, err := Compile(tc.prog)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := p.Run(&Packet{Data: pkt, Ancillary: []uint32{11, 22}}); got != tc.want {
			t.Errorf("%s: got %#x, want %#x", tc.name, got, tc.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	ret := Stmt(RET|K, 0)
	for _, tc := range []struct {
		name string
		prog []Instruction
	}{
		{"no return", []Instruction{Stmt(LD|IMM, 0)}},
		{"unknown", []Instruction{Stmt(0xff, 0), ret}},
		{"high bits", []Instruction{Stmt(0x100|RET, 0), ret}},
		{"jump out", []Instruction{Stmt(JMP|JA, 1), ret}},
		{"jump far out", []Instruction{Stmt(JMP|JA, 0xffffffff), ret}},
		{"conditional jump out", []Instruction{Jump(JMP|JEQ|K, 0, 0, 1), ret}},
		{"divide by zero", []Instruction{Stmt(ALU|DIV|K, 0), ret}},
		{"shift", []Instruction{Stmt(ALU|LSH|K, 32), ret}},
		{"scratch index", []Instruction{Stmt(ST, 16), ret}},
		{"uninitialized scratch", []Instruction{Stmt(LD|MEM, 0), ret}},
		{"scratch stored on one path only", []Instruction{Jump(JMP|JEQ|K, 0, 1, 0), Stmt(ST, 0), Stmt(LD|MEM, 0), ret}},
	} {
		var e *Error
		if _, err := Compile(tc.prog); !errors.As(err, &e) {
			t.Errorf("%s: error %v", tc.name, err)
		}
	}
	if _, err := Compile(nil); err != ErrLength {
		t.Errorf("empty: %v", err)
	}
	if _, err := Compile(make([]Instruction, MaxLength+1)); err != ErrLength {
		t.Errorf("long: %v", err)
	}
	for _, in := range []Instruction{Stmt(LD|W|ABS, 64), Stmt(LD|W|ABS, 61), Stmt(LD|W|ABS, 2), Stmt(LD|B|ABS, 0), Stmt(ALU|MOD|K, 3)} {
		if _, err := CompileSeccomp([]Instruction{in, ret}, 64); err == nil {
			t.Errorf("seccomp accepts %+v", in)
		}
	}
}

func FuzzProgram(f *testing.F) {
	f.Add([]byte{0x06, 0, 0, 0, 1, 0, 0, 0}, []byte("x"))
	f.Add([]byte{0x20, 0, 0, 0, 4, 0, 0, 0, 0x15, 0, 0, 0, 1, 0, 0, 0, 0x16, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 64))
	f.Fuzz(func(t *testing.T, code, data []byte) {
		var insns []Instruction
		for ; len(code) >= SizeofInstruction; code = code[SizeofInstruction:] {
			insns = append(insns, Instruction{binary.LittleEndian.Uint16(code), code[2], code[3], binary.LittleEndian.Uint32(code[4:])})
		}
		if p, err := Compile(insns); err == nil {
			p.Run(&Packet{Data: data, Ancillary: []uint32{1}})
		}
		if p, err := CompileSeccomp(insns, 64); err == nil {
			p.RunNative(make([]byte, 64))
		}
	})
}
