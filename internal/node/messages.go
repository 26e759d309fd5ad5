package node

import (
	"fmt"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// The protocols that nodes speak to each other.
const (
	protoReplicate  transport.Protocol = "replicate"  // a replica's link: offer, answer, log, acknowledgements
	protoCheckpoint transport.Protocol = "checkpoint" // shards of one round of an attempt
	protoRequest    transport.Protocol = "request"    // forwarded reads and writes
)

// messageKind is the first byte of a frame's head on a replication link.
type messageKind uint8

const (
	msgOffer   messageKind = iota + 1 // replica: what it has
	msgAnswer                         // primary: what it will send
	msgRefuse                         // primary: why not
	msgLog                            // primary: entries of the log, in the body
	msgBeat                           // primary: its log's end and commit point
	msgBehind                         // primary: the log does not reach back; offer anew
	msgAck                            // replica: how far its base has come
	msgProbe                          // replica: answer with a beat (staleness)
	msgHello                          // replica: only asks whether an offer would be heard
	msgWelcome                        // primary: it would
)

// stamp binds a message to one attempt between two incarnations in one epoch. A message with another stamp than its link's
// is dropped and counted.
type stamp struct {
	Group    cluster.GroupID
	Epoch    cluster.Epoch
	From, To cluster.Incarnation
	Attempt  replica.Attempt
}

func (e *encoder) stamp(s stamp) {
	e.id(s.Group)
	e.u64(uint64(s.Epoch))
	e.u64(uint64(s.From))
	e.u64(uint64(s.To))
	e.u64(uint64(s.Attempt))
}

func (d *decoder) stamp() stamp {
	return stamp{Group: d.id(), Epoch: cluster.Epoch(d.u64()), From: cluster.Incarnation(d.u64()), To: cluster.Incarnation(d.u64()),
		Attempt: replica.Attempt(d.u64())}
}

// offer says what a replica has: its base, and its staging store if an earlier attempt of the same group left one.
type offer struct {
	stamp
	Member  cluster.MemberID
	HasBase bool // a base of the group's history; otherwise Base and Changed are empty
	Base    storage.Base
	Changed storage.ShardLSNs
	// Staging: a staging store with this history and these positions.
	Staging   bool
	History   cluster.History
	Positions [cluster.NumShards]storage.StagePosition
}

func (o *offer) encode() []byte {
	var e encoder
	e.u8(uint8(msgOffer))
	e.stamp(o.stamp)
	e.str(string(o.Member.Node))
	e.id(o.Member.Store)
	e.bool(o.HasBase)
	if o.HasBase {
		e.history(o.Base.History)
		e.u64(uint64(o.Base.LSN))
		for _, lsn := range o.Changed {
			e.uvar(uint64(lsn))
		}
	}
	e.bool(o.Staging)
	if o.Staging {
		e.history(o.History)
		for _, p := range o.Positions {
			e.u8(uint8(p.Kind))
			e.uvar(uint64(p.LSN))
			e.bool(p.Complete)
			e.bytes(p.Token)
		}
	}
	return e.b
}

func decodeOffer(d *decoder) (*offer, error) {
	o := &offer{stamp: d.stamp()}
	o.Member = cluster.MemberID{Node: cluster.NodeID(d.str()), Store: d.id()}
	if o.HasBase = d.bool(); o.HasBase {
		o.Base.History = d.history()
		o.Base.LSN = cluster.LSN(d.u64())
		for i := range o.Changed {
			o.Changed[i] = cluster.LSN(d.uvar())
		}
	}
	if o.Staging = d.bool(); o.Staging {
		o.History = d.history()
		for i := range o.Positions {
			p := &o.Positions[i]
			if p.Kind = storage.StageKind(d.u8()); p.Kind > storage.StageFull {
				d.fail("unknown kind of staging")
			}
			p.LSN, p.Complete = cluster.LSN(d.uvar()), d.bool()
			p.Token = append([]byte(nil), d.bytes()...)
		}
	}
	return o, d.end()
}

// plan is what the primary will do about one shard.
type plan struct {
	Kind   storage.StageKind
	Stream bool        // something is to be streamed: a whole stream, or the rest of one
	Resume bool        // the rest: behind the token that was offered
	Above  cluster.LSN // delta: what the replica has already
}

// answer says what the primary will send.
type answer struct {
	stamp
	History cluster.History
	InPlace bool        // all log, on top of the base; the staging store is of no use
	Keep    bool        // the staging store that was offered is built upon; otherwise it begins anew
	LogFrom cluster.LSN // the log will be sent from the entry after this one, if nothing is streamed
	End     cluster.LSN // the log's end now
	Streams uint8       // number of checkpoint streams to open; 0: nothing is streamed
	Round   uint64      // to be named when they are opened
	Bytes   int64       // expected in this round; an estimate
	Entries int64
	Plans   [cluster.NumShards]plan
}

func (a *answer) encode() []byte {
	var e encoder
	e.u8(uint8(msgAnswer))
	e.stamp(a.stamp)
	e.history(a.History)
	e.bool(a.InPlace)
	e.bool(a.Keep)
	e.u64(uint64(a.LogFrom))
	e.u64(uint64(a.End))
	e.u8(a.Streams)
	e.u64(a.Round)
	e.uvar(uint64(max(a.Bytes, 0)))
	e.uvar(uint64(max(a.Entries, 0)))
	for _, p := range a.Plans {
		e.u8(uint8(p.Kind))
		e.bool(p.Stream)
		e.bool(p.Resume)
		e.uvar(uint64(p.Above))
	}
	return e.b
}

func decodeAnswer(d *decoder) (*answer, error) {
	a := &answer{stamp: d.stamp(), History: d.history(), InPlace: d.bool(), Keep: d.bool(), LogFrom: cluster.LSN(d.u64()),
		End: cluster.LSN(d.u64()), Streams: d.u8(), Round: d.u64(), Bytes: int64(d.uvar()), Entries: int64(d.uvar())}
	for i := range a.Plans {
		p := &a.Plans[i]
		if p.Kind = storage.StageKind(d.u8()); p.Kind > storage.StageFull {
			d.fail("unknown kind of staging")
		}
		p.Stream, p.Resume, p.Above = d.bool(), d.bool(), cluster.LSN(d.uvar())
	}
	if a.Bytes < 0 || a.Entries < 0 {
		d.fail("negative size")
	}
	return a, d.end()
}

// refusal is why a primary does not answer an offer.
type refusal struct {
	stamp
	Code refuseCode
	Text string
}

type refuseCode uint8

const (
	refuseNotPrimary refuseCode = iota + 1 // no longer, or not yet: look at the view and try again
	refuseEpoch                            // another epoch
	refuseNotMember                        // the view that the primary knows does not list the replica (yet)
	refuseFault                            // the primary failed
)

func (r *refusal) encode() []byte {
	var e encoder
	e.u8(uint8(msgRefuse))
	e.stamp(r.stamp)
	e.u8(uint8(r.Code))
	e.str(r.Text)
	return e.b
}

func decodeRefusal(d *decoder) (*refusal, error) {
	r := &refusal{stamp: d.stamp(), Code: refuseCode(d.u8()), Text: d.str()}
	return r, d.end()
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the primary refused the offer: %s", r.Text)
}

// beat is the head of msgBeat and msgLog: where the primary stands. Echo is the probe that it answers, or 0.
type beat struct {
	stamp
	End    cluster.LSN
	Commit cluster.LSN
	Behind int64  // bytes of log between what was sent and the end; with a msgBeat, of what waits for its turn (SyncBytesPerSecond)
	Echo   uint64 // of the last probe; the lease was valid after it was received
}

func (m *beat) encode(kind messageKind) []byte {
	e := encoder{b: make([]byte, 0, 96)}
	e.u8(uint8(kind))
	e.stamp(m.stamp)
	e.u64(uint64(m.End))
	e.u64(uint64(m.Commit))
	e.uvar(uint64(max(m.Behind, 0)))
	e.u64(m.Echo)
	return e.b
}

func decodeBeat(d *decoder) (beat, error) {
	m := beat{stamp: d.stamp(), End: cluster.LSN(d.u64()), Commit: cluster.LSN(d.u64()), Behind: int64(d.uvar()), Echo: d.u64()}
	return m, d.end()
}

// ack is the head of msgAck and msgProbe: how far the base of the replica has come. Never a staging store.
type ack struct {
	stamp
	LSN    cluster.LSN
	InStep bool // Following: may be taken into the in-sync set
	Probe  uint64
}

func (m *ack) encode(kind messageKind) []byte {
	e := encoder{b: make([]byte, 0, 80)}
	e.u8(uint8(kind))
	e.stamp(m.stamp)
	e.u64(uint64(m.LSN))
	e.bool(m.InStep)
	e.u64(m.Probe)
	return e.b
}

func decodeAck(d *decoder) (ack, error) {
	m := ack{stamp: d.stamp(), LSN: cluster.LSN(d.u64()), InStep: d.bool(), Probe: d.u64()}
	return m, d.end()
}

// stampOnly is the head of messages that say nothing more.
func stampOnly(kind messageKind, s stamp) []byte {
	var e encoder
	e.u8(uint8(kind))
	e.stamp(s)
	return e.b
}

// openStream is the first frame on a checkpoint stream, from the replica.
type openStream struct {
	stamp
	Round uint64
	Index uint8
}

func (o *openStream) encode() []byte {
	var e encoder
	e.stamp(o.stamp)
	e.u64(o.Round)
	e.u8(o.Index)
	return e.b
}

func decodeOpenStream(b []byte) (openStream, error) {
	d := decoder{b: b}
	o := openStream{stamp: d.stamp(), Round: d.u64(), Index: d.u8()}
	return o, d.end()
}
