package main

import (
	"os"
	"testing"
)

// TestPageIsCurrent fails when what the collector shows and the page for readers have drifted apart.
func TestPageIsCurrent(t *testing.T) {
	const file = "../../docs/metrics.md"
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page() {
		t.Errorf("%s does not show the metrics of package kvprom any more: run go generate in kvprom", file)
	}
}
