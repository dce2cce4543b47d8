package tmpfs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/vfs"
)

// KernelContext is the context in which a tmpfs of the kernel's own is made.
func KernelContext(ns *auth.UserNamespace) context.Context {
	return &context.Background{Creds: auth.NewRootCredentials(ns)}
}

// sealExec is F_SEAL_EXEC: the execute bits stay as they are.
const sealExec = 0x20

// NewMemfd makes the file of memfd_create(2), opened for reading and writing. sealable:
// F_ADD_SEALS works. noexec: no execute bits, sealed so.
func (fs *Filesystem) NewMemfd(ctx context.Context, name string, sealable, noexec bool) *vfs.FileDescription {
	c := ctx.Credentials()
	mode := uint32(0o777)
	if noexec {
		mode = 0o666
	}
	fs.inodes.Add(1)
	r := fs.newRegular(ctx, vfs.NewOwner{Mode: mode, UID: c.FSUID, GID: c.FSGID})
	r.nlink.Store(0)
	if sealable {
		r.seals = 0
	}
	if noexec {
		r.seals |= sealExec
	}
	return vfs.NewAnonFileAt("/memfd:"+name+" (deleted)", r, &r.file, unix.O_RDWR|largefile)
}

// largefile is O_LARGEFILE, which F_GETFL of a memfd shows.
const largefile = 0o100000

// NewUnlinked makes a regular file of that size without a name, for memory that is shared
// by other means. The reference is the caller's.
func (fs *Filesystem) NewUnlinked(ctx context.Context, mode uint32, size int64) (vfs.Inode, memmap.Mappable) {
	c := ctx.Credentials()
	fs.inodes.Add(1)
	r := fs.newRegular(ctx, vfs.NewOwner{Mode: mode, UID: c.FSUID, GID: c.FSGID})
	r.nlink.Store(0)
	r.size.Store(size)
	return r, r
}

// Sealer is implemented by Files with seals (fcntl(2), "File sealing").
type Sealer interface {
	// Seals returns F_SEAL_*.
	Seals() uint32
	// AddSeals adds some. EPERM: F_SEAL_SEAL is set; EBUSY: F_SEAL_WRITE with writable
	// mappings.
	AddSeals(seals uint32) error
}

// Seals implements Sealer.
func (f *regularFile) Seals() uint32 {
	f.r.mu.RLock()
	defer f.r.mu.RUnlock()
	return f.r.seals
}

// AddSeals implements Sealer.
func (f *regularFile) AddSeals(seals uint32) error {
	const known = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE | sealExec
	if seals&^known != 0 {
		return unix.EINVAL
	}
	r := f.r
	r.ioMu.Lock() // no write is half done
	defer r.ioMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.seals&unix.F_SEAL_SEAL != 0:
		return unix.EPERM
	case seals&unix.F_SEAL_WRITE != 0 && r.seals&unix.F_SEAL_WRITE == 0 && r.writable > 0:
		return unix.EBUSY
	}
	if seals&sealExec != 0 && r.mode.Load()&0o111 != 0 {
		seals |= unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE
	}
	r.seals |= seals
	return nil
}
