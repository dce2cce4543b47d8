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
	if at := crashStart(stderr); at >= 0 {
		lines := bytes.Split(stderr[at:], []byte("\n"))
		words := string(lines[0])
		if where := panicSite(lines); where != "" {
			words += " in " + where
		}
		return words, false
	}
	return string(lines[len(lines)-1]), false
}

// crashHeads begin the first line of what Go's runtime prints when a process crashes.
var crashHeads = []string{"panic: ", "fatal error: ", "SIGABRT: ", "SIGQUIT: ", "SIGSYS: ", "SIGSEGV: ", "SIGBUS: ", "SIGILL: ", "runtime: "}

// crashStart returns where the first such line begins, or -1.
func crashStart(b []byte) int {
	for at := 0; at < len(b); {
		line, _, _ := bytes.Cut(b[at:], []byte("\n"))
		for _, head := range crashHeads {
			if bytes.HasPrefix(line, []byte(head)) {
				return at
			}
		}
		at += len(line) + 1
	}
	return -1
}

// maxStderr is how much of the end Stderr keeps at least, in bytes. It never keeps more than twice
// as much.
const maxStderr = 64 << 10

// Stderr keeps of what is written to it, which may be a log that never ends, what LastWords
// needs: the last part of it, or the beginning of a crash.
type Stderr struct{ buf []byte }

// Write implements io.Writer. It does not fail.
func (s *Stderr) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	if len(s.buf) > 2*maxStderr {
		if at := crashStart(s.buf); at >= 0 {
			s.buf = s.buf[at:min(len(s.buf), at+2*maxStderr)]
		} else {
			s.buf = append(s.buf[:0], s.buf[len(s.buf)-maxStderr:]...)
		}
	}
	return len(p), nil
}

// Bytes is what was kept.
func (s *Stderr) Bytes() []byte { return s.buf }

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
