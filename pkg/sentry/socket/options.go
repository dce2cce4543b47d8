package socket

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// Option is a socket option of sockets of type S: a line of the table that getsockopt(2) and
// setsockopt(2) go by, and documentation is made from.
type Option[S any] struct {
	Level, Name int
	// Label is the name in the C headers.
	Label string
	// On are the kinds of socket that have it, as the table's user counts them; 0: all.
	On uint
	// Get writes the value to buf and returns its length; nil: it cannot be read.
	Get func(s S, ctx context.Context, buf []byte) (int, error)
	// Set takes the value; nil: it cannot be set.
	Set func(s S, ctx context.Context, val []byte) error
	// Note says what it does less, or differently, than in Linux.
	Note string
}

// WithNote returns the option with another note.
func (o Option[S]) WithNote(note string) Option[S] {
	o.Note = note
	return o
}

// IntSetter makes an Option's Set of a function that takes an int, which decode finds in the value
// (GetInt as a rule). nil stays nil.
func IntSetter[S any](decode func([]byte) (int, error), set func(S, context.Context, int) error) func(S, context.Context, []byte) error {
	if set == nil {
		return nil
	}
	return func(s S, ctx context.Context, val []byte) error {
		v, err := decode(val)
		if err != nil {
			return err
		}
		return set(s, ctx, v)
	}
}

// OptionTable finds options by level and name. It does not change once it is made.
type OptionTable[S any] struct {
	list []Option[S]
	byID map[[2]int]*Option[S]
}

// NewOptionTable makes a table. An option that is there twice is a programming error.
func NewOptionTable[S any](lists ...[]Option[S]) *OptionTable[S] {
	t := &OptionTable[S]{list: slices.Concat(lists...), byID: map[[2]int]*Option[S]{}}
	for i := range t.list {
		o := &t.list[i]
		id := [2]int{o.Level, o.Name}
		if t.byID[id] != nil {
			panic("socket: option " + o.Label + " is in the table twice")
		}
		t.byID[id] = o
	}
	return t
}

// Find returns an option that sockets of kind have, or nil.
func (t *OptionTable[S]) Find(level, name int, kind uint) *Option[S] {
	o := t.byID[[2]int{level, name}]
	if o == nil || o.On != 0 && o.On&kind == 0 {
		return nil
	}
	return o
}

// Get is getsockopt(2) of an option in the table; found is false if it is not there.
// ENOPROTOOPT: it cannot be read.
func (t *OptionTable[S]) Get(s S, ctx context.Context, kind uint, level, name int, buf []byte) (n int, found bool, err error) {
	o := t.Find(level, name, kind)
	if o == nil {
		return 0, false, nil
	}
	if o.Get == nil {
		return 0, true, unix.ENOPROTOOPT
	}
	n, err = o.Get(s, ctx, buf)
	return n, true, err
}

// Set is setsockopt(2) likewise.
func (t *OptionTable[S]) Set(s S, ctx context.Context, kind uint, level, name int, val []byte) (found bool, err error) {
	o := t.Find(level, name, kind)
	if o == nil {
		return false, nil
	}
	if o.Set == nil {
		return true, unix.ENOPROTOOPT
	}
	return true, o.Set(s, ctx, val)
}

// OptionInfo describes an option for documentation.
type OptionInfo struct {
	Level, Name          int
	LevelLabel, Label    string
	Readable, Changeable bool
	Note                 string
}

// levelLabels are the names of levels that the headers have.
var levelLabels = map[int]string{
	unix.SOL_SOCKET: "SOL_SOCKET", unix.IPPROTO_IP: "IPPROTO_IP", unix.IPPROTO_IPV6: "IPPROTO_IPV6",
	unix.IPPROTO_TCP: "IPPROTO_TCP", unix.IPPROTO_UDP: "IPPROTO_UDP", unix.IPPROTO_RAW: "SOL_RAW",
	unix.IPPROTO_ICMPV6: "IPPROTO_ICMPV6", unix.SOL_PACKET: "SOL_PACKET", unix.SOL_NETLINK: "SOL_NETLINK",
}

// Infos describes the options of the table by level and name.
func (t *OptionTable[S]) Infos() []OptionInfo {
	var out []OptionInfo
	for _, o := range t.list {
		out = append(out, OptionInfo{
			Level: o.Level, Name: o.Name, LevelLabel: levelLabels[o.Level], Label: o.Label,
			Readable: o.Get != nil, Changeable: o.Set != nil, Note: o.Note,
		})
	}
	slices.SortFunc(out, func(a, b OptionInfo) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Name, b.Name))
	})
	return out
}
