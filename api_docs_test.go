package kv_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
	"github.com/hessonite/kv/transport"
)

var (
	goBlocks = regexp.MustCompile("(?s)```go\n(.*?)```")
	links    = regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	headings = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors are the names under which the headings of a page can be linked to.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(page)
	must(t, err)
	names := map[string]bool{}
	for _, m := range headings.FindAllStringSubmatch(string(b), -1) {
		names["#"+strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])] = true
	}
	return names
}

// bare is a text without indentation and empty lines.
func bare(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// Each Go snippet of the documentation stands, line by line, in an Example, and each link within it leads to a file, and to a heading.
func TestDocumentsAreCompiled(t *testing.T) {
	var examples string
	for _, pattern := range []string{"example*_test.go", "kvtest/example_test.go", "kvhttp/example_test.go", "kvprom/example_test.go"} {
		files, err := filepath.Glob(pattern)
		must(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			must(t, err)
			examples += bare(string(b))
		}
	}
	pages, err := filepath.Glob("docs/*.md")
	must(t, err)
	for _, page := range append(pages, "README.md") {
		b, err := os.ReadFile(page)
		must(t, err)
		for _, m := range goBlocks.FindAllStringSubmatch(string(b), -1) {
			if !strings.Contains(examples, bare(m[1])) {
				t.Errorf("%s: no Example holds\n%s", page, m[1])
			}
		}
		for _, m := range links.FindAllStringSubmatch(string(b), -1) {
			to := page
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: a link leads nowhere: %s", page, m[1])
			} else if m[2] != "" && !anchors(t, to)[m[2]] {
				t.Errorf("%s: %s has no heading for %s", page, to, m[2])
			}
		}
	}
}

// rows are the cells of a page's tables, a row each, without the rulers.
func rows(t *testing.T, page string) (out [][]string) {
	t.Helper()
	b, err := os.ReadFile(page)
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out = append(out, cells)
	}
	return out
}

// docNames calls f for each error that the package in a directory exports: variables whose names begin with Err, types whose names end in Error.
func docNames(t *testing.T, dir string, f func(name string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	must(t, err)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		must(t, err)
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						if n.IsExported() && strings.HasPrefix(n.Name, "Err") {
							f(n.Name)
						}
					}
				case *ast.TypeSpec:
					if spec.Name.IsExported() && strings.HasSuffix(spec.Name.Name, "Error") {
						f(spec.Name.Name)
					}
				}
			}
		}
	}
}

// Whoever gets an error finds it in the table: each sentinel of kv in a row of its own, as the first cell; those of other packages by their full
// names; types by theirs.
func TestDocumentsNameEveryError(t *testing.T) {
	const page = "docs/errors.md"
	b, err := os.ReadFile(page)
	must(t, err)
	first := map[string]bool{}
	for _, cells := range rows(t, page) {
		if len(cells) >= 6 {
			first[cells[0]] = true
		}
	}
	found := 0
	docNames(t, ".", func(name string) {
		found++
		if strings.HasPrefix(name, "Err") && !first["`"+name+"`"] {
			t.Errorf("%s has no row for %s", page, name)
		} else if !strings.HasPrefix(name, "Err") && !strings.Contains(string(b), "`*"+name+"`") {
			t.Errorf("%s does not tell of %s", page, name)
		}
	})
	if found < 20 {
		t.Errorf("only %d errors were looked for", found)
	}
	for _, dir := range []string{"cluster", "cluster/consensus", "transport", "checkpoint"} {
		docNames(t, dir, func(name string) {
			if full := filepath.Base(dir) + "." + name; !strings.Contains(string(b), "`"+full+"`") && !strings.Contains(string(b), "`*"+full+"`") {
				t.Errorf("%s does not tell of %s", page, full)
			}
		})
	}
}

// Each field of the options has a row in the page that says what it trades.
func TestDocumentsNameEveryOption(t *testing.T) {
	const page = "docs/tuning.md"
	fields := map[string]map[string][]string{} // by the heading of the first column, then by field
	var table map[string][]string
	for _, cells := range rows(t, page) {
		if name, ok := strings.CutPrefix(cells[0], "Field of "); ok {
			table = map[string][]string{}
			fields[strings.Trim(name, "`")] = table
		} else if table != nil {
			table[strings.Trim(cells[0], "`")] = cells
		}
	}
	for name, o := range map[string]any{
		"kv.Options": kv.Options{}, "cluster.Options": cluster.Options{}, "consensus.Options": consensus.Options{}, "consensus.Timing": consensus.Timing{},
		"transport.TCPOptions": transport.TCPOptions{}, "transport.TLSFiles": transport.TLSFiles{},
	} {
		for f := range reflect.TypeOf(o).Fields() {
			if f.IsExported() && fields[name][f.Name] == nil {
				t.Errorf("%s: the table of %s has no row for %s", page, name, f.Name)
			}
		}
	}
	for name, def := range defaults(t) {
		if row := fields["kv.Options"][name]; len(row) > 1 && row[1] != def && row[1] != "`"+def+"`" {
			t.Errorf("%s: the default of %s is %q there, and %q in options.go", page, name, row[1], def)
		}
	}
}

// defaults are those of the fields of kv.Options, as far as their comments name them.
func defaults(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "options.go", nil, parser.ParseComments|parser.SkipObjectResolution)
	must(t, err)
	named, out := regexp.MustCompile(`Defaults? ([^.:]+)[.:]`), map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		f, ok := n.(*ast.Field)
		if !ok || f.Doc == nil {
			return true
		}
		if m := named.FindStringSubmatch(strings.Join(strings.Fields(f.Doc.Text()), " ")); m != nil {
			each := strings.Split(m[1], " and ")
			for i, name := range f.Names {
				out[name.Name] = each[min(i, len(each)-1)]
			}
		}
		return true
	})
	if len(out) < 8 {
		t.Errorf("only %d defaults were found in the comments of options.go", len(out))
	}
	return out
}
