package systrap

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform/hostmap"
	"runsc/pkg/sentry/arch"
)

// What a stub process has mapped besides the application, all of it above userEnd. The
// upper halves of all addresses are the same.
const (
	userEnd = 0x7fff_0000_0000

	// Threads: a slot of slotSize for each, readable and writable here and in the sentry.
	threadsBase = 0x7fff_0000_0000
	slotSize    = 0x8000
	maxThreads  = 1 << 14 // of one process

	// The stub's code.
	codeBase = 0x7fff_3000_0000
	codeSize = 0x2000
	// What the sentry tells the process: a window of ordersSize, read-only here.
	ordersBase = 0x7fff_3001_0000
	ordersSize = 0x4000
	// The zygote's page for results.
	resultBase = 0x7fff_3002_0000
	stubLimit  = 0x7fff_3003_0000
	addressEnd = 1<<47 - 0x1000
)

// Parts of the stub's code, as offsets. Their order matters to the signal handler, which
// learns from the place of an interrupted instruction what was going on.
const (
	offHelper  = 0x000 // carries out orders
	offThread  = 0x200 // a new application thread
	offProcess = 0x300 // a new stub process
	offHandler = 0x400 // entry by signal
	offPatched = 0xa00 // entry by a patched system call
	offPost    = 0xb80 // tells the sentry
	offWait    = 0xc00 // waits for its answer
	offRestore = 0xe00 // back into the application
	offNested  = 0x1200
	offFilter  = 0x1800 // the application threads' seccomp filter
	offErrors  = 0x1f00 // the bytes 0 to 255, for reporting errors
)

// Parts of a thread's slot behind struct shared.
const (
	offStackTop = 0x800 // end of a small stack for when no signal frame is there
	offFP       = 0x1000
	sizeofFP    = 0x3000
	offAltStack = 0x4000
	altStack    = slotSize - offAltStack
)

// States of a thread, the futex word. The side that gives control away swaps the other
// side's value in, and wakes it if it was asleep. Who sleeps says so first.
const (
	stateApp         = 0 // the thread runs application code
	stateAppWatched  = 1 // and the sentry sleeps until that ends
	stateSentry      = 2 // the sentry has an event to look at
	stateSentrySleep = 3 // and the thread sleeps
	stateDead        = 4 // the process is gone; only the sentry writes it
)

// Kinds of events.
const (
	kindSignal      = 1 // a signal stopped application code; there is a frame
	kindPatched     = 2 // a patched system call
	kindInterrupted = 3 // a kick came on the way back; the registers are still the slot's
	kindBadState    = 4 // the registers or the FP state in the slot cannot be loaded
	kindStarted     = 5 // the thread exists
	kindSaved       = 6 // FP state was saved as asked for
)

// Answers.
const (
	answerFull = 0 // load all registers
	answerFast = 1 // return from the patched call with RAX
	answerSave = 2 // save FP state and come back
)

// What is to be loaded besides.
const (
	loadFS = 1
	loadGS = 2
)

// kickSignal makes a thread leave application code. Application code never causes it.
const kickSignal = unix.SIGUSR1

// shared is the beginning of a thread's slot. The application can write all of it at any
// time: the sentry copies what it uses, once, and believes only what can do no more harm
// than the application could do to itself.
type shared struct {
	state     uint32
	cpu       uint32 // where the thread was last
	sentryCPU uint32 // where the sentry's thread was last
	spin      uint32 // how long to look for an answer before sleeping, in TSC cycles
	answer    uint32
	load      uint32 // segment bases to load; the thread clears the bits
	result    uint64 // RAX of answerFast
	kicked    uint32 // a kick came while there was an event, or nearly: it counts with the answer
	_         [7]uint32

	// The cache line above goes to and fro with control; what is below is mostly written by the
	// thread and read by the sentry.
	kind   uint32
	signo  uint32
	_      uint64
	self   uint64 // address of the slot here
	fp     uint64 // where FP state is that goes back into the registers, or 0: it is in them
	stack  uint64 // where the stub's stack begins
	frame  uint64 // address of the signal frame's struct ucontext
	info   uint64 // and of its siginfo_t
	resume uint64 // where a patched call goes on
	tid    uint32
	_      uint32
	gs     uint64 // the GS base to load; the application's is in regs
	begin  uint64 // TSC when the thread went back to the application,
	end    uint64 // and when it came out; they only decide how to wait
	_      [2]uint64

	regs arch.Registers
}

// Offsets of registers in arch.Registers.
const (
	regR15     = 0
	regR14     = 8
	regR13     = 16
	regR12     = 24
	regRBP     = 32
	regRBX     = 40
	regR11     = 48
	regR10     = 56
	regR9      = 64
	regR8      = 72
	regRAX     = 80
	regRCX     = 88
	regRDX     = 96
	regRSI     = 104
	regRDI     = 112
	regORIGRAX = 120
	regRIP     = 128
	regCS      = 136
	regEFLAGS  = 144
	regRSP     = 152
	regSS      = 160
	regFSBASE  = 168
)

// Offsets in the signal frame's struct ucontext.
const (
	ucR8      = 40 + 0
	ucR9      = 40 + 8
	ucR10     = 40 + 16
	ucR11     = 40 + 24
	ucR12     = 40 + 32
	ucR13     = 40 + 40
	ucR14     = 40 + 48
	ucR15     = 40 + 56
	ucRDI     = 40 + 64
	ucRSI     = 40 + 72
	ucRBP     = 40 + 80
	ucRBX     = 40 + 88
	ucRDX     = 40 + 96
	ucRAX     = 40 + 104
	ucRCX     = 40 + 112
	ucRSP     = 40 + 120
	ucRIP     = 40 + 128
	ucEFLAGS  = 40 + 136
	ucCS      = 40 + 144 // CS, GS, FS, SS: two bytes each
	ucSS      = 40 + 150
	ucERR     = 40 + 152
	ucTRAPNO  = 40 + 160
	ucCR2     = 40 + 176
	ucFPSTATE = 40 + 184
	ucEnd     = 40 + 192
)

// What trampolines of patched calls read.
const (
	offSelf      = 16 * 5 // shared.self
	offPatchFlag = 24     // orderPage.patch
	offProcessID = 28     // orderPage.pid
)

// orderPage is the beginning of a process's window; calls begin at offCalls.
type orderPage struct {
	seq       uint32                           // counts batches; a futex word
	end       uint32                           // where the batch ends, from the window's start
	done      uint32                           // the last batch that was carried out; only the helper's pwrite(2) writes it
	failed    uint32                           // errno of a call of the batch that failed, written like done
	copyOfSeq uint32                           // what the helper writes to done
	parent    uint32                           // the sentry's process ID: without it, the process ends
	patch     uint32                           // patched calls may be answered without a signal
	pid       uint32                           // what getpid(2) answers, 0 if the sentry is to be asked
	altStack  struct{ sp, flags, size uint64 } // of the thread that is being made
}

const (
	offCalls = 0x100
	maxCalls = (ordersSize - offCalls) / hostmap.SizeofCall
)

// Both sides know these sizes.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(arch.Registers{})-arch.SizeofRegisters]
	_ = [1]struct{}{}[unsafe.Sizeof(hostmap.Call{})-hostmap.SizeofCall]
	_ = [offStackTop - 0x100]struct{}{}[unsafe.Sizeof(shared{})]
	_ = [1]struct{}{}[unsafe.Offsetof(shared{}.self)-offSelf]
	_ = [1]struct{}{}[unsafe.Offsetof(orderPage{}.patch)-offPatchFlag]
	_ = [1]struct{}{}[unsafe.Offsetof(orderPage{}.pid)-offProcessID]
	_ = [offCalls]struct{}{}[unsafe.Sizeof(orderPage{})]
)
