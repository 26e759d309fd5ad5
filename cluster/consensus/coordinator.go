package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/disk"
	"github.com/hessonite/kv/transport"
)

// Coordinator is a cluster.Coordinator and cluster.Keeper whose decisions a majority of voters makes. Its methods are safe for concurrent
// use.
type Coordinator struct {
	opts  Options
	log   hclog.Logger
	clock clock.Clock

	views cluster.Publisher
	fsm   *fsm

	raft      *raft.Raft // nil for one that is no voter
	store     *store     // nil without a disk
	network   *raft.NetworkTransport
	layer     *layer
	recovered cluster.ID // the generation that Recover asked for
	leading   atomic.Pointer[leadership]

	voters  atomic.Pointer[[]Peer]         // whom to ask
	leader  atomic.Pointer[transport.Peer] // who leads, by hearsay
	turn    atomic.Uint64                  // whom to ask first if that is not known
	linksMu sync.Mutex
	links   map[transport.Peer]*link
	remove  func()

	ctx    context.Context // of everything that runs
	cancel context.CancelFunc
	wg     sync.WaitGroup
	askMu  sync.Mutex
	ended  bool           // nothing is asked of Raft any more
	asks   sync.WaitGroup // what is asked of Raft
	ending sync.Once
	endErr error
}

var (
	_ cluster.Coordinator = (*Coordinator)(nil)
	_ cluster.Keeper      = (*Coordinator)(nil)
	_ cluster.LeaseWaiter = (*Coordinator)(nil)
)

// Open opens a coordinator. It returns when local state is loaded; it waits neither for other voters nor for a leader. ctx bounds Open only.
func Open(ctx context.Context, o Options) (*Coordinator, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	c := &Coordinator{opts: o, log: o.Logger, clock: clock.New(), links: map[transport.Peer]*link{}}
	c.voters.Store(&o.Peers)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.fsm = &fsm{views: &c.views, keep: func(cluster.ID) error { return nil }, fault: func(err error) { c.log.Error("storage fault", "error", err) }}
	if o.votes() {
		if err := c.openVoter(); err != nil {
			c.cancel()
			return nil, fmt.Errorf("open voter %q: %w", o.ID, errors.Join(err, c.closeStore()))
		}
		c.wg.Go(c.followLeadership)
	} else {
		c.wg.Go(c.watch)
	}
	c.remove = o.Transport.Handle(protoAsk, c.serve)
	return c, nil
}

// Keys of the stable store that are ours.
var (
	generationKey = []byte("hessonite/generation")
	recoveredKey  = []byte("hessonite/recovered")
)

const (
	logFile   = "raft.db"
	keptSnaps = 2

	// maxInFlight is one request to a voter at a time: no pipeline. Raft's, when it is full as its follower answers with a higher term, leaves the
	// goroutine that fills it waiting for ever, and Shutdown for that one.
	maxInFlight = 1

	// snapshotInterval is how often the log is looked at: whether it is due for a snapshot.
	snapshotInterval = 30 * time.Second
)

// stores opens where a voter keeps its state.
func (c *Coordinator) stores() (raft.LogStore, raft.StableStore, raft.SnapshotStore, error) {
	if c.opts.Dir == "" {
		mem := raft.NewInmemStore()
		return mem, mem, raft.NewInmemSnapshotStore(), nil
	}
	if err := disk.MkdirAll(c.opts.fs, c.opts.Dir); err != nil {
		return nil, nil, nil, fmt.Errorf("make %s: %w", c.opts.Dir, err)
	}
	s, err := openStore(filepath.Join(c.opts.Dir, logFile))
	if err != nil {
		return nil, nil, nil, err
	}
	c.store = s
	c.fsm.keep = func(g cluster.ID) error { return s.Set(generationKey, g[:]) }
	for _, k := range [][]byte{generationKey, recoveredKey} {
		b, err := s.Get(k)
		if err != nil {
			return nil, nil, nil, err
		}
		var g cluster.ID
		if copy(g[:], b) == 0 {
			continue
		}
		if &k[0] == &recoveredKey[0] {
			c.recovered = g
		} else {
			c.fsm.generation.Store(&g)
		}
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(c.opts.Dir, keptSnaps, c.log.Named("raft"))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open the snapshots in %s: %w", c.opts.Dir, err)
	}
	// bbolt and Raft flush what they write in there, but not that their files are there. A voter whose log is gone votes as if it never had.
	if err := c.opts.fs.Sync(c.opts.Dir); err != nil {
		return nil, nil, nil, fmt.Errorf("flush %s: %w", c.opts.Dir, err)
	}
	return s, s, snaps, nil
}

func (o Options) raftConfig() *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(o.ID)
	r.HeartbeatTimeout, r.ElectionTimeout, r.LeaderLeaseTimeout = o.Timing.Heartbeat, o.Timing.Heartbeat, o.Timing.Heartbeat/2
	r.CommitTimeout = max(o.Timing.Heartbeat/20, time.Millisecond)
	r.SnapshotInterval = snapshotInterval
	r.SnapshotThreshold, r.TrailingLogs = o.Timing.Snapshot, o.Timing.Snapshot
	r.Logger = o.Logger.Named("raft")
	r.NoLegacyTelemetry = true
	r.ShutdownOnRemove = false
	return r
}

// openVoter starts Raft, and bootstraps the cluster if this voter has no state and is one of the first.
func (c *Coordinator) openVoter() error {
	logs, stable, snaps, err := c.stores()
	if err != nil {
		return err
	}
	self := raftAddress(cluster.NodeID(c.opts.ID), c.opts.Transport.Addr())
	c.layer = newLayer(c.opts.Transport, self, c.fsm.current, func(peer cluster.NodeID, err error) {
		c.log.Error("a voter was refused", "peer", peer, "error", err)
	})
	c.network = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: c.layer, MaxPool: 3, MaxRPCsInFlight: maxInFlight,
		Timeout: c.patience(), Logger: c.log.Named("raft")})
	config := c.opts.raftConfig()
	fail := func(err error) error {
		c.layer.remove()
		return errors.Join(err, c.network.Close())
	}
	known, err := raft.HasExistingState(logs, stable, snaps)
	if err != nil {
		return fail(fmt.Errorf("look for state: %w", err))
	}
	if !known && !c.opts.Voter {
		if err := raft.BootstrapCluster(config, logs, stable, snaps, c.network, bootstrap(c.opts.Peers)); err != nil {
			return fail(fmt.Errorf("bootstrap: %w", err))
		}
	}
	if c.raft, err = raft.NewRaft(config, c.fsm, logs, stable, snaps, c.network); err != nil {
		return fail(err)
	}
	return nil
}

func bootstrap(peers []Peer) (conf raft.Configuration) {
	for _, p := range peers {
		conf.Servers = append(conf.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(p.ID), Address: raftAddress(cluster.NodeID(p.ID), p.Addr)})
	}
	return conf
}

// patience is how long one step among voters may take before it counts as failed.
func (c *Coordinator) patience() time.Duration { return 4 * c.opts.Timing.Heartbeat }

// followLeadership leads whenever Raft says so.
func (c *Coordinator) followLeadership() {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case leads := <-c.raft.LeaderCh():
			stop()
			wg.Wait()
			stop = func() {}
			if !leads {
				continue
			}
			ctx, cancel := context.WithCancel(c.ctx)
			stop = cancel
			wg.Go(func() { c.takeOver(ctx) })
		case <-c.ctx.Done():
			return
		}
	}
}

// takeOver leads until ctx ends. If it cannot begin it tries again: as long as Raft takes this voter for the leader nobody else will.
func (c *Coordinator) takeOver(ctx context.Context) {
	for {
		err := c.lead(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		c.log.Warn("cannot take over as the leader yet", "error", err)
		t := time.NewTimer(c.opts.Timing.Heartbeat)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// watch keeps the view of one that is no voter up to date.
func (c *Coordinator) watch() {
	for try := 0; c.ctx.Err() == nil; try++ {
		peers := c.known()
		p := peers[try%len(peers)]
		if err := c.watchAt(transport.Peer{ID: cluster.NodeID(p.ID), Addr: p.Addr}); err != nil {
			c.log.Debug("a voter shows no view (any more)", "peer", p.ID, "error", err)
		}
		t := time.NewTimer(askPause)
		select {
		case <-t.C:
		case <-c.ctx.Done():
			t.Stop()
		}
	}
}

func (c *Coordinator) watchAt(p transport.Peer) error {
	dctx, cancel := context.WithTimeout(c.ctx, c.patience())
	defer cancel()
	s, err := c.opts.Transport.Dial(dctx, p, protoAsk)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Send(dctx, transport.Frame{Head: request{kind: askWatch, id: 1, generation: c.fsm.current()}.head()}); err != nil {
		return err
	}
	for {
		f, err := s.Recv(c.ctx)
		if err != nil {
			return err
		}
		if _, code, err := decodeAnswer(f.Head); err != nil || code != codeOK {
			return errors.Join(fmt.Errorf("%s", f.Body), err)
		}
		g, v, err := decodeSnapshot(f.Body)
		if err != nil {
			return err
		}
		if now := c.fsm.current(); !now.IsZero() && !g.IsZero() && now != g {
			return fmt.Errorf("%w: voter %q is of generation %s, this node of %s", ErrOtherCluster, p.ID, g, now)
		}
		if !g.IsZero() {
			c.fsm.generation.Store(&g)
		}
		c.views.Publish(v)
	}
}

// Propose implements cluster.Coordinator.
func (c *Coordinator) Propose(ctx context.Context, cmd cluster.Command) (cluster.View, error) {
	body, err := cluster.EncodeCommand(cmd)
	if err != nil {
		return cluster.View{}, err
	}
	var v cluster.View
	b, err := c.ask(ctx, askPropose, body, func(l *leadership) (_ []byte, err error) {
		v, err = l.propose(ctx, cmd)
		return nil, err
	})
	if err != nil {
		return cluster.View{}, err
	}
	if b != nil {
		if v, err = cluster.DecodeView(b); err != nil {
			return cluster.View{}, unavailable(err)
		}
		c.views.Publish(v)
	}
	return v, nil
}

// View implements cluster.Coordinator.
func (c *Coordinator) View() cluster.View { return c.views.View() }

// Watch implements cluster.Coordinator.
func (c *Coordinator) Watch(ctx context.Context) iter.Seq[cluster.View] { return c.views.Watch(ctx) }

// Lease implements cluster.Keeper.
func (c *Coordinator) Lease() time.Duration { return c.opts.Cluster.Lease }

// Beat implements cluster.Keeper.
func (c *Coordinator) Beat(ctx context.Context, b cluster.Beat) (cluster.Grant, error) {
	var g cluster.Grant
	body, err := c.ask(ctx, askBeat, encodeBeat(b), func(l *leadership) (_ []byte, err error) {
		g, err = l.beat(ctx, b)
		return nil, err
	})
	if err != nil || body == nil {
		return g, err
	}
	return decodeGrant(body)
}

// Release implements cluster.Keeper.
func (c *Coordinator) Release(ctx context.Context, b cluster.Beat) error {
	_, err := c.ask(ctx, askRelease, encodeBeat(b), func(l *leadership) ([]byte, error) { return nil, l.release(b) })
	return err
}

// WaitLeaseOver implements cluster.LeaseWaiter.
func (c *Coordinator) WaitLeaseOver(ctx context.Context, g cluster.GroupID) error {
	for {
		var left time.Duration
		body, err := c.ask(ctx, askLease, g[:], func(l *leadership) (_ []byte, err error) {
			left, err = l.leaseLeft(ctx, g)
			return nil, err
		})
		if err != nil {
			return err
		}
		if body != nil {
			ns, n := binary.Uvarint(body)
			if n <= 0 {
				return fmt.Errorf("%w: no time", ErrProtocol)
			}
			left = time.Duration(min(ns, uint64(cluster.MaxLease)))
		}
		if left <= 0 {
			return nil
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-c.ctx.Done():
			t.Stop()
			return cluster.ErrClosed
		}
	}
}

// AddVoter makes a node a voter, or tells a voter's new address. The node must have been opened with Options.Voter, or be one of the first.
// One at a time: wait until it is decided. The others learn of it by themselves.
func (c *Coordinator) AddVoter(ctx context.Context, p Peer) error {
	body := encodePeers([]Peer{p})
	_, err := c.ask(ctx, askAdd, body, func(*leadership) ([]byte, error) { return c.changeVoters(ctx, askAdd, body) })
	return err
}

// RemoveVoter takes a voter out: for good, or before it is replaced by one with an empty directory under another ID.
func (c *Coordinator) RemoveVoter(ctx context.Context, id string) error {
	body := encodePeers([]Peer{{ID: id}})
	_, err := c.ask(ctx, askRemove, body, func(*leadership) ([]byte, error) { return c.changeVoters(ctx, askRemove, body) })
	return err
}

// Voters are the voters as the leader knows them.
func (c *Coordinator) Voters(ctx context.Context) ([]Peer, error) {
	var list []Peer
	body, err := c.ask(ctx, askVoters, nil, func(*leadership) (_ []byte, err error) {
		list, err = c.configuration()
		return nil, err
	})
	if err == nil && body != nil {
		list, err = decodePeers(body)
	}
	if err == nil {
		c.learn(list)
	}
	return list, err
}

// Close ends the coordinator. Close the node that uses it first, and the transport after it. It is idempotent.
func (c *Coordinator) Close() error {
	c.ending.Do(func() {
		c.passOn()
		c.views.Close()
		c.cancel()
		c.remove()
		var errs []error
		if c.raft != nil {
			c.askNoMore()
			errs = append(errs, c.raft.Shutdown().Error(), c.network.Close())
			c.layer.remove()
		}
		c.wg.Wait()
		c.endErr = errors.Join(append(errs, c.closeStore())...)
	})
	return c.endErr
}

func (c *Coordinator) closeStore() error {
	if c.store == nil {
		return nil
	}
	return c.store.Close()
}
