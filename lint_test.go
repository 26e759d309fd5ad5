package kv_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const lintModule = "github.com/hessonite/kv"

// lintArrows names, for each package of this module, the others that it may import outside its tests; "x/..." is x and all below it.
// Arrows point one way: kv, internal/node, then the parts that know nothing of each other, then cluster. A new package gets a line.
var lintArrows = map[string][]string{
	"internal/alloc":   {},
	"internal/clock":   {},
	"internal/dircopy": {},
	"internal/disk":    {},
	"internal/yield":   {},
	"cluster":          {"internal/clock"},
	"internal/record":  {"cluster"},
	"replica":          {"cluster"},
	"checkpoint":       {"cluster"},
	"transport":        {"cluster", "internal/yield"},

	"internal/storage":        {"cluster", "internal/record"},
	"internal/storage/memory": {"cluster", "internal/record", "internal/storage"},
	"internal/storage/badger": {"cluster", "internal/disk", "internal/record", "internal/storage", "internal/yield", "checkpoint"},

	"cluster/consensus": {"cluster", "internal/clock", "internal/disk", "transport"},

	"internal/node": {"cluster", "replica", "checkpoint", "transport", "internal/clock", "internal/record", "internal/storage", "internal/yield"},
	"internal/hook": {"internal/clock", "internal/node", "internal/storage", "internal/storage/badger"},
	"": {"cluster", "replica", "checkpoint", "transport", "internal/clock", "internal/hook", "internal/node",
		"internal/storage/..."},

	// On top: nothing of the above imports these.
	"cluster/clustertest":          {"cluster", "internal/clock"},
	"internal/check":               {"cluster", "replica"},
	"internal/disk/powerloss":      {"internal/dircopy", "internal/disk"},
	"internal/sim":                 {"..."},
	"internal/storage/storagetest": {"cluster", "internal/record", "internal/storage"},
	"kvhttp":                       {"", "cluster", "replica"},
	"kvtest":                       {"", "cluster", "internal/dircopy", "replica", "transport"},
	"replica/gen":                  {"replica"},
	"transport/transporttest":      {"cluster", "transport"},
}

// lintDirect are the direct requirements of this module, and what each is for.
var lintDirect = map[string]string{
	"github.com/dgraph-io/badger/v4":    "the engine on disk",
	"github.com/dgraph-io/ristretto/v2": "the buffers of the engine's StreamWriter",
	"github.com/hashicorp/go-hclog":     "the logger of the API",
	"github.com/hashicorp/raft":         "cluster/consensus; compiled only by who imports it",
	"github.com/tidwall/btree":          "the order of keys in memory",
	"go.etcd.io/bbolt":                  "cluster/consensus: Raft's log",
	"golang.org/x/sync":                 "errgroup, semaphore",
	"golang.org/x/sys":                  "a clock that runs through suspend",
	"github.com/anishathalye/porcupine": "tests: linearizability",
	"pgregory.net/rapid":                "tests: properties",
}

// lintPackage is what `go list -json` says of a package.
type lintPackage struct {
	ImportPath string
	Name       string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

// name is the path within this module; "" is the root.
func (p *lintPackage) name() string { return lintName(p.ImportPath) }

func lintName(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, lintModule), "/")
}

func lintOwn(path string) bool { return path == lintModule || strings.HasPrefix(path, lintModule+"/") }

func lintList(t *testing.T, args ...string) []lintPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Name,Dir,Imports,Deps,DepOnly,GoFiles"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []lintPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p lintPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

func TestLintArrows(t *testing.T) {
	for _, p := range lintList(t, "./...") {
		allowed, ok := lintArrows[p.name()]
		if !ok {
			t.Errorf("%s: what may it import? Give it a line in lintArrows", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			if lintOwn(path) && !lintAllows(allowed, lintName(path)) {
				t.Errorf("%s imports %s: the arrow points the other way", p.ImportPath, path)
			}
		}
	}
}

func lintAllows(allowed []string, name string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		below, tree := strings.CutSuffix(a, "...")
		return a == name || tree && (name == strings.TrimSuffix(below, "/") || strings.HasPrefix(name, below))
	})
}

// The core of the design is pure: no clock that runs, no network, no files, no goroutines, no stores.
func TestLintReplicaIsPure(t *testing.T) {
	allowed := []string{"cmp", "errors", "fmt", "iter", "maps", "math", "math/bits", "slices", "sort", "strconv", "strings", "time",
		lintModule + "/cluster"}
	for _, p := range lintList(t, "./replica") {
		for _, path := range p.Imports {
			if !slices.Contains(allowed, path) {
				t.Errorf("replica imports %s", path)
			}
		}
	}
}

// What everything else stands on needs the standard library and nothing else, so that it can be read, fuzzed and reused alone.
func TestLintFoundationIsStandard(t *testing.T) {
	for _, p := range lintList(t, "./cluster", "./replica", "./checkpoint", "./internal/record", "./internal/storage") {
		for _, path := range p.Imports {
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !lintOwn(path) {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}

// A service that embeds a node pays for what a node needs, and for nothing else. (Badger imports expvar, and so net/http: the README says
// what that brings.)
func TestLintRootIsLean(t *testing.T) {
	banned := []string{"html/template", "text/template", "net/http/pprof", "github.com/hashicorp/raft", "github.com/prometheus/",
		"github.com/tidwall/redcon", "github.com/redis/", "testing", lintModule + "/cluster/consensus", lintModule + "/kvhttp",
		lintModule + "/kvtest"}
	for _, p := range lintList(t, ".") {
		for _, path := range p.Deps {
			if slices.ContainsFunc(banned, func(b string) bool { return path == b || strings.HasPrefix(path, strings.TrimSuffix(b, "/")+"/") }) {
				t.Errorf("a program that imports %s compiles %s", lintModule, path)
			}
		}
	}
}

func TestLintDirectRequirements(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var mod struct {
		Go        string
		Toolchain string
		Require   []struct {
			Path     string
			Indirect bool
		}
		Replace []any
		Exclude []any
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if !r.Indirect && lintDirect[r.Path] == "" {
			t.Errorf("go.mod requires %s: a new dependency needs a reason in lintDirect", r.Path)
		}
	}
	if mod.Go != "1.26.0" || mod.Toolchain != "" {
		t.Errorf("go.mod says go %s, toolchain %q; expected 1.26.0 and none", mod.Go, mod.Toolchain)
	}
	if len(mod.Replace) > 0 || len(mod.Exclude) > 0 {
		t.Error("go.mod replaces or excludes: that does not hold for those who import it")
	}
}

func TestLintEveryPackageExplainsItself(t *testing.T) {
	for _, p := range lintList(t, "./...") {
		if len(p.GoFiles) == 0 || slices.Contains(p.GoFiles, "doc.go") || p.Name == "main" {
			continue // a command explains itself in its main file
		}
		t.Errorf("%s has no doc.go", p.ImportPath)
	}
}

// lintFiles calls f for each file whose name ends so, those of the modules below, such as the examples, included.
func lintFiles(t *testing.T, suffix string, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, suffix) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		f(filepath.ToSlash(path), string(b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is left to do is an issue, not a comment.
func TestLintNothingIsLeftToDo(t *testing.T) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "not " + "implemented"}
	for _, suffix := range []string{".go", ".md"} {
		lintFiles(t, suffix, func(path, text string) {
			for i, line := range strings.Split(text, "\n") {
				for _, m := range marks {
					if strings.Contains(line, m) {
						t.Errorf("%s:%d: %s", path, i+1, m)
					}
				}
			}
		})
	}
}

// A file is one concept, and fits in the head of who reads it.
func TestLintFilesAreShort(t *testing.T) {
	const most = 500
	lintFiles(t, ".go", func(path, text string) {
		if n := strings.Count(text, "\n"); n > most && !strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s has %d lines, at most %d: split it by concept", path, n, most)
		}
	})
}
