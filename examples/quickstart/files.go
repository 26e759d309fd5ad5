package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hessonite/kv"
)

// files is the input: path → content.
type files struct {
	content map[string][]byte
	bytes   int64
}

// load reads every regular file below a folder; by default, the sources of Go's standard library.
func load(root string) (*files, error) {
	if root == "" {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return nil, fmt.Errorf("find Go's sources (name a folder by -src): %w", err)
		}
		root = filepath.Join(strings.TrimSpace(string(out)), "src")
	}
	f := &files{content: map[string][]byte{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) > kv.MaxValueSize {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f.content[filepath.ToSlash(name)] = data
		f.bytes += int64(len(data))
		return nil
	})
	if err == nil && len(f.content) == 0 {
		err = fmt.Errorf("no files below %s", root)
	}
	return f, err
}
