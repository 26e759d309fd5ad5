package kv_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	kv "github.com/hessonite/kv"
)

// Every error and every option has its line in the documentation.
func TestDocumentsAreComplete(t *testing.T) {
	for page, names := range map[string][]string{
		"docs/errors.md": regexp.MustCompile(`(?m)^	(Err\w+) +=`).FindAllString(readFile(t, "errors.go"), -1),
		"docs/tuning.md": optionNames(),
	} {
		text := readFile(t, page)
		if len(names) < 10 {
			t.Fatalf("%s: only %d names", page, len(names))
		}
		for _, name := range names {
			name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s does not speak of %s", page, name)
			}
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return string(b)
}

// optionNames are the fields of Options.
func optionNames() (names []string) {
	for f := range reflect.TypeFor[kv.Options]().Fields() {
		if f.IsExported() {
			names = append(names, f.Name)
		}
	}
	return names
}

var (
	goBlocks = regexp.MustCompile("(?s)```go\n(.*?)```")
	links    = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
)

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

// Each Go snippet of the documentation stands, line by line, in an Example, and each link to a file leads to one.
func TestDocumentsAreCompiled(t *testing.T) {
	var examples string
	for _, pattern := range []string{"example*_test.go", "kvtest/example_test.go"} {
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
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: a link leads nowhere: %s", page, m[1])
			}
		}
	}
}
