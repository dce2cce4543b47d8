package linux

// Commands of membarrier(2).
const (
	MembarrierGlobal                           = 1 << 0
	MembarrierGlobalExpedited                  = 1 << 1
	MembarrierRegisterGlobalExpedited          = 1 << 2
	MembarrierPrivateExpedited                 = 1 << 3
	MembarrierRegisterPrivateExpedited         = 1 << 4
	MembarrierPrivateExpeditedSyncCore         = 1 << 5
	MembarrierRegisterPrivateExpeditedSyncCore = 1 << 6
	MembarrierGetRegistrations                 = 1 << 9
)
