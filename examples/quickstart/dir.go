package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hessonite/kv/internal/dircopy"
)

// A directory of this program's has a file of this name: only there is what an earlier run left taken for ours.
const (
	signFile = "QUICKSTART"
	signText = "The nodes of examples/quickstart. The next run with -dir empties them.\n"
)

// leftSuffix is what a copy of a node's directory is called while it is made.
const leftSuffix = ".left"

// prepareDir makes the directory, or takes over what an earlier run left. It refuses any other.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	sign := filepath.Join(dir, signFile)
	if len(list) == 0 {
		return os.WriteFile(sign, []byte(signText), 0o666)
	}
	if b, err := os.ReadFile(sign); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if string(b) != signText {
		return fmt.Errorf("%s is not empty, and not of an earlier run; name an empty directory", dir)
	}
	ours := []string{signFile}
	for _, id := range []string{"n1", "n2", "n3"} {
		ours = append(ours, id, id+leftSuffix)
	}
	for _, f := range list {
		if !slices.Contains(ours, f.Name()) {
			return fmt.Errorf("%s holds %q, which no earlier run made; move it away, or name an empty directory", dir, f.Name())
		}
	}
	return nil
}

// exists reports whether an earlier run left the node's directory.
func exists(dir string) (bool, error) {
	_, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// leave closes a node so that its directory is as it was before: what is in it now is what the death of the process would leave. Nothing
// of what closing writes, and no note that it was closed, gets in there.
func leave(dir string, closeNode func() error) error {
	left := dir + leftSuffix
	if err := os.RemoveAll(left); err != nil { // an earlier run was stopped while it made one
		return err
	}
	err := dircopy.Copy(dir, left)
	if err := errors.Join(err, closeNode()); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(left, dir)
}
