package boot

import (
	"runsc/pkg/urpc"
)

// Methods of the control socket.
const (
	MethodCreate        = "containerManager.Create"
	MethodStart         = "containerManager.Start"
	MethodStartRoot     = "containerManager.StartRoot"
	MethodDestroy       = "containerManager.Destroy"
	MethodExecuteAsync  = "containerManager.ExecuteAsync"
	MethodWait          = "containerManager.Wait"
	MethodWaitPID       = "containerManager.WaitPID"
	MethodSignal        = "containerManager.Signal"
	MethodSignalProcess = "containerManager.SignalProcess"
	MethodProcesses     = "containerManager.Processes"
	MethodEvent         = "containerManager.Event"
	MethodPause         = "containerManager.Pause"
	MethodResume        = "containerManager.Resume"
	MethodStacks        = "debug.Stacks"
	MethodLogLevel      = "debug.LogLevel"
	MethodProfileHeap   = "Profile.Heap"
	MethodProfileCPU    = "Profile.CPU"
	MethodProfileBlock  = "Profile.Block"
	MethodProfileMutex  = "Profile.Mutex"
	MethodProfileTrace  = "Profile.Trace"
)

// ContainerArgs is the argument of methods that only need to know which container.
type ContainerArgs struct {
	ContainerID string `json:"containerID"`
}

// CreateArgs describes a container that joins the sandbox. Its files are three for stdio,
// then the user log if UserLog, then the gofer's sockets.
type CreateArgs struct {
	urpc.FilePayload
	ContainerID string      `json:"containerID"`
	Spec        []byte      `json:"spec"` // JSON, as the client normalized it
	Mounts      []MountInfo `json:"mounts"`
	UserLog     bool        `json:"userLog,omitempty"`
	Console     bool        `json:"console,omitempty"`
}

// ExecuteArgs is the argument of ExecuteAsync; its files are the process's stdio.
type ExecuteArgs struct {
	urpc.FilePayload
	ExecArgs
}

// ExecuteResult is what ExecuteAsync returns.
type ExecuteResult struct {
	PID int32 `json:"pid"` // in the container's pid namespace
}

// WaitPIDArgs names a process started by ExecuteAsync, or any other.
type WaitPIDArgs struct {
	ContainerID string `json:"containerID"`
	PID         int32  `json:"pid"`
	// Clear forgets the status, so that it can be asked for only once.
	Clear bool `json:"clear,omitempty"`
}

// WaitResult is how a process ended.
type WaitResult struct {
	Status uint32 `json:"status"` // as in wait(2)
}

// SignalArgs is the argument of Signal and SignalProcess.
type SignalArgs struct {
	ContainerID string     `json:"containerID"`
	PID         int32      `json:"pid,omitempty"`
	Signal      int32      `json:"signal"`
	Mode        SignalMode `json:"mode,omitempty"`
}

// ProcessesResult lists a container's processes.
type ProcessesResult struct {
	Processes []Process `json:"processes"`
}

// EventResult is the sandbox's own view of what a container uses.
type EventResult struct {
	NumProcesses int `json:"numProcesses"`
}

// StacksResult is what debug.Stacks returns.
type StacksResult struct {
	Stacks string `json:"stacks"`
}

// LogLevelArgs sets the level of the sandbox's log.
type LogLevelArgs struct {
	Level string `json:"level"`
}

// ProfileArgs asks for a profile, written to the one file given.
type ProfileArgs struct {
	urpc.FilePayload
	DurationNS int64 `json:"durationNS,omitempty"`
}
