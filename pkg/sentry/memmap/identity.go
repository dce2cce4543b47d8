package memmap

// Identity is what a mapping holds of the file that it came from: the name and numbers that
// /proc/PID/maps shows, and the reference that keeps the file's inode alive. Equal mappings
// of one file have equal identities (compared with ==).
type Identity interface {
	// MappedName is the path in /proc/PID/maps, with " (deleted)" where that is true.
	MappedName() string
	// DeviceID is in unix.Mkdev form.
	DeviceID() uint64
	InodeID() uint64
	IncRef()
	DecRef()
}

// Executable is the file that a process runs, as mm keeps it for /proc/PID/exe. Whoever
// needs more asserts it to the type that exec stored.
type Executable interface {
	IncRef()
	DecRef()
}
