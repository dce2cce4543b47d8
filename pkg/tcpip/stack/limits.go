package stack

// Bounds of tables that whoever administers the stack fills. That may be an application in its own
// namespace, and the memory is not the application's. What the network fills is bounded where it
// is kept.
const (
	nicLimit       = 1024
	addressLimit   = 1024 // of an interface
	routeLimit     = 16384
	ruleLimit      = 1024
	permanentLimit = 8192 // neighbours of an interface, those set by hand included
)
