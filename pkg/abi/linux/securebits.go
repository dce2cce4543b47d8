package linux

// Bits of PR_SET_SECUREBITS (capabilities(7), "The securebits flags"); the bit above each
// locks it.
const (
	SecureNoRoot            = 0
	SecureNoSetuidFixup     = 2
	SecureKeepCaps          = 4
	SecureKeepCapsLocked    = 5
	SecureNoCapAmbientRaise = 6
)
