package mm

import (
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
)

// The model: an address space of a few pages, each of which shows a cell or nothing.
const (
	modelBase  = uintptr(0x20000000)
	modelPages = 40
)

type modelPage struct {
	cell     *byte // nil: not mapped
	perms    memmap.AccessType
	private  bool
	original byte // what MADV_DONTNEED brings back in private memory
}

type modelProc struct {
	app   *app
	pages [modelPages]modelPage
}

func (p *modelProc) addr(i int) uintptr { return modelBase + uintptr(i)*pageSize }

// fileCells are the contents of the shared file of a run.
type modelRun struct {
	t       *testing.T
	procs   []*modelProc
	private *fakeFile // content never changes: page i begins with 'a'+i
	shared  *fakeFile
	cells   [modelPages]*byte
}

func newModelRun(t *testing.T) *modelRun {
	a := newApp(t)
	r := &modelRun{t: t, procs: []*modelProc{{app: a}}}
	r.private = newFile(t, a.m.mf, "", modelPages)
	r.shared = newFile(t, a.m.mf, "", modelPages)
	for i := range r.cells {
		a.m.mf.Bytes(r.private.fr)[i*pageSize] = byte('a' + i)
		r.cells[i] = new(byte)
	}
	return r
}

func (r *modelRun) step(op, who, x, y, z byte) {
	t := r.t
	p := r.procs[int(who)%len(r.procs)]
	i := int(x) % modelPages
	n := min(1+int(y)%8, modelPages-i)
	length := uint64(n) * pageSize
	perms := memmap.AccessType{Read: true, Write: z&1 != 0}
	if z%16 == 15 {
		perms = memmap.NoAccess
	}
	m := p.app.m
	switch op % 12 {
	case 0, 1: // map
		o := MMapOpts{Addr: p.addr(i), Length: length, Fixed: true, Perms: perms, MaxPerms: memmap.AnyAccess, Private: true}
		off := int(z>>4) % (modelPages - n + 1)
		kind := z >> 1 % 4
		switch kind {
		case 1:
			o.Private = false
		case 2:
			o.Mappable, o.Identity, o.Offset = r.private, r.private, uint64(off)*pageSize
		case 3:
			o.Private, o.Mappable, o.Identity, o.Offset = false, r.shared, r.shared, uint64(off)*pageSize
		}
		if _, err := m.MMap(o); err != nil {
			t.Fatalf("mmap: %v", err)
		}
		for j := 0; j < n; j++ {
			pg := modelPage{cell: new(byte), perms: perms, private: o.Private}
			switch kind {
			case 2:
				pg.original = byte('a' + off + j)
				*pg.cell = pg.original
			case 3:
				pg.cell = r.cells[off+j]
			}
			p.pages[i+j] = pg
		}
	case 2:
		if err := m.MUnmap(p.addr(i), length); err != nil {
			t.Fatalf("munmap: %v", err)
		}
		for j := i; j < i+n; j++ {
			p.pages[j] = modelPage{}
		}
	case 3:
		err := m.MProtect(p.addr(i), length, perms, false)
		for j := i; j < i+n; j++ {
			if p.pages[j].cell == nil {
				if err != unix.ENOMEM {
					t.Fatalf("mprotect over a hole: %v", err)
				}
				return
			}
			p.pages[j].perms = perms
		}
		if err != nil {
			t.Fatalf("mprotect: %v", err)
		}
	case 4, 5, 6: // store, by the application or the sentry
		pg := &p.pages[i]
		ok := pg.cell != nil && pg.perms.Write
		var err error
		if z&2 != 0 {
			_, err = m.CopyOut(p.addr(i), []byte{z})
		} else {
			b := z
			err = p.app.touch(p.addr(i), memmap.Write, &b)
		}
		if ok != (err == nil) {
			t.Fatalf("store to page %d (%+v): %v", i, *pg, err)
		}
		if ok {
			*pg.cell = z
		}
	case 7, 8:
		pg := &p.pages[i]
		ok := pg.cell != nil && pg.perms.Read
		b := []byte{0}
		var err error
		if z&2 != 0 {
			_, err = m.CopyIn(p.addr(i), b)
		} else {
			err = p.app.touch(p.addr(i), memmap.Read, &b[0])
		}
		if ok != (err == nil) || ok && b[0] != *pg.cell {
			t.Fatalf("load of page %d (%+v) = %d, %v", i, *pg, b[0], err)
		}
	case 9:
		if len(r.procs) < 4 {
			c := &modelProc{app: p.app.fork(), pages: p.pages}
			for j := range c.pages {
				if pg := &c.pages[j]; pg.cell != nil && pg.private {
					v := *pg.cell
					pg.cell = &v
				}
			}
			r.procs = append(r.procs, c)
		} else {
			k := int(who) % len(r.procs)
			p.app.m.DecUsers()
			r.procs = append(r.procs[:k], r.procs[k+1:]...)
		}
	case 10:
		whole := true
		for j := i; j < i+n; j++ {
			whole = whole && p.pages[j].cell != nil
		}
		if err := m.MAdvise(p.addr(i), length, unix.MADV_DONTNEED); whole != (err == nil) {
			t.Fatalf("madvise: %v", err)
		}
		for j := i; j < i+n; j++ {
			if pg := &p.pages[j]; pg.cell != nil && pg.private {
				*pg.cell = pg.original
			}
		}
	case 11: // move one page
		to := int(z) % modelPages
		_, err := m.MRemap(p.addr(i), pageSize, pageSize, MRemapOpts{MayMove: true, Fixed: true, NewAddr: p.addr(to)})
		if ok := p.pages[i].cell != nil && to != i; ok != (err == nil) {
			t.Fatalf("mremap of page %d to %d: %v", i, to, err)
		} else if ok {
			p.pages[to], p.pages[i] = p.pages[i], modelPage{}
		}
	}
}

func (r *modelRun) run(ops []byte) {
	for n := 0; len(ops) >= 5; ops, n = ops[5:], n+1 {
		r.step(ops[0], ops[1], ops[2], ops[3], ops[4])
		if n%16 == 0 {
			for _, p := range r.procs {
				p.app.check()
			}
		}
	}
	mf := r.private.mf
	for _, p := range r.procs {
		p.app.check()
		for i := range p.pages {
			if pg := &p.pages[i]; pg.cell != nil && pg.perms.Read {
				if got := p.app.load(p.addr(i)); got != *pg.cell {
					r.t.Fatalf("at the end, page %d (%+v) holds %d, want %d", i, *pg, got, *pg.cell)
				}
			}
		}
	}
	for _, p := range r.procs {
		p.app.m.DecUsers()
	}
	for _, f := range []*fakeFile{r.private, r.shared} {
		if f.refs.Load() != 0 || len(f.mappings) != 0 {
			r.t.Fatalf("%d references, %d mappings of a file are left", f.refs.Load(), len(f.mappings))
		}
		mf.DecRef(f.fr)
	}
	if n := mf.Allocated(); n != 0 {
		r.t.Fatalf("%d bytes leaked", n)
	}
}

func TestAgainstModel(t *testing.T) {
	for seed := int64(0); seed < 30; seed++ {
		rnd := rand.New(rand.NewSource(seed))
		ops := make([]byte, 5*1500)
		rnd.Read(ops)
		newModelRun(t).run(ops)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzAddressSpace(f *testing.F) {
	rnd := rand.New(rand.NewSource(99))
	for i := 0; i < 5; i++ {
		ops := make([]byte, 5*200)
		rnd.Read(ops)
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 5*1000 {
			ops = ops[:5*1000]
		}
		newModelRun(t).run(ops)
	})
}
