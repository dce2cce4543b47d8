package arch

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSignalFrameIsTheHosts lets the host's kernel make a frame and compares.
func TestSignalFrameIsTheHosts(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	prog := filepath.Join(t.TempDir(), "frame")
	if out, err := exec.Command(cc, "-static", "-O1", "-w", "-o", prog, "testdata/frame.c").CombinedOutput(); err != nil {
		t.Skipf("the compiler fails: %s", out)
	}
	for _, mode := range []string{"plain", "alt"} {
		t.Run(mode, func(t *testing.T) {
			out, err := exec.Command(prog, mode).Output()
			if err != nil || len(out) < 64+2048 {
				t.Fatalf("%v: %d bytes", err, len(out))
			}
			word := func(i int) uint64 { return le.Uint64(out[8*i:]) }
			native, sp := out[64:], uintptr(word(4))
			sc := native[frameSigcontext:]

			// The same state as the host says there was, in a memory that lies where
			// the host's stack does.
			c := NewContext()
			r := &c.Regs
			for i, p := range [...]*uint64{
				&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15, &r.Rdi, &r.Rsi, &r.Rbp, &r.Rbx,
				&r.Rdx, &r.Rax, &r.Rcx, &r.Rsp, &r.Rip, &r.Eflags,
			} {
				*p = le.Uint64(sc[8*i:])
			}
			if r.R8 != 0x1111 || r.R15 != 0x2222 || r.Rdi != 0x3333 || r.Rsp != word(5) || r.Eflags&FlagDF == 0 {
				t.Fatalf("the layout of struct sigcontext is wrong: %+v", *r)
			}
			fpAt := uintptr(le.Uint64(sc[184:])) - sp
			if err := c.FP.Load(native[fpAt:int(fpAt)+len(c.FP)], ^uint64(0)); err != nil {
				t.Fatal(err)
			}
			c.TrapNo, c.ErrorCode, c.CR2 = 14, 6, 0x18
			stack := SignalStack{Addr: le.Uint64(native[frameUCStack:]), Flags: le.Uint32(native[frameUCStack+8:]), Size: le.Uint64(native[frameUCStack+16:])}
			info := NewFaultSignal(int32(unix.SIGSEGV), SegvMapErr, 0x18)
			act := SignalAct{Handler: 0x1000, Restorer: le.Uint64(native), Flags: SaRestorer | SaSigInfo | SaOnStack}
			m := newMemory()
			m.base = (uintptr(sp) &^ 4095) - uintptr(len(m.B))/2
			if err := c.SignalSetup(m, &act, &info, &stack, SignalSet(le.Uint64(native[frameMask:]))); err != nil {
				t.Fatal(err)
			}
			if c.Stack() != sp {
				t.Fatalf("the frame is at %#x, the host's at %#x", c.Stack(), sp)
			}
			if r.Rdi != word(0) || r.Rsi != word(1) || r.Rdx != word(2) || r.Rax != word(3) {
				t.Errorf("arguments %#x %#x %#x, rax %#x; the host's %#x", r.Rdi, r.Rsi, r.Rdx, r.Rax, out[:32])
			}
			if (r.Eflags^word(6))&(FlagDF|FlagTF|FlagRF|FlagAC) != 0 {
				t.Errorf("flags %#x, the host's %#x", r.Eflags, word(6))
			}
			ours := m.B[sp-m.base:]
			for _, part := range []struct {
				name       string
				start, end int
			}{
				{"return address", 0, frameUC},
				{"flags, link and stack", frameUC, frameSigcontext},
				{"sigcontext", frameSigcontext, frameMask},
				{"mask", frameMask, frameInfo},
				{"siginfo", frameInfo, frameInfo + 24},
				{"x87 and SSE state", int(fpAt), int(fpAt) + 24},
				{"MXCSR and mask", int(fpAt) + offMXCSR, int(fpAt) + 32},
				{"registers", int(fpAt) + 32, int(fpAt) + 416},
				{"software's bytes", int(fpAt) + offSoftware, int(fpAt) + 488},
				{"header", int(fpAt) + offXStateBV, int(fpAt) + 576},
				{"end", int(fpAt) + len(c.FP), int(fpAt) + len(c.FP) + sizeofMagic2},
			} {
				if a, b := ours[part.start:part.end], native[part.start:part.end]; !bytes.Equal(a, b) {
					t.Errorf("%s:\nours %x\nhost %x", part.name, a, b)
				}
			}
		})
	}
}
