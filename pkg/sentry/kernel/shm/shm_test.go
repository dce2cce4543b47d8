package shm

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/ipc"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
)

func setup(t *testing.T) (*Registry, *pgalloc.MemoryFile, func(uid uint32) ipc.Caller) {
	t.Helper()
	mf, err := pgalloc.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mf.Close)
	ns := auth.NewRootUserNamespace()
	return NewRegistry(), mf, func(uid uint32) ipc.Caller {
		k, g := auth.KUID(uid), auth.KGID(uid)
		var caps auth.CapSet
		if uid == 0 {
			caps = auth.AllCaps
		}
		return ipc.Caller{Creds: auth.NewUserCredentials(k, g, nil, caps, caps, 0, caps, 0, ns), NS: ns, PID: int32(uid + 1)}
	}
}

func TestLayoutMatchesC(t *testing.T) {
	for name, s := range map[string][2]uintptr{
		"shmid64_ds": {unsafe.Sizeof(linux.ShmidDS{}), 112},
		"ipc64_perm": {unsafe.Sizeof(linux.IPCPerm{}), 48},
		"shminfo64":  {unsafe.Sizeof(linux.ShmInfo64{}), 72},
		"shm_info":   {unsafe.Sizeof(linux.ShmInfoUsed{}), 48},
	} {
		if s[0] != s[1] {
			t.Errorf("sizeof %s = %d, want %d", name, s[0], s[1])
		}
	}
}

func TestGetByKey(t *testing.T) {
	r, mf, as := setup(t)
	id, err := r.Get(as(1000), mf, 7, 5000, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		who   uint32
		key   int32
		size  uint64
		flags uint32
		want  error
	}{
		{"same", 1000, 7, 5000, 0o600, nil},
		{"smaller", 1000, 7, 10, 0, nil},
		{"larger", 1000, 7, 5001, 0, unix.EINVAL},
		{"exclusive", 1000, 7, 10, unix.IPC_CREAT | unix.IPC_EXCL, unix.EEXIST},
		{"missing", 1000, 8, 10, 0, unix.ENOENT},
		{"empty", 1000, 8, 0, unix.IPC_CREAT, unix.EINVAL},
		{"other user", 1001, 7, 10, 0o400, unix.EACCES},
		{"root", 0, 7, 10, 0o600, nil},
	} {
		got, err := r.Get(as(c.who), mf, c.key, c.size, c.flags)
		if err != c.want || err == nil && got != id {
			t.Errorf("%s: Get = %d, %v; want %d, %v", c.name, got, err, id, c.want)
		}
	}
}

func TestRemovedSegmentLivesUntilDetached(t *testing.T) {
	r, mf, as := setup(t)
	id, _ := r.Get(as(1000), mf, 7, 5000, unix.IPC_CREAT|0o600)
	s, err := r.Attach(as(1000), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Attach(as(1001), id, linux.ShmRdonly); err != unix.EACCES {
		t.Errorf("attach by another: %v", err)
	}
	if err := r.Remove(as(1001), id); err != unix.EPERM {
		t.Errorf("remove by another: %v", err)
	}
	if err := r.Remove(as(1000), id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(as(1000), mf, 7, 10, 0); err != unix.ENOENT {
		t.Errorf("key of a removed segment: %v", err)
	}
	if i, err := r.Stat(as(1000), id, false, false); err != nil || i.Mode&linux.ShmDest == 0 || i.Attached != 1 {
		t.Errorf("Stat = %+v, %v", i, err)
	}
	s.DecRef()
	if _, err := r.Stat(as(1000), id, false, false); err != unix.EINVAL {
		t.Errorf("Stat after the last detach: %v", err)
	}
	if n := mf.Allocated(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	if used, _, pages, _ := r.Totals(); used != 0 || pages != 0 {
		t.Errorf("Totals: %d segments, %d pages", used, pages)
	}
	// The slot's next user has another id.
	if id2, _ := r.Get(as(1000), mf, 7, 10, unix.IPC_CREAT); id2 == id {
		t.Error("an id was used again")
	}
}

func TestChangeLockStat(t *testing.T) {
	r, mf, as := setup(t)
	id, _ := r.Get(as(1000), mf, ipc.Private, 100, 0o600)
	if err := r.Change(as(1001), id, 1001, 1001, 0o666); err != unix.EPERM {
		t.Errorf("change by another: %v", err)
	}
	if err := r.Change(as(1000), id, 1001, 1001, 0o640); err != nil {
		t.Error(err)
	}
	for _, who := range []uint32{1000, 1001, 0} { // creator, owner, root
		if _, err := r.Stat(as(who), id, false, false); err != nil {
			t.Errorf("stat by %d: %v", who, err)
		}
	}
	if _, err := r.Stat(as(7), id, false, false); err != unix.EACCES {
		t.Errorf("stat by a stranger: %v", err)
	}
	if i, err := r.Stat(as(7), id&0x7fff, true, true); err != nil || i.UID != 1001 || i.CUID != 1000 || i.Mode != 0o640 || i.Size != 100 {
		t.Errorf("SHM_STAT_ANY = %+v, %v", i, err)
	}
	if err := r.Lock(as(7), id, true); err != unix.EPERM {
		t.Errorf("lock by a stranger: %v", err)
	}
	if err := r.Lock(as(1001), id, true); err != nil {
		t.Error(err)
	}
	if l := r.List(); len(l) != 1 || l[0].Mode&linux.ShmLocked == 0 || l[0].ID != id {
		t.Errorf("List() = %+v", l)
	}
	for _, bad := range []int32{-1, id + 1, id ^ 1<<15} {
		if err := r.Remove(as(0), bad); err != unix.EINVAL {
			t.Errorf("Remove(%d): %v", bad, err)
		}
	}
	r.Release()
	if n := mf.Allocated(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func TestSegmentIsMappable(t *testing.T) {
	r, mf, as := setup(t)
	id, _ := r.Get(as(0), mf, 0x1234, 5000, unix.IPC_CREAT|0o600)
	s, err := r.Attach(as(0), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.DecRef()
	if s.MappedName() != "/SYSV00001234 (deleted)" || s.InodeID() != uint64(id) {
		t.Errorf("identity %q, %d", s.MappedName(), s.InodeID())
	}
	ts, err := s.Translate(memmap.Range{Start: 0, End: 4096}, memmap.Range{Start: 0, End: 65536}, memmap.Write, nil)
	if err != nil || len(ts) != 1 || ts[0].Source.Length() != 8192 {
		t.Errorf("Translate = %+v, %v", ts, err)
	}
	if _, err := s.Translate(memmap.Range{Start: 8192, End: 12288}, memmap.Range{Start: 8192, End: 12288}, memmap.Read, nil); err != unix.EFAULT {
		t.Errorf("Translate beyond the end: %v", err)
	}
}
