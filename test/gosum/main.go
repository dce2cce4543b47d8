// Command gosum makes a short report of `go test -json`.
//
// It reads the event stream on standard input and prints one line a package, the whole
// output of every test that failed, the reason of every test that was skipped, and at the
// end one line `N passed, N failed, N skipped`. Only leaves count: a test with subtests is
// the sum of them, unless it failed by itself. A package that does not build, or dies
// outside of any test, counts as one failure. Lines that are no events (a compiler's, or
// those of a test binary that writes to the real standard output) pass through. The exit
// status is 1 if anything failed, and if nothing ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is one line of test2json; see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

type result struct {
	output   []string
	action   string // pass, fail or skip, empty while it runs
	ran      bool   // it is a test, not just the beginning of another's name
	children bool
	failed   bool // a descendant failed
}

type suite struct {
	tests map[string]*result
	order []string
	own   []string // output outside of tests
}

func main() {
	suites := map[string]*suite{}
	var passed, failed, skipped int
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Println(in.Text())
			continue
		}
		s := suites[e.Package]
		if s == nil {
			s = &suite{tests: map[string]*result{}}
			suites[e.Package] = s
		}
		if e.Test != "" {
			s.note(e)
			continue
		}
		switch e.Action {
		case "output", "build-output":
			s.own = append(s.own, e.Output)
			if e.Action == "build-output" {
				fmt.Print(e.Output)
			}
		case "pass", "fail", "skip":
			p, f, k := s.report(e)
			passed, failed, skipped = passed+p, failed+f, skipped+k
			delete(suites, e.Package)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Println("gosum:", err)
		failed++
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed+skipped == 0 {
		os.Exit(1)
	}
}

// note records an event of a single test.
func (s *suite) note(e event) {
	r := s.get(e.Test)
	r.ran = true
	switch e.Action {
	case "output":
		r.output = append(r.output, e.Output)
	case "pass", "fail", "skip":
		r.action = e.Action
	}
	if e.Action == "fail" {
		for p := parent(e.Test); p != ""; p = parent(p) {
			s.get(p).failed = true
		}
	}
}

func (s *suite) get(name string) *result {
	r := s.tests[name]
	if r == nil {
		r = &result{}
		s.tests[name] = r
		s.order = append(s.order, name)
		if p := parent(name); p != "" {
			s.get(p).children = true
		}
	}
	return r
}

func parent(test string) string {
	if i := strings.LastIndexByte(test, '/'); i >= 0 {
		return test[:i]
	}
	return ""
}

// report prints what is worth saying of a finished package and counts its leaves.
func (s *suite) report(end event) (passed, failed, skipped int) {
	for _, name := range s.order {
		r := s.tests[name]
		switch {
		case !r.ran:
		case r.action == "fail" || r.action == "":
			if r.failed && r.children {
				continue // its children say why
			}
			failed++
			fmt.Printf("FAIL %s %s\n", end.Package, name)
			s.print(r.output)
		case r.children:
		case r.action == "skip":
			skipped++
			fmt.Printf("SKIP %s %s: %s\n", end.Package, name, reason(r.output))
		default:
			passed++
		}
	}
	if end.Action == "fail" && failed == 0 {
		failed++
		s.print(s.own)
	}
	if len(s.order) > 0 || end.Action == "fail" {
		fmt.Printf("%-4s %s (%.1fs): %d passed, %d failed, %d skipped\n", end.Action, end.Package, end.Elapsed, passed, failed, skipped)
	}
	return passed, failed, skipped
}

func (s *suite) print(lines []string) {
	for _, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), "=== ") {
			continue
		}
		fmt.Print("    ", l)
	}
}

// reason is what the test said when it skipped itself, in one line.
func reason(lines []string) string {
	var words []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "=== ") && !strings.HasPrefix(l, "--- ") {
			words = append(words, l)
		}
	}
	return strings.Join(words, " ")
}
