package seccomp

import (
	"encoding/binary"
	"math/rand"
	"testing"

	"runsc/pkg/bpf"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
func data(arch uint32, nr uintptr, args [6]uint64) []byte {
	b := make([]byte, SizeofData)
	binary.LittleEndian.PutUint32(b[offNumber:], uint32(nr))
	binary.LittleEndian.PutUint32(b[offArch:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(b[offArgs+8*i:], a)
	}
	return b
}

func compile(t *testing.T, sets []RuleSet, def Action) bpf.Program {
	t.Helper()
	insns, err := Build(sets, def)
	if err != nil {
		t.Fatal(err)
	}
	p, err := bpf.CompileSeccomp(insns, SizeofData)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// interesting values lie around every border a matcher can have.
var interesting = []uint64{0, 1, 2, 7, 8, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x100000001,
	0x1_00000007, 0x7_00000007, 0x7_00000008, 0x8_00000006, 1 << 63, ^uint64(0) - 1, ^uint64(0)}

func TestMatchersAgreeWithTheirCode(t *testing.T) {
	for _, v := range interesting {
		for _, m := range []Matcher{nil, AnyValue{}, EqualTo(v), NotEqual(v), GreaterThan(v), GreaterThanOrEqual(v), LessThan(v),
			LessThanOrEqual(v), MaskedEqual(0xff, v), MaskedEqual(^uint64(0), v), MaskedEqual(0x7_00000000, v), MaskedEqual(v, v), Int32(int32(v))} {
			for arg := range 6 {
				var r Rule
				r[arg] = m
				p := compile(t, []RuleSet{{Rules{39: {r}}, Allow}}, KillProcess)
				for _, a := range interesting {
					var args [6]uint64
					args[arg] = a
					want := KillProcess
					if r.Match(args) {
						want = Allow
					}
					if got := Action(p.RunNative(data(unix.AUDIT_ARCH_X86_64, 39, args))); got != want {
						t.Fatalf("argument %d = %#x %v: %v, want %v", arg, a, m, got, want)
					}
				}
			}
		}
	}
}

func TestBuildAgreesWithRules(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	value := func() uint64 { return interesting[rnd.Intn(len(interesting))] }
	matcher := func() Matcher {
		switch rnd.Intn(6) {
		case 0:
			return EqualTo(value())
		case 1:
			return NotEqual(value())
		case 2:
			return GreaterThan(value())
		case 3:
			return LessThanOrEqual(value())
		case 4:
			return MaskedEqual(value(), value())
		}
		return nil
	}
	for range 30 {
		rules := func(n int) Rules {
			r := Rules{}
			for range n {
				nr := uintptr(rnd.Intn(120))
				r[nr] = nil
				for range rnd.Intn(4) {
					r[nr] = append(r[nr], Rule{matcher(), matcher(), nil, matcher()})
				}
			}
			return r
		}
		sets := []RuleSet{{rules(rnd.Intn(60)), Allow}, {rules(rnd.Intn(60)), Errno(unix.EPERM)}}
		p := compile(t, sets, Trap)
		for range 3000 {
			nr := uintptr(rnd.Intn(130))
			args := [6]uint64{value(), value(), value(), value()}
			want := Trap
			for _, s := range sets {
				if s.Rules.Match(nr, args) {
					want = s.Action
					break
				}
			}
			if got := Action(p.RunNative(data(unix.AUDIT_ARCH_X86_64, nr, args))); got != want {
				t.Fatalf("call %d%x: %v, want %v", nr, args, got, want)
			}
		}
	}
}

func TestBuildRefusesForeignCalls(t *testing.T) {
	p := compile(t, []RuleSet{{Rules{unix.SYS_GETPID: nil}, Allow}}, Errno(unix.ENOSYS))
	for _, tc := range []struct {
		name string
		arch uint32
		nr   uintptr
		want Action
	}{
		{"allowed", unix.AUDIT_ARCH_X86_64, unix.SYS_GETPID, Allow},
		{"other", unix.AUDIT_ARCH_X86_64, unix.SYS_GETPPID, Errno(unix.ENOSYS)},
		{"i386", unix.AUDIT_ARCH_I386, unix.SYS_GETPID, KillProcess},
		{"x32", unix.AUDIT_ARCH_X86_64, unix.SYS_GETPID | x32Bit, KillProcess},
		{"negative", unix.AUDIT_ARCH_X86_64, 0xffffffff, KillProcess},
	} {
		if got := Action(p.RunNative(data(tc.arch, tc.nr, [6]uint64{}))); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	if _, err := Build([]RuleSet{{Rules{x32Bit: nil}, Allow}}, Trap); err == nil {
		t.Error("a rule for an x32 call was accepted")
	}
}

func TestMerge(t *testing.T) {
	one, two := Rule{EqualTo(1)}, Rule{EqualTo(2)}
	r := Rules{1: {one}, 2: nil, 3: {one}}
	o := Rules{1: {two}, 2: {two}, 3: nil, 4: {two}}
	r.Merge(o)
	for _, tc := range []struct {
		nr   uintptr
		arg  uint64
		want bool
	}{{1, 1, true}, {1, 2, true}, {1, 3, false}, {2, 9, true}, {3, 9, true}, {4, 2, true}, {4, 1, false}, {5, 0, false}} {
		if got := r.Match(tc.nr, [6]uint64{tc.arg}); got != tc.want {
			t.Errorf("call %d(%d): %v", tc.nr, tc.arg, got)
		}
	}
	if len(o[1]) != 1 || len(o[4]) != 1 {
		t.Error("Merge changed its argument")
	}
}
