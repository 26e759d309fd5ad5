package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hessonite/kv/cluster"
)

// The handshake is one message each way, before the first frame:
//
//	magic "HSTP" | length uint16 | CRC-32C of the payload uint32 | payload
//
// All numbers are big endian; a string is a length (uint16) and its bytes. This envelope never changes, so that each
// version can tell every other why it refuses. Fields are only ever added at the payload's end; a reader
// ignores what follows those that it knows.
const (
	handshakeMagic   = "HSTP"
	handshakeHeader  = 10
	maxHandshake     = 4096
	maxHandshakeName = 255 // of a node, a cluster, an address
	maxHandshakeText = 1024
)

// Versions of the frame format that this package speaks.
const (
	oldestVersion = 1
	newestVersion = 1
)

// errForeign is why a handshake failed at an end that does not speak the protocol at all.
var errForeign = errors.New("it does not speak this protocol")

// errSpeaksTLS is why a handshake without TLS failed with one that uses it.
var errSpeaksTLS = errors.New("it speaks TLS, this end does not: set TLS at both or at neither")

// errWantsTLS is the opposite.
var errWantsTLS = errors.New("it does not speak TLS, this end does: set TLS at both or at neither")

// hello is what the dialling end says.
type hello struct {
	oldest, newest uint16
	maxFrame       uint32
	idle           time.Duration // how long it bears silence; in milliseconds on the wire
	cluster        string
	node           cluster.NodeID // who is dialling
	addr           string         // where it can be dialled
	want           cluster.NodeID // who shall answer; "" for anyone
	proto          Protocol
}

// answerCode says how a hello was taken.
type answerCode uint8

const (
	answerOK answerCode = iota
	answerWrongPeer
	answerWrongCluster
	answerVersion
	answerNoHandler
	answerBusy    // too many streams
	answerInvalid // the hello was malformed
)

// err is the error that a code is for the dialling end. Codes of later versions are ErrUnreachable like answerBusy.
func (c answerCode) err() error {
	switch c {
	case answerOK:
		return nil
	case answerWrongPeer:
		return ErrWrongPeer
	case answerWrongCluster:
		return ErrWrongCluster
	case answerVersion:
		return ErrVersion
	case answerNoHandler:
		return ErrNoHandler
	}
	return ErrUnreachable
}

// answer is what the accepting end says.
type answer struct {
	code     answerCode
	version  uint16 // chosen
	maxFrame uint32
	idle     time.Duration
	node     cluster.NodeID
	text     string // why not, for people
}

func (h *hello) encode() []byte {
	b := make([]byte, handshakeHeader, 256)
	b = binary.BigEndian.AppendUint16(b, h.oldest)
	b = binary.BigEndian.AppendUint16(b, h.newest)
	b = binary.BigEndian.AppendUint32(b, h.maxFrame)
	b = binary.BigEndian.AppendUint32(b, millis(h.idle))
	b = appendText(b, h.cluster, maxHandshakeName)
	b = appendText(b, string(h.node), maxHandshakeName)
	b = appendText(b, h.addr, maxHandshakeName)
	b = appendText(b, string(h.want), maxHandshakeName)
	b = appendText(b, string(h.proto), maxProtocol)
	return seal(b)
}

func decodeHello(payload []byte) (hello, error) {
	d := handshakeDecoder{b: payload}
	h := hello{oldest: d.uint16(), newest: d.uint16(), maxFrame: d.uint32()}
	h.idle = time.Duration(d.uint32()) * time.Millisecond
	h.cluster = d.text(maxHandshakeName)
	h.node = cluster.NodeID(d.text(maxHandshakeName))
	h.addr = d.text(maxHandshakeName)
	h.want = cluster.NodeID(d.text(maxHandshakeName))
	h.proto = Protocol(d.text(maxProtocol))
	if d.err != nil {
		return hello{}, fmt.Errorf("malformed hello: %w", d.err)
	}
	if h.node == "" || h.oldest > h.newest || !h.proto.valid() {
		return hello{}, fmt.Errorf("malformed hello: node %q, versions %d to %d, protocol %q", h.node, h.oldest, h.newest, h.proto)
	}
	return h, nil
}

func (a *answer) encode() []byte {
	b := make([]byte, handshakeHeader, 128)
	b = append(b, byte(a.code))
	b = binary.BigEndian.AppendUint16(b, a.version)
	b = binary.BigEndian.AppendUint32(b, a.maxFrame)
	b = binary.BigEndian.AppendUint32(b, millis(a.idle))
	b = appendText(b, string(a.node), maxHandshakeName)
	b = appendText(b, a.text, maxHandshakeText)
	return seal(b)
}

func decodeAnswer(payload []byte) (answer, error) {
	d := handshakeDecoder{b: payload}
	a := answer{code: answerCode(d.uint8()), version: d.uint16(), maxFrame: d.uint32()}
	a.idle = time.Duration(d.uint32()) * time.Millisecond
	a.node = cluster.NodeID(d.text(maxHandshakeName))
	a.text = d.text(maxHandshakeText)
	if d.err != nil {
		return answer{}, fmt.Errorf("malformed answer: %w", d.err)
	}
	return a, nil
}

// seal fills in the envelope in front of the payload.
func seal(b []byte) []byte {
	payload := b[handshakeHeader:]
	copy(b, handshakeMagic)
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	binary.BigEndian.PutUint32(b[6:], crc32.Checksum(payload, castagnoli))
	return b
}

// readHandshake reads one message and returns its payload.
func readHandshake(r io.Reader) ([]byte, error) {
	var head [handshakeHeader]byte
	if n, err := io.ReadFull(r, head[:len(handshakeMagic)]); err != nil {
		return nil, fmt.Errorf("handshake cut after %d bytes: %w", n, err)
	}
	if kind := head[0]; head[1] == 3 && (kind == 0x15 || kind == 0x16) { // a TLS record: an alert, or its handshake
		return nil, errSpeaksTLS
	}
	if string(head[:len(handshakeMagic)]) != handshakeMagic {
		return nil, fmt.Errorf("%w: greeting begins with %q", errForeign, head[:len(handshakeMagic)])
	}
	if _, err := io.ReadFull(r, head[len(handshakeMagic):]); err != nil {
		return nil, fmt.Errorf("handshake cut in its header: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[4:]))
	if n > maxHandshake {
		return nil, fmt.Errorf("handshake of %d bytes, at most %d: %w", n, maxHandshake, ErrTooLarge)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, fmt.Errorf("handshake cut in its payload: %w", err)
	}
	if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(head[6:]) {
		return nil, fmt.Errorf("handshake: %w", ErrCorrupt)
	}
	return payload, nil
}

// chooseVersion is the newest version that both ends speak; false when there is none.
func chooseVersion(oldest, newest uint16, h hello) (uint16, bool) {
	v := min(newest, h.newest)
	return v, v >= max(oldest, h.oldest)
}

// millis is d in whole milliseconds, as far as 32 bits go.
func millis(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), 1<<32-1))
}

// appendText appends a string, cut at its limit.
func appendText(b []byte, s string, limit int) []byte {
	s = s[:min(len(s), limit)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// handshakeDecoder reads fields until one is missing.
type handshakeDecoder struct {
	b   []byte
	err error
}

func (d *handshakeDecoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = io.ErrUnexpectedEOF
	}
	if d.err != nil {
		return make([]byte, min(n, 4))
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *handshakeDecoder) uint8() uint8   { return d.take(1)[0] }
func (d *handshakeDecoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *handshakeDecoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }

func (d *handshakeDecoder) text(limit int) string {
	n := int(d.uint16())
	if d.err == nil && n > limit {
		d.err = fmt.Errorf("a string of %d bytes, at most %d", n, limit)
	}
	if d.err != nil {
		return ""
	}
	return string(d.take(n))
}
