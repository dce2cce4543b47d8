package stack

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTableIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var tab table[int, *int]
	m := map[int]*int{}
	hash := func(k int) uint64 { return uint64(k % 50) } // with collisions
	for range 20000 {
		k := r.IntN(200)
		if old := m[k]; old == nil {
			v := new(int)
			tab.put(hash(k), k, v)
			m[k] = v
		} else if r.IntN(2) == 0 {
			if !tab.remove(hash(k), k) {
				t.Fatalf("remove(%d) = false", k)
			}
			delete(m, k)
		}
		k = r.IntN(200)
		if got := tab.get(hash(k), k); got != m[k] {
			t.Fatalf("get(%d) = %v, want %v", k, got, m[k])
		}
		if m[k] == nil && tab.remove(hash(k), k) {
			t.Fatalf("remove(%d) = true, but it is not there", k)
		}
		if tab.n != len(m) {
			t.Fatalf("n = %d, want %d", tab.n, len(m))
		}
	}
	seen := map[int]*int{}
	tab.each(func(k int, v *int) bool {
		seen[k] = v
		tab.remove(hash(k), k) // allowed
		return true
	})
	if len(seen) != len(m) || tab.n != 0 {
		t.Errorf("each saw %d entries of %d and left %d", len(seen), len(m), tab.n)
	}
	tab.put(1, 1, new(int))
	tab.put(2, 2, new(int))
	calls := 0
	tab.each(func(int, *int) bool { calls++; return false })
	if calls != 1 {
		t.Errorf("each went on %d times after false", calls)
	}
}

func TestZeroTable(t *testing.T) {
	var tab table[int, *int]
	if tab.get(1, 1) != nil || tab.remove(1, 1) {
		t.Error("an empty table has something")
	}
	tab.each(func(int, *int) bool { t.Error("each called f"); return true })
}

// What stays in the table has to be found at any moment, whatever else happens to it.
func TestTableIsReadWhileItChanges(t *testing.T) {
	var tab table[int, *int]
	fixed := new(int)
	for k := range 16 {
		tab.put(uint64(k), k, fixed)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				for k := range 16 {
					if tab.get(uint64(k), k) != fixed {
						t.Errorf("key %d was not found", k)
						return
					}
				}
			}
		})
	}
	for round := range 200 {
		for k := 16; k < 16+round; k++ {
			tab.put(uint64(k%32), k, new(int))
		}
		for k := 16; k < 16+round; k++ {
			tab.remove(uint64(k%32), k)
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestHashesOfAddressesDiffer(t *testing.T) {
	k := hashKey{1, 2, 3, 4}
	seen := map[uint64]any{}
	note := func(h uint64, what any) {
		t.Helper()
		if old, ok := seen[h]; ok {
			t.Errorf("%v and %v have the same hash", what, old)
		}
		seen[h] = what
	}
	for _, a := range []netip.Addr{{}, addr("0.0.0.0"), addr("::"), addr("1.2.3.4"), addr("::102:304"), addr("1.2.3.5")} {
		note(k.addr(a), a)
	}
	for i, id := range []TransportID{{}, {LocalPort: 1}, {RemotePort: 1}, {LocalAddr: addr("1.2.3.4")}, {RemoteAddr: addr("1.2.3.4")},
		{LocalAddr: addr("1.2.3.4"), LocalPort: 1}} {
		note(k.id(6, &id), i)
		note(k.id(17, &id), i+100)
	}
}

func TestSipHash(t *testing.T) {
	// The key 00 01 … 0f and inputs 00 01 …, as the paper's appendix A and the authors' reference
	// code have them.
	const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
	var in [15]byte
	for i := range in {
		in[i] = byte(i)
	}
	for n, want := range map[int]uint64{0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 2: 0x0d6c8009d9a94f5a,
		3: 0x85676696d7fb7e2d, 15: 0xa129ca6149be45e5} {
		if got := sipHash(k0, k1, in[:n]); got != want {
			t.Errorf("of %d bytes: %#x, want %#x", n, got, want)
		}
	}
}

func TestSecrets(t *testing.T) {
	a, b := New(Config{Seed: []byte("1")}), New(Config{Seed: []byte("1")})
	c, d := New(Config{}), New(Config{})
	x := []byte("x")
	if a.Hash(1, x) != b.Hash(1, x) || a.Random() != b.Random() {
		t.Error("the same seed gives other secrets")
	}
	if c.Hash(1, x) == d.Hash(1, x) || c.Random() == d.Random() {
		t.Error("without a seed, secrets are the same")
	}
	if a.Hash(1, x) == a.Hash(2, x) || a.Hash(1, x) == a.Hash(1, []byte("y")) {
		t.Error("purposes or inputs do not matter")
	}
}
