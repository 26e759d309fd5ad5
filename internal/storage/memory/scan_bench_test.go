//go:build unix

package memory

import (
	"testing"
)

// BenchmarkScanAll walks all slots of an engine of 1,000,000 entries, page by page: "first" when nothing is sorted yet, "again" when all is.
func BenchmarkScanAll(b *testing.B) {
	e := New(Options{})
	fillEngine(b, e, benchKeys, 100)
	scan := func() {
		if n := scanAll(b, e); n != benchKeys {
			b.Fatalf("%d entries of %d", n, benchKeys)
		}
	}
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/entry")
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			unsortAll(e)
			b.StartTimer()
			scan()
		}
		report(b)
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		scan()
		for b.Loop() {
			scan()
		}
		report(b)
	})
}
