package stack

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"
)

// table is a hash table that is read without a lock. Nodes are chained; a writer links and
// unlinks them by single atomic stores, and a reader that stands on a node that was just
// unlinked finds its way on, because the node keeps its successor and the garbage collector
// keeps the node. Growing makes new nodes and publishes a new array, so that readers of the old
// one see it as it was.
//
// put and remove need the owner's lock; get needs none. The hash of a key is the caller's to
// compute, with a secret, since the keys come from the network.
type table[K comparable, V any] struct {
	heads atomic.Pointer[[]atomic.Pointer[node[K, V]]]
	n     int // nodes; under the owner's lock
}

type node[K comparable, V any] struct {
	key   K
	hash  uint64
	value V
	next  atomic.Pointer[node[K, V]]
}

const tableMinimum = 16

// get returns the value of key, or the zero value.
func (t *table[K, V]) get(hash uint64, key K) (v V) {
	heads := t.heads.Load()
	if heads == nil {
		return v
	}
	h := *heads
	for n := h[hash&uint64(len(h)-1)].Load(); n != nil; n = n.next.Load() {
		if n.hash == hash && n.key == key {
			return n.value
		}
	}
	return v
}

// put adds a key that is not there.
func (t *table[K, V]) put(hash uint64, key K, v V) {
	heads := t.heads.Load()
	if heads == nil || t.n >= len(*heads) {
		heads = t.grow(heads)
	}
	h := &(*heads)[hash&uint64(len(*heads)-1)]
	n := &node[K, V]{key: key, hash: hash, value: v}
	n.next.Store(h.Load())
	h.Store(n)
	t.n++
}

func (t *table[K, V]) grow(old *[]atomic.Pointer[node[K, V]]) *[]atomic.Pointer[node[K, V]] {
	size := tableMinimum
	if old != nil {
		size = 2 * len(*old)
	}
	heads := make([]atomic.Pointer[node[K, V]], size)
	if old != nil {
		for i := range *old {
			for n := (*old)[i].Load(); n != nil; n = n.next.Load() {
				h := &heads[n.hash&uint64(size-1)]
				m := &node[K, V]{key: n.key, hash: n.hash, value: n.value}
				m.next.Store(h.Load())
				h.Store(m)
			}
		}
	}
	t.heads.Store(&heads)
	return &heads
}

// remove takes key out and says whether it was there.
func (t *table[K, V]) remove(hash uint64, key K) bool {
	heads := t.heads.Load()
	if heads == nil {
		return false
	}
	at := &(*heads)[hash&uint64(len(*heads)-1)]
	for n := at.Load(); n != nil; n = at.Load() {
		if n.hash == hash && n.key == key {
			at.Store(n.next.Load())
			t.n--
			return true
		}
		at = &n.next
	}
	return false
}

// each calls f for every entry until it returns false. f may remove the entry it is called for.
func (t *table[K, V]) each(f func(key K, v V) bool) {
	heads := t.heads.Load()
	if heads == nil {
		return
	}
	for i := range *heads {
		for n := (*heads)[i].Load(); n != nil; n = n.next.Load() {
			if !f(n.key, n.value) {
				return
			}
		}
	}
}

// hashKey is the secret of a stack's hash tables. Its hashes only spread keys: they are not
// shown to anybody, unlike those of Stack.Hash.
type hashKey [4]uint64

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// words are the bytes of an address as two numbers. The zero Addr differs from the
// unspecified ones.
func words(a netip.Addr) (hi, lo uint64) {
	switch {
	case a.Is4():
		b := a.As4()
		return 0xffff << 32, uint64(binary.BigEndian.Uint32(b[:]))
	case !a.IsValid():
		return ^uint64(0), 0
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
}

// addr hashes an address.
func (k *hashKey) addr(a netip.Addr) uint64 {
	hi, lo := words(a)
	return mix(mix(hi^k[0], lo^k[1])^k[2], k[3])
}

// id hashes the numbers of a transport's packet.
func (k *hashKey) id(transport uint8, id *TransportID) uint64 {
	lhi, llo := words(id.LocalAddr)
	rhi, rlo := words(id.RemoteAddr)
	h := mix(lhi^k[0], llo^k[1])
	h = mix(h^rhi^k[2], rlo^k[3])
	return mix(h^k[1], uint64(transport)<<32|uint64(id.LocalPort)<<16|uint64(id.RemotePort)^k[0])
}
