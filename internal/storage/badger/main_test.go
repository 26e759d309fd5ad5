package badger

import (
	"flag"
	"os"
	"testing"
)

// TestMain also is the main of the processes that the crash tests kill. Databases take time to open, so package rapid draws fewer
// cases than it would, unless it is told how many.
func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		child(arg)
		return
	}
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "rapid.checks" })
	if !set {
		checks := "15"
		if testing.Short() {
			checks = "3"
		}
		if err := flag.Set("rapid.checks", checks); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
