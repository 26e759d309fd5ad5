package kv_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lintSource is a package, parsed, with its identifiers resolved as far as that works without its imports.
type lintSource struct {
	lintPackage
	fset  *token.FileSet
	files []*ast.File
	info  types.Info
	types *types.Package
}

// lintNoImports stands for every import: what comes from there stays unknown, everything else is resolved.
type lintNoImports struct{ types.Importer }

func (lintNoImports) Import(p string) (*types.Package, error) {
	name := path.Base(p)
	if strings.HasPrefix(name, "v") && len(name) == 2 {
		name = path.Base(path.Dir(p))
	}
	pkg := types.NewPackage(p, strings.TrimPrefix(name, "go-"))
	pkg.MarkComplete()
	return pkg, nil
}

func lintParse(t *testing.T, p lintPackage) *lintSource {
	t.Helper()
	s := &lintSource{lintPackage: p, fset: token.NewFileSet()}
	s.info = types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(s.fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, f)
	}
	conf := types.Config{Importer: lintNoImports{importer.Default()}, Error: func(error) {}, FakeImportC: true}
	s.types, _ = conf.Check(p.ImportPath, s.fset, s.files, &s.info) // errors are expected: imports are empty
	return s
}

func (s *lintSource) at(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	if rel, err := filepath.Rel(s.Dir, p.Filename); err == nil {
		p.Filename = path.Join(s.name(), rel)
	}
	return p.String()
}

func lintEachPackage(t *testing.T, f func(*lintSource)) {
	t.Helper()
	for _, p := range lintList(t, "./...") {
		f(lintParse(t, p))
	}
}

// A user cannot name an internal type, so no exported signature may.
func TestLintNoInternalTypeInTheAPI(t *testing.T) {
	lintEachPackage(t, func(s *lintSource) {
		if strings.Contains("/"+s.name()+"/", "/internal/") {
			return
		}
		for _, f := range s.files {
			for _, n := range lintAPI(f) {
				ast.Inspect(n, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						if p, ok := s.info.Uses[id].(*types.PkgName); ok && strings.Contains(p.Imported().Path(), "/internal/") {
							t.Errorf("%s: the API mentions a type of %s", s.at(n), p.Imported().Path())
						}
					}
					return true
				})
			}
		}
	})
}

// lintAPI is what an exported declaration shows: the types in signatures, and in exported fields, methods, variables.
func lintAPI(f *ast.File) []ast.Node {
	var api []ast.Node
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || lintReceiver(d.Recv).IsExported()) {
				api = append(api, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() {
						api = append(api, lintExportedParts(spec.Type)...)
					}
				case *ast.ValueSpec:
					if spec.Type != nil && slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
						api = append(api, spec.Type)
					}
				}
			}
		}
	}
	return api
}

func lintReceiver(recv *ast.FieldList) *ast.Ident {
	var id *ast.Ident
	ast.Inspect(recv.List[0].Type, func(n ast.Node) bool {
		if i, ok := n.(*ast.Ident); ok && id == nil {
			id = i
		}
		return id == nil
	})
	return id
}

func lintExportedParts(e ast.Expr) []ast.Node {
	var fields *ast.FieldList
	switch e := e.(type) {
	case *ast.StructType:
		fields = e.Fields
	case *ast.InterfaceType:
		fields = e.Methods
	default:
		return []ast.Node{e}
	}
	var parts []ast.Node
	for _, f := range fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			parts = append(parts, f.Type)
		}
	}
	return parts
}

// Two nodes in one process share nothing: no package has an init function, writes to a variable of its own, or holds a lock or an
// atomic value in one. Tables that are only read are fine, and so are pools.
func TestLintNoGlobalState(t *testing.T) {
	lintEachPackage(t, func(s *lintSource) {
		for _, f := range s.files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Recv == nil && n.Name.Name == "init" {
						t.Errorf("%s: an init function", s.at(n))
					}
				case *ast.AssignStmt:
					for _, e := range n.Lhs {
						s.checkWrite(t, e)
					}
				case *ast.IncDecStmt:
					s.checkWrite(t, n.X)
				case *ast.CallExpr:
					if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(n.Args) > 0 {
						s.checkWrite(t, n.Args[0])
					}
				}
				return true
			})
			s.checkGlobals(t, f)
		}
	})
}

// checkWrite fails if the expression that is written to is, or lies within, a variable of the package.
func (s *lintSource) checkWrite(t *testing.T, e ast.Expr) {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.Ident:
			if v, ok := s.info.Uses[x].(*types.Var); ok && v.Parent() == s.types.Scope() {
				t.Errorf("%s: writes to %s, a variable of the package", s.at(e), x.Name)
			}
			return
		default:
			return
		}
	}
}

// checkGlobals fails for variables of the package that exist to be changed.
func (s *lintSource) checkGlobals(t *testing.T, f *ast.File) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			ast.Inspect(spec, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncLit:
					return false
				case *ast.ChanType:
					t.Errorf("%s: a channel in a variable of the package", s.at(n))
				case *ast.SelectorExpr:
					if id, ok := n.X.(*ast.Ident); ok && (id.Name == "atomic" || id.Name == "sync" && n.Sel.Name != "Pool") {
						t.Errorf("%s: %s.%s in a variable of the package", s.at(n), id.Name, n.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// A test that is skipped tells nobody anything.
func TestLintTestsAreNotSkipped(t *testing.T) {
	lintFiles(t, "_test.go", func(name, text string) {
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == "t" && strings.HasPrefix(sel.Sel.Name, "Skip") {
					t.Errorf("%s skips a test", name)
				}
			}
			return true
		})
	})
}

// The pure parts take time as a value; asking a clock, starting goroutines and waiting are for drivers.
func TestLintPurePartsHaveNoClock(t *testing.T) {
	pure := func(s *lintSource, file string) bool {
		switch s.name() {
		case "replica":
			return true
		case "cluster":
			return slices.Contains([]string{"view.go", "history.go", "version.go", "slots.go", "slotset.go", "keyslot.go", "ids.go",
				"command.go", "lookup.go", "check.go"}, file) || strings.HasPrefix(file, "apply") || strings.HasPrefix(file, "codec")
		}
		return false
	}
	lintEachPackage(t, func(s *lintSource) {
		for i, f := range s.files {
			if !pure(s, s.GoFiles[i]) {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a goroutine in a pure part", s.at(n))
				case *ast.SelectorExpr:
					id, _ := n.X.(*ast.Ident)
					if id == nil {
						return true
					}
					if p, ok := s.info.Uses[id].(*types.PkgName); !ok || p.Imported().Path() != "time" {
						return true
					}
					if slices.Contains([]string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}, n.Sel.Name) {
						t.Errorf("%s: time.%s in a pure part", s.at(n), n.Sel.Name)
					}
				}
				return true
			})
		}
	})
}

// Replica knows the ids of package cluster and nothing else of it.
func TestLintReplicaKnowsOnlyIDs(t *testing.T) {
	ids := map[string]bool{}
	for _, p := range lintList(t, "./cluster") {
		s := lintParse(t, p)
		for _, f := range s.files {
			if name := filepath.Base(s.fset.Position(f.Pos()).Filename); name != "ids.go" && name != "slots.go" {
				continue
			}
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
					for _, spec := range g.Specs {
						ids[spec.(*ast.TypeSpec).Name.Name] = true
					}
				}
			}
		}
	}
	for _, p := range lintList(t, "./replica") {
		s := lintParse(t, p)
		for _, f := range s.files {
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if id, ok := sel.X.(*ast.Ident); ok && id.Name == "cluster" && !ids[sel.Sel.Name] {
						t.Errorf("%s: cluster.%s is no id", s.at(n), sel.Sel.Name)
					}
				}
				return true
			})
		}
	}
}
