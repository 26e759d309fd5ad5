package alloc

import "runtime"

// Bytes runs f and returns how many bytes of heap were allocated meanwhile, by any goroutine: so the tests that use it do not run in
// parallel with others. It stops the world twice, which takes some ten microseconds.
func Bytes(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
