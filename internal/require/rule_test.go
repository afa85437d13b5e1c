// SPDX-License-Identifier: Apache-2.0

package require

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module  = "../.."
	ownPath = "github.com/pidgraft/pidgraft/internal/require"
	leaks   = "github.com/pidgraft/pidgraft/internal/leak"
)

// Nothing but this package skips a test: in Go, or in a script of testscript,
// whose conditions to skip on are root and what cmd/pidgraft asks Has for.
func TestOneWayToSkip(t *testing.T) {
	eachFile(t, func(path string, file *ast.File, set *token.FileSet) {
		if file.Name.Name == "require" {
			return
		}
		for _, call := range skips(file) {
			t.Errorf("%s skips a test itself: use internal/require", set.Position(call))
		}
	})
	condition := regexp.MustCompile(`^\[!root\] skip |^\[!(cgroup-kill|probe-reads)\] skip 'needs `)
	eachPath(t, ".txtar", func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if slices.Contains(strings.Fields(line), "skip") && strings.HasPrefix(line, "[") && !condition.MatchString(line) {
				t.Errorf("%s: %q: only [!root] skip, or a condition of package require with the reason", path, line)
			}
		}
	})
}

// Who needs anything of the machine is checked for what it leaves there.
func TestPrivilegedTestsAreCheckedForLeaks(t *testing.T) {
	privileged, checked := map[string]bool{}, map[string]bool{module + "/internal/leak": true}
	eachFile(t, func(path string, file *ast.File, _ *token.FileSet) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, spec := range file.Imports {
			switch strings.Trim(spec.Path.Value, `"`) {
			case ownPath:
				privileged[filepath.Dir(path)] = true
			case leaks:
				checked[filepath.Dir(path)] = true
			}
		}
	})
	if len(privileged) == 0 {
		t.Error("no privileged test was found")
	}
	for dir := range privileged {
		if !checked[dir] {
			t.Errorf("%s needs a TestMain of internal/leak", dir)
		}
	}
}

func TestSkips(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
		func A(t *testing.T) { t.Skip("no reason"); helper(func() { t.SkipNow() }) }
		func B(t testing.TB, u *T) { t.Skipf("x") }
		func C(t *testing.T) { rapid.Check(t, func(t *rapid.T) { t.Skip("draw again") }); s.Skip() }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := skips(file); len(found) != 3 {
		t.Errorf("%d skips found, want 3: %v", len(found), found)
	}
}

// skips are the calls of t.Skip, t.Skipf and t.SkipNow whose t is a parameter
// of the package testing; that of rapid only draws again.
func skips(file *ast.File) []token.Pos {
	var found []token.Pos
	var visit func(n ast.Node, testing map[string]bool)
	visit = func(n ast.Node, testing map[string]bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Body != nil {
					visit(n.Body, parameters(n.Type, testing))
				}
				return false
			case *ast.FuncLit:
				visit(n.Body, parameters(n.Type, testing))
				return false
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "Skip") && s.Sel.Name != "Skipped" {
					if on, ok := s.X.(*ast.Ident); ok && testing[on.Name] {
						found = append(found, n.Pos())
					}
				}
			}
			return true
		})
	}
	visit(file, nil)
	return found
}

// parameters says of every parameter in reach whether it is one of testing.
func parameters(f *ast.FuncType, outer map[string]bool) map[string]bool {
	all := map[string]bool{}
	for name := range outer {
		all[name] = outer[name]
	}
	for _, field := range f.Params.List {
		typ := field.Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		of, ok := typ.(*ast.SelectorExpr)
		pkg := ""
		if ok {
			if id, ok := of.X.(*ast.Ident); ok {
				pkg = id.Name
			}
		}
		for _, name := range field.Names {
			all[name.Name] = pkg == "testing"
		}
	}
	return all
}

// eachFile parses every Go file of the module.
func eachFile(t *testing.T, do func(path string, file *ast.File, set *token.FileSet)) {
	t.Helper()
	eachPath(t, ".go", func(path string) {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		do(path, file, set)
	})
}

func eachPath(t *testing.T, ext string, do func(path string)) {
	t.Helper()
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.IsDir() && filepath.Ext(path) == ext:
			do(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
