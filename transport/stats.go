package transport

import "sync/atomic"

// Stats counts what a transport has done since it was made. Bytes are those on the wire, headers and handshakes not
// included.
type Stats struct {
	Open                int64  // streams that are open now
	Dialled, Accepted   uint64 // streams opened from here, and from elsewhere
	DialFailed, Refused uint64 // dials that failed, and connections that were refused or lost in the handshake
	FramesIn, FramesOut uint64 // data frames
	BytesIn, BytesOut   uint64

	// RefusedFor is Refused by reason: RefusedFor[RefusedSlow], and so on.
	RefusedFor [RefusalReasons]uint64
	// Handshakes is how many accepted connections are in the handshake now; at most TCPOptions.MaxHandshakes.
	Handshakes int64
	// AcceptFailed counts connections that could not be accepted: out of file descriptors, most likely.
	AcceptFailed uint64
	// TLSReloaded and TLSReloadFailed count how often TCPOptions.TLSFiles were found changed and taken over, and how often
	// they could not be, so that what was read before still holds.
	TLSReloaded, TLSReloadFailed uint64
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
	dialFailed          atomic.Uint64
	refused             [RefusalReasons]atomic.Uint64
	handshakes          atomic.Int64
	acceptFailed        atomic.Uint64
	reloaded, badReload atomic.Uint64
	framesIn, framesOut atomic.Uint64
	bytesIn, bytesOut   atomic.Uint64
}

func (c *counters) stats() Stats {
	s := Stats{
		Open:    c.open.Load(),
		Dialled: c.dialled.Load(), Accepted: c.accepted.Load(),
		DialFailed: c.dialFailed.Load(),
		FramesIn:   c.framesIn.Load(), FramesOut: c.framesOut.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		Handshakes: c.handshakes.Load(), AcceptFailed: c.acceptFailed.Load(),
		TLSReloaded: c.reloaded.Load(), TLSReloadFailed: c.badReload.Load(),
	}
	for i := range c.refused {
		s.RefusedFor[i] = c.refused[i].Load()
		s.Refused += s.RefusedFor[i]
	}
	return s
}
