package msgqueue

import "sync"

// Registry holds the message queues of an IPC namespace.
type Registry struct {
	mu sync.Mutex // guards the fields below
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{} }
