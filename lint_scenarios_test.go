package kv_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// lintScenarios is how many scenarios this project claims to stand, from 01 on. Each is a story that a replicated store has got wrong somewhere, and has
// a test that bears its number: ScenarioNN, two digits, in the name of a test or of a subtest. A new one is counted here.
const lintScenarios = 52

// The names of subtests are strings; those of the suites are in files that are no tests themselves. Comments do not count.
func TestScenariosAreCovered(t *testing.T) {
	number := regexp.MustCompile(`Scenario(\d\d)(?:\D|$)`)
	covered := map[int][]string{}
	add := func(path, name string) {
		for _, m := range number.FindAllStringSubmatch(name, -1) {
			n, _ := strconv.Atoi(m[1])
			covered[n] = append(covered[n], path)
		}
	}
	lintFiles(t, ".go", func(path, text string) {
		if !strings.Contains(text, "Scenario") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test") && strings.HasSuffix(path, "_test.go") {
					add(path, n.Name.Name)
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					add(path, n.Value)
				}
			}
			return true
		})
	})
	for n := 1; n <= lintScenarios; n++ {
		if len(covered[n]) == 0 {
			t.Errorf("no test bears the name of scenario %02d", n)
		}
	}
}
