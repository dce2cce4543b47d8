package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

const module = "runsc/"

// pkg is one directory of Go sources, without its tests.
type pkg struct {
	path    string            // import path without the module's name
	imports map[string]string // path of a package of ours → file that imports it
	docs    []string          // package comments found
	name    string
}

// tree parses the import clauses and package comments of the whole module.
func tree(t *testing.T) map[string]*pkg {
	t.Helper()
	root := "../.."
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	pkgs := map[string]*pkg{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		if ignored(f) {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		p := pkgs[dir]
		if p == nil {
			p = &pkg{path: dir, imports: map[string]string{}, name: f.Name.Name}
			pkgs[dir] = p
		}
		if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
			p.docs = append(p.docs, f.Doc.Text())
		}
		for _, imp := range f.Imports {
			if q := strings.Trim(imp.Path.Value, `"`); strings.HasPrefix(q, module) {
				p.imports[strings.TrimPrefix(q, module)] = path
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

// ignored reports whether the file is kept out of every build.
func ignored(f *ast.File) bool {
	for _, g := range f.Comments {
		if g.Pos() > f.Package {
			break
		}
		for _, c := range g.List {
			if c.Text == "//go:build ignore" {
				return true
			}
		}
	}
	return false
}

// A rule forbids the packages of one set to reach those of another.
type rule struct {
	from   func(string) bool
	to     func(string) bool
	except []string // exact paths or subtrees ("x/...") that may be reached all the same
	why    string
}

// under matches a package and everything below it.
func under(dirs ...string) func(string) bool {
	return func(p string) bool {
		for _, d := range dirs {
			if p == d || strings.HasPrefix(p, d+"/") {
				return true
			}
		}
		return false
	}
}

// exactly matches the packages themselves only.
func exactly(dirs ...string) func(string) bool {
	return func(p string) bool {
		for _, d := range dirs {
			if p == d {
				return true
			}
		}
		return false
	}
}

func and(a, b func(string) bool) func(string) bool {
	return func(p string) bool { return a(p) && b(p) }
}
func not(a func(string) bool) func(string) bool { return func(p string) bool { return !a(p) } }

// vocabulary is what a platform and the sentry have to say to each other.
var vocabulary = []string{"pkg/sentry/arch", "pkg/sentry/memmap", "pkg/sentry/usermem", "pkg/sentry/hostarch"}

var rules = []rule{
	{from: under("pkg"), to: under("runsc", "cmd", "test"),
		why: "nothing under pkg imports the command line or the tests"},
	{from: under("runsc"), to: under("cmd", "test"),
		why: "runsc is a library for cmd, not the other way round"},
	{from: and(under("pkg"), not(under("pkg/sentry", "pkg/platform"))), to: under("pkg/sentry"),
		why: "libraries are usable without the sentry"},
	{from: under("pkg/platform"), to: under("pkg/sentry"), except: vocabulary,
		why: "a platform knows registers and memory files, and nothing else of the kernel"},
	{from: under("pkg/abi"), to: under("pkg", "runsc"), except: []string{"pkg/abi/..."},
		why: "the ABI is numbers and structs only"},
	{from: under("pkg/tcpip"), to: under("pkg/sentry", "pkg/platform", "pkg/p9"),
		why: "the network stack is a library of its own"},
	{from: under("pkg/p9"), to: under("pkg/sentry", "pkg/platform", "pkg/tcpip"),
		why: "the file protocol is a library of its own"},
	{from: under("pkg/sentry/memmap", "pkg/sentry/usermem"), to: exactly("pkg/sentry/mm", "pkg/sentry/vfs", "pkg/sentry/kernel", "pkg/sentry/syscalls"),
		why: "memmap is below mm and vfs"},
	{from: under("pkg/sentry/mm", "pkg/sentry/vfs", "pkg/sentry/pgalloc"), to: exactly("pkg/sentry/kernel"),
		why: "mm and vfs are below the kernel"},
	{from: under("pkg/sentry/mm", "pkg/sentry/vfs", "pkg/sentry/kernel", "pkg/sentry/fs", "pkg/sentry/loader", "pkg/sentry/memmap", "pkg/sentry/arch"), to: under("pkg/sentry/syscalls"),
		why: "the syscall table is on top of the kernel"},
	// proc is about the kernel, and tty/jobs tells terminals of its jobs; nothing below them is.
	{from: and(under("pkg/sentry/fs"), not(under("pkg/sentry/fs/proc", "pkg/sentry/fs/tty/jobs"))), to: exactly("pkg/sentry/kernel"),
		why: "a filesystem knows vfs, never the kernel; what it needs of a task comes through a context"},
	{from: under("pkg/sentry/kernel", "pkg/sentry/mm", "pkg/sentry/vfs"), to: under("pkg/sentry/fs"),
		why: "the kernel knows no filesystem; boot wires them"},
	{from: under("pkg/sentry/kernel"), to: under("pkg/sentry/socket", "pkg/sentry/control"),
		why: "the kernel knows no socket family and no control server; boot wires them"},
	{from: under("pkg/sentry/vfs"), to: under("pkg/sentry/mm"),
		why: "vfs sees application memory only as a sequence of bytes"},
}

func TestImportsGoOneWay(t *testing.T) {
	pkgs := tree(t)
	for _, from := range sorted(pkgs) {
		for _, r := range rules {
			if !r.from(from) {
				continue
			}
			if chain := reach(pkgs, from, r); chain != nil {
				t.Errorf("%s\n\twhy not: %s\n\tfirst import in %s", strings.Join(chain, " → "), r.why, pkgs[from].imports[chain[1]])
			}
		}
	}
}

// reach returns the shortest chain of imports from a package to one that the rule forbids.
// It does not pass through another package of the rule's own set: that one gets its own
// report, and one wrong import should not be reported by everything above it.
func reach(pkgs map[string]*pkg, from string, r rule) []string {
	excepted := func(p string) bool {
		for _, e := range r.except {
			if e == p || strings.HasSuffix(e, "/...") && under(strings.TrimSuffix(e, "/..."))(p) {
				return true
			}
		}
		return false
	}
	parent := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		p := pkgs[queue[0]]
		if p == nil {
			continue
		}
		for _, imp := range sorted(p.imports) {
			if _, seen := parent[imp]; seen {
				continue
			}
			parent[imp] = queue[0]
			if r.to(imp) && !excepted(imp) {
				var chain []string
				for q := imp; q != ""; q = parent[q] {
					chain = append([]string{q}, chain...)
				}
				return chain
			}
			if !r.from(imp) {
				queue = append(queue, imp)
			}
		}
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func TestEveryPackageHasOneDocComment(t *testing.T) {
	pkgs := tree(t)
	if len(pkgs) == 0 {
		t.Fatal("no package found")
	}
	for _, path := range sorted(pkgs) {
		switch p := pkgs[path]; {
		case len(p.docs) == 0:
			t.Errorf("%s: no package comment", path)
		case len(p.docs) > 1:
			t.Errorf("%s: %d package comments; keep one", path, len(p.docs))
		case p.name != "main" && !strings.HasPrefix(p.docs[0], "Package "+p.name):
			t.Errorf("%s: the package comment should begin with %q", path, "Package "+p.name)
		}
	}
}

// TestRulesCatch checks the checker on a small house of its own.
func TestRulesCatch(t *testing.T) {
	house := func(edges ...string) map[string]*pkg {
		m := map[string]*pkg{}
		for _, e := range edges {
			from, to, _ := strings.Cut(e, ">")
			if m[from] == nil {
				m[from] = &pkg{path: from, imports: map[string]string{}}
			}
			m[from].imports[to] = from + "/x.go"
		}
		return m
	}
	for _, c := range []struct {
		edges []string
		from  string
		bad   bool
	}{
		{[]string{"pkg/log>runsc/config"}, "pkg/log", true},
		{[]string{"pkg/sentry/fs/devpts>pkg/sentry/kernel/auth"}, "pkg/sentry/fs/devpts", false},
		{[]string{"pkg/sentry/fs/devpts>pkg/sentry/neutral", "pkg/sentry/neutral>pkg/sentry/kernel"}, "pkg/sentry/fs/devpts", true},
		{[]string{"pkg/platform/kvm>pkg/sentry/memmap"}, "pkg/platform/kvm", false},
		{[]string{"pkg/platform/kvm>pkg/sentry/mm"}, "pkg/platform/kvm", true},
		{[]string{"pkg/sentry/kernel>pkg/sentry/fs/pipe"}, "pkg/sentry/kernel", true},
		{[]string{"runsc/boot>pkg/sentry/kernel", "pkg/sentry/kernel>pkg/sentry/vfs"}, "runsc/boot", false},
	} {
		bad := false
		for _, r := range rules {
			if r.from(c.from) && reach(house(c.edges...), c.from, r) != nil {
				bad = true
			}
		}
		if bad != c.bad {
			t.Errorf("%v: forbidden = %v, want %v", c.edges, bad, c.bad)
		}
	}
}
