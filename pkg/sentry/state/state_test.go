package state

import (
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

type good struct {
	mu    sync.Mutex
	n     int
	next  *good // a cycle
	m     map[string][]*good
	addr  uintptr
	timer *time.Timer `state:"nosave"`
}

type bad struct {
	fine  good
	call  func()
	ch    chan int
	ptr   unsafe.Pointer
	timer *time.Timer
	group sync.WaitGroup
	fd    int
	deep  map[int][]struct{ inner func() }
}

func TestCheckFindsWhatCannotBeSaved(t *testing.T) {
	if p := Check(Of(reflect.TypeFor[good]())); len(p) != 0 {
		t.Errorf("good: %v", p)
	}
	var text strings.Builder
	for _, p := range Check(Of(reflect.TypeFor[bad]())) {
		text.WriteString(p.String() + "\n")
	}
	for _, field := range []string{"bad.call", "bad.ch", "bad.ptr", "bad.timer", "bad.group", "bad.fd", "inner"} {
		if !strings.Contains(text.String(), field) {
			t.Errorf("%s is not found in:\n%s", field, text.String())
		}
	}
	if strings.Contains(text.String(), "good") {
		t.Errorf("a field of good is found in:\n%s", text.String())
	}
}
