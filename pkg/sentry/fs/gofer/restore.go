package gofer

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
)

// PrepareSave makes the filesystem ready to be saved while nothing uses it: what only host
// descriptors know of files in use is written down. It fails if such a file has no name by
// which it could be opened again.
func (fs *Filesystem) PrepareSave() error {
	for _, r := range fs.regulars() {
		r.hostMu.Lock()
		inUse := r.opens > 0
		r.hostMu.Unlock()
		if !inUse {
			continue
		}
		a, err := r.inode.file.Load().GetAttr()
		if err != nil {
			return fmt.Errorf("saving %s: %w", r.path(), fs.failed(err))
		}
		if r.name == "" || a.NLink == 0 {
			return fmt.Errorf("saving: a file that is open was deleted (inode %d)", r.key)
		}
		r.mu.Lock()
		r.storeLocked(&a)
		r.mu.Unlock()
	}
	return nil
}

// Restore connects a filesystem that was loaded to the gofer at the other end of the socket
// sock, which belongs to it from now on, and opens again what was open. Other inodes get their
// fids when they need them. A file that is not what it was fails with an error that names it.
func (fs *Filesystem) Restore(sock int) error {
	client, err := p9.NewClient(sock, p9.MaxMessageSize)
	if err != nil {
		return err
	}
	root, err := client.Attach("")
	if err != nil {
		client.Close()
		return err
	}
	if fs.client != nil {
		fs.client.Close()
	}
	fs.client = client
	fs.reported.Store(false)
	fs.epoch.Add(1)
	for _, n := range fs.inodes {
		n.common().file.Store(nil)
	}
	fs.root.(node).common().file.Store(root)
	for _, r := range fs.regulars() {
		if err := r.restore(); err != nil {
			return fmt.Errorf("restoring %s: %w", r.path(), err)
		}
	}
	return nil
}

func (fs *Filesystem) regulars() []*regular {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var all []*regular
	for _, n := range fs.inodes {
		if r, ok := n.(*regular); ok {
			all = append(all, r)
		}
	}
	return all
}

// restore opens the descriptors again that there were.
func (r *regular) restore() error {
	r.hostMu.Lock()
	defer r.hostMu.Unlock()
	if r.opens == 0 {
		// Idle ones are not needed, and have no users.
		reader, writer := r.reader.Swap(nil), r.writer.Swap(nil)
		if reader != nil {
			reader.drop(1)
		}
		if writer != nil && writer != reader {
			writer.drop(1)
		}
		return nil
	}
	file, err := r.fid()
	if err != nil {
		return err
	}
	a, err := file.GetAttr()
	if err != nil {
		return err
	}
	r.mu.Lock()
	old := r.attr
	r.mu.Unlock()
	if a.Size != old.Size || a.MTime != old.MTime {
		return fmt.Errorf("the file has changed since it was saved (size %d, was %d): %w", a.Size, old.Size, unix.ESTALE)
	}
	hosts := append([]*hostFile{r.reader.Load(), r.writer.Load()}, r.retired...)
	for _, h := range hosts {
		if h == nil || h.fd != nil {
			continue
		}
		flags := uint32(unix.O_RDONLY)
		switch {
		case h.writable && h.readable:
			flags = unix.O_RDWR
		case h.writable:
			flags = unix.O_WRONLY
		}
		var host *fd.FD
		if host, err = file.OpenFD(flags); err != nil {
			return err
		}
		if err := checkHost(host); err != nil {
			return err
		}
		h.fd = host
	}
	return nil
}
