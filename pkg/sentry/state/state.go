// Package state holds the discipline that lets a checkpoint save the kernel's object
// graph by reflection, without generated code: what a field may hold, and how a field that
// cannot be saved is marked.
//
// Everything reachable from kernel.Kernel is saved field by field: numbers, strings, structs,
// pointers (shared ones stay shared), slices, arrays, maps, and interfaces by the concrete
// type inside. So a field must not hold what exists only in this process:
//
//   - code: func values and channels. A callback is a small interface that pointer types
//     implement; a sleeper is woken through a waiter.Queue.
//   - running things: WaitGroup, Cond, host timers, contexts, goroutines' rendezvous.
//   - the host's things: file descriptors, mappings (unsafe.Pointer; a uintptr is an address of the
//     application and is saved), connections,
//     a platform's address spaces and contexts.
//
// A field that has to hold one is tagged
//
//	timer *time.Timer `state:"nosave"`
//
// and is zero after a load until the type's AfterLoad method, or the owner that the comment
// beside it names, makes it anew. The same tag marks caches, which are simply empty then.
//
// Mutexes and Onces need no tag: a saved kernel is paused, its locks are free, and they
// are saved unlocked (a Once by whether it has run). Values of sync/atomic are saved by
// value, an atomic.Pointer like a pointer. A sync.Cond or sync.Map is not saved.
//
// Check follows types, not values, so it finds a wrong field before a checkpoint does. It
// sees types through the small interface Type, because there are two views of them: package
// reflect's, which the saver has (Of), and the compiler's, with which a test reads the
// unexported types of every package (test/arch). Host descriptors in plain integers cannot
// be told from numbers by type; Check goes by the field's name for those.
//
// The package has no state and no locks.
package state

import (
	"fmt"
	"reflect"
	"strings"
)

// A Type is what Check has to know of a Go type.
type Type interface {
	// Name is the import path and name ("sync.Mutex", "sync/atomic.Pointer[…]"); "" for a
	// type without a name.
	Name() string
	// String is the type as a reader would write it.
	String() string
	Kind() reflect.Kind
	// Parts are the types that a value holds: a struct's fields, an element, a key, and
	// what an interface may have inside.
	Parts() []Part
}

// A Part is one type inside another.
type Part struct {
	Label string // a field's name with its dot, "[]", "[key]", or "" for an indirection
	Field string // a field's name, "" if it is none
	Tag   reflect.StructTag
	Type  Type
}

// NoSave reports whether a field with the tag is left out of a checkpoint.
func NoSave(tag reflect.StructTag) bool { return tag.Get("state") == "nosave" }

// A Problem is a field that cannot be saved and is not tagged.
type Problem struct {
	Field string   // the type that has the field, and the field
	Type  string   // what the field holds
	Why   string   // why that cannot be saved
	Via   []string // the fields that lead to it from the root
}

func (p Problem) String() string {
	return fmt.Sprintf("%s (%s): %s\n\treached by %s", p.Field, p.Type, p.Why, strings.Join(p.Via, " → "))
}

// saved names types whose insides are nobody's business: the saver knows them.
var saved = map[string]bool{
	"sync.Mutex": true, "sync.RWMutex": true, "sync.Once": true,
	"time.Time": true, "time.Location": true,
	"net/netip.Addr": true, // by its bytes: MarshalBinary
}

// refused names types that stand for something of this process or of the host.
var refused = map[string]string{
	"sync.WaitGroup":                   "counts goroutines",
	"sync.Cond":                        "goroutines sleep on it",
	"sync.Map":                         "its contents have no type",
	"sync.Pool":                        "a cache of this process",
	"sync/atomic.Value":                "its contents have no type",
	"time.Timer":                       "a timer of this process",
	"time.Ticker":                      "a timer of this process",
	"context.Context":                  "belongs to a call, not to an object",
	"hash/maphash.Seed":                "means nothing in another process",
	"hash/maphash.Hash":                "means nothing in another process",
	"reflect.Value":                    "points into this process",
	"reflect.Type":                     "points into this process",
	"runsc/pkg/fd.FD":                  "a host file descriptor",
	"runsc/pkg/p9.Client":              "a connection to a process outside",
	"runsc/pkg/p9.ClientFile":          "belongs to a connection to a process outside",
	"runsc/pkg/p9.Server":              "a connection to a process outside",
	"runsc/pkg/platform.Platform":      "belongs to the host",
	"runsc/pkg/platform.AddressSpace":  "belongs to the host",
	"runsc/pkg/platform.Context":       "belongs to the host",
	"runsc/pkg/sentry/context.Context": "belongs to a call, not to an object",
}

// refusedPackages are those whose every type holds something of the host.
var refusedPackages = []string{"os.", "os/exec.", "os/signal.", "net.", "net/http.", "log.", "log/slog.", "runtime.", "weak.", "unique.", "plugin."}

// Refusal says why a value of the type cannot be saved, looking at the type itself and not
// at its parts; "" if nothing speaks against it.
func Refusal(t Type) string {
	name := t.Name()
	if saved[name] {
		return ""
	}
	if why := refused[name]; why != "" {
		return why
	}
	for _, p := range refusedPackages {
		if strings.HasPrefix(name, p) && t.Kind() >= reflect.Array {
			return "belongs to the host or to the runtime"
		}
	}
	switch t.Kind() {
	case reflect.Func:
		return "func values cannot be saved: use an interface that a pointer type implements"
	case reflect.Chan:
		return "channels cannot be saved"
	case reflect.UnsafePointer:
		return "points into this process"
	}
	return ""
}

// hostFD reports whether a field is, by its name, a host file descriptor in a plain int.
// The application's descriptors are int32.
func hostFD(p Part) bool {
	if p.Type.Kind() != reflect.Int {
		return false
	}
	f := p.Field
	return strings.EqualFold(f, "fd") || strings.EqualFold(f, "epfd") || strings.EqualFold(f, "eventfd") ||
		strings.HasSuffix(f, "FD")
}

// Check follows every type that a value of type root can hold and returns the fields that
// cannot be saved and do not say so, nearest to the root first.
func Check(root Type) []Problem {
	c := checker{seen: map[string]bool{}}
	c.visit(root, nil)
	for len(c.queue) > 0 {
		v := c.queue[0]
		c.queue = c.queue[1:]
		c.parts(v.t, v.t.String(), v.via)
	}
	return c.problems
}

// visit is a type with a name whose parts are still to be looked at.
type visit struct {
	t   Type
	via []string
}

type checker struct {
	seen     map[string]bool // types with a name, by Name
	queue    []visit
	problems []Problem
}

func (c *checker) visit(t Type, via []string) {
	if name := t.Name(); name != "" {
		if !c.seen[name] {
			c.seen[name] = true
			c.queue = append(c.queue, visit{t, via})
		}
		return
	}
	// A type without a name cannot contain itself but through one that has one.
	where := t.String()
	if len(via) > 0 {
		where = via[len(via)-1]
	}
	c.parts(t, where, via)
}

// parts looks at what a type holds. where names the place for a reader.
func (c *checker) parts(t Type, where string, via []string) {
	name := t.Name()
	if saved[name] {
		return
	}
	atomic := strings.HasPrefix(name, "sync/atomic.")
	for _, p := range t.Parts() {
		if atomic && p.Type.Kind() != reflect.Array {
			// Saved by value. The array of no pointers is how atomic.Pointer says what it
			// points to.
			continue
		}
		if NoSave(p.Tag) {
			continue
		}
		at := where + p.Label
		why := Refusal(p.Type)
		if why == "" && hostFD(p) {
			why = "a host file descriptor, by its name"
		}
		if why != "" {
			c.problems = append(c.problems, Problem{Field: at, Type: p.Type.String(), Why: why, Via: via})
			continue
		}
		next := via
		if p.Type.Name() == "" || len(via) == 0 || via[len(via)-1] != at {
			next = append(via[:len(via):len(via)], at)
		}
		c.visit(p.Type, next)
	}
}
