package alloc

import "runtime/metrics"

// Slack is how many bytes Bytes may be wrong by: small objects are counted when the runtime gives out a new span for their size, which
// may be earlier or later than they are allocated. There are some seventy sizes, with spans of 8 KiB and more.
const Slack = 1 << 20

// Bytes runs f and returns how many bytes of heap were allocated meanwhile, give or take Slack, by any goroutine: so the tests that use
// it do not run in parallel with others. It takes about a microsecond; runtime.ReadMemStats is exact but stops the world and waits for
// the garbage collector, which makes fuzzing less than half as fast.
func Bytes(f func()) uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	before := s[0].Value.Uint64()
	f()
	metrics.Read(s)
	return s[0].Value.Uint64() - before
}
