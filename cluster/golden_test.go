package cluster

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file of the present format")

const goldenFile = "testdata/format1.txt"

// TestGolden: what was written by any released version is read for ever, and means the same. A change of the format needs a new
// version number and a golden file beside the old one.
func TestGolden(t *testing.T) {
	var now bytes.Buffer
	line := func(name string, b []byte) { fmt.Fprintf(&now, "%s %s\n", name, hex.EncodeToString(b)) }
	for _, c := range exampleCommands() {
		b, err := EncodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		line(c.Name(), b)
	}
	line("view", EncodeView(exampleView(t)))
	h, err := historyOf(t, 1, 10, 300).Append(Reign{Epoch: 500, ID: ReignID{0xff}, First: 1 << 40, Gap: 7})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := h.AppendBinary(nil)
	line("history", b)
	if *update {
		if err := os.WriteFile(goldenFile, now.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(now.Bytes(), want) {
		t.Errorf("the encoding has changed:\n%swant:\n%s", now.Bytes(), want)
	}
	for text := range strings.Lines(string(want)) {
		name, code, _ := strings.Cut(strings.TrimSpace(text), " ")
		b, err := hex.DecodeString(code)
		if err == nil {
			switch name {
			case "view":
				_, err = DecodeView(b)
			case "history":
				_, _, err = DecodeHistory(b)
			default:
				_, err = DecodeCommand(b)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
