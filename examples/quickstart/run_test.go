package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

const testFiles = 600

// sources is a small input.
func sources(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range testFiles {
		write(t, filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("f%d", i)), bytes.Repeat([]byte{byte(i)}, 100+i*3))
	}
	return dir
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

func play(t *testing.T, c config) {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), &out, c); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"600 files", "recovering: true", "keys: 0: what it was before", `greeting = "hello"`, "every byte on n2 is verified", "Joining", "Following"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// The whole story, on both networks, in memory and on disk.
func TestStory(t *testing.T) {
	src := sources(t)
	for name, c := range map[string]config{"TCP": {}, "in process": {inProcess: true}, "on disk": {dir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			c.src = src
			play(t, c)
		})
	}
}

// The primary that was killed has left what a dead process leaves: a directory that was not closed, with everything in it. The next run takes it over.
func TestKilledOnDisk(t *testing.T) {
	c := config{inProcess: true, dir: filepath.Join(t.TempDir(), "new"), src: sources(t)}
	play(t, c)
	for id, clean := range map[string]bool{"n1": false, "n2": true, "n3": true} {
		meta, err := os.ReadFile(filepath.Join(c.dir, id, "META"))
		if want := fmt.Sprintf(`"Clean": %v`, clean); err != nil || !bytes.Contains(meta, []byte(want)) {
			t.Errorf("%s: no %s in its META, %v:\n%s", id, want, err, meta)
		}
	}
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	network := transport.NewNetwork().Node("n1")
	defer network.Close()
	n, err := kv.Open(t.Context(), kv.Options{ID: "n1", Dir: filepath.Join(c.dir, "n1"), Transport: network, Coordinator: coordinator})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Status().Keys; got != testFiles {
		t.Errorf("n1 was killed with %d keys, and has %d", testFiles, got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	play(t, c)
}

// What is not ours is refused, and stays.
func TestForeignDirectory(t *testing.T) {
	refused := func(dir, what string) {
		t.Helper()
		err := run(t.Context(), &bytes.Buffer{}, config{inProcess: true, dir: dir, src: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "name an empty directory") {
			t.Errorf("%s: %v, which does not say %q", dir, err, what)
		}
	}
	kept := func(name string) {
		t.Helper()
		if b, err := os.ReadFile(name); err != nil || string(b) != "dear" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	letters := filepath.Join(t.TempDir(), "letters")
	write(t, letters, []byte("dear"))
	refused(filepath.Dir(letters), "not of an earlier run")
	kept(letters)

	node := filepath.Join(t.TempDir(), "n1", "letters") // a directory may have that name for another reason
	write(t, node, []byte("dear"))
	refused(filepath.Dir(filepath.Dir(node)), "not of an earlier run")
	kept(node)

	ours := t.TempDir()
	if err := prepareDir(ours); err != nil {
		t.Fatal(err)
	}
	letters = filepath.Join(ours, "letters")
	write(t, letters, []byte("dear"))
	refused(ours, `"letters"`)
	kept(letters)
}
