package strace

// Format says how an argument (or result) of a system call is written in the log. The
// system call table gives one per argument; the number of formats is the number of
// arguments.
type Format uint8

// The formats. "Out" variants point to memory that the kernel fills, decoded when the call
// returns.
const (
	Hex       Format = iota // any word
	Dec                     // int
	Dec64                   // long, size_t, off_t
	Oct                     // mode_t
	FD                      // descriptor; with its path where known
	AtFD                    // descriptor or AT_FDCWD
	Path                    // const char *
	String                  // const char *, not a path
	Argv                    // char *const []
	Envp                    // char *const [], counted only
	ReadBuf                 // buffer filled by the call, result bytes long
	WriteBuf                // buffer read by the call, the next argument is its length
	ReadIovec               // struct iovec *, count next
	WriteIovec
	OpenFlags
	AtFlags
	MmapProt
	MmapFlags
	Stat // out
	Statx
	Statfs
	Timespec    // in
	TimespecOut // out
	Timeval
	TimevalOut
	Itimerval
	ItimervalOut
	Itimerspec
	ItimerspecOut
	Utimbuf
	ClockID
	Signal // number
	SigAction
	SigActionOut
	SigSet
	SigSetOut
	SigInfo
	SigInfoOut
	SigMaskHow
	CloneFlags
	CloneArgs // struct clone_args *
	WaitOptions
	WaitStatusOut
	Rusage
	Rlimit
	RlimitOut
	RlimitResource
	FutexOp
	SockFamily
	SockType
	SockProtocol
	SockAddr    // length next
	SockAddrOut // pointer to length next
	SockFlags
	MsgHdrIn
	MsgHdrOut
	SockLevel
	SockOptName
	SockOptVal
	PollFDs
	SelectFDs
	EpollOp
	EpollEvent
	EpollEventsOut
	PipeFDsOut
	IoctlRequest
	FcntlCmd
	PrctlOption
	ArchPrctlCode
	PtraceRequest
	SeekWhence
	Whence
	MountFlags
	UnameOut
	CapHeader
	CapData
	CapDataOut
	Pointer
)
