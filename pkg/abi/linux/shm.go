package linux

// Commands and flags of System V shared memory that x/sys lacks (shmctl(2), shmget(2)).
const (
	IPCInfo    = 3
	ShmLock    = 11
	ShmUnlock  = 12
	ShmStat    = 13
	ShmInfo    = 14
	ShmStatAny = 15

	ShmHugetlb   = 0o4000
	ShmNoReserve = 0o10000

	ShmRdonly = 0o10000
	ShmRnd    = 0o20000
	ShmRemap  = 0o40000
	ShmExec   = 0o100000

	ShmDest   = 0o1000 // in shm_perm.mode: to be destroyed
	ShmLocked = 0o2000

	ShmMin = 1
	ShmMax = ^uint64(0) - 1<<24
	ShmAll = ^uint64(0) - 1<<24
	ShmMni = 4096
	ShmLBA = 4096 // SHMLBA
)

// IPCPerm is struct ipc64_perm.
type IPCPerm struct {
	Key  uint32
	UID  uint32
	GID  uint32
	CUID uint32
	CGID uint32
	Mode uint32 // a 16-bit mode and padding on x86-64
	Seq  uint16
	_    uint16
	_    uint32
	_    [2]uint64
}

// ShmidDS is struct shmid64_ds.
type ShmidDS struct {
	Perm   IPCPerm
	Segsz  uint64 // bytes
	Atime  int64  // seconds since the epoch
	Dtime  int64
	Ctime  int64
	Cpid   int32
	Lpid   int32
	Nattch uint64
	_      [2]uint64
}

// ShmInfo64 is struct shminfo64, of IPC_INFO.
type ShmInfo64 struct {
	Max, Min, Mni, Seg, All uint64
	_                       [4]uint64
}

// ShmInfoUsed is struct shm_info, of SHM_INFO. Sizes are in pages.
type ShmInfoUsed struct {
	UsedIDs                   int32
	_                         int32
	Tot, Rss, Swp             uint64
	SwapAttempts, SwapSuccess uint64
}
