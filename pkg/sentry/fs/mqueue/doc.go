// Package mqueue implements POSIX message queues (mq_overview(7)) and the filesystem that
// shows them, usually at /dev/mqueue.
//
// A Filesystem is the queues of one IPC namespace: a directory of inodes, each a Queue.
// mq_open(3) opens files of it through vfs, on a mount that is visible nowhere, so
// permissions, umask and the sticky bit are vfs's business; what creation needs beyond a
// name comes through the Creator that the Context may be. An open queue is a File whose
// read(2) tells its state; messages go through Send and Receive.
//
// Lock order: vfs's directory lock → Filesystem.mu; Queue.mu → waiter queues. Neither is held
// while a task waits, copies memory or is told by a Notifier.
package mqueue
