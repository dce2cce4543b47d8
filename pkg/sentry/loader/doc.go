// Package loader makes a program out of a file: it is the part of execve(2) that reads the
// file, fills a new address space, and says where the program begins and as whom it runs.
//
// Load is the entry point. It follows `#!` lines to a binary (script.go), reads and checks
// the binary's ELF headers (elf.go), maps it and its interpreter, the dynamic linker
// (elf_map.go), maps the vDSO (package vdso), makes the stack and writes arguments,
// environment and auxiliary vector on it (stack.go), and computes the credentials that
// set-user-ID bits and file capabilities give (credentials.go).
//
// The address space is a new one that nobody else sees yet, so an error at any point leaves
// the caller as it was. Addresses are chosen as Linux chooses them on x86-64, randomised: the
// stack at the top, mappings (the vDSO, the dynamic linker, static-PIE programs) below it,
// PIE programs at two thirds of the address space, the heap behind the program.
//
// Files are hostile. Every number in a header is checked before it is used; at most
// maxHeaderTable bytes of headers and one path of PATH_MAX bytes are read into the sentry; the
// rest is mapped, and pages come in when the program touches them. FuzzELF and FuzzScript
// try.
//
// The package takes no locks. It calls the address space's methods and vfs.
//
// Sources: execve(2), elf(5), getauxval(3), capabilities(7), the ELF gABI and the x86-64
// psABI, section "Process Initialization".
package loader
