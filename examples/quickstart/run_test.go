package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The whole story, on a small input, on both networks.
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
	for _, inProcess := range []bool{false, true} {
		t.Run(fmt.Sprintf("in-process=%v", inProcess), func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), &out, config{inProcess: inProcess, src: dir}); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, want := range []string{"600 files", "recovering: true", "what it was before", `greeting = "hello"`, "every byte on n2 is verified", "Joining", "Following"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, out.String())
				}
			}
		})
	}
}
