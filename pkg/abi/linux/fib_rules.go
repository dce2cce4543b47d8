package linux

// Attributes of routing rules (linux/fib_rules.h), which package unix lacks.
const (
	FRADst            = 1
	FRASrc            = 2
	FRAIifname        = 3
	FRAGoto           = 4
	FRAPriority       = 6
	FRAFwmark         = 10
	FRATunID          = 12
	FRASuppressGroup  = 13
	FRASuppressPrefix = 14
	FRATable          = 15
	FRAFwmask         = 16
	FRAOifname        = 17
	FRAL3mdev         = 19
	FRAUIDRange       = 20
	FRAProtocol       = 21
	FRAIPProto        = 22
	FRASportRange     = 23
	FRADportRange     = 24

	// FIBRuleInvert is a flag in the header: the rule is for all that it does not fit.
	FIBRuleInvert = 2
)
