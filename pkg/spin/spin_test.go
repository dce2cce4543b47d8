package spin

import (
	"runtime"
	"sync/atomic"
	"testing"
)

func TestWhileSeesAChangeAndGivesUp(t *testing.T) {
	rate := CyclesPerMicrosecond()
	var word uint32 = 7
	if While(&word, 7, 10*rate) {
		t.Fatal("nobody changed the word, but While says so")
	}
	if !While(&word, 8, 0) {
		t.Fatal("the word differs from the start, but While gave up")
	}
	begin := Counter()
	While(&word, 7, 200*rate)
	if took := Counter() - begin; took < 200*rate {
		t.Fatalf("gave up after %d cycles of %d", took, 200*rate)
	}
	go func() { atomic.StoreUint32(&word, 9) }()
	for !While(&word, 7, 10*rate) {
		runtime.Gosched()
	}
}

func TestCurrentCPU(t *testing.T) {
	if cpu := CurrentCPU(); cpu >= 4096 || int(cpu) > 8*runtime.NumCPU()+1024 {
		t.Fatalf("CPU %d", cpu)
	}
}
