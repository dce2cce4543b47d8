#include "textflag.h"

// The stub: what a stub process has mapped besides the application. It is copied, runs at
// another address and uses no stack; stub.go knows where its parts lie.
TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
	// offset 0: one system call, all of it in registers
	SYSCALL
	INT	$3

	PCALIGN $32
	// offset 32: clone of a thread. The new thread sleeps until a tracer takes it.
	SYSCALL
	TESTQ	AX, AX
	JNZ	done
sleep:
	MOVL	$34, AX // pause
	SYSCALL
	JMP	sleep

	PCALIGN $32
	// offset 64: system calls from a list at BX that ends at R12, until one fails
next:
	CMPQ	BX, R12
	JEQ	done
	MOVQ	0(BX), AX
	MOVQ	8(BX), DI
	MOVQ	16(BX), SI
	MOVQ	24(BX), DX
	MOVQ	32(BX), R10
	MOVQ	40(BX), R8
	MOVQ	48(BX), R9
	SYSCALL
	CMPQ	AX, $-4095
	JCC	done
	ADDQ	$64, BX
	JMP	next
done:
	INT	$3

	PCALIGN $32
	// offset 128: flags from the stack, which is one of the two words behind the code
	POPFQ
	INT	$3
	PCALIGN $8
	QUAD	$0x202
	QUAD	$0x200202 // with ID
	PCALIGN $32

// func stubAddress() uintptr
TEXT ·stubAddress(SB), NOSPLIT, $0-8
	LEAQ	·stub(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func forkZygote(flags uintptr) (pid uintptr)
//
// The child never leaves this function: it runs no Go code, asks to be traced and stops.
TEXT ·forkZygote(SB), NOSPLIT, $0-16
	MOVQ	flags+0(FP), DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$56, AX // clone
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, pid+8(FP)
	RET
child:
	MOVL	$1, DI // PR_SET_PDEATHSIG
	MOVL	$9, SI
	XORL	DX, DX
	XORL	R10, R10
	MOVL	$157, AX // prctl
	SYSCALL
	XORL	DI, DI // PTRACE_TRACEME
	XORL	SI, SI
	MOVL	$101, AX // ptrace
	SYSCALL
	TESTQ	AX, AX
	JNZ	gone
	MOVL	$39, AX // getpid
	SYSCALL
	MOVQ	AX, R12
stop:
	MOVQ	R12, DI
	MOVL	$19, SI // SIGSTOP
	MOVL	$62, AX // kill
	SYSCALL
	JMP	stop
gone:
	MOVL	$1, DI
	MOVL	$231, AX // exit_group
	SYSCALL
	JMP	gone
