package linux

// Commands of semctl(2) and msgctl(2) that x/sys lacks, beside those in shm.go.
const (
	SemGetPID  = 11 // GETPID
	SemGetVal  = 12
	SemGetAll  = 13
	SemGetNCnt = 14
	SemGetZCnt = 15
	SemSetVal  = 16
	SemSetAll  = 17
	SemStat    = 18
	SemInfo    = 19
	SemStatAny = 20

	MsgStat    = 11
	MsgInfo    = 12
	MsgStatAny = 13
)

// SemidDS is struct semid64_ds.
type SemidDS struct {
	Perm  IPCPerm
	Otime int64 // seconds since the epoch
	_     uint64
	Ctime int64
	_     uint64
	Nsems uint64
	_     [2]uint64
}

// SemInfoDS is struct seminfo, of IPC_INFO and SEM_INFO.
type SemInfoDS struct {
	Map, Mni, Mns, Mnu, Msl, Opm, Ume, Usz, Vmx, Aem int32
}

// MsqidDS is struct msqid64_ds.
type MsqidDS struct {
	Perm   IPCPerm
	Stime  int64 // seconds since the epoch
	Rtime  int64
	Ctime  int64
	Cbytes uint64
	Qnum   uint64
	Qbytes uint64
	Lspid  int32
	Lrpid  int32
	_      [2]uint64
}

// MsgInfoDS is struct msginfo, of IPC_INFO and MSG_INFO.
type MsgInfoDS struct {
	Pool, Map, Max, Mnb, Mni, Ssz, Tql int32
	Seg                                uint16
	_                                  uint16
}
