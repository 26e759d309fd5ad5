package main

import (
	"os"
	"testing"
)

// TestPageIsCurrent fails when the table and the page for readers have drifted apart.
func TestPageIsCurrent(t *testing.T) {
	const file = "../../docs/states.md"
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page() {
		t.Errorf("%s does not show the tables of package replica any more: run go generate ./replica", file)
	}
}
