// Package pipe implements pipe(7): anonymous pipes and FIFOs.
//
// A Pipe is a ring of slots, each a part of a page, as in Linux: a small write is appended
// to the last page if it fits wholly there, else it takes a slot, and the pipe is full when
// no slot is free. That gives the capacity that programs measure, atomic writes up to
// PIPE_BUF, and packets (O_DIRECT) that take a slot each. Pages come from a common pool and
// go back when they were read, so an idle pipe costs its ring and one spare page at most.
//
// An End is an open file of a pipe: reading, writing, or both (a FIFO opened O_RDWR). Ends
// never block; a write that finds no room for all of it is partial or, if it is at most
// PIPE_BUF, fails with EAGAIN: a blocking write(2) goes on with the rest until all is written.
// EPIPE means that the system call raises SIGPIPE as well. Opening a FIFO (Limits.OpenFIFO) is the
// one thing here that blocks, by the context's Blocker.
//
// splice(2) and its relatives use Move, Tee, Reserve and Take (see splice.go).
//
// Lock order: two Pipe.mu by rising id → waiter queues. Pipe.mu may be held while the
// application's memory is copied (Linux does the same): nothing that a fault can lead to
// takes it.
package pipe
