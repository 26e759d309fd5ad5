package node

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/hessonite/kv/checkpoint"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// prepare makes the staging store that the answer asks for.
func (a *attempt) prepare(ans *answer) error {
	if ans.InPlace {
		a.parked.drop()
		return nil
	}
	if s := a.parked.staging; s != nil && ans.Keep {
		err := s.Rehistory(ans.History)
		for i := range ans.Plans {
			// A delta that was cut, for which the log will do by now.
			if shard := cluster.Shard(i); err == nil && ans.Plans[i].Kind == storage.StageLog && !s.Position(shard).Complete {
				err = s.Begin(shard, storage.StageLog, ans.LogFrom, 0, false)
			}
		}
		if err != nil {
			a.parked.drop() // the next attempt begins anew
			return fmt.Errorf("go on with a staging store: %w", err)
		}
		return nil
	}
	a.parked.drop()
	p := storage.StagePlan{History: ans.History, Bytes: ans.Bytes}
	for i := range p.Kinds {
		p.Kinds[i] = ans.Plans[i].Kind
	}
	s, err := a.n.engine.Stage(p)
	if err != nil {
		return fmt.Errorf("make a staging store: %w", err)
	}
	a.parked.staging = s
	return nil
}

// receive takes in the checkpoint streams of one round, while it listens to the link.
func (a *attempt) receive(ctx context.Context, ans *answer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	a.n.sync.expect(ans)
	for i := range ans.Streams {
		g.Go(func() error { return a.receiveStream(gctx, ans, i) })
	}
	listening := make(chan error, 1)
	go func() { listening <- a.listen(ctx) }()
	err := g.Wait()
	cancel()
	if lerr := <-listening; err == nil || errors.Is(err, context.Canceled) {
		if lerr != nil && !errors.Is(lerr, context.Canceled) {
			err = lerr
		}
	}
	return err
}

// listen consumes the link's frames while shards arrive beside it.
func (a *attempt) listen(ctx context.Context) error {
	for {
		f, err := a.frame(ctx)
		if err != nil {
			return err
		}
		d := decoder{b: f.Head}
		switch kind := messageKind(d.u8()); kind {
		case msgBeat, msgLog:
			if err := a.heardBeat(&d); err != nil {
				return err
			}
		case msgRefuse:
			r, err := decodeRefusal(&d)
			if err != nil {
				return err
			}
			return r
		default:
			return fmt.Errorf("%w: kind %d while shards are streamed", errWire, kind)
		}
	}
}

func (a *attempt) heardBeat(d *decoder) error {
	m, err := decodeBeat(d)
	if err != nil {
		return err
	}
	if !a.mine(m.stamp) {
		a.n.counters.staleMessages.Add(1)
		return nil
	}
	a.end = max(a.end, m.End)
	a.n.link.beat(m)
	a.probes.echo(m.Echo, m.End)
	if m.Behind > 0 { // what follows only waits for its turn
		a.n.gained()
	}
	return nil
}

// receiveStream takes in one checkpoint stream.
func (a *attempt) receiveStream(ctx context.Context, ans *answer, index uint8) error {
	n := a.n
	peer := a.stream.Peer()
	dctx, cancel := context.WithTimeout(ctx, n.cfg.ConnectTimeout)
	s, err := n.cfg.Transport.Dial(dctx, peer, protoCheckpoint)
	cancel()
	if err != nil {
		return fmt.Errorf("dial primary %q for a checkpoint: %w", peer.ID, err)
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	open := openStream{stamp: a.stamp(), Round: ans.Round, Index: index}
	if err := s.Send(ctx, transport.Frame{Head: open.encode()}); err != nil {
		return fmt.Errorf("open a checkpoint stream: %w", both(transport.ErrBroken, err))
	}
	src := &frameSource{ctx: ctx, stream: s, heard: n.link.heard}
	r := checkpoint.NewReader(src, checkpoint.Limits{Tag: streamTag(a.number, ans.Round)})
	staging := a.parked.staging
	var shard cluster.Shard
	for {
		sec, err := r.Next()
		if err != nil {
			return fmt.Errorf("checkpoint stream %d: %w", index, err)
		}
		switch sec.Kind {
		case checkpoint.ShardSection:
			h := sec.Shard
			shard = h.Shard
			if err := n.cfg.Hooks.step("shard"); err != nil {
				return err
			}
			if want := ans.Plans[shard]; !want.Stream || (h.Resume && !want.Resume) {
				return fmt.Errorf("%w: shard %d was not announced", errWire, shard)
			}
			kind := storage.StageFull
			if h.Kind == checkpoint.Delta {
				kind = storage.StageDelta
			}
			err = staging.Begin(shard, kind, h.LSN, h.Horizon, h.Resume)
			n.sync.beginShard(h)
		case checkpoint.BlockSection:
			if err = n.cfg.Hooks.step("block"); err == nil {
				err = n.syncLimit.waitAlive(ctx, len(sec.Data), n.cfg.StallTimeout/4, func() error { n.gained(); return nil })
			}
			if err == nil {
				err = staging.Block(shard, sec.Data, sec.Token)
				n.sync.received(len(sec.Data), sec.Entries)
			}
		case checkpoint.ShardEndSection:
			err = staging.End(shard)
		case checkpoint.EndSection:
			return n.cfg.Hooks.step("received")
		}
		if err != nil {
			return fmt.Errorf("stage shard %d: %w", shard, err)
		}
	}
}

// frameSource reads the sections of a checkpoint off a stream: one frame each.
type frameSource struct {
	ctx    context.Context
	stream transport.Stream
	heard  func(int)
	last   transport.Frame
}

var _ checkpoint.SumSource = (*frameSource)(nil)

func (s *frameSource) ReadSection() (head, body []byte, err error) {
	f, err := s.stream.Recv(s.ctx)
	if err != nil {
		return nil, nil, both(transport.ErrBroken, err)
	}
	s.heard(f.Len())
	s.last = f
	return f.Head, f.Body, nil
}

// BodySum implements checkpoint.SumSource: the transport has verified what it knows the sum of.
func (s *frameSource) BodySum() (sum uint32, ok bool) { return s.last.BodySum() }

// streamTag marks the sections of one round of an attempt.
func streamTag(n replica.Attempt, round uint64) uint64 { return uint64(n)<<32 ^ round }
