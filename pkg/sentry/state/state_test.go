package state

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

type (
	good struct {
		mu    sync.Mutex
		rw    sync.RWMutex
		once  sync.Once
		n     atomic.Int64
		next  atomic.Pointer[good]
		prev  *good
		byKey map[string][]*good
		when  time.Time
		addr  uintptr
		guest int32 // a descriptor of the application's
		err   error
	}
	bad struct {
		fn      func()
		ch      chan int
		list    []func()
		mapped  map[string]<-chan int
		ptr     unsafe.Pointer
		wg      sync.WaitGroup
		cond    *sync.Cond
		smap    sync.Map
		value   atomic.Value
		timer   *time.Timer
		file    *os.File
		ctx     context.Context
		fd      int
		hostFD  int
		named   callback
		inner   struct{ c chan int }
		through atomic.Pointer[leaf]
		box     box[chan int]
	}
	callback   func()
	leaf       struct{ c chan int }
	box[T any] struct{ v T }

	tagged struct {
		fn    func()         `state:"nosave"`
		ch    chan int       `other:"x" state:"nosave"`
		cond  *sync.Cond     `state:"nosave"`
		fd    int            `state:"nosave"`
		owner *onlyTagged    `state:"nosave"` // what is behind a tag is not looked at
		maps  map[int]func() `state:"nosave"`
	}
	onlyTagged struct{ c chan int }
	mistagged  struct {
		a chan int `state:"save"`
		b chan int `other:"nosave"`
	}

	listener interface{ Notify() }
	holder   struct{ l listener }
	pointer  struct{ c chan int }
	value    struct{ fn func() }
	stranger struct{ c chan int }

	ring struct {
		list  []map[string]*ring
		other *gnir
	}
	gnir struct {
		ring *ring
		c    chan int
	}
	slices []slices
)

func (*pointer) Notify() {}
func (value) Notify()    {}

func TestCheck(t *testing.T) {
	impls := []reflect.Type{reflect.TypeFor[*pointer](), reflect.TypeFor[value](), reflect.TypeFor[*stranger]()}
	for _, c := range []struct {
		name string
		root reflect.Type
		want string
	}{
		{"what can be saved", reflect.TypeFor[good](), ""},
		{"every kind that cannot", reflect.TypeFor[bad](), "bad.ch bad.cond bad.ctx bad.fd bad.file bad.fn bad.hostFD " +
			"bad.inner.c bad.list[] bad.mapped[] bad.named bad.ptr bad.smap bad.timer bad.value bad.wg box[chan int].v leaf.c"},
		{"tags", reflect.TypeFor[tagged](), ""},
		{"other tags", reflect.TypeFor[mistagged](), "mistagged.a mistagged.b"},
		{"what is inside interfaces", reflect.TypeFor[holder](), "pointer.c value.fn"},
		{"cycles", reflect.TypeFor[*ring](), "gnir.c"},
		{"a type that is its own element", reflect.TypeFor[slices](), ""},
	} {
		var got []string
		for _, p := range Check(Of(c.root, impls...)) {
			got = append(got, strings.TrimPrefix(p.Field, "state."))
			if p.Why == "" || p.Type == "" {
				t.Errorf("%s: %+v does not say what is wrong", c.name, p)
			}
		}
		sort.Strings(got)
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s:\nfound %s\nwant  %s", c.name, g, c.want)
		}
	}
}

func TestProblemSaysHowItIsReached(t *testing.T) {
	ps := Check(Of(reflect.TypeFor[ring]()))
	if len(ps) != 1 {
		t.Fatalf("problems = %v, want one", ps)
	}
	if got, want := fmt.Sprint(ps[0].Via), "[state.ring.other]"; got != want {
		t.Errorf("via %s, want %s", got, want)
	}
}
