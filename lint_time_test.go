package kv_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// lintTime finds the places in the tests of one package that sleep in real time.
//
// Code runs in a bubble of testing/synctest, where time is virtual, if it stands in a function that is given to synctest.Test or to the helper
// bubble; or in one, named or given as an argument, that is only ever used from such places. A method that nothing in the package
// calls, since it is there for an interface, runs where values of its type are made. Whatever else is not used is not in a bubble.
type lintTime struct {
	fset   *token.FileSet
	files  []*ast.File
	info   types.Info
	uses   map[types.Object][]lintPlace // of functions, methods and parameters
	sleeps []lintPlace
}

// lintPlace is a piece of code: the function that it stands in (or the parameter that the function is given as), and whether something
// around it there is run in a bubble.
type lintPlace struct {
	in     types.Object
	bubble bool
	at     token.Pos
}

// lintBubbles are the calls whose arguments run in a bubble.
var lintBubbles = []string{"synctest.Test", "bubble"}

func newLintTime() *lintTime {
	return &lintTime{fset: token.NewFileSet(), uses: map[types.Object][]lintPlace{},
		info: types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}}
}

// read resolves the identifiers of the package, and visits its tests.
func (l *lintTime) read() {
	conf := types.Config{Importer: lintNoImports{importer.Default()}, Error: func(error) {}, FakeImportC: true}
	_, _ = conf.Check("tests", l.fset, l.files, &l.info) // errors are expected: imports are empty
	for _, f := range l.files {
		if !strings.HasSuffix(l.fset.Position(f.Package).Filename, "_test.go") {
			continue
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			switch {
			case !ok:
				l.visit(d, lintPlace{})
			case fn.Body != nil && !slices.Contains(lintBubbles, fn.Name.Name):
				l.visit(fn.Body, lintPlace{in: l.info.Defs[fn.Name]})
			}
		}
	}
}

func (l *lintTime) visit(n ast.Node, where lintPlace) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			l.visit(n.Fun, where)
			for i, arg := range n.Args {
				l.visit(arg, l.argument(n, i, arg, where))
			}
			return false
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && id.Name == "time" && n.Sel.Name == "Sleep" {
				where.at = n.Pos()
				l.sleeps = append(l.sleeps, where)
			}
		case *ast.Ident:
			if o := l.info.Uses[n]; o != nil {
				l.uses[o] = append(l.uses[o], where)
			}
		}
		return true
	})
}

// argument is where an argument of a call runs, if it is a function.
func (l *lintTime) argument(call *ast.CallExpr, i int, arg ast.Expr, where lintPlace) lintPlace {
	var id *ast.Ident
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		id, name = f, f.Name
	case *ast.SelectorExpr:
		id = f.Sel
		if x, ok := f.X.(*ast.Ident); ok {
			name = x.Name + "." + f.Sel.Name
		}
	}
	if slices.Contains(lintBubbles, name) {
		return lintPlace{in: where.in, bubble: true}
	}
	if _, ok := arg.(*ast.FuncLit); !ok || id == nil {
		return where
	}
	// A function that is given to another one of the package runs where that uses it.
	if fn, ok := l.info.Uses[id].(*types.Func); ok {
		if params := fn.Signature().Params(); i < params.Len() && !(fn.Signature().Variadic() && i >= params.Len()-1) {
			return lintPlace{in: params.At(i), bubble: where.bubble}
		}
	}
	return where
}

// real lists the sleeps outside bubbles.
func (l *lintTime) real() (found []string) {
	users := map[types.Object]bool{}
	for _, p := range l.sleeps {
		users[p.in] = true
	}
	for _, places := range l.uses {
		for _, p := range places {
			users[p.in] = true
		}
	}
	outside := map[types.Object]bool{nil: true}
	isOutside := func(p lintPlace) bool { return !p.bubble && outside[p.in] }
	for changed := true; changed; {
		changed = false
		for o := range users {
			if elsewhere := l.usesOf(o); !outside[o] && (len(elsewhere) == 0 || slices.ContainsFunc(elsewhere, isOutside)) {
				outside[o], changed = true, true
			}
		}
	}
	for _, p := range l.sleeps {
		if isOutside(p) {
			found = append(found, fmt.Sprintf("%s sleeps in real time", l.fset.Position(p.at)))
		}
	}
	return found
}

// usesOf are the places from which a function is reached, but for itself.
func (l *lintTime) usesOf(o types.Object) []lintPlace {
	uses := slices.DeleteFunc(slices.Clone(l.uses[o]), func(p lintPlace) bool { return p.in == o })
	fn, ok := o.(*types.Func)
	if !ok || len(uses) > 0 || fn.Signature().Recv() == nil {
		return uses
	}
	recv := fn.Signature().Recv().Type()
	if p, ok := recv.(*types.Pointer); ok {
		recv = p.Elem()
	}
	if named, ok := recv.(*types.Named); ok {
		uses = slices.DeleteFunc(slices.Clone(l.uses[named.Obj()]), func(p lintPlace) bool { return p.in == nil }) // not those in declarations
	}
	return uses
}

// lintReadTime gives a file to its package: a directory may have two, the one for the tests from outside.
func lintReadTime(t *testing.T, packages map[string]*lintTime, name, text string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.PackageClauseOnly)
	if err != nil {
		t.Error(err)
		return
	}
	key := path.Join(path.Dir(name), f.Name.Name)
	if packages[key] == nil {
		packages[key] = newLintTime()
	}
	if f, err = parser.ParseFile(packages[key].fset, name, text, parser.SkipObjectResolution); err != nil {
		t.Error(err)
		return
	}
	packages[key].files = append(packages[key].files, f)
}

// Tests wait for events, or live in a bubble. Processes live in real time: those of internal/chaos have to be left alone for a while.
func TestLintTestsSleepInBubbles(t *testing.T) {
	packages := map[string]*lintTime{}
	lintFiles(t, ".go", func(name, text string) {
		if !strings.HasPrefix(name, "internal/chaos/") {
			lintReadTime(t, packages, name, text)
		}
	})
	for _, key := range slices.Sorted(maps.Keys(packages)) {
		packages[key].read()
		for _, s := range packages[key].real() {
			t.Error(s)
		}
	}
}

// The lines of this program that end in REAL are the ones that sleep in real time.
func TestLintTimeTellsBubblesApart(t *testing.T) {
	const program = `package p

import ("testing"; "testing/synctest"; "time")

func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

func TestInBubbles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { go time.Sleep(1) })
	bubble(t, func(t *testing.T) { t.Run("", func(t *testing.T) { time.Sleep(1) }); inside(3) })
	everyWay(t, func(w *world) { time.Sleep(1); w.inside() })
	bubble(t, named)
}

func TestOutside(t *testing.T) {
	time.Sleep(1) // REAL
	both()
	twice(func() { time.Sleep(1) }) // REAL
	var w world
	w.outside()
	var _ sleeper = madeOutside{}
}

func named(t *testing.T) { time.Sleep(1); both() }
func inside(n int) { if n > 0 { time.Sleep(1); inside(n-1) }; later() }
func later() { time.Sleep(1) }
func both() { time.Sleep(1) } // REAL
func unused() { time.Sleep(1) } // REAL
func twice(f func()) { f(); f() }
func everyWay(t *testing.T, f func(w *world)) {
	bubble(t, func(t *testing.T) { var _ sleeper = madeInside{}; f(&world{}) })
}

type world struct{ a madeInside; b madeOutside }
func (w *world) inside() { time.Sleep(1) }
func (w *world) outside() { time.Sleep(1) } // REAL

type sleeper interface { sleep() }
type madeInside struct{}
func (madeInside) sleep() { time.Sleep(1) }
type madeOutside struct{}
func (madeOutside) sleep() { time.Sleep(1) } // REAL
`
	packages := map[string]*lintTime{}
	lintReadTime(t, packages, "p_test.go", program)
	packages["p"].read()
	found := strings.Join(packages["p"].real(), "\n")
	for i, line := range strings.Split(program, "\n") {
		real := strings.HasSuffix(line, "// REAL")
		if strings.Contains(found, fmt.Sprintf("p_test.go:%d:", i+1)) != real {
			t.Errorf("line %d sleeps in real time is %v: %s", i+1, real, line)
		}
	}
}
