// Package yield lets a goroutine that gathers work of others, to do it at once, give these their turn first: what is about to be ready is ready then.
//
// A yield puts the caller behind every goroutine that can run. If these are short, that costs a microsecond, and one frame or one write to a socket
// or a disk carries many requests instead of one. But the application around this library may compute: each such goroutine keeps its processor for 10 ms, until
// the scheduler takes it away, and a yield costs as much. So after one that took long the next ones are left out, for ten times as long.
package yield
