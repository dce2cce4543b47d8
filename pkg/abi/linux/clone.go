package linux

// CloneArgs is struct clone_args of clone3(2).
type CloneArgs struct {
	Flags      uint64
	PIDFD      uint64
	ChildTID   uint64
	ParentTID  uint64
	ExitSignal uint64
	Stack      uint64
	StackSize  uint64
	TLS        uint64
	SetTID     uint64
	SetTIDSize uint64
	Cgroup     uint64
}
