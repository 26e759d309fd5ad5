package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// checkpointStreams is how many streams carry the shards of one round side by side, at most.
const checkpointStreams = 2

// streams is how many they are here. Each keeps a processor busy, and half of them are for others.
func streams() uint8 {
	return uint8(min(max(runtime.GOMAXPROCS(0)/2, 1), checkpointStreams))
}

// round is what one answer promised to stream. The replica opens the streams.
type round struct {
	id     uint64
	ans    *answer
	offer  *offer
	begun  time.Time
	sent   atomic.Int64 // bytes
	served [checkpointStreams]atomic.Bool
}

// standing is how far one shard of a replica has come, seen from the primary.
type standing struct {
	kind     storage.StageKind
	complete bool
	lsn      cluster.LSN // complete: everything up to here is there
	resume   bool        // incomplete, with a token
}

// decide answers an offer: per shard full, delta or nothing but the log. With F the end of the common history: a shard with a change
// above F is sent whole; if the ring holds everything above what the others have, they take the log; else each takes a delta if
// the horizon allows it.
func (n *Node) decide(s *session, o *offer) *answer {
	floor, end := n.ring.bounds()
	base := n.engine.Base()
	a := &answer{stamp: s.stamp, History: base.History, End: end}
	f := cluster.LSN(0)
	if o.HasBase {
		f = base.History.Common(o.Base.History, end, o.Base.LSN)
	}
	if o.HasBase && o.Base.LSN <= f && floor <= o.Base.LSN && unchangedAbove(&o.Changed, f) {
		a.InPlace, a.LogFrom = true, o.Base.LSN
		s.pin(a.LogFrom)
		n.counters.syncKind(storage.StageLog)
		return a
	}
	stands := standings(o, f, base.History, end)
	a.Keep = o.Staging
	low := end
	for _, st := range stands {
		if st.complete {
			low = min(low, st.lsn)
		}
	}
	horizons, stats := n.engine.Horizons(), n.engine.Stats()
	logOK := floor <= low
	full := 0
	for i, st := range stands {
		p := &a.Plans[i]
		switch {
		case st.complete && logOK:
			p.Kind = st.kind
		case st.complete && horizons[i] <= st.lsn:
			*p = plan{Kind: storage.StageDelta, Stream: true, Above: st.lsn}
		case st.resume:
			*p = plan{Kind: st.kind, Stream: true, Resume: true}
			if st.kind == storage.StageDelta {
				p.Above = min(o.Base.LSN, f)
			}
		default:
			*p = plan{Kind: storage.StageFull, Stream: true}
		}
		if p.Stream {
			a.Streams = streams()
			if p.Kind == storage.StageFull {
				full++
			}
		}
	}
	a.LogFrom = low
	s.pin(low)
	if a.Streams > 0 {
		a.Bytes = stats.LiveBytes * int64(full) / cluster.NumShards
		a.Entries = stats.Entries * int64(full) / cluster.NumShards
		n.startRound(s, o, a)
	}
	switch {
	case full > 0:
		n.counters.syncKind(storage.StageFull)
	case a.Streams > 0:
		n.counters.syncKind(storage.StageDelta)
	default:
		n.counters.syncKind(storage.StageLog)
	}
	return a
}

func unchangedAbove(changed *storage.ShardLSNs, f cluster.LSN) bool {
	for _, lsn := range changed {
		if lsn > f {
			return false
		}
	}
	return true
}

// standings reads an offer: what of each shard can be built upon.
func standings(o *offer, f cluster.LSN, own cluster.History, end cluster.LSN) (out [cluster.NumShards]standing) {
	staged := cluster.LSN(0)
	if o.Staging {
		top := cluster.LSN(0)
		for i := range o.Positions {
			top = max(top, o.Positions[i].LSN)
		}
		staged = own.Common(o.History, end, top)
	}
	for i := range out {
		st := &out[i]
		if o.HasBase && o.Changed[i] <= f {
			*st = standing{kind: storage.StageLog, complete: true, lsn: min(o.Base.LSN, f)}
		}
		p := &o.Positions[i]
		if !o.Staging || p.LSN > staged {
			continue
		}
		switch {
		case p.Kind == storage.StageFull || (p.Kind == storage.StageDelta && st.complete):
			if p.Complete {
				*st = standing{kind: p.Kind, complete: true, lsn: p.LSN}
			} else if len(p.Token) > 0 {
				*st = standing{kind: p.Kind, resume: true}
			} else if p.Kind == storage.StageFull {
				*st = standing{}
			}
		case p.Kind == storage.StageLog && st.complete:
			st.lsn = max(st.lsn, p.LSN) // the log was replayed on top of it in the staging store
		}
	}
	return out
}

// startRound makes the answer's streams known, and slows writers down if rounds of this sync have stopped shrinking.
func (n *Node) startRound(s *session, o *offer, a *answer) {
	prev := s.round.Load()
	a.Round = 1
	if prev != nil {
		a.Round = prev.id + 1
		if a.Round > 3 && prev.sent.Load() > 0 {
			rate := float64(prev.sent.Load()) / max(time.Since(prev.begun).Seconds(), 1e-3)
			s.reign.throttle(s, int64(rate/2))
		}
	}
	s.round.Store(&round{id: a.Round, ans: a, offer: o, begun: time.Now()})
}

// serveCheckpoint is the handler of checkpoint streams: it sends its part of the round's shards, one after the other.
func (n *Node) serveCheckpoint(stream transport.Stream) {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ConnectTimeout)
	f, err := stream.Recv(ctx)
	cancel()
	if err != nil {
		return
	}
	open, err := decodeOpenStream(f.Head)
	if err != nil {
		n.log.Warn("a peer opened a malformed checkpoint stream", "peer", stream.Peer().ID, "error", err)
		return
	}
	s := n.sessions.find(stream.Peer().ID, open.stamp)
	if s == nil {
		n.counters.staleMessages.Add(1)
		return
	}
	r := s.round.Load()
	if r == nil || r.id != open.Round || open.Index >= r.ans.Streams || r.served[open.Index].Swap(true) {
		n.counters.staleMessages.Add(1)
		return
	}
	ctx, cancel = context.WithCancel(s.ctx) // a session that ends takes its streams with it
	defer cancel()
	stop := context.AfterFunc(ctx, func() { stream.Close() })
	defer stop()
	if err := n.streamShards(ctx, stream, s, r, open.Index); err != nil && ctx.Err() == nil {
		n.log.Info("a checkpoint stream ended early", "replica", s.member.Node, "attempt", s.stamp.Attempt, "error", err)
		return
	}
	if stream.CloseWrite() == nil {
		_, _ = stream.Recv(ctx) // until the replica has read it all
	}
}

// frameSink writes the sections of a checkpoint to a stream: one frame each.
type frameSink struct {
	ctx    context.Context
	stream transport.Stream
}

func (s frameSink) WriteSection(head, body []byte, sum uint32) error {
	f := transport.Frame{Head: head, Body: body}
	f.SetBodySum(sum)
	return s.stream.Send(s.ctx, f)
}

// part is the shards of one of the round's streams: neighbours, so that a store that keeps its keys in order can write them as they come.
func (r *round) part(index uint8) []cluster.Shard {
	var all []cluster.Shard
	for i, p := range r.ans.Plans {
		if p.Stream {
			all = append(all, cluster.Shard(i))
		}
	}
	n, of := int(index), int(r.ans.Streams)
	return all[len(all)*n/of : len(all)*(n+1)/of]
}

func (n *Node) streamShards(ctx context.Context, stream transport.Stream, s *session, r *round, index uint8) error {
	shards := r.part(index)
	w := checkpoint.NewWriter(frameSink{ctx, stream}, streamTag(s.stamp.Attempt, r.id))
	err := w.Header(checkpoint.Header{History: r.ans.History, Bytes: -1, Entries: -1, Shards: shards})
	if err != nil {
		return err
	}
	unrested := 0
	for _, shard := range shards {
		if err := n.streamShard(ctx, w, s, r, shard, &unrested); err != nil {
			return fmt.Errorf("stream shard %d: %w", shard, err)
		}
	}
	return w.Close()
}

// capture takes the point in time that a plan asks for. What cannot be resumed begins anew, what lies below the horizon is sent
// whole: this shard and no other.
func (n *Node) capture(shard cluster.Shard, p plan, pos storage.StagePosition) (storage.Capture, plan, error) {
	req := storage.CaptureRequest{Above: p.Above}
	if p.Resume {
		req.Token, req.Position = pos.Token, pos.LSN
		c, err := n.engine.Capture(shard, req)
		if err == nil {
			return c, p, nil
		}
		if !errors.Is(err, storage.ErrToken) && !errors.Is(err, storage.ErrHorizon) {
			return nil, p, err
		}
		p.Resume, req.Token, req.Position = false, nil, 0
	}
	c, err := n.engine.Capture(shard, req)
	if errors.Is(err, storage.ErrHorizon) {
		p = plan{Kind: storage.StageFull, Stream: true}
		c, err = n.engine.Capture(shard, storage.CaptureRequest{})
	}
	return c, p, err
}

// A stream rests for so long before so many bytes while writers wait for their acknowledgement.
const (
	givenWay  = 100 * time.Microsecond
	restEvery = 128 << 10
)

// giveWay lets others have the processors for a moment. Without that a sync keeps all of them busy, and while there is always something to run,
// the Go scheduler asks the network only every 10 ms what has come: each acknowledgement would wait for that.
func giveWay(ctx context.Context) error {
	t := time.NewTimer(givenWay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Node) streamShard(ctx context.Context, w *checkpoint.Writer, s *session, r *round, shard cluster.Shard, unrested *int) error {
	c, p, err := n.capture(shard, r.ans.Plans[shard], r.offer.Positions[shard])
	if err != nil {
		return err
	}
	defer c.Close()
	kind := checkpoint.Full
	if p.Kind == storage.StageDelta {
		kind = checkpoint.Delta
	}
	bytes, entries := c.Extent()
	err = w.BeginShard(checkpoint.ShardHeader{Shard: shard, Kind: kind, Resume: p.Resume, LSN: c.LSN(), Horizon: c.Horizon(),
		Above: p.Above, Bytes: bytes, Entries: entries})
	if err != nil {
		return err
	}
	for {
		b, err := c.Next()
		if errors.Is(err, io.EOF) {
			return w.EndShard()
		}
		if err != nil {
			return err
		}
		if s.reign.fenced.Load() && n.state.Load().machine.State != replica.Fenced {
			return errReignOver
		}
		s.paced.Add(int64(len(b.Data)))
		err = n.sendLimit.wait(ctx, len(b.Data))
		s.paced.Add(-int64(len(b.Data)))
		if err != nil {
			return err
		}
		if *unrested += len(b.Data); *unrested >= restEvery && s.reign.waited() {
			*unrested = 0
			if err := giveWay(ctx); err != nil {
				return err
			}
		}
		if err := w.Block(b.Data, b.Entries, b.Token); err != nil {
			return err
		}
		r.sent.Add(int64(len(b.Data)))
	}
}
