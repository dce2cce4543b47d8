package vfs

import "runsc/pkg/sentry/context"

type lockTable struct{}

func (*lockTable) releaseDescription(*FileDescription) {}

type watchSet struct{}

func (*watchSet) inodeGone() {}

type MountNamespace struct{}

func (fd *FileDescription) notify(mask uint32) {}

func (fd *FileDescription) accessed(ctx context.Context, n int) {}

func (p Path) String() string { return p.Dentry.Name() }
