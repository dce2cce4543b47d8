package sem

import "sync"

// Registry holds the semaphore sets of an IPC namespace.
type Registry struct {
	mu sync.Mutex // guards the fields below
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{} }
