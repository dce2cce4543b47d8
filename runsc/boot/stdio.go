package boot

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/devpts"
	"runsc/pkg/sentry/fs/host"
	"runsc/pkg/sentry/fs/tty"
	"runsc/pkg/sentry/fs/tty/jobs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// stdio makes the standard files of a process out of the host's descriptors, which it takes
// over. With terminal they are one console, which the caller makes the controlling terminal
// (attach) and closes when the process has ended.
func (l *Loader) stdio(c *container, p *processArgs, creds *auth.Credentials) ([]*vfs.FileDescription, *tty.HostTTY, error) {
	ctx := &context.Background{Creds: creds}
	if p.terminal {
		return l.console(ctx, c, p)
	}
	var files []*vfs.FileDescription
	for i, n := range p.stdio {
		if n < 0 {
			files = append(files, nil)
			continue
		}
		f, err := l.hostFiles.NewFile(fd.New(n), host.Options{UID: creds.FSUID, GID: creds.FSGID, TTY: true})
		if err != nil {
			for _, f := range files {
				if f != nil {
					f.DecRef(ctx)
				}
			}
			closeAll(p.stdio[i+1:])
			return nil, nil, fmt.Errorf("descriptor %d: %w", i, err)
		}
		files = append(files, f)
	}
	return files, nil, nil
}

// console makes the container's terminal: a new entry of its /dev/pts whose bytes the host's
// terminal carries. The first one also appears as /dev/console.
func (l *Loader) console(ctx context.Context, c *container, p *processArgs) ([]*vfs.FileDescription, *tty.HostTTY, error) {
	closeAll(p.stdio[1:]) // the same terminal
	file := fd.New(p.stdio[0])
	v, root := l.k.VFS(), c.mounts.Root()
	rootCtx := rootContext(l.k)
	defer root.DecRef(rootCtx)
	dir, err := lookupPath(rootCtx, v, root, "/dev/pts")
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("console: /dev/pts: %w", err)
	}
	defer dir.DecRef(rootCtx)
	pts, ok := dir.Mount.Filesystem().(*devpts.Filesystem)
	if !ok {
		file.Close()
		return nil, nil, fmt.Errorf("console: no devpts is mounted at /dev/pts")
	}
	h, err := pts.NewConsole(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	name := fmt.Sprintf("/dev/pts/%d", h.Terminal().Index())
	if c.init == nil {
		l.bindConsole(rootCtx, c, root, name)
	}
	f, err := v.OpenAt(rootCtx, &vfs.PathOp{Root: root, Start: root, Pathname: name}, vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_NOCTTY})
	if err != nil {
		h.Close()
		return nil, nil, fmt.Errorf("console: %s: %w", name, err)
	}
	f.IncRef()
	f.IncRef()
	return []*vfs.FileDescription{f, f, f}, h, nil
}

// bindConsole shows the terminal at /dev/console too. A container without a place for that
// does without.
func (l *Loader) bindConsole(ctx context.Context, c *container, root vfs.Path, name string) {
	v := l.k.VFS()
	const console = "/dev/console"
	v.MknodAt(ctx, &vfs.PathOp{Root: root, Start: root, Pathname: console}, unix.S_IFREG|0o600, 0)
	from, err := lookupPath(ctx, v, root, name)
	if err != nil {
		return
	}
	defer from.DecRef(ctx)
	if to, err := lookupPath(ctx, v, root, console); err == nil {
		v.BindMount(ctx, c.mounts, from, to, false)
		to.DecRef(ctx)
	}
}

// attach makes h the controlling terminal of tg's session.
func attach(h *tty.HostTTY, tg *kernel.ThreadGroup) {
	h.Terminal().MakeControlling(jobs.OfSession(tg.Session()), jobs.OfGroup(tg.ProcessGroup()))
}
