#include "textflag.h"

// The functions of the vDSO. They are copied into the image, so each must be position
// independent. They run in applications, by the C calling convention, use no stack and change only registers that a
// callee may change, which makes one line of unwind information true for all of them.
//
// The image is one page and the parameter page is the one before it (image.go checks).

// Offsets in the parameter page: type params.
#define SEQ 0
#define MODE 4
#define TSCBASE 8
#define VALID 16
#define MULT 24
#define MONOBASE 32
#define NUMCPU 40
#define CPUMODE 44
#define COARSERES 48
#define OFFSETS 64

// 1<<clock for the clocks that are served here: REALTIME, MONOTONIC, MONOTONIC_RAW,
// REALTIME_COARSE, MONOTONIC_COARSE, BOOTTIME, TAI (userClocks in clock.go).
#define CLOCKS 0x8f3

// VVAR sets R9 to the parameter page: lea 0(%rip), %r9, rounded down, less one page.
#define VVAR \
	BYTE	$0x4c; BYTE $0x8d; BYTE $0x0d; LONG $0 \
	ANDQ	$~0xfff, R9 \
	SUBQ	$0x1000, R9

// MONOTONIC leaves CLOCK_MONOTONIC in AX, or goes to slow when the page is being
// written, has expired or is switched off. It uses DX; R8 is the sequence number, to be
// compared by UNCHANGED.
#define MONOTONIC(slow) \
	MOVL	SEQ(R9), R8 \
	TESTL	$1, R8 \
	JNE	slow \
	CMPL	MODE(R9), $0 \
	JEQ	slow \
	LFENCE \
	RDTSC \
	SHLQ	$32, DX \
	ORQ	DX, AX \
	XORL	DX, DX \
	SUBQ	TSCBASE(R9), AX \
	CMOVQCS	DX, AX \
	CMPQ	AX, VALID(R9) \
	JHI	slow \
	MULQ	MULT(R9) \
	SHRQ	$32, DX, AX \
	ADDQ	MONOBASE(R9), AX

// UNCHANGED goes to again if the page changed since MONOTONIC. The address depends on the
// time (times zero), so that the load cannot be done before the counter was read.
#define UNCHANGED(again) \
	MOVQ	AX, DX \
	ANDQ	$0, DX \
	CMPL	SEQ(R9)(DX*1), R8 \
	JNE	again

// SECONDS divides AX, nanoseconds, into seconds in DX and nanoseconds in AX. It uses R10
// and R11. The constant is 2^75/10^9*2^9, rounded up.
#define SECONDS \
	MOVQ	AX, R10 \
	SHRQ	$9, AX \
	MOVQ	$0x44b82fa09b5a53, R11 \
	MULQ	R11 \
	SHRQ	$11, DX \
	IMUL3Q	$1000000000, DX, R11 \
	MOVQ	R10, AX \
	SUBQ	R11, AX

// SYSCALLN makes the real system call and returns.
#define SYSCALLN(n) \
	BYTE	$0xb8; LONG $n \
	SYSCALL \
	RET

// int clock_gettime(clockid_t clock, struct timespec *ts)
TEXT ·textClockGettime(SB), NOSPLIT|NOFRAME, $0-0
	VVAR
	CMPL	DI, $11
	JHI	slow
	MOVL	$CLOCKS, AX
	BTL	DI, AX
	JCC	slow
	MOVL	DI, DI
again:
	MONOTONIC(slow)
	ADDQ	OFFSETS(R9)(DI*8), AX
	UNCHANGED(again)
	SECONDS
	MOVQ	DX, 0(SI)
	MOVQ	AX, 8(SI)
	XORL	AX, AX
	RET
slow:
	SYSCALLN(228)

// int gettimeofday(struct timeval *tv, struct timezone *tz)
TEXT ·textGettimeofday(SB), NOSPLIT|NOFRAME, $0-0
	VVAR
	TESTQ	DI, DI
	JEQ	zone
again:
	MONOTONIC(slow)
	ADDQ	OFFSETS(R9), AX
	UNCHANGED(again)
	SECONDS
	MOVQ	DX, 0(DI)
	MOVL	$274877907, R11 // 2^38/1000 rounded up: exact below 10^9
	IMULQ	R11, AX
	SHRQ	$38, AX
	MOVQ	AX, 8(DI)
zone:
	XORL	AX, AX
	TESTQ	SI, SI
	JEQ	done
	MOVQ	AX, 0(SI)
done:
	RET
slow:
	SYSCALLN(96)

// time_t time(time_t *t)
TEXT ·textTime(SB), NOSPLIT|NOFRAME, $0-0
	VVAR
again:
	MONOTONIC(slow)
	ADDQ	OFFSETS(R9), AX
	UNCHANGED(again)
	SECONDS
	MOVQ	DX, AX
	TESTQ	DI, DI
	JEQ	done
	MOVQ	AX, 0(DI)
done:
	RET
slow:
	SYSCALLN(201)

// int clock_getres(clockid_t clock, struct timespec *res)
TEXT ·textClockGetres(SB), NOSPLIT|NOFRAME, $0-0
	VVAR
	CMPL	DI, $11
	JHI	slow
	MOVL	$CLOCKS, AX
	BTL	DI, AX
	JCC	slow
	MOVL	$1, DX
	MOVL	$0x60, AX // the coarse clocks, 5 and 6
	BTL	DI, AX
	JCC	store
	MOVQ	COARSERES(R9), DX
store:
	XORL	AX, AX
	TESTQ	SI, SI
	JEQ	done
	MOVQ	AX, 0(SI)
	MOVQ	DX, 8(SI)
done:
	RET
slow:
	SYSCALLN(229)

// int getcpu(unsigned *cpu, unsigned *node, void *unused)
//
// Linux keeps the CPU's number in the limit of a segment whose selector is 0x7b. It is taken
// modulo the number of CPUs that the sandbox shows; there is one node.
TEXT ·textGetcpu(SB), NOSPLIT|NOFRAME, $0-0
	VVAR
	CMPL	CPUMODE(R9), $0
	JEQ	slow
	MOVL	$0x7b, AX
	BYTE	$0x0f; BYTE $0x03; BYTE $0xc0 // lsl %eax, %eax
	JNE	slow
	ANDL	$0xfff, AX
	MOVL	NUMCPU(R9), R8
	XORL	DX, DX
	DIVL	R8
	TESTQ	DI, DI
	JEQ	node
	MOVL	DX, 0(DI)
node:
	XORL	AX, AX
	TESTQ	SI, SI
	JEQ	done
	MOVL	AX, 0(SI)
done:
	RET
slow:
	SYSCALLN(309)

// func textAddresses(out *[5]uintptr)
TEXT ·textAddresses(SB), NOSPLIT, $0-8
	MOVQ	out+0(FP), DI
	LEAQ	·textClockGettime(SB), AX
	MOVQ	AX, 0(DI)
	LEAQ	·textGettimeofday(SB), AX
	MOVQ	AX, 8(DI)
	LEAQ	·textTime(SB), AX
	MOVQ	AX, 16(DI)
	LEAQ	·textClockGetres(SB), AX
	MOVQ	AX, 24(DI)
	LEAQ	·textGetcpu(SB), AX
	MOVQ	AX, 32(DI)
	RET

// func rdtsc() uint64
TEXT ·rdtsc(SB), NOSPLIT, $0-8
	LFENCE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL	leaf+0(FP), AX
	XORL	CX, CX
	CPUID
	MOVL	AX, eax+8(FP)
	MOVL	BX, ebx+12(FP)
	MOVL	CX, ecx+16(FP)
	MOVL	DX, edx+20(FP)
	RET

// func cpuSegment() (cpu uint32, ok bool)
TEXT ·cpuSegment(SB), NOSPLIT, $0-5
	MOVL	$0x7b, AX
	BYTE	$0x0f; BYTE $0x03; BYTE $0xc0 // lsl %eax, %eax
	SETEQ	ok+4(FP)
	ANDL	$0xfff, AX
	MOVL	AX, cpu+0(FP)
	RET
