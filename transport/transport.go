package transport

import (
	"context"
	"unsafe"

	"github.com/hessonite/kv/cluster"
)

// Protocol names what a stream is for; the accepting side has one handler for each. It is at most 64 bytes of
// printable ASCII.
type Protocol string

// Peer is the other end of a stream.
type Peer struct {
	ID   cluster.NodeID // "" if it is not known yet; when given to Dial, the other end must bear it
	Addr string
}

// Transport connects nodes. All methods are safe for concurrent use.
type Transport interface {
	// Addr is the address that others dial, as advertised.
	Addr() string
	// Dial opens a stream to a peer. It returns when the peer has accepted the stream for that protocol: errors match
	// ErrUnreachable, ErrWrongPeer, ErrWrongCluster, ErrVersion, ErrNoHandler, ErrClosed or the context's error.
	// ctx bounds Dial only, not the stream.
	Dial(ctx context.Context, to Peer, p Protocol) (Stream, error)
	// Handle sets the handler of a protocol; it runs in a goroutine of its own for each accepted stream, which is
	// closed when the handler returns. remove takes the handler away, closes the streams that it accepted and waits for
	// the running handlers. A second Handle for a protocol replaces the first for new streams.
	Handle(p Protocol, h func(Stream)) (remove func())
	// Close closes the listener and every stream, and waits for handlers. It is idempotent.
	Close() error
}

// Stream carries frames in order, without silent loss: a frame that Send took either arrives, after all those before it,
// or the stream breaks for both ends. One goroutine may send while another receives; neither Send nor Recv is for two
// goroutines at once. Close may be called by anyone at any time and makes both return.
type Stream interface {
	// Send owns the frame's bytes from the call on, also when it fails: nobody may change them any more. It blocks while the peer
	// is slow. A Send that was cancelled leaves the stream broken.
	Send(ctx context.Context, f Frame) error
	// Recv returns the next frame, or io.EOF after the peer's CloseWrite. A Recv that was cancelled leaves the stream usable.
	Recv(ctx context.Context) (Frame, error)
	// Peer is the other end, its ID as verified by the handshake.
	Peer() Peer
	// CloseWrite tells the peer that no more frames follow.
	CloseWrite() error
	// Close ends the stream; frames in flight may be lost, except after CloseWrite: then what was sent still arrives at a
	// peer that goes on receiving. It is idempotent.
	Close() error
}

// TrySender is implemented by streams that can tell whether Send would wait. Others are used without it.
type TrySender interface {
	Stream
	// TrySend is Send if that need not wait: it reports whether it took the frame, and waits for nothing. It is for any number of
	// goroutines at once, also beside one that sends. False says that the stream is full or broken, or the frame too large, and that
	// the frame is still the caller's.
	TrySend(f Frame) bool
}

// Frame is one message: a small head and an optional body, so that bulk bytes can be sent from where they lie. The two
// arrive as they were sent.
type Frame struct {
	Head []byte
	Body []byte

	release func()
	sum     uint32 // CRC-32C of the length bytes at summed: of Body, as long as nobody has put another slice there
	length  uint32
	summed  *byte
}

// NewFrame makes a frame whose Release calls release once. Transports use it; senders write Frame{Head: …, Body: …}.
func NewFrame(head, body []byte, release func()) Frame {
	return Frame{Head: head, Body: body, release: release}
}

// Release gives the buffers of a received frame back to the transport; Head and Body must not be used afterwards. It is
// optional: a receiver that wants to keep the bytes does not call it, and owns them.
func (f *Frame) Release() {
	if r := f.release; r != nil {
		f.release = nil
		r()
	}
}

// SetBodySum tells that the CRC-32C (Castagnoli) of Body is sum. A sender that knows it, because it needs it anyway, spares the transport
// to compute it again. With a wrong one the frame is corrupt for the peer. It holds for Body as it is: a frame that gets another
// one has no sum.
func (f *Frame) SetBodySum(sum uint32) {
	f.sum, f.length, f.summed = sum, uint32(len(f.Body)), unsafe.SliceData(f.Body)
}

// BodySum is the CRC-32C of Body, if it is known. Of a received frame it is one by which the transport has verified Body, or, where
// Body is the very memory that was sent, the sender's: whoever needs a checksum of what has arrived need not compute another.
func (f *Frame) BodySum() (sum uint32, ok bool) {
	ok = f.summed != nil && f.summed == unsafe.SliceData(f.Body) && int(f.length) == len(f.Body)
	return f.sum, ok
}

// Len is the number of bytes that the frame carries.
func (f *Frame) Len() int { return len(f.Head) + len(f.Body) }
