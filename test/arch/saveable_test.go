package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"runsc/pkg/sentry/state"
)

// TestKernelCanBeSaved reads the types of the sentry from source, so that it sees the
// unexported ones and every type that implements an interface, and fails on each field
// reachable from kernel.Kernel that a checkpoint could not save (see package state).
func TestKernelCanBeSaved(t *testing.T) {
	if testing.Short() {
		t.Skip("type-checks the whole sentry")
	}
	w := typeCheck(t, "./pkg/sentry/...", "./runsc/boot")
	root := w.pkgs["runsc/pkg/sentry/kernel"].Scope().Lookup("Kernel").Type()
	for _, p := range state.Check(compiled{w, root}) {
		t.Error(p)
	}
	// A walk that finds nothing to look at finds nothing wrong either.
	for _, name := range []string{
		"runsc/pkg/sentry/kernel.Task", "runsc/pkg/sentry/mm.MemoryManager",
		"runsc/pkg/sentry/vfs.FileDescription", "runsc/pkg/sentry/fs/pipe.Pipe",
		"runsc/pkg/sentry/syscalls.netStacks", "runsc/pkg/sentry/syscalls.aioTable", "runsc/pkg/sentry/fs/proc.namespaces",
	} {
		if !w.seen[name] {
			t.Errorf("%s was not reached from kernel.Kernel", name)
		}
	}
}

// world is the type-checked sources.
type world struct {
	pkgs  map[string]*types.Package
	named []types.Type    // concrete types of our packages that may be inside an interface
	seen  map[string]bool // types whose parts were asked for, by name
	impls map[string][]types.Type
	extra []types.Type // what kernel.Kernel.Extra keeps, as the callers' type assertions say
}

// compiled is the compiler's view of a type, as a state.Type.
type compiled struct {
	w *world
	t types.Type
}

func (c compiled) Name() string {
	switch t := types.Unalias(c.t).(type) {
	case *types.Named:
		return types.TypeString(t, nil)
	case *types.Basic:
		return t.Name()
	}
	return ""
}

func (c compiled) String() string {
	return types.TypeString(c.t, func(p *types.Package) string { return strings.TrimPrefix(p.Path(), module+"pkg/") })
}

func (c compiled) Kind() reflect.Kind {
	switch u := c.t.Underlying().(type) {
	case *types.Basic:
		return basicKinds[u.Kind()]
	case *types.Struct:
		return reflect.Struct
	case *types.Pointer:
		return reflect.Pointer
	case *types.Slice:
		return reflect.Slice
	case *types.Array:
		return reflect.Array
	case *types.Map:
		return reflect.Map
	case *types.Chan:
		return reflect.Chan
	case *types.Signature:
		return reflect.Func
	case *types.Interface:
		return reflect.Interface
	}
	return reflect.Invalid
}

var basicKinds = map[types.BasicKind]reflect.Kind{
	types.Bool: reflect.Bool, types.String: reflect.String,
	types.Int: reflect.Int, types.Int8: reflect.Int8, types.Int16: reflect.Int16, types.Int32: reflect.Int32, types.Int64: reflect.Int64,
	types.Uint: reflect.Uint, types.Uint8: reflect.Uint8, types.Uint16: reflect.Uint16, types.Uint32: reflect.Uint32, types.Uint64: reflect.Uint64,
	types.Float32: reflect.Float32, types.Float64: reflect.Float64, types.Complex64: reflect.Complex64, types.Complex128: reflect.Complex128,
	types.Uintptr: reflect.Uintptr, types.UnsafePointer: reflect.UnsafePointer,
}

func (c compiled) Parts() []state.Part {
	c.w.seen[c.Name()] = true
	of := func(label string, t types.Type) state.Part { return state.Part{Label: label, Type: compiled{c.w, t}} }
	switch u := c.t.Underlying().(type) {
	case *types.Struct:
		parts := make([]state.Part, 0, u.NumFields())
		for i := range u.NumFields() {
			p := of("."+u.Field(i).Name(), u.Field(i).Type())
			p.Field, p.Tag = u.Field(i).Name(), reflect.StructTag(u.Tag(i))
			parts = append(parts, p)
		}
		return parts
	case *types.Pointer:
		return []state.Part{of("", u.Elem())}
	case *types.Slice:
		return []state.Part{of("[]", u.Elem())}
	case *types.Array:
		return []state.Part{of("[]", u.Elem())}
	case *types.Map:
		return []state.Part{of("[key]", u.Key()), of("[]", u.Elem())}
	case *types.Interface:
		var parts []state.Part
		for _, t := range c.w.implementers(c.t, u) {
			parts = append(parts, of("", t))
		}
		return parts
	}
	return nil
}

// implementers returns our concrete types that an interface can hold. An empty
// interface is taken to hold what Kernel.Extra keeps; its other contents (owners of locks,
// keys) are reached by fields that have a type.
func (w *world) implementers(t types.Type, i *types.Interface) []types.Type {
	if i.Empty() {
		return w.extra
	}
	key := types.TypeString(t, nil)
	if impls, ok := w.impls[key]; ok {
		return impls
	}
	var impls []types.Type
	for _, n := range w.named {
		if types.Implements(n, i) {
			impls = append(impls, n)
		} else if p := types.NewPointer(n); types.Implements(p, i) {
			impls = append(impls, p)
		}
	}
	w.impls[key] = impls
	return impls
}

// listed is what `go list -json` tells of a package.
type listed struct {
	ImportPath string
	Dir        string
	Export     string
	GoFiles    []string
	ImportMap  map[string]string
	Module     *struct{ Main bool }
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Export,GoFiles,ImportMap,Module"}, args...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// typeCheck type-checks packages and those of ours that they import; all others are
// read from the compiler's export data.
func typeCheck(t *testing.T, patterns ...string) *world {
	t.Helper()
	w := &world{pkgs: map[string]*types.Package{"unsafe": types.Unsafe}, seen: map[string]bool{}, impls: map[string][]types.Type{}}
	var ours []listed
	foreign := []string{"-export"}
	for _, p := range goList(t, append([]string{"-deps"}, patterns...)...) { // imported before importing
		if p.Module != nil && p.Module.Main {
			ours = append(ours, p)
		} else if p.ImportPath != "unsafe" {
			foreign = append(foreign, p.ImportPath)
		}
	}
	export := map[string]string{}
	for _, p := range goList(t, foreign...) {
		export[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	gc := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(export[path]) })
	for _, p := range ours {
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		conf := types.Config{
			IgnoreFuncBodies: false, // types declared in functions implement interfaces, too
			Sizes:            types.SizesFor("gc", "amd64"),
			Importer: importFunc(func(path string) (*types.Package, error) {
				if m := p.ImportMap[path]; m != "" {
					path = m
				}
				if pkg := w.pkgs[path]; pkg != nil {
					return pkg, nil
				}
				return gc.Import(path)
			}),
		}
		info := types.Info{Defs: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
		pkg, err := conf.Check(p.ImportPath, fset, files, &info)
		if err != nil {
			t.Fatal(err)
		}
		w.pkgs[p.ImportPath] = pkg
		w.collect(info.Defs)
		for _, f := range files {
			w.collectExtra(f, &info)
		}
	}
	sort.Slice(w.named, func(i, j int) bool { return w.named[i].String() < w.named[j].String() })
	return w
}

// collect adds the concrete types that a package declares.
func (w *world) collect(defs map[*ast.Ident]types.Object) {
	for _, obj := range defs {
		name, ok := obj.(*types.TypeName)
		if !ok || name.IsAlias() {
			continue
		}
		n, ok := name.Type().(*types.Named)
		if !ok || n.TypeParams().Len() > 0 || types.IsInterface(n) {
			continue
		}
		w.named = append(w.named, n)
	}
}

// collectExtra adds each T of a k.Extra(…).(T).
func (w *world) collectExtra(f *ast.File, info *types.Info) {
	ast.Inspect(f, func(n ast.Node) bool {
		if assert, ok := n.(*ast.TypeAssertExpr); ok && assert.Type != nil {
			if call, ok := assert.X.(*ast.CallExpr); ok {
				if fn, ok := call.Fun.(*ast.SelectorExpr); ok && fn.Sel.Name == "Extra" {
					w.extra = append(w.extra, info.Types[assert.Type].Type)
				}
			}
		}
		return true
	})
}

type importFunc func(path string) (*types.Package, error)

func (f importFunc) Import(path string) (*types.Package, error) { return f(path) }

// TestCompiledViewSees checks the compiler's view of types on a package of its own.
func TestCompiledViewSees(t *testing.T) {
	const src = `package p
type Root struct {
	i     face
	tag   chan int ` + "`state:\"nosave\"`" + `
	inner struct{ list []func() }
	next  *Root
}
type face interface{ f() }
type byPointer struct{ c chan int }
func (*byPointer) f() {}
type byValue struct{ cb func() }
func (byValue) f() {}
type stranger struct{ c chan int }
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{seen: map[string]bool{}, impls: map[string][]types.Type{}}
	info := types.Info{Defs: map[*ast.Ident]types.Object{}}
	pkg, err := (&types.Config{}).Check("p", fset, []*ast.File{f}, &info)
	if err != nil {
		t.Fatal(err)
	}
	w.collect(info.Defs)
	var got []string
	for _, p := range state.Check(compiled{w, pkg.Scope().Lookup("Root").Type()}) {
		got = append(got, p.Field)
	}
	sort.Strings(got)
	if want := []string{"p.Root.inner.list[]", "p.byPointer.c", "p.byValue.cb"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
