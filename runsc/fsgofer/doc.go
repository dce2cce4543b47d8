// Package fsgofer is the file server that a sandbox reaches its host files through: it
// serves one directory tree, or one file, over one 9P connection (see pkg/p9).
//
// It trusts nothing from the other side. What keeps it inside its tree:
//
//   - A node is an O_PATH descriptor of an inode. A walk opens one component below its
//     parent's descriptor with O_NOFOLLOW; p9 has refused every name that is not a plain
//     one, so there is no way up, no symlink is followed, and there is no path to race with:
//     a rename moves names, never what a descriptor stands for, and needs no lock against
//     walks.
//   - Only regular files, directories and symlinks exist, fifos and sockets as nodes that
//     are never opened, and device nodes only with Config.AllowDevices, never opened either.
//   - A file is opened when the client asks for it, and with the mode it asks for, through
//     /proc/self/fd (Config.ProcFD, because the process lives in a chroot without /proc). So
//     a walk never makes an overlay filesystem copy a file up.
//   - A read-only tree refuses every change with EROFS here, whatever the sentry thinks.
//   - Extended attributes are those of the user namespace, and file capabilities.
//
// The descriptors of opened regular files are donated to the client, which from then on
// reads, writes and maps them without the gofer. Donating gives no more than the open did.
//
// The gofer runs with umask 0; owner and mode of a new file are the client's, and a file
// whose owner cannot be set is removed again. InstallFilter confines the whole process to
// the system calls that this package, p9 and the Go runtime make.
//
// Locks: qidTable.mu, and handle.mu (one directory's position), both innermost.
package fsgofer
