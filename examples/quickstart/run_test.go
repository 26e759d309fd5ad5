package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The whole story, on a small input: on both networks, in memory and on disk.
func TestStory(t *testing.T) {
	dir := t.TempDir()
	for i := range 600 {
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 100+i*3), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]config{"TCP": {}, "in process": {inProcess: true}, "on disk": {dir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c.src = dir
			if err := run(t.Context(), &out, c); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if c.dir != "" {
				if err := run(t.Context(), &out, c); err == nil || !strings.Contains(err.Error(), "there already") {
					t.Errorf("a second run in one directory: %v", err)
				}
			}
			for _, want := range []string{"600 files", "recovering: true", "what it was before", `greeting = "hello"`, "every byte on n2 is verified", "Joining", "Following"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, out.String())
				}
			}
		})
	}
}
