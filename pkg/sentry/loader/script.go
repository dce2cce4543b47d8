package loader

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// headSize is how much of a file decides what it is, and the longest `#!` line.
const headSize = 256

// script is a parsed `#!` line.
type script struct {
	interpreter string
	arg         string // all that follows it, in one piece
	hasArg      bool
}

// parseScript parses the line at the start of head, which begins with "#!" (execve(2),
// "Interpreter scripts"). ENOEXEC: it names no interpreter, or the name may be cut off.
func parseScript(head *[headSize]byte) (script, error) {
	blank := func(c byte) bool { return c == ' ' || c == '\t' }
	line := head[2:]
	whole := false
	if i := bytes.IndexAny(line, "\n\x00"); i >= 0 {
		// A NUL ends a line too: a file may be shorter than head, and no
		// argument can hold one.
		line, whole = line[:i], true
	}
	for len(line) > 0 && blank(line[0]) {
		line = line[1:]
	}
	end := 0
	for end < len(line) && !blank(line[end]) {
		end++
	}
	if end == 0 || end == len(line) && !whole {
		return script{}, unix.ENOEXEC
	}
	s := script{interpreter: string(line[:end])}
	arg := line[end:]
	for len(arg) > 0 && blank(arg[0]) {
		arg = arg[1:]
	}
	for len(arg) > 0 && blank(arg[len(arg)-1]) {
		arg = arg[:len(arg)-1]
	}
	s.arg, s.hasArg = string(arg), len(arg) > 0
	return s, nil
}

// arguments are those of the interpreter when file, called with argv, is run by it.
func (s script) arguments(file string, argv []string) []string {
	out := make([]string, 0, len(argv)+2)
	out = append(out, s.interpreter)
	if s.hasArg {
		out = append(out, s.arg)
	}
	out = append(out, file)
	return append(out, argv[1:]...)
}
