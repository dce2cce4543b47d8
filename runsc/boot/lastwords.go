package boot

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// fatalPrefix starts the line in which a sandbox or gofer process says why it gives up.
const fatalPrefix = "FATAL ERROR: "

// Fatal ends the process because of err: the client that reads its stderr finds the line.
func Fatal(err error) {
	fmt.Fprintf(os.Stderr, "%s%s\n", fatalPrefix, oneLine(err.Error()))
	os.Exit(128)
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}

// LastWords finds in what a process wrote to its stderr before it died the line that tells
// most: what it said by Fatal, else the head of a Go panic or runtime error with the
// function that it happened in, else the last line. The second result says whether the
// process failed in an orderly way, so that the words stand for themselves.
func LastWords(stderr []byte) (words string, orderly bool) {
	lines := bytes.Split(bytes.TrimSpace(stderr), []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		if rest, ok := bytes.CutPrefix(lines[i], []byte(fatalPrefix)); ok {
			return string(rest), true
		}
	}
	for i, line := range lines {
		for _, head := range []string{"panic: ", "fatal error: ", "SIGABRT: ", "SIGQUIT: ", "SIGSYS: ", "SIGSEGV: ", "SIGBUS: ", "SIGILL: ", "runtime: "} {
			if !bytes.HasPrefix(line, []byte(head)) {
				continue
			}
			words := string(line)
			if where := panicSite(lines[i:]); where != "" {
				words += " in " + where
			}
			return words, false
		}
	}
	return string(lines[len(lines)-1]), false
}

// panicSite returns the first function of a Go traceback that is not the runtime's.
func panicSite(lines [][]byte) string {
	in := false
	for _, line := range lines {
		switch {
		case bytes.HasPrefix(line, []byte("goroutine ")):
			in = true
		case !in || len(line) == 0 || line[0] == '\t':
		case bytes.HasPrefix(line, []byte("runtime.")), bytes.HasPrefix(line, []byte("panic(")), bytes.HasPrefix(line, []byte("created by ")):
		default:
			name := string(line)
			if i := strings.LastIndexByte(name, '('); i > 0 {
				name = name[:i]
			}
			return name
		}
	}
	return ""
}
