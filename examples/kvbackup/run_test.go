package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kv "github.com/hessonite/kv"
)

// backups writes a full backup, and an incremental one, and returns their names and versions.
func backups(t *testing.T, n *kv.Node, dir string) (names []string, versions []kv.Version) {
	t.Helper()
	since := kv.Version{}
	for i := range 2 {
		for j := range 100 {
			if err := n.Set(t.Context(), fmt.Appendf(nil, "key %d of %d", j, i), []byte("value")); err != nil {
				t.Fatal(err)
			}
		}
		var b bytes.Buffer
		v, err := n.Backup(t.Context(), &b, since)
		if err != nil {
			t.Fatal(err)
		}
		names, versions, since = append(names, write(t, dir, fmt.Sprintf("backup-%d", i), b.Bytes())), append(versions, v), v
	}
	return names, versions
}

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T) *kv.Node {
	t.Helper()
	n, err := kv.Open(t.Context(), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// want runs the program, and looks for the texts in what it says.
func want(t *testing.T, status int, args []string, out, errs []string) {
	t.Helper()
	var o, e bytes.Buffer
	if got := run(args, &o, &e); got != status {
		t.Errorf("%v: exit status %d, want %d\n%s%s", args, got, status, o.String(), e.String())
	}
	for _, text := range out {
		if !strings.Contains(o.String(), text) {
			t.Errorf("%v: %q is missing in\n%s", args, text, o.String())
		}
	}
	for _, text := range errs {
		if !strings.Contains(e.String(), text) {
			t.Errorf("%v: %q is missing in\n%s", args, text, e.String())
		}
	}
}

func TestWholeFiles(t *testing.T) {
	n := open(t)
	names, versions := backups(t, n, t.TempDir())
	group := n.Status().Group.String()
	want(t, 0, []string{"verify", names[0]}, []string{"whole", group, "0-16383 (16384 of 16384)", "1 reigns, epoch 1", "full", "LSN      100",
		versions[0].String(), "100 records", "256 shards"}, nil)
	want(t, 0, append([]string{"verify"}, names...), []string{"incremental, since LSN 100", "LSN      200", versions[1].String(), "chain    fits"}, nil)
	want(t, 0, []string{"info", names[1]}, []string{"not verified", group, "incremental, since LSN 100", "LSN      200", "  expected "}, nil)
	want(t, 0, []string{"verify", names[1], names[0]}, []string{"does not fit on the one before: it is older"}, nil)
	others, _ := backups(t, open(t), t.TempDir())
	want(t, 0, []string{"verify", names[0], others[1]}, []string{"another group"}, nil)
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	names, _ := backups(t, open(t), dir)
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	cut := write(t, dir, "cut", b[:len(b)/2])
	want(t, 1, []string{"verify", cut}, nil, []string{cut + ": at byte ", "section ", "cut off"})
	flipped := bytes.Clone(b)
	flipped[len(b)-3] ^= 4
	bad := write(t, dir, "flipped", flipped)
	want(t, 1, []string{"verify", bad, names[0]}, []string{names[0] + ": whole"}, []string{bad + ": at byte ", "corrupt section"})
	want(t, 0, []string{"info", bad}, []string{"not verified"}, nil)
	text := write(t, dir, "text", []byte("this is some other file that somebody took for a backup of something"))
	for _, command := range []string{"verify", "info"} {
		want(t, 1, []string{command, text}, nil, []string{text + ": at byte 0, section 0: ", "not a checkpoint"})
		want(t, 1, []string{command, filepath.Join(dir, "absent")}, nil, []string{"absent: "})
	}
	want(t, 1, []string{"verify", write(t, dir, "empty", nil)}, nil, []string{"empty: at byte 0"})
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"verify"}, {"info"}, {"info", "a", "b"}, {"restore", "a"}} {
		want(t, 2, args, nil, []string{"usage:"})
	}
}
