package vfs

import "runsc/pkg/sentry/context"

type lockTable struct{}

func (*lockTable) releaseDescription(*FileDescription) {}

type watchSet struct{}

func (*watchSet) inodeGone() {}

func (fd *FileDescription) notify(mask uint32) {}

func notifyCreate(parent, d *Dentry)                              {}
func notifyInode(i Inode, mask uint32)                            {}
func notifyPath(d *Dentry, mask uint32)                           {}
func notifyName(parent *Dentry, mask, cookie uint32, name string) {}
func (d *Dentry) nameGone(ctx context.Context)                    {}
