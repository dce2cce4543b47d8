// Package tty implements terminals: line discipline, job control, pseudoterminals and the
// console of a container (termios(3), tty_ioctl(4), pty(7)).
//
// A Terminal is what an application has open as /dev/pts/N or its console: the replica side
// with termios, line discipline, window size, session and foreground process group. Bytes
// come to it and leave it on the other side, its peer, which is either a Master (the other
// end of a pseudoterminal, opened as /dev/ptmx) or a HostTTY (a terminal of the host that the
// sandbox was given as stdio).
//
// Input goes through Terminal.receive (input.go), which edits lines, echoes, and turns ^C
// into a signal, into a ring that readers of the replica empty. Output goes through
// Terminal.write and emit (output.go), which turns newlines into CR-LF and the like, into a
// queue that the peer empties. Both sides' files share the ioctls in ioctl.go.
//
// The console. When a container has a terminal, the client makes a host pseudoterminal and
// gives its replica to the sandbox. Host and sandbox must not both edit lines, and the host
// knows nothing of the sandbox's process groups. So HostTTY switches the host's terminal to
// raw mode once and for all, and all that applications set and see is the Terminal's here;
// the host's carries bytes. Only the window size is the host's: it is read from there, and
// set there. The bytes that the other end of the host's pseudoterminal sees are the same as
// if Linux had the terminal.
//
// What a terminal needs of tasks, sessions and process groups comes through Jobs, which
// package tty/jobs implements on the kernel; tests have their own.
//
// Locks: Terminal.mu guards all of both sides. No signal is sent, no application memory
// copied and no method of Jobs called with it held. Order: Terminal.mu → waiter queues.
//
// Sources: the manual pages above, POSIX.1-2017 chapter 11, and Linux's behaviour.
package tty
