#include "textflag.h"
#include "go_asm.h"

// The stub: what runs in stub processes besides the application. Each part is copied to its
// place (layout.go) and runs there only. A part ends with END, by which it is cut out.
//
// Application code can jump anywhere in here, with any registers. What protects the sentry is
// the seccomp filter and that nothing here is believed; the code below only has to be
// right for applications that do not do that, and must end in an event when it is kicked.

#define END	UD2; UD2; UD2; UD2
#define GOTO(off, reg)	MOVQ $(const_codeBase+off), reg; JMP reg

#define SYS_mmap	9
#define SYS_munmap	11
#define SYS_pwrite64	18
#define SYS_clone	56
#define SYS_prctl	157
#define SYS_arch_prctl	158
#define SYS_gettid	186
#define SYS_futex	202
#define SYS_sigaltstack	131
#define SYS_seccomp	317
#define SYS_exit_group	231

#define CALLS_ARGS	\
	MOVQ	8(R15), DI	\
	MOVQ	16(R15), SI	\
	MOVQ	24(R15), DX	\
	MOVQ	32(R15), R10	\
	MOVQ	40(R15), R8	\
	MOVQ	48(R15), R9

// The helper carries out batches of calls. All of its state is in registers: R12 the window,
// R13 the window's offset in its file, R14 the file, BX the last batch.
//
// It has no stack, so that a signal ends the process: a handler that ran on memory of the
// application's choice would hand the helper's rights over.
TEXT ·stubHelper(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	$0, SP
wait:
	MOVL	orderPage_seq(R12), AX
	CMPL	AX, BX
	JNE	batch
	LEAQ	orderPage_seq(R12), DI
	XORL	SI, SI // FUTEX_WAIT
	MOVL	BX, DX
	XORL	R10, R10
	MOVL	$SYS_futex, AX
	SYSCALL
	JMP	wait
batch:
	MOVL	AX, BX
	LEAQ	const_offCalls(R12), R15
next:
	MOVQ	R15, AX
	SUBQ	R12, AX
	CMPL	AX, orderPage_end(R12)
	JCC	done
	MOVQ	(R15), AX
	CALLS_ARGS
	SYSCALL
	TESTQ	AX, AX
	JZ	zero
	CMPQ	AX, $-4095
	JCC	error
advance:
	ADDQ	$64, R15
	JMP	next
zero:
	CMPQ	(R15), $SYS_clone
	JNE	advance
	MOVQ	56(R15), AX // the child
	JMP	AX
error:
	NEGQ	AX
	MOVQ	$(const_codeBase+const_offErrors), SI
	ADDQ	AX, SI
	MOVQ	R14, DI
	MOVL	$1, DX
	LEAQ	orderPage_failed(R13), R10
	MOVL	$SYS_pwrite64, AX
	SYSCALL
	JMP	advance
done:
	MOVQ	R14, DI
	LEAQ	orderPage_copyOfSeq(R12), SI
	MOVL	$4, DX
	LEAQ	orderPage_done(R13), R10
	MOVL	$SYS_pwrite64, AX
	SYSCALL
	LEAQ	orderPage_done(R12), DI
	MOVL	$1, SI // FUTEX_WAKE
	MOVL	$1, DX
	MOVL	$SYS_futex, AX
	SYSCALL
	JMP	wait
	END

// A new thread: R8 is its slot.
TEXT ·stubThread(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	orderPage_altStack(R12), DI
	XORL	SI, SI
	MOVL	$SYS_sigaltstack, AX
	SYSCALL
	MOVL	$0x1001, DI // ARCH_SET_GS
	MOVQ	R8, SI
	MOVL	$SYS_arch_prctl, AX
	SYSCALL
	MOVL	$SYS_gettid, AX
	SYSCALL
	MOVL	AX, shared_tid(R8)
	MOVL	$1, DI // SECCOMP_SET_MODE_FILTER
	XORL	SI, SI
	MOVQ	$(const_codeBase+const_offFilter), DX
	MOVL	$SYS_seccomp, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	fail
	LEAQ	const_offStackTop(R8), SP
	MOVQ	SP, shared_stack(R8)
	MOVL	$const_kindStarted, shared_kind(R8)
	GOTO(const_offPost, AX)
fail:
	MOVL	AX, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	END

// A new process: R8 is its window's offset. The registers of the zygote's helper are its own.
TEXT ·stubProcess(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	R8, R13
	MOVQ	R12, DI
	MOVL	$const_ordersSize, SI
	MOVL	$1, DX // PROT_READ
	MOVL	$0x11, R10 // MAP_SHARED|MAP_FIXED
	MOVQ	R14, R8
	MOVQ	R13, R9
	MOVL	$SYS_mmap, AX
	SYSCALL
	CMPQ	AX, R12
	JNE	fail
	MOVQ	$const_resultBase, DI
	MOVL	$0x1000, SI
	MOVL	$SYS_munmap, AX
	SYSCALL
	MOVL	$1, DI // PR_SET_PDEATHSIG
	MOVL	$9, SI
	MOVL	$SYS_prctl, AX
	SYSCALL
	MOVL	$110, AX // getppid: the sentry may have died before the call above
	SYSCALL
	CMPL	AX, orderPage_parent(R12)
	JNE	fail
	XORL	BX, BX
	GOTO(const_offHelper, AX)
fail:
	MOVL	$1, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	END

#define SAVE(uc, r)	MOVQ uc(DX), AX; MOVQ AX, (shared_regs+r)(R8)

// The signal handler, on the thread's alternate stack, which is the end of its slot:
// DI signal, SI siginfo_t, DX ucontext.
TEXT ·stubHandler(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	SP, R8
	ANDQ	$~(const_slotSize-1), R8
	MOVQ	const_ucRIP(DX), AX
	MOVQ	$const_codeBase, CX
	SUBQ	CX, AX
	CMPQ	AX, $const_codeSize
	JCS	stub
app:
	SAVE(const_ucR8, const_regR8)
	SAVE(const_ucR9, const_regR9)
	SAVE(const_ucR10, const_regR10)
	SAVE(const_ucR11, const_regR11)
	SAVE(const_ucR12, const_regR12)
	SAVE(const_ucR13, const_regR13)
	SAVE(const_ucR14, const_regR14)
	SAVE(const_ucR15, const_regR15)
	SAVE(const_ucRDI, const_regRDI)
	SAVE(const_ucRSI, const_regRSI)
	SAVE(const_ucRBP, const_regRBP)
	SAVE(const_ucRBX, const_regRBX)
	SAVE(const_ucRDX, const_regRDX)
	SAVE(const_ucRAX, const_regRAX)
	SAVE(const_ucRCX, const_regRCX)
	SAVE(const_ucRSP, const_regRSP)
	SAVE(const_ucRIP, const_regRIP)
	SAVE(const_ucEFLAGS, const_regEFLAGS)
	MOVQ	const_ucCS(DX), AX
	MOVWLZX	AX, CX
	MOVQ	CX, (shared_regs+const_regCS)(R8)
	SHRQ	$48, AX
	MOVQ	AX, (shared_regs+const_regSS)(R8)
	MOVQ	const_ucFPSTATE(DX), AX
	MOVQ	AX, shared_fp(R8)
	MOVQ	SP, shared_stack(R8)
	MOVQ	DX, shared_frame(R8)
	MOVQ	SI, shared_info(R8)
	MOVL	DI, shared_signo(R8)
	MOVL	$const_kindSignal, shared_kind(R8)
	GOTO(const_offPost, AX)

stub:
	// The stub itself was interrupted; AX says where.
	CMPL	DI, $5 // SIGTRAP: the application is being stepped, or has set TF
	JEQ	back
	CMPL	DI, $10 // kickSignal
	JNE	fault
	CMPQ	AX, $const_offWait
	JCS	later // the event is about to be posted
	CMPQ	AX, $const_offNested
	JCC	later
	MOVL	$const_kindInterrupted, R9
	CMPQ	AX, $const_offRestore
	JCC	again
	MOVL	shared_state(R8), CX
	CMPL	CX, $const_stateSentry
	JEQ	later // the event is posted
	CMPL	CX, $const_stateSentrySleep
	JEQ	later
again:
	// What was to be loaded is still in the slot, but for FP state that was never saved:
	// that is in this frame.
	MOVL	R9, shared_kind(R8)
	MOVL	DI, shared_signo(R8)
	MOVQ	shared_fp(R8), CX
	TESTQ	CX, CX
	JNZ	kept
	MOVQ	const_ucFPSTATE(DX), CX
	MOVQ	CX, shared_fp(R8)
	MOVQ	SP, shared_stack(R8)
kept:
	MOVQ	shared_stack(R8), SP
	GOTO(const_offPost, AX)
fault:
	// The processor refused what was to be loaded. Anywhere else it is the work of
	// application code that jumped here.
	MOVL	$const_kindBadState, R9
	CMPQ	AX, $const_offRestore
	JCS	app
	CMPQ	AX, $const_offNested
	JCS	again
	JMP	app
later:
	MOVL	$1, shared_kicked(R8)
back:
	GOTO(const_offNested, AX)
	END

// Entry by a patched system call: R11 is the slot (the trampoline took it from GS), RCX points
// to the addresses where the call returns and where the trampoline goes on.
TEXT ·stubPatched(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	SP, (shared_regs+const_regRSP)(R11)
	LEAQ	const_offStackTop(R11), SP
	PUSHFQ
	POPQ	(shared_regs+const_regEFLAGS)(R11)
	MOVQ	AX, (shared_regs+const_regRAX)(R11)
	MOVQ	BX, (shared_regs+const_regRBX)(R11)
	MOVQ	DX, (shared_regs+const_regRDX)(R11)
	MOVQ	SI, (shared_regs+const_regRSI)(R11)
	MOVQ	DI, (shared_regs+const_regRDI)(R11)
	MOVQ	BP, (shared_regs+const_regRBP)(R11)
	MOVQ	R8, (shared_regs+const_regR8)(R11)
	MOVQ	R9, (shared_regs+const_regR9)(R11)
	MOVQ	R10, (shared_regs+const_regR10)(R11)
	MOVQ	R12, (shared_regs+const_regR12)(R11)
	MOVQ	R13, (shared_regs+const_regR13)(R11)
	MOVQ	R14, (shared_regs+const_regR14)(R11)
	MOVQ	R15, (shared_regs+const_regR15)(R11)
	MOVQ	(CX), AX
	MOVQ	8(CX), CX
	MOVQ	AX, (shared_regs+const_regRIP)(R11)
	MOVQ	AX, (shared_regs+const_regRCX)(R11)
	MOVQ	CX, shared_resume(R11)
	MOVQ	(shared_regs+const_regEFLAGS)(R11), AX
	MOVQ	AX, (shared_regs+const_regR11)(R11)
	MOVQ	$0, shared_fp(R11)
	MOVQ	SP, shared_stack(R11)
	MOVL	$const_kindPatched, shared_kind(R11)
	MOVQ	R11, R8
	GOTO(const_offPost, AX)
	END

// Tells the sentry: R8 is the slot from here on.
TEXT ·stubPost(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	$0x7b, AX // a segment whose limit is the CPU's number
	BYTE $0x0f; BYTE $0x03; BYTE $0xc0 // LSL AX, AX
	ANDL	$0xfff, AX
	MOVL	AX, shared_cpu(R8)
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, shared_end(R8)
	MOVL	$const_stateSentry, AX
	XCHGL	AX, shared_state(R8)
	CMPL	AX, $const_stateAppWatched
	JNE	out
	LEAQ	shared_state(R8), DI
	MOVL	$1, SI // FUTEX_WAKE
	MOVL	$1, DX
	MOVL	$SYS_futex, AX
	SYSCALL
out:
	GOTO(const_offWait, AX)
	END

// Waits for the answer.
TEXT ·stubWait(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	shared_state(R8), AX
	CMPL	AX, $const_stateSentry
	JNE	answered
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, R10
look:
	MOVL	shared_state(R8), AX
	CMPL	AX, $const_stateSentry
	JNE	answered
	PAUSE
	MOVL	shared_cpu(R8), AX
	CMPL	AX, shared_sentryCPU(R8) // it cannot answer while this thread looks
	JEQ	sleep
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	R10, AX
	MOVL	shared_spin(R8), CX // the sentry may tell it to sleep now
	CMPQ	AX, CX
	JCS	look
sleep:
	MOVL	$const_stateSentry, AX
	MOVL	$const_stateSentrySleep, CX
	LOCK
	CMPXCHGL	CX, shared_state(R8)
	JNE	answered
again:
	LEAQ	shared_state(R8), DI
	XORL	SI, SI // FUTEX_WAIT
	MOVL	$const_stateSentrySleep, DX
	XORL	R10, R10
	MOVL	$SYS_futex, AX
	SYSCALL
	MOVL	shared_state(R8), AX
	CMPL	AX, $const_stateSentrySleep
	JEQ	again
answered:
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, shared_begin(R8)
	MOVL	shared_answer(R8), AX
	CMPL	AX, $const_answerSave
	JEQ	save
	MOVL	shared_kicked(R8), CX
	TESTL	CX, CX
	JZ	go
	MOVL	$0, shared_kicked(R8)
	MOVL	$const_kindInterrupted, shared_kind(R8)
	GOTO(const_offPost, AX)
save:
	MOVL	$-1, AX
	MOVL	$-1, DX
	XSAVE64	const_offFP(R8)
	LEAQ	const_offFP(R8), AX
	MOVQ	AX, shared_fp(R8)
	MOVL	$const_kindSaved, shared_kind(R8)
	GOTO(const_offPost, AX)
go:
	GOTO(const_offRestore, CX)
	END

#define LOAD(r, reg)	MOVQ (shared_regs+r)(R8), reg

// Back into the application, as AX, the answer, says.
TEXT ·stubRestore(SB), NOSPLIT|NOFRAME, $0-0
	CMPL	AX, $const_answerFast
	JEQ	fast
	MOVL	shared_load(R8), R9
	TESTL	R9, R9
	JNZ	bases
loaded:
	MOVQ	shared_fp(R8), R10
	TESTQ	R10, R10
	JZ	live
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	(R10)
live:
	MOVQ	shared_stack(R8), SP
	PUSHQ	(shared_regs+const_regSS)(R8)
	PUSHQ	(shared_regs+const_regRSP)(R8)
	PUSHQ	(shared_regs+const_regEFLAGS)(R8)
	PUSHQ	(shared_regs+const_regCS)(R8)
	PUSHQ	(shared_regs+const_regRIP)(R8)
	LOAD(const_regR15, R15)
	LOAD(const_regR14, R14)
	LOAD(const_regR13, R13)
	LOAD(const_regR12, R12)
	LOAD(const_regRBP, BP)
	LOAD(const_regRBX, BX)
	LOAD(const_regR11, R11)
	LOAD(const_regR10, R10)
	LOAD(const_regR9, R9)
	LOAD(const_regRAX, AX)
	LOAD(const_regRCX, CX)
	LOAD(const_regRDX, DX)
	LOAD(const_regRSI, SI)
	LOAD(const_regRDI, DI)
	LOAD(const_regR8, R8)
	IRETQ

bases:
	TESTL	$const_loadFS, R9
	JZ	gs
	MOVL	$0x1002, DI // ARCH_SET_FS
	MOVQ	(shared_regs+const_regFSBASE)(R8), SI
	MOVL	$SYS_arch_prctl, AX
	SYSCALL
gs:
	TESTL	$const_loadGS, R9
	JZ	both
	MOVL	$0x1001, DI // ARCH_SET_GS
	MOVQ	shared_gs(R8), SI
	MOVL	$SYS_arch_prctl, AX
	SYSCALL
both:
	MOVL	$0, shared_load(R8)
	JMP	loaded

fast:
	// Everything that the stub has not touched is still in the registers.
	MOVQ	R8, R11
	MOVQ	shared_result(R8), AX
	LOAD(const_regRCX, CX)
	LOAD(const_regRDX, DX)
	LOAD(const_regRSI, SI)
	LOAD(const_regRDI, DI)
	LOAD(const_regR10, R10)
	LOAD(const_regR9, R9)
	LOAD(const_regR8, R8)
	LEAQ	const_offStackTop(R11), SP
	PUSHQ	(shared_regs+const_regEFLAGS)(R11)
	POPFQ
	MOVQ	(shared_regs+const_regRSP)(R11), SP
	JMP	shared_resume(R11)
	END

#define FROM(uc, reg)	MOVQ uc(R11), reg

// Goes on with what a signal interrupted in the stub: DX is the frame's ucontext. This is
// rt_sigreturn, but for the signal mask, and without a system call.
TEXT ·stubNested(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	DX, R11
	MOVQ	const_ucFPSTATE(R11), R10
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	(R10)
	MOVQ	const_ucCS(R11), AX
	MOVWLZX	AX, CX
	SHRQ	$48, AX
	PUSHQ	AX
	PUSHQ	const_ucRSP(R11)
	PUSHQ	const_ucEFLAGS(R11)
	PUSHQ	CX
	PUSHQ	const_ucRIP(R11)
	FROM(const_ucR8, R8)
	FROM(const_ucR9, R9)
	FROM(const_ucR10, R10)
	FROM(const_ucR12, R12)
	FROM(const_ucR13, R13)
	FROM(const_ucR14, R14)
	FROM(const_ucR15, R15)
	FROM(const_ucRDI, DI)
	FROM(const_ucRSI, SI)
	FROM(const_ucRBP, BP)
	FROM(const_ucRBX, BX)
	FROM(const_ucRDX, DX)
	FROM(const_ucRAX, AX)
	FROM(const_ucRCX, CX)
	FROM(const_ucR11, R11)
	IRETQ
	END

// func forkZygote(flags uintptr, list *hostmap.Call, n uintptr, window, offset, file, start uintptr) (pid uintptr)
//
// The child carries out the calls of the list, which is in memory that the fork copied, and
// jumps to start with the helper's registers. A call that fails ends it, with the number of
// the call, from 1 on, as exit status.
TEXT ·forkZygote(SB), NOSPLIT, $0-64
	MOVQ	flags+0(FP), DI
	MOVQ	list+8(FP), R15
	XORL	BX, BX
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$SYS_clone, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, pid+56(FP)
	RET
child:
	INCQ	BX
	CMPQ	BX, n+16(FP)
	JHI	start
	MOVQ	(R15), AX
	CALLS_ARGS
	SYSCALL
	CMPQ	AX, $-4095
	JCC	fail
	ADDQ	$64, R15
	JMP	child
start:
	MOVQ	window+24(FP), R12
	MOVQ	offset+32(FP), R13
	MOVQ	file+40(FP), R14
	MOVQ	start+48(FP), AX
	XORL	BX, BX
	JMP	AX
fail:
	MOVQ	BX, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	JMP	fail

// func address(part uintptr) uintptr: of a part of the stub in this process.
#define PART(n, name)	CMPQ CX, $n; JNE 3(PC); LEAQ name(SB), AX; JMP found
TEXT ·address(SB), NOSPLIT, $0-16
	MOVQ	part+0(FP), CX
	PART(const_offHelper, ·stubHelper)
	PART(const_offThread, ·stubThread)
	PART(const_offProcess, ·stubProcess)
	PART(const_offHandler, ·stubHandler)
	PART(const_offPatched, ·stubPatched)
	PART(const_offPost, ·stubPost)
	PART(const_offWait, ·stubWait)
	PART(const_offRestore, ·stubRestore)
	PART(const_offNested, ·stubNested)
	XORL	AX, AX
found:
	MOVQ	AX, ret+8(FP)
	RET
