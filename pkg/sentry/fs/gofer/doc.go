// Package gofer is the filesystem of files that a gofer serves: the root of a container and
// its bind mounts. It speaks 9P (pkg/p9) to the gofer's process.
//
// An inode owns a fid, which stands for an inode of the host whatever happens to its names.
// Host inodes and ours correspond one to one (Filesystem.inodes, by QID path), so that hard
// links, FIFO buffers, bound sockets, file locks and mappings meet at one object.
//
// Metadata goes through the gofer; the data of regular files does not. When a file is first
// opened, the gofer donates a host descriptor, which all open descriptions of the inode
// share. Reads and writes are one preadv2 or pwritev2 between that descriptor and the pages
// of the application, and mmap maps the very descriptor (hostFile): the host's page cache is
// the only one there is, so that read, write and all mappings are coherent by themselves,
// with other containers, too. A file that is open for reading only gets a new descriptor when
// it is first opened for writing; the old one is retired and the mappings of it are
// invalidated, because below an overlay filesystem the two may not be the same file.
//
// Exclusive mode (nobody else changes the tree): vfs keeps dentries, even of names that do
// not exist, without asking, and attributes are kept here until one of our own operations
// changes them behind our back (a new entry changes the directory's times, say). Shared mode:
// vfs revalidates every walk, a whole path in one round trip, and attributes are used only
// right after that. In exclusive mode a directory in which names are looked up again and again
// is listed as a whole (listing), and an inode found that way gets its fid when it first needs
// one (inode.fid). While a file has a host descriptor, its size, times and link count come
// from fstat in either mode.
//
// When the gofer is gone, every operation that needs it fails with EIO; Filesystem.Err says
// why. Descriptors that were donated go on working.
//
// Lock order: vfs's (InodeBase.dirMu above all) → regular.appendMu → regular.mapMu (held while
// address spaces are told to forget mappings) → mm's active lock. And regular.mapMu →
// regular.hostMu (held during Tuopen) → inode.mu. directory.listMu (held during a listing) →
// Filesystem.mu → inode.mu; Filesystem.dropListings, the other way round, only tries. A
// child's inode.walkMu → its directory's. Translate takes no lock.
package gofer
