// Package arch holds the tests that guard the shape of the source tree itself.
//
// The house has floors, and imports go down only: runsc (what an operator sees) over
// pkg/sentry (the kernel) over pkg/{platform,tcpip,p9,abi,…} (libraries). Inside the
// sentry the order is syscalls, kernel, mm and vfs, memmap, abi; a filesystem knows vfs
// and never kernel, and kernel knows no filesystem. The rules are a table in
// imports_test.go, each with the reason a reader will want when it fails; they are
// checked on the transitive closure of the imports, so that a forbidden package cannot be
// reached through a neutral third one, and a failure prints the whole chain.
//
// The second test asks every package for a package comment, because reading those in
// order is meant to be the way into the code.
//
// The sources are parsed (imports only), not built: the tests work on a tree that does not
// compile, and cost milliseconds. Test files are exempt: a test may wire what it likes.
package arch
