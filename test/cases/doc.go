// Package cases runs test programs in C, natively and in a sandbox, for the suites that
// consist of them: differential tests.
//
// A program is a *.c file in the suite's directory, written on test.h, and consists of named
// cases; `prog --list` lists them, `prog NAME…` runs some, and each case ends in one line,
// `ok name`, `FAIL name why` or `SKIP name why`. A Suite compiles its programs statically
// (cases.mk), runs every case natively first (the real Linux is the oracle, in namespaces of its
// own), and then in a container of the runtime under test, on every platform of PLATFORM; there
// TEST_PLATFORM says which. A case that fails natively is a bad test; one that passes natively
// and fails, crashes, hangs or is skipped inside is a bug.
//
// A program is one container. When a case takes the container down, the rest of the
// program's cases are run in another one, so a crash costs only its own case.
//
// The C files carry a `//go:build ignore` line, since a package without cgo may not hold any.
package cases
