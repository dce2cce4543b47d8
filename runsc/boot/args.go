// Package boot is the inside of the sandbox process: what `runsc boot` runs once it has
// locked itself up.
//
// Its parts, from the outside in: Args is everything the process was given, all of it open
// descriptors and plain data. Loader builds a kernel out of it (platform, memory, mounts,
// the init process, stopped before its first instruction), installs the system call filter
// and from then on is what containers can be asked and told. Controller answers the
// client's calls on the control socket by calling the Loader; it holds no state of its own
// but that of profiles. LastWords reads, in the client, what a dying sandbox had to say.
//
// The method names and argument types of the control socket are in control.go; the client
// side of the same calls is package sandbox.
//
// Lock order: Controller.mu, then whatever the Loader locks.
package boot

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/runsc/config"
)

// Args is everything boot was given. All descriptors are owned by the Loader after
// NewLoader, whether it succeeds or not.
type Args struct {
	ID   string
	Conf *config.Config
	Spec *specs.Spec

	// GoferFDs are the sockets on which the gofer serves 9P: the root first, then one for
	// each of Mounts that names a GoferIndex.
	GoferFDs []int
	// Mounts are the mounts of the specification in order, resolved by the gofer. The root
	// is not among them.
	Mounts []MountInfo

	// StdioFDs become the application's descriptors 0, 1 and 2.
	StdioFDs []int
	// UserLogFD gets what a user of the container should read, such as unsupported system
	// calls; -1 if nobody asked.
	UserLogFD int

	NumCPU   int    // processors that the application sees
	TotalMem uint64 // bytes of memory that the application sees
	Console  bool   // StdioFDs are one terminal, which is the init process's controlling one

	// Pieces prepared before the process locked itself up.
	ControlFD  int // listening control socket, owned by the Controller; the filter must let it accept
	PlatformFD int // device of the platform, -1 if it has none
}

// MountInfo is one mount of the specification after the gofer resolved it.
type MountInfo struct {
	Destination string   `json:"destination"` // absolute, free of symlinks
	Type        string   `json:"type"`
	Source      string   `json:"source,omitempty"` // for /proc/mounts only
	Options     []string `json:"options,omitempty"`
	// GoferIndex is the index in Args.GoferFDs of the socket that serves this mount, -1 if
	// the sandbox makes the filesystem itself.
	GoferIndex int  `json:"goferIndex"`
	ReadOnly   bool `json:"readOnly,omitempty"`
	IsFile     bool `json:"isFile,omitempty"` // the bind mount shows a file, not a directory
}

// ExecArgs describes a process to start in a running container.
type ExecArgs struct {
	ContainerID string   `json:"containerID"`
	Argv        []string `json:"argv"`
	Envv        []string `json:"envv"`
	// WorkingDirectory is the container's if empty.
	WorkingDirectory string   `json:"workingDirectory"`
	UID              uint32   `json:"uid"`
	GID              uint32   `json:"gid"`
	AdditionalGIDs   []uint32 `json:"additionalGIDs,omitempty"`
	Umask            *uint32  `json:"umask,omitempty"`
	// Capabilities are the process's sets, complete.
	Capabilities    *specs.LinuxCapabilities `json:"capabilities,omitempty"`
	NoNewPrivileges bool                     `json:"noNewPrivileges,omitempty"`
	Rlimits         []specs.POSIXRlimit      `json:"rlimits,omitempty"`
	// Terminal says that the three files are one terminal, to become the controlling one.
	Terminal bool `json:"terminal,omitempty"`
	// Files become descriptors 0, 1 and 2. Exec owns them.
	Files []*os.File `json:"-"`
}

// SignalMode says whom Loader.Signal means.
type SignalMode int

// Signal modes.
const (
	// SignalProcess is the one process (thread group) with the given pid; 0 is init.
	SignalProcess SignalMode = iota
	// SignalAll is every process of the container.
	SignalAll
	// SignalForegroundGroup is the foreground process group of the terminal that controls
	// the given process, or the process itself if there is none.
	SignalForegroundGroup
)

// Process is one line of ps.
type Process struct {
	UID   uint32 `json:"uid"`
	PID   int32  `json:"pid"` // in the container's pid namespace, as PPID
	PPID  int32  `json:"ppid"`
	C     int32  `json:"c"` // processor use in percent over the process's life
	STIME string `json:"stime"`
	TTY   string `json:"tty"`
	Time  string `json:"time"`
	Cmd   string `json:"cmd"`
	// StubPID is the host process that holds the process's address space, as the sandbox's
	// own pid namespace numbers it; 0 if the platform has none.
	StubPID int32 `json:"stubPID,omitempty"`
}
