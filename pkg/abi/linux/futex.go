package linux

// Operations and flags of futex(2) and its successors that x/sys lacks.
const (
	FutexWait          = 0
	FutexWake          = 1
	FutexFD            = 2
	FutexRequeue       = 3
	FutexCmpRequeue    = 4
	FutexWakeOp        = 5
	FutexLockPI        = 6
	FutexUnlockPI      = 7
	FutexTrylockPI     = 8
	FutexWaitBitset    = 9
	FutexWakeBitset    = 10
	FutexWaitRequeuePI = 11
	FutexCmpRequeuePI  = 12
	FutexLockPI2       = 13

	FutexPrivateFlag   = 128
	FutexClockRealtime = 256

	// Futex2SizeU32 and the other flags of futex_waitv(2).
	Futex2SizeU32  = 2
	Futex2SizeMask = 3
	Futex2Private  = 128

	FutexWaitvMax = 128
)

// FutexWaitv is struct futex_waitv.
type FutexWaitv struct {
	Val      uint64
	Uaddr    uint64
	Flags    uint32
	Reserved uint32 // must be 0
}

// RobustListHeadSize is sizeof(struct robust_list_head).
const RobustListHeadSize = 24
