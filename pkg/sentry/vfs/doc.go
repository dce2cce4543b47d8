// Package vfs is the part of the kernel that all filesystems share: names, mounts,
// permissions, open file descriptions, locks and inotify.
//
// A Filesystem is a tree of Inodes and knows nothing of paths. On top of it vfs keeps
// Dentries, which cache names (those that exist and those that do not), and Mounts, which
// say where a tree of dentries appears. A Path is a place: a dentry seen through a mount.
// VFS carries out path-level operations (OpenAt, StatAt, RenameAt …) on a PathOp: the root
// and working directory of the caller plus a pathname. An open file is a FileDescription,
// which pairs a File of the filesystem with offset, flags, locks and references.
//
// Readers start with inode.go and file.go (what a filesystem implements), then walk.go
// (how a path is resolved), dentry.go (the cache), mount.go and file_description.go.
//
// A walk that hits the cache takes no lock and writes no shared memory but the reference
// of the place that it ends at: the garbage collector keeps what a reader is looking at,
// child tables are read by atomic loads, and whatever looks odd on the way (a dentry that
// is being evicted) sends the walk to the slow path, under locks.
//
// References: a Path, an open file, a cached child hold their dentry; a dentry holds its
// inode. An unreferenced dentry stays in the cache, on a list of bounded length.
//
// Lock order:
//
//	VFS.mountMu
//	  superblock.renameMu (moves between directories)
//	    InodeBase.dirMu, a parent before its children, else by address
//	      FileDescription.mu
//	        locks of the filesystem
//	          VFS.moveMu, childTable.childMu, dentryCache.mu, lock tables, inotify's
//	          locks (leaves)
//
// Inode methods are called with dirMu held where inode.go says so, and never with a leaf.
package vfs
