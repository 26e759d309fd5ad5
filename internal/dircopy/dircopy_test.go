package dircopy

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCopy(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	files := map[string][]byte{
		"empty":   nil,
		"short":   []byte("x"),
		"hole":    make([]byte, 3<<20+5),
		"sub/mix": append(make([]byte, 2<<20), bytes.Repeat([]byte("y"), 2<<20)...),
	}
	if err := os.Mkdir(filepath.Join(from, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(from, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Copy(from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
	}
	if err := Copy(filepath.Join(from, "nothing"), to); err != nil {
		t.Errorf("copy of what is gone: %v", err)
	}
}
