package seccomp

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Matcher is a condition on one 64-bit argument: one of the types of this file.
type Matcher interface {
	fmt.Stringer
	// Match says whether v fulfils the condition.
	Match(v uint64) bool
	// code is the condition in BPF for argument number arg: it falls through or jumps to
	// its end (pass) if the condition holds and jumps to fail if not.
	code(arg int) []insn
}

// AnyValue matches every value; so does a nil Matcher.
type AnyValue struct{}

// EqualTo matches one value.
type EqualTo uint64

// NotEqual matches all values but one.
type NotEqual uint64

// GreaterThan matches larger values, unsigned.
type GreaterThan uint64

// GreaterThanOrEqual matches the value and larger ones, unsigned.
type GreaterThanOrEqual uint64

// LessThan matches smaller values, unsigned.
type LessThan uint64

// LessThanOrEqual matches the value and smaller ones, unsigned.
type LessThanOrEqual uint64

// Masked matches v if v&Mask == Value.
type Masked struct{ Mask, Value uint64 }

// MaskedEqual matches v if v&mask == value.
func MaskedEqual(mask, value uint64) Matcher { return Masked{mask, value} }

// Int32 matches an argument that the kernel takes as an int: the lower half is v, whatever
// the upper half holds.
func Int32(v int32) Matcher { return Masked{0xffffffff, uint64(uint32(v))} }

// Match implements Matcher.
func (AnyValue) Match(uint64) bool               { return true }
func (m EqualTo) Match(v uint64) bool            { return v == uint64(m) }
func (m NotEqual) Match(v uint64) bool           { return v != uint64(m) }
func (m GreaterThan) Match(v uint64) bool        { return v > uint64(m) }
func (m GreaterThanOrEqual) Match(v uint64) bool { return v >= uint64(m) }
func (m LessThan) Match(v uint64) bool           { return v < uint64(m) }
func (m LessThanOrEqual) Match(v uint64) bool    { return v <= uint64(m) }
func (m Masked) Match(v uint64) bool             { return v&m.Mask == m.Value }

// String implements fmt.Stringer.
func (AnyValue) String() string             { return "*" }
func (m EqualTo) String() string            { return fmt.Sprintf("== %#x", uint64(m)) }
func (m NotEqual) String() string           { return fmt.Sprintf("!= %#x", uint64(m)) }
func (m GreaterThan) String() string        { return fmt.Sprintf("> %#x", uint64(m)) }
func (m GreaterThanOrEqual) String() string { return fmt.Sprintf(">= %#x", uint64(m)) }
func (m LessThan) String() string           { return fmt.Sprintf("< %#x", uint64(m)) }
func (m LessThanOrEqual) String() string    { return fmt.Sprintf("<= %#x", uint64(m)) }
func (m Masked) String() string             { return fmt.Sprintf("& %#x == %#x", m.Mask, m.Value) }

// Rule holds if every argument matches; a nil Matcher matches anything.
type Rule [6]Matcher

// Match says whether the rule holds for args.
func (r Rule) Match(args [6]uint64) bool {
	for i, m := range r {
		if m != nil && !m.Match(args[i]) {
			return false
		}
	}
	return true
}

// Rules are system calls by number. A call is meant if one of its rules holds, or if it has
// an entry without rules.
type Rules map[uintptr][]Rule

// Merge adds the calls of o: what either allowed is allowed then. It returns r.
func (r Rules) Merge(o Rules) Rules {
	for nr, rules := range o {
		old, ok := r[nr]
		switch {
		case !ok:
			r[nr] = slices.Clone(rules)
		case len(old) == 0 || len(rules) == 0:
			r[nr] = nil
		default:
			r[nr] = append(slices.Clone(old), rules...)
		}
	}
	return r
}

// Clone is a copy that Merge may change.
func (r Rules) Clone() Rules { return maps.Clone(r) }

// Match says whether the call is meant by the rules.
func (r Rules) Match(nr uintptr, args [6]uint64) bool {
	rules, ok := r[nr]
	if !ok || len(rules) == 0 {
		return ok
	}
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.Match(args) })
}

// Numbers lists the calls in rising order.
func (r Rules) Numbers() []uintptr { return slices.Sorted(maps.Keys(r)) }

// Action is what happens to a call, SECCOMP_RET_*.
type Action uint32

// Actions of seccomp(2).
const (
	KillProcess Action = unix.SECCOMP_RET_KILL_PROCESS
	Trap        Action = unix.SECCOMP_RET_TRAP
	Trace       Action = unix.SECCOMP_RET_TRACE
	Log         Action = unix.SECCOMP_RET_LOG
	Allow       Action = unix.SECCOMP_RET_ALLOW
)

// Errno is the action that makes a call return e without carrying it out.
func Errno(e unix.Errno) Action { return unix.SECCOMP_RET_ERRNO | Action(e)&unix.SECCOMP_RET_DATA }

// String is the action's name.
func (a Action) String() string {
	switch a {
	case KillProcess:
		return "kill process"
	case Trap:
		return "trap"
	case Trace:
		return "trace"
	case Log:
		return "log"
	case Allow:
		return "allow"
	}
	if a&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
		return fmt.Sprintf("errno %d", uint32(a&unix.SECCOMP_RET_DATA))
	}
	return fmt.Sprintf("action %#x", uint32(a))
}

// RuleSet gives its calls an action.
type RuleSet struct {
	Rules  Rules
	Action Action
}
