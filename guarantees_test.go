package kv_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// testsOf are the names of the tests in the module's files.
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	lintFiles(t, "_test.go", func(path, text string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names[fn.Name.Name] = true
			}
		}
	})
	return names
}

var testName = regexp.MustCompile("`(Test[^`/]*)")

// missingTests are the names of tests on a page that no test has.
func missingTests(page string, tests map[string]bool) (missing []string) {
	for _, m := range testName.FindAllStringSubmatch(page, -1) {
		if !tests[m[1]] {
			missing = append(missing, m[1])
		}
	}
	return missing
}

// Each promise says what it is, how it is kept, what it assumes, and which tests check it; and there are such tests.
func TestGuaranteesNameTests(t *testing.T) {
	tests := testsOf(t)
	if missing := missingTests("`TestSeeds`, `TestThatNobodyWrote`.", tests); len(missing) != 1 || missing[0] != "TestThatNobodyWrote" {
		t.Fatalf("of a page that names one test that is there and one that is not, %q are missing", missing)
	}
	for _, page := range []string{"docs/guarantees.md", "docs/operations.md"} {
		b, err := os.ReadFile(page)
		must(t, err)
		for _, name := range missingTests(string(b), tests) {
			t.Errorf("%s names %s, which no file holds", page, name)
		}
		if page != "docs/guarantees.md" {
			continue
		}
		for _, section := range strings.Split(string(b), "\n## ")[1:] {
			title, body, _ := strings.Cut(section, "\n")
			if title == "What is assumed" {
				continue
			}
			at := 0
			for _, part := range []string{"\n**Promised.**", "\n**Mechanism.**", "\n**Assumes.**", "\n**Tests.** `Test"} {
				i := strings.Index(body[at:], part)
				if i < 0 {
					t.Errorf("%s: %q has no %q in its place", page, title, strings.TrimSpace(part))
					break
				}
				at += i
			}
		}
	}
}
