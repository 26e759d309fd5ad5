package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/storage"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// parking keeps the staging store of an attempt that ended for the next one, which may go on from it. Attempts run one at a
// time, and the driver touches it only between them.
type parking struct{ staging storage.Staging }

func (p *parking) drop() {
	if p.staging != nil {
		p.staging.Drop()
		p.staging = nil
	}
}

// attempt is one effort of a replica: it dials the primary, offers what it has, receives shards into the staging store and the log
// behind them, and once in step goes on to apply the log for as long as the link lasts. Whatever ends it is told to the
// machine as one event. Everything that it started has ended when stop returns.
type attempt struct {
	n       *Node
	number  replica.Attempt
	group   cluster.GroupID
	epoch   cluster.Epoch
	joining bool
	untilUp bool // dial again and again until the primary accepts
	parked  *parking

	cancel  context.CancelFunc
	stopped <-chan struct{} // closed when the machine stops the attempt
	done    chan struct{}
	install chan struct{} // closed when the machine says: install

	stream  transport.Stream
	frames  chan transport.Frame
	primary cluster.Incarnation // as named by its answer
	silence *time.Timer         // ends the attempt when nothing was heard for LinkTimeout
	ackWake chan struct{}
	probes  prober

	inStep  atomic.Bool
	end     cluster.LSN // the primary's log's end, as last heard
	behind  int64       // bytes of log between what it sent and that
	history cluster.History
	laps    laps
}

func newAttempt(n *Node, m replica.Machine, number replica.Attempt, untilUp bool, parked *parking) *attempt {
	return &attempt{n: n, number: number, group: m.Group, epoch: m.Epoch, joining: m.State == replica.Joining, untilUp: untilUp,
		parked: parked, done: make(chan struct{}), install: make(chan struct{}), ackWake: make(chan struct{}, 1)}
}

func (a *attempt) start() {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel, a.stopped = cancel, ctx.Done()
	go func() {
		defer close(a.done)
		defer cancel()
		err := a.run(ctx)
		if errors.Is(err, storage.ErrSpoiled) {
			a.parked.drop() // the next attempt begins anew
		}
		if ctx.Err() != nil {
			return // stopped by the machine, which needs not be told
		}
		if errors.Is(err, storage.ErrFull) {
			err = both(ErrFull, err) // the sync does not fit
		}
		kind := replica.AttemptFailed
		switch {
		case errors.Is(err, errBehind):
			kind = replica.Behind
		case errors.Is(err, transport.ErrBroken), errors.Is(err, transport.ErrClosed), errors.Is(err, errSilent):
			kind = replica.LinkLost
		case errors.Is(err, ErrStorage):
			kind = replica.StorageFault
		}
		if !a.inStep.Load() {
			a.n.retry.failed() // also if it was refused at once: the next one waits
		}
		a.n.sync.failed(err)
		a.post(kind, err)
	}()
}

// stop ends the attempt and waits for it.
func (a *attempt) stop() {
	a.cancel()
	<-a.done
}

func (a *attempt) post(kind replica.EventKind, cause error) {
	a.n.drv.post(replica.Event{Kind: kind, Attempt: a.number, View: a.n.coord.View().Version}, cause)
}

func (a *attempt) run(ctx context.Context) error {
	if a.parked.staging != nil && a.parked.staging.History().Group != a.group {
		a.parked.drop()
	}
	a.n.sync.begin(a.number, a.parked.staging == nil)
	if err := a.connect(ctx); err != nil {
		return err
	}
	defer a.stream.Close()
	a.n.link.up(a)
	defer a.n.link.down(a)
	a.silence = time.AfterFunc(a.n.cfg.LinkTimeout, func() { a.stream.Close() })
	defer a.silence.Stop()
	a.frames = make(chan transport.Frame, 4)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.read(gctx) })
	g.Go(func() error { return a.acknowledge(gctx) })
	err := a.follow(gctx)
	cancel() // read may be waiting for somebody to take its frame
	a.stream.Close()
	if broken := g.Wait(); err == nil || errors.Is(err, context.Canceled) {
		// follow ended because the link did. Otherwise its own error counts: that the link ended then is a consequence.
		err = broken
	}
	return err
}

// connect dials the primary that the view names. An attempt of a Stale node goes on until it is accepted.
func (a *attempt) connect(ctx context.Context) error {
	for {
		if d := a.n.retry.wait(); d > 0 && a.untilUp {
			select {
			case <-time.After(d):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := a.n.cfg.Hooks.step("dial")
		if err == nil {
			err = a.dial(ctx)
		}
		if err == nil {
			err = a.n.cfg.Hooks.step("dialled")
		}
		if err == nil {
			a.post(replica.LinkUp, nil)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !a.untilUp {
			return err
		}
		a.n.retry.failed()
		a.n.sync.failed(err)
	}
}

func (a *attempt) dial(ctx context.Context) error {
	v := a.n.coord.View()
	g, ok := v.Groups[a.group]
	if !ok || g.Primary.IsZero() || g.Transition.Kind == cluster.Failover {
		return fmt.Errorf("%w: group %v has no primary now", ErrNoOwner, a.group)
	}
	if g.Primary == a.n.member() {
		return fmt.Errorf("%w: this node is named primary", ErrBusy)
	}
	ctx, cancel := context.WithTimeout(ctx, a.n.cfg.ConnectTimeout)
	defer cancel()
	s, err := a.n.cfg.Transport.Dial(ctx, transport.Peer{ID: g.Primary.Node, Addr: v.Nodes[g.Primary.Node].Addr}, protoReplicate)
	if err != nil {
		return fmt.Errorf("dial primary %q: %w", g.Primary.Node, err)
	}
	a.stream = s
	a.epoch = g.Epoch
	return nil
}

// read takes frames off the link until it ends. Each is a sign of life.
func (a *attempt) read(ctx context.Context) error {
	for {
		f, err := a.stream.Recv(ctx)
		if err != nil {
			return fmt.Errorf("link to the primary: %w", both(transport.ErrBroken, err))
		}
		a.silence.Reset(a.n.cfg.LinkTimeout)
		a.n.link.heard(f.Len())
		select {
		case a.frames <- f:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// acknowledge tells the primary how far the base has come, as often as it can, and no more often than that.
func (a *attempt) acknowledge(ctx context.Context) error {
	for {
		select {
		case <-a.ackWake:
		case <-ctx.Done():
			return ctx.Err()
		}
		probe := a.probes.ask(a.n.cfg.Clock.Now())
		if !a.inStep.Load() {
			continue // a staging store acknowledges nothing
		}
		m := ack{stamp: a.stamp(), LSN: a.n.engine.Base().LSN, InStep: true, Probe: probe}
		kind := msgAck
		if probe != 0 {
			kind = msgProbe
		}
		if err := a.stream.Send(ctx, transport.Frame{Head: m.encode(kind)}); err != nil {
			return fmt.Errorf("acknowledge: %w", both(transport.ErrBroken, err))
		}
	}
}

func (a *attempt) wakeAck() {
	select {
	case a.ackWake <- struct{}{}:
	default:
	}
}

func (a *attempt) stamp() stamp {
	return stamp{Group: a.group, Epoch: a.epoch, From: a.n.inc, To: a.primary, Attempt: a.number}
}

// follow is the course of an attempt: offer, receive what is streamed, offer again, until the log alone will do; then the
// log.
func (a *attempt) follow(ctx context.Context) error {
	first := true
	for {
		ans, err := a.negotiate(ctx)
		if err != nil {
			return err
		}
		if err := a.prepare(ans); err != nil {
			return err
		}
		if ans.Streams == 0 {
			if first {
				a.post(replica.AnsweredLog, nil)
			}
			return a.replay(ctx, ans)
		}
		if first {
			a.post(replica.AnsweredStaged, nil)
		} else {
			a.post(replica.Refetch, nil)
		}
		first = false
		if err := a.receive(ctx, ans); err != nil {
			return err
		}
		a.post(replica.Received, nil)
	}
}

// negotiate offers what the node has and waits for the primary's answer.
func (a *attempt) negotiate(ctx context.Context) (*answer, error) {
	n := a.n
	if err := n.flush(ctx); err != nil { // what is pending would be sent, and applied, again
		return nil, err
	}
	o := &offer{stamp: a.stamp(), Member: n.member()}
	if g, ok := n.coord.View().Groups[a.group]; ok && n.hasBase(g) {
		o.HasBase, o.Base, o.Changed = true, n.engine.Base(), n.engine.Changed()
	}
	if s := a.parked.staging; s != nil {
		o.Staging, o.History = true, s.History()
		for i := range o.Positions {
			o.Positions[i] = s.Position(cluster.Shard(i))
		}
	}
	if err := n.cfg.Hooks.step("offer"); err != nil {
		return nil, err
	}
	if err := a.stream.Send(ctx, transport.Frame{Head: o.encode()}); err != nil {
		return nil, fmt.Errorf("offer: %w", both(transport.ErrBroken, err))
	}
	for {
		f, err := a.frame(ctx)
		if err != nil {
			return nil, err
		}
		d := decoder{b: f.Head}
		switch kind := messageKind(d.u8()); kind {
		case msgBeat, msgLog:
			continue // of the time before the offer
		case msgAnswer:
			ans, err := decodeAnswer(&d)
			if err != nil {
				return nil, err
			}
			if !a.mine(ans.stamp) {
				n.counters.staleMessages.Add(1)
				continue
			}
			a.primary, a.history, a.end = ans.stamp.From, ans.History, ans.End
			n.counters.syncAnswered(ans)
			return ans, n.cfg.Hooks.step("answered")
		case msgRefuse:
			r, err := decodeRefusal(&d)
			if err != nil {
				return nil, err
			}
			return nil, r
		default:
			return nil, fmt.Errorf("%w: kind %d in reply to an offer", errWire, kind)
		}
	}
}

// mine reports whether a message is one of this attempt, from the primary that answered it.
func (a *attempt) mine(s stamp) bool {
	return s.Group == a.group && s.Epoch == a.epoch && s.To == a.n.inc && s.Attempt == a.number && (a.primary == 0 || s.From == a.primary)
}

func (a *attempt) frame(ctx context.Context) (transport.Frame, error) {
	select {
	case f := <-a.frames:
		if len(f.Head) == 0 {
			return f, fmt.Errorf("%w: empty head", errWire)
		}
		return f, nil
	case <-ctx.Done():
		return transport.Frame{}, ctx.Err()
	}
}
