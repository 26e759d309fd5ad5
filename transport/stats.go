package transport

import "sync/atomic"

// Stats counts what a transport has done since it was made. Bytes are those on the wire, headers and handshakes not
// included.
type Stats struct {
	Open                int64  // streams that are open now
	Dialled, Accepted   uint64 // streams opened from here, and from elsewhere
	DialFailed, Refused uint64 // dials that failed, and handshakes that were refused or cut
	FramesIn, FramesOut uint64 // data frames
	BytesIn, BytesOut   uint64
}

// StatsProvider is implemented by transports that count. The TCP transport does.
type StatsProvider interface {
	// Stats returns the counts of now. It is safe for concurrent use.
	Stats() Stats
}

// counters are Stats in the making.
type counters struct {
	open                atomic.Int64
	dialled, accepted   atomic.Uint64
	dialFailed, refused atomic.Uint64
	framesIn, framesOut atomic.Uint64
	bytesIn, bytesOut   atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		Open:    c.open.Load(),
		Dialled: c.dialled.Load(), Accepted: c.accepted.Load(),
		DialFailed: c.dialFailed.Load(), Refused: c.refused.Load(),
		FramesIn: c.framesIn.Load(), FramesOut: c.framesOut.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
	}
}
