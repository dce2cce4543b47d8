// Package syscalls tests the sandbox's kernel against the host's, system call by system call.
// How that goes is told by test/cases, which runs the programs of this directory.
//
// Programs named file_* run twice: on a tmpfs (NAME) and on the container's root
// filesystem (NAME@disk). Work on one test by hand with
//
//	make -C test/syscalls && .cache/syscalls/pipe pipe_eof_and_epipe
//	go test ./test/syscalls -run 'TestSandbox//pipe/pipe_eof'
package syscalls
