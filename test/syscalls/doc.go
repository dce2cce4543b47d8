// Package syscalls tests the sandbox's kernel against the host's: differential tests.
//
// Each *.c file here is a program of named cases written on test.h; `prog --list` lists
// them, `prog NAME…` runs some, and each case ends in one line, `ok name`, `FAIL name why`
// or `SKIP name why`. The Go test compiles them statically, runs every case natively first
// (the real Linux is the oracle, in namespaces of its own), and then in a container of the
// runtime under test, on every platform of PLATFORM. A case that fails natively is a bad
// test; one that passes natively and fails, crashes, hangs or is skipped inside is a bug.
//
// A program is one container. When a case takes the container down, the rest of the
// program's cases are run in another one, so a crash costs only its own case.
//
// Programs named file_* run twice: on a tmpfs (NAME) and on the container's root
// filesystem (NAME@disk). Work on one test by hand with
//
//	make -C test/syscalls && .cache/syscalls/pipe pipe_eof_and_epipe
//	go test ./test/syscalls -run 'TestSandbox//pipe/pipe_eof'
//
// The C files carry a `//go:build ignore` line, since a package without cgo may not hold any.
package syscalls
