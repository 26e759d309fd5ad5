// Modzip lays out a module as a proxy of the Go command would serve it, so that others can get it before it is published:
//
//	modzip DIR VERSION PROXY
//
// writes PROXY/<module>/@v/{list,VERSION.info,VERSION.mod,VERSION.zip} of the module in DIR. A module in a directory below is left out,
// as it is in every module zip. What the module takes from another directory by a replace it requires in VERSION instead, as it must when it is
// published: who gets it sees no replace.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: modzip DIR VERSION PROXY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "modzip:", err)
		os.Exit(1)
	}
}

func run(dir, version, proxy string) (err error) {
	dir, mod, clean, err := published(dir, version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	m := module.Version{Path: modfile.ModulePath(mod), Version: version}
	if err := module.Check(m.Path, m.Version); err != nil {
		return err
	}
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	base := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{version, time.Now().UTC()})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"list": []byte(version + "\n"), version + ".info": info, version + ".mod": mod} {
		if err := os.WriteFile(filepath.Join(base, name), content, 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(base, version+".zip"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return zip.CreateFromDir(f, m, dir)
}

// published is the directory of the module as it would be published, which clean removes if it is a copy, and its go.mod.
func published(dir, version string) (published string, mod []byte, clean func() error, err error) {
	name := filepath.Join(dir, "go.mod")
	if mod, err = os.ReadFile(name); err != nil {
		return "", nil, nil, err
	}
	f, err := modfile.Parse(name, mod, nil)
	if err != nil {
		return "", nil, nil, err
	}
	if len(f.Replace) == 0 {
		return dir, mod, func() error { return nil }, nil
	}
	for _, r := range f.Replace {
		if r.New.Version != "" {
			return "", nil, nil, fmt.Errorf("%s replaces %s by %s, which who gets it does not see", name, r.Old.Path, r.New)
		}
		if err := errors.Join(f.AddRequire(r.Old.Path, version), f.DropReplace(r.Old.Path, r.Old.Version)); err != nil {
			return "", nil, nil, err
		}
	}
	f.Cleanup()
	if mod, err = f.Format(); err != nil {
		return "", nil, nil, err
	}
	top, err := os.MkdirTemp("", "modzip")
	if err != nil {
		return "", nil, nil, err
	}
	clean = func() error { return os.RemoveAll(top) }
	published = filepath.Join(top, "module")
	if err := errors.Join(os.CopyFS(published, os.DirFS(dir)), os.WriteFile(filepath.Join(published, "go.mod"), mod, 0o644)); err != nil {
		return "", nil, nil, errors.Join(err, clean())
	}
	return published, mod, clean, nil
}
