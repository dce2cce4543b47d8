package linux

// Resources of getrlimit(2) that golang.org/x/sys/unix does not name.
const (
	RlimitSigPending = 11
	RlimitMsgQueue   = 12
	RlimitNice       = 13
	RlimitRTPrio     = 14
	RlimitRTTime     = 15
)
