#include "textflag.h"

// func While(word *uint32, value uint32, cycles uint64) bool
TEXT ·While(SB), NOSPLIT, $0-25
	MOVQ	word+0(FP), DI
	MOVL	value+8(FP), SI
	MOVQ	cycles+16(FP), R9
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, R8
look:
	MOVL	(DI), AX
	CMPL	AX, SI
	JNE	changed
	PAUSE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	R8, AX
	CMPQ	AX, R9
	JCS	look
	MOVB	$0, ret+24(FP)
	RET
changed:
	MOVB	$1, ret+24(FP)
	RET

// func CurrentCPU() uint32
TEXT ·CurrentCPU(SB), NOSPLIT, $0-4
	MOVL	$0x7b, AX
	BYTE $0x0f; BYTE $0x03; BYTE $0xc0 // LSL AX, AX
	ANDL	$0xfff, AX
	MOVL	AX, ret+0(FP)
	RET

// func Counter() uint64
TEXT ·Counter(SB), NOSPLIT, $0-8
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET
