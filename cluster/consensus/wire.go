package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hessonite/kv/cluster"
)

// What coordinators say to each other. A request's head: kind, number, time left (ms), generation. An answer's head: number, code. Their bodies depend
// on the kind, and hold a text or the leader's address when the code is not ok.

type kind byte

const (
	askPropose kind = iota + 1 // body: a command; answer: a view
	askBeat                    // body: a beat; answer: a grant
	askRelease                 // body: a beat
	askLease                   // body: a group; answer: how long its lease may last yet, in ns
	askAdd                     // body: ID and address of a voter
	askRemove                  // body: ID of a voter
	askVoters                  // answer: pairs of ID and address
	askWatch                   // answers: views, until the stream ends
)

type code byte

const (
	codeOK code = iota
	codeNotLeader
	codeError // and above: the index of a sentinel
)

// sentinels are the errors that keep their identity on the way. Their order never changes; new ones go to the end.
var sentinels = []error{
	cluster.ErrInvalid, cluster.ErrStaleCommand, cluster.ErrRefused, cluster.ErrUnknownNode, cluster.ErrUnknownGroup, cluster.ErrSlotOwned,
	cluster.ErrAlive, cluster.ErrFeatureLevel, cluster.ErrUnavailable, cluster.ErrClosed, ErrOtherCluster, ErrProtocol,
}

func codeOf(err error) code {
	for i, s := range sentinels {
		if errors.Is(err, s) {
			return codeError + 1 + code(i)
		}
	}
	return codeError
}

// remote is an error that came from another coordinator.
type remote struct {
	text string
	is   error
}

func (e *remote) Error() string { return e.text }
func (e *remote) Unwrap() error { return e.is }

func errorOf(c code, text string) error {
	e := &remote{text: text, is: cluster.ErrUnavailable} // of an error that is not known here the outcome is not known
	if i := int(c) - int(codeError) - 1; i >= 0 && i < len(sentinels) {
		e.is = sentinels[i]
	}
	return e
}

type request struct {
	kind       kind
	id         uint64
	left       time.Duration
	generation cluster.ID
}

func (r request) head() []byte {
	b := []byte{byte(r.kind)}
	b = binary.LittleEndian.AppendUint64(b, r.id)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.left/time.Millisecond))
	return append(b, r.generation[:]...)
}

const requestHead = 1 + 8 + 8 + 16

func decodeRequest(b []byte) (r request, err error) {
	if len(b) != requestHead {
		return r, fmt.Errorf("%w: a request's head of %d bytes", ErrProtocol, len(b))
	}
	r.kind, r.id = kind(b[0]), binary.LittleEndian.Uint64(b[1:])
	left := binary.LittleEndian.Uint64(b[9:])
	r.left = time.Duration(min(left, uint64(time.Hour/time.Millisecond))) * time.Millisecond
	copy(r.generation[:], b[17:])
	return r, nil
}

func answerHead(id uint64, c code) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, id), byte(c))
}

func decodeAnswer(b []byte) (id uint64, c code, err error) {
	if len(b) != 9 {
		return 0, 0, fmt.Errorf("%w: an answer's head of %d bytes", ErrProtocol, len(b))
	}
	return binary.LittleEndian.Uint64(b), code(b[8]), nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func encodeBeat(v cluster.Beat) []byte {
	b := appendText(nil, string(v.Node.Node))
	b = append(b, v.Node.Store[:]...)
	b = binary.AppendUvarint(b, uint64(v.Incarnation))
	b = append(b, v.Group[:]...)
	b = binary.AppendUvarint(b, uint64(v.Epoch))
	want := byte(0)
	if v.WantLease {
		want = 1
	}
	b = append(b, want)
	b = append(b, v.Sealed.Transition[:]...)
	b = binary.AppendUvarint(b, uint64(v.Sealed.Last))
	b = binary.AppendUvarint(b, uint64(v.Sealed.LSN))
	b = binary.AppendUvarint(b, uint64(v.Sealed.Next))
	return binary.AppendUvarint(b, v.Seq)
}

func decodeBeat(b []byte) (v cluster.Beat, err error) {
	r := reader{b: b}
	v.Node.Node = cluster.NodeID(r.text(cluster.MaxNodeID))
	r.copy(v.Node.Store[:])
	v.Incarnation = cluster.Incarnation(r.uint())
	r.copy(v.Group[:])
	v.Epoch = cluster.Epoch(r.uint())
	var want [1]byte
	r.copy(want[:])
	v.WantLease = want[0] == 1
	r.copy(v.Sealed.Transition[:])
	v.Sealed.Last, v.Sealed.LSN, v.Sealed.Next = cluster.Epoch(r.uint()), cluster.LSN(r.uint()), cluster.LSN(r.uint())
	v.Seq = r.uint()
	return v, r.end()
}

func encodeGrant(g cluster.Grant) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(g.Epoch)), uint64(g.For))
}

func decodeGrant(b []byte) (g cluster.Grant, err error) {
	r := reader{b: b}
	g.Epoch, g.For = cluster.Epoch(r.uint()), time.Duration(min(r.uint(), uint64(cluster.MaxLease)))
	return g, r.end()
}

func encodePeers(list []Peer) []byte {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	for _, p := range list {
		b = appendText(appendText(b, p.ID), p.Addr)
	}
	return b
}

// maxPeers bounds a list of voters.
const maxPeers = 64

func decodePeers(b []byte) (list []Peer, err error) {
	r := reader{b: b}
	n := r.uint()
	if n > maxPeers {
		return nil, fmt.Errorf("%w: %d voters", ErrProtocol, n)
	}
	for range n {
		list = append(list, Peer{ID: r.text(cluster.MaxNodeID), Addr: r.text(cluster.MaxAddr)})
	}
	return list, r.end()
}

// reader reads fields. The first fault sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("%w: cut short", ErrProtocol)
	}
	r.b = nil
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) copy(to []byte) {
	if len(r.b) < len(to) {
		r.fail()
		return
	}
	r.b = r.b[copy(to, r.b):]
}

func (r *reader) text(limit int) string {
	n := r.uint()
	if n > uint64(limit) || n > uint64(len(r.b)) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%w: %d bytes too many", ErrProtocol, len(r.b))
	}
	return r.err
}
