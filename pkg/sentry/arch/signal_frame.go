package arch

import (
	"encoding/binary"

	"runsc/pkg/sentry/usermem"

	"golang.org/x/sys/unix"
)

// The frame of a signal handler, from its lowest address on: the return address, struct
// ucontext (flags, link, stack, struct sigcontext, mask), siginfo_t; above it, aligned to
// 64 bytes, the FP state and a magic word.
const (
	redZone    = 128 // bytes below the stack pointer that leaf functions use
	frameAlign = 16

	frameUC         = 8
	frameUCFlags    = frameUC
	frameUCStack    = frameUC + 16
	frameSigcontext = frameUC + 40
	frameFPPointer  = frameSigcontext + 184
	frameMask       = frameSigcontext + 256
	frameInfo       = frameMask + 8
	sizeofFrame     = frameInfo + SizeofSignalInfo

	ucFPXState        = 0x1
	ucSigcontextSS    = 0x2
	ucStrictRestoreSS = 0x4

	// What Linux writes into the bytes of the FP state that the CPU leaves to software
	// (struct _fpx_sw_bytes), and behind the state.
	magic1       = 0x46505853
	magic2       = 0x46505845
	sizeofMagic2 = 4
)

var le = binary.LittleEndian

// SignalSetup makes the task run act's handler when it goes on: it writes the frame and
// changes registers and FP state. stack is the alternate stack, mask the signals to block
// again when the handler returns. FP must be current; it changes.
//
// EFAULT: there is no room for the frame, or act has no restorer, which x86-64 needs.
func (c *Context) SignalSetup(io usermem.IO, act *SignalAct, info *SignalInfo, stack *SignalStack, mask SignalSet) error {
	if act.Flags&SaRestorer == 0 {
		return unix.EFAULT
	}
	r := &c.Regs
	sp := uintptr(r.Rsp)
	onStack := stack.InUse(sp)
	sp -= redZone
	if act.Flags&SaOnStack != 0 && stack.Enabled() && !onStack {
		sp, onStack = uintptr(stack.Addr+stack.Size), true
	}
	top := sp
	fp := (sp - uintptr(len(c.FP)) - sizeofMagic2) &^ 63
	sp = (fp-sizeofFrame)&^(frameAlign-1) - 8
	if sp > top || top > MaxUserAddress {
		return unix.EFAULT
	}
	if onStack && !stack.Contains(sp) { // would overflow it
		return unix.EFAULT
	}

	n := int(fp-sp) + len(c.FP) + sizeofMagic2
	if cap(c.scratch) < n {
		c.scratch = make([]byte, n)
	}
	b := c.scratch[:n]
	clear(b[:fp-sp])
	le.PutUint64(b, act.Restorer)
	le.PutUint64(b[frameUCFlags:], ucFPXState|ucSigcontextSS|ucStrictRestoreSS)
	le.PutUint64(b[frameUCStack:], stack.Addr)
	le.PutUint32(b[frameUCStack+8:], stack.Flags)
	le.PutUint64(b[frameUCStack+16:], stack.Size)
	c.putSigcontext(b[frameSigcontext:], mask)
	le.PutUint64(b[frameFPPointer:], uint64(fp))
	le.PutUint64(b[frameMask:], uint64(mask))
	putSignalInfo(b[frameInfo:], info)
	putFPState(b[fp-sp:], c.FP)
	if _, err := io.CopyOut(sp, b); err != nil {
		return unix.EFAULT
	}

	r.Rdi = uint64(info.Signo)
	r.Rsi = uint64(sp + frameInfo)
	r.Rdx = uint64(sp + frameUC)
	r.Rax = 0
	r.Rip = act.Handler
	r.Rsp = uint64(sp)
	r.Cs, r.Ss = userCS, userSS
	r.Eflags &^= FlagDF | FlagRF | FlagTF
	r.OrigRax = noSyscall
	c.FP.Reset()
	return nil
}

// putSigcontext writes struct sigcontext.
func (c *Context) putSigcontext(b []byte, mask SignalSet) {
	r := &c.Regs
	for i, v := range [...]uint64{
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15, r.Rdi, r.Rsi, r.Rbp, r.Rbx,
		r.Rdx, r.Rax, r.Rcx, r.Rsp, r.Rip, r.Eflags,
		r.Cs&0xffff | r.Ss&0xffff<<48,
		c.ErrorCode, c.TrapNo, uint64(mask), c.CR2,
	} {
		le.PutUint64(b[8*i:], v)
	}
}

func putSignalInfo(b []byte, info *SignalInfo) {
	le.PutUint32(b, uint32(info.Signo))
	le.PutUint32(b[4:], uint32(info.Errno))
	le.PutUint32(b[8:], uint32(info.Code))
	le.PutUint32(b[12:], 0)
	copy(b[16:], info.Fields[:])
}

// putFPState writes an FP state with Linux's description of it.
func putFPState(b []byte, f FPState) {
	copy(b, f)
	sw := b[offSoftware:sizeofLegacyFP]
	clear(sw)
	if !cpu.xsave {
		return
	}
	le.PutUint32(sw, magic1)
	le.PutUint32(sw[4:], uint32(len(f)+sizeofMagic2))
	le.PutUint64(sw[8:], cpu.xcr0)
	le.PutUint32(sw[16:], uint32(len(f)))
	le.PutUint32(b[len(f):], magic2)
}

// SignalRestore is rt_sigreturn(2): it takes registers and FP state from the frame at the
// stack pointer, which points behind the frame's return address, and returns the mask and the
// alternate stack to install. FP must be current; it changes. Any error means SIGSEGV; the
// registers are then unchanged.
func (c *Context) SignalRestore(io usermem.IO) (SignalSet, SignalStack, error) {
	base := uintptr(c.Regs.Rsp) - 8
	// The application's other threads may change the frame meanwhile: everything is
	// copied once and looked at in the copy.
	var frame [frameInfo]byte
	if _, err := io.CopyIn(base, frame[:]); err != nil {
		return 0, SignalStack{}, unix.EFAULT
	}
	sc := frame[frameSigcontext:]
	r := c.Regs
	for i, p := range [...]*uint64{
		&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15, &r.Rdi, &r.Rsi, &r.Rbp, &r.Rbx,
		&r.Rdx, &r.Rax, &r.Rcx, &r.Rsp, &r.Rip, &r.Eflags,
	} {
		*p = le.Uint64(sc[8*i:])
	}
	r.Cs, r.Ss = uint64(le.Uint16(sc[144:])|3), uint64(le.Uint16(sc[150:])|3)
	if le.Uint64(frame[frameUCFlags:])&(ucSigcontextSS|ucStrictRestoreSS) == 0 {
		r.Ss = userSS // made by a program that knows only the old layout
	}
	r.Sanitize(&Registers{Cs: userCS, Ss: userSS, Ds: r.Ds, Es: r.Es, Fs: r.Fs, Gs: r.Gs})
	r.KeepFlags(&c.Regs)
	r.OrigRax = noSyscall
	if err := c.restoreFP(io, uintptr(le.Uint64(frame[frameFPPointer:]))); err != nil {
		return 0, SignalStack{}, err
	}
	c.Regs = r
	stack := SignalStack{
		Addr:  le.Uint64(frame[frameUCStack:]),
		Flags: le.Uint32(frame[frameUCStack+8:]),
		Size:  le.Uint64(frame[frameUCStack+16:]),
	}
	return SignalSet(le.Uint64(frame[frameMask:])), stack, nil
}

// restoreFP loads the FP state at addr, which is 0 for the initial state. A state whose
// description is broken is taken for the legacy part alone, as Linux does.
func (c *Context) restoreFP(io usermem.IO, addr uintptr) error {
	if addr == 0 {
		c.FP.Reset()
		return nil
	}
	if addr&63 != 0 && cpu.xsave || addr&15 != 0 {
		return unix.EFAULT
	}
	n := len(c.FP) + sizeofMagic2
	if cap(c.scratch) < n {
		c.scratch = make([]byte, n)
	}
	b := c.scratch[:n]
	if _, err := io.CopyIn(addr, b[:sizeofLegacyFP]); err != nil {
		return unix.EFAULT
	}
	sw := b[offSoftware:]
	extended, features, size := le.Uint32(sw[4:]), le.Uint64(sw[8:]), le.Uint32(sw[16:])
	if !cpu.xsave || le.Uint32(sw) != magic1 || size < sizeofLegacyFP+sizeofXStateHeader || size > uint32(len(c.FP)) || size > extended {
		return c.loadLegacy(b)
	}
	rest := b[sizeofLegacyFP : size+sizeofMagic2]
	if _, err := io.CopyIn(addr+sizeofLegacyFP, rest); err != nil {
		return unix.EFAULT
	}
	if le.Uint32(b[size:]) != magic2 {
		return c.loadLegacy(b)
	}
	if err := c.FP.Load(b[:size], features); err != nil {
		return unix.EFAULT
	}
	return nil
}

func (c *Context) loadLegacy(b []byte) error {
	if err := c.FP.LoadLegacy(b); err != nil {
		return unix.EFAULT
	}
	return nil
}
