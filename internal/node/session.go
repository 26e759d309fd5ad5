package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/yield"
	"github.com/hessonite/kv/replica"
	"github.com/hessonite/kv/transport"
)

// logFrame is how many bytes of log one frame carries at most, unless a single entry is larger.
const logFrame = 256 << 10

// sessions are the replicas that are linked to this node while it is primary: one each, the newest wins.
type sessions struct {
	mu sync.Mutex
	m  map[cluster.NodeID]*session
}

// commitPause is how long after the last record of a burst its replica hears that it is committed, if nothing else is to be said. The commit
// point travels with the log, so only who watches on a replica is waiting for that.
const commitPause = 5 * time.Millisecond

// session is the primary's end of a replica's link.
type session struct {
	n       *Node
	reign   *reign
	stream  transport.Stream
	member  cluster.MemberID
	stamp   stamp // of what this end sends
	peerInc cluster.Incarnation
	ctx     context.Context // of this link; set before the session is entered
	cancel  context.CancelCauseFunc
	done    chan struct{}

	offers chan *offer
	probe  atomic.Uint64 // the last one that was received and not answered
	wake   chan struct{}
	inStep atomic.Bool // it has said so, and stays so until the link ends

	told   cluster.LSN   // the commit point as the replica knows it; of the goroutine that sends
	sent   atomic.Uint64 // LSN up to which log was sent
	acked  atomic.Uint64
	ackAt  atomic.Int64 // Unix ns
	pinned atomic.Uint64
	paced  atomic.Int64 // bytes that wait for their turn
	round  atomic.Pointer[round]
}

var (
	errSuperseded = errors.New("a newer link of the same replica")
	errReignOver  = errors.New("the reign is over")
)

// serveReplica is the handler of replication links.
func (n *Node) serveReplica(stream transport.Stream) {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ConnectTimeout)
	f, err := stream.Recv(ctx)
	cancel()
	if err != nil {
		return
	}
	d := decoder{b: f.Head}
	kind := messageKind(d.u8())
	if kind == msgHello {
		n.answerHello(&d, stream)
		return
	}
	if kind != msgOffer {
		n.log.Warn("a peer did not begin with an offer", "peer", stream.Peer().ID)
		return
	}
	o, err := decodeOffer(&d)
	if err != nil {
		n.log.Warn("a peer sent a malformed offer", "peer", stream.Peer().ID, "error", err)
		return
	}
	s, ref := n.admit(stream, o)
	if ref != nil {
		ref.stamp = stamp{Group: o.Group, Epoch: o.Epoch, From: n.inc, To: o.stamp.From, Attempt: o.Attempt}
		n.send(stream, ref.encode())
		return
	}
	s.run(n.ctx, o)
}

// answerHello tells a node that asks before it proposes anything whether an offer would be heard here.
func (n *Node) answerHello(d *decoder, stream transport.Stream) {
	st := d.stamp()
	if d.end() != nil {
		return
	}
	s := n.state.Load()
	back := stamp{Group: st.Group, Epoch: s.machine.Epoch, From: n.inc, To: st.From, Attempt: st.Attempt}
	if s.machine.State != replica.Primary || s.machine.Group != st.Group {
		n.send(stream, (&refusal{stamp: back, Code: refuseNotPrimary, Text: fmt.Sprintf("node %q is %v", n.cfg.ID, s.machine.State)}).encode())
		return
	}
	n.send(stream, stampOnly(msgWelcome, back))
}

// send sends one head and lets the other end read it before the stream is closed.
func (n *Node) send(stream transport.Stream, head []byte) {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ConnectTimeout)
	defer cancel()
	if stream.Send(ctx, transport.Frame{Head: head}) != nil {
		return
	}
	if stream.CloseWrite() == nil {
		_, _ = stream.Recv(ctx) // until the peer closes too
	}
}

// admit checks an offer and makes its session the one of that replica.
func (n *Node) admit(stream transport.Stream, o *offer) (*session, *refusal) {
	st := n.state.Load()
	r := st.reign
	if st.machine.State != replica.Primary || r == nil {
		return nil, &refusal{Code: refuseNotPrimary, Text: fmt.Sprintf("node %q is %v", n.cfg.ID, st.machine.State)}
	}
	if o.Group != r.group || o.Epoch != r.epoch {
		return nil, &refusal{Code: refuseEpoch, Text: fmt.Sprintf("this is epoch %d of group %v, the offer is for epoch %d of %v", r.epoch, r.group, o.Epoch, o.Group)}
	}
	g, ok := n.coord.View().Groups[r.group]
	m, listed := g.Member(o.Member.Node)
	if !ok || !listed || m.MemberID != o.Member || o.Member.Node != stream.Peer().ID {
		return nil, &refusal{Code: refuseNotMember, Text: fmt.Sprintf("node %q with store %v is no member of group %v", o.Member.Node, o.Member.Store, r.group)}
	}
	s := &session{n: n, reign: r, stream: stream, member: o.Member, peerInc: o.stamp.From, done: make(chan struct{}),
		offers: make(chan *offer, 1), wake: make(chan struct{}, 1)}
	s.stamp = stamp{Group: r.group, Epoch: r.epoch, From: n.inc, To: o.stamp.From, Attempt: o.Attempt}
	s.ackAt.Store(n.now().UnixNano())
	return s, nil
}

// enter makes s the session of its replica, and ends an earlier one first.
func (t *sessions) enter(s *session) bool {
	for {
		t.mu.Lock()
		old := t.m[s.member.Node]
		if old == nil {
			if s.n.state.Load().reign != s.reign {
				t.mu.Unlock()
				return false
			}
			t.m[s.member.Node] = s
			t.mu.Unlock()
			return true
		}
		t.mu.Unlock()
		old.cancel(errSuperseded)
		<-old.done
	}
}

func (t *sessions) leave(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m[s.member.Node] == s {
		delete(t.m, s.member.Node)
	}
}

// closeAll ends every session and waits for them.
func (t *sessions) closeAll() {
	for _, s := range t.list() {
		s.cancel(errReignOver)
		<-s.done
	}
}

func (t *sessions) list() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*session, 0, len(t.m))
	for _, s := range t.m {
		out = append(out, s)
	}
	return out
}

// find is the session that a checkpoint stream belongs to.
func (t *sessions) find(node cluster.NodeID, st stamp) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.m[node]
	if s == nil || st.Attempt != s.stamp.Attempt || st.From != s.peerInc || st.Epoch != s.stamp.Epoch || st.Group != s.stamp.Group {
		return nil
	}
	return s
}

// pinned is the lowest position that a running sync still needs tombstones above, or the highest LSN.
func (t *sessions) pinned() cluster.LSN {
	low := cluster.LSN(1<<63 - 1)
	for _, s := range t.list() {
		if p := cluster.LSN(s.pinned.Load()); p != 0 {
			low = min(low, p)
		}
	}
	return low
}

func (s *session) run(parent context.Context, first *offer) {
	ctx, cancel := context.WithCancelCause(parent)
	s.ctx, s.cancel = ctx, cancel
	defer close(s.done)
	defer cancel(nil)
	if !s.n.sessions.enter(s) {
		return
	}
	defer s.n.sessions.leave(s)
	s.offers <- first
	stop := context.AfterFunc(ctx, func() { s.stream.Close() })
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.read(gctx) })
	g.Go(func() error { return s.serve(gctx) })
	err := g.Wait()
	s.n.proposals.gone(s.reign, s.member)
	s.n.log.Debug("the link of a replica ended", "replica", s.member.Node, "attempt", s.stamp.Attempt, "error", errors.Join(err, context.Cause(ctx)))
}

// read takes in what the replica sends: offers, acknowledgements, probes.
func (s *session) read(ctx context.Context) error {
	for {
		f, err := s.stream.Recv(ctx)
		if err != nil {
			return fmt.Errorf("link of replica %q: %w", s.member.Node, err)
		}
		if len(f.Head) == 0 {
			return fmt.Errorf("%w: empty head", errWire)
		}
		d := decoder{b: f.Head}
		switch kind := messageKind(d.u8()); kind {
		case msgOffer:
			o, err := decodeOffer(&d)
			if err != nil {
				return err
			}
			if o.Attempt != s.stamp.Attempt || o.stamp.From != s.peerInc || o.Member != s.member {
				s.n.counters.staleMessages.Add(1)
				continue
			}
			select {
			case s.offers <- o:
			case <-ctx.Done():
				return ctx.Err()
			}
		case msgAck, msgProbe:
			m, err := decodeAck(&d)
			if err != nil {
				return err
			}
			s.heardAck(m)
		default:
			return fmt.Errorf("%w: kind %d from a replica", errWire, kind)
		}
		f.Release()
	}
}

// heardAck takes in an acknowledgement; one that names another attempt, epoch or incarnation is dropped.
func (s *session) heardAck(m ack) {
	n := s.n
	if m.Attempt != s.stamp.Attempt || m.Epoch != s.stamp.Epoch || m.Group != s.stamp.Group || m.To != n.inc || m.stamp.From != s.peerInc {
		n.counters.staleMessages.Add(1)
		return
	}
	now := n.now()
	s.acked.Store(max(s.acked.Load(), uint64(m.LSN)))
	s.ackAt.Store(now.UnixNano())
	if m.InStep && !s.inStep.Swap(true) {
		s.reign.unthrottle(s)
		n.proposals.inStep(s.reign, s.member)
	} else if m.InStep && !s.reign.requires(s.member) && n.ring.distance(m.LSN) <= logFrame {
		// It was taken out of the set while this link was silent, and is back: there will be no other link to say so.
		n.proposals.inStep(s.reign, s.member)
	}
	s.reign.ack(s.member, m.LSN, now)
	n.proposals.acked(s.member)
	if m.Probe != 0 {
		s.probe.Store(m.Probe)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// serve answers offers, and sends the log once nothing is left to be streamed.
func (s *session) serve(ctx context.Context) error {
	defer s.pinned.Store(0)
	defer s.reign.unthrottle(s)
	beat := time.NewTicker(s.n.cfg.LinkTimeout / 4)
	defer beat.Stop()
	for {
		select {
		case o := <-s.offers:
			a := s.n.decide(s, o)
			if err := s.send(ctx, a.encode(), nil); err != nil {
				return err
			}
			if a.Streams == 0 {
				return s.sendLog(ctx, a.LogFrom, beat)
			}
		case <-beat.C:
			if err := s.sendBeat(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *session) send(ctx context.Context, head, body []byte) error {
	return s.stream.Send(ctx, transport.Frame{Head: head, Body: body})
}

// sendLog sends the log above a position, as it grows, until the link ends.
func (s *session) sendLog(ctx context.Context, from cluster.LSN, beat *time.Ticker) error {
	n := s.n
	s.sent.Store(uint64(from))
	defer n.ring.forget(s.wake)
	if err := s.sendBeat(ctx); err != nil { // the replica learns at once where it stands
		return err
	}
	pause := commitPause
	tell := time.NewTimer(pause)
	defer tell.Stop()
	var others yield.Turn
	for {
		// Who else is about to write gets its turn first: one frame for all of them costs the two nodes little more than one for each.
		others.Give()
		body, last, err := n.ring.read(from, logFrame, s.wake)
		if errors.Is(err, errBehind) {
			n.log.Info("a replica fell behind the log", "replica", s.member.Node, "lsn", from)
			if err := s.send(ctx, stampOnly(msgBehind, s.stamp), nil); err != nil {
				return err
			}
			<-ctx.Done() // the replica comes back with a new attempt
			return ctx.Err()
		}
		if body != nil {
			if !s.inStep.Load() { // what writers wait for is not paced
				s.paced.Add(int64(len(body)))
				err := n.sendLimit.waitAlive(ctx, len(body), n.cfg.LinkTimeout/4, func() error { return s.sendBeat(ctx) })
				s.paced.Add(-int64(len(body)))
				if err != nil {
					return err
				}
			}
			m := s.beat()
			m.Behind = n.ring.distance(last)
			if err := s.send(ctx, m.encode(msgLog), body); err != nil {
				return err
			}
			from = last
			s.sent.Store(uint64(from))
			s.pin(from)
			pause = commitPause
			tell.Reset(pause)
			continue
		}
		select {
		case <-s.wake:
			if s.probe.Load() == 0 {
				continue
			}
		case <-tell.C: // nothing follows that would tell how far the last of it is committed
			committed := s.reign.committed()
			if committed < from {
				pause = min(2*pause, n.cfg.LinkTimeout/4)
				tell.Reset(pause)
			}
			if committed <= s.told {
				continue
			}
		case <-beat.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.sendBeat(ctx); err != nil {
			return err
		}
	}
}

// beat is what the primary says of itself. A probe is answered only while the lease is valid, which it was not asked for before
// the probe was received.
func (s *session) beat() beat {
	p := s.probe.Swap(0)
	_, end := s.n.ring.bounds()
	if p != 0 && !s.n.keep.valid() {
		p = 0
	}
	s.told = s.reign.committed()
	return beat{stamp: s.stamp, End: end, Commit: s.told, Behind: s.paced.Load(), Echo: p}
}

func (s *session) sendBeat(ctx context.Context) error {
	m := s.beat()
	return s.send(ctx, m.encode(msgBeat), nil)
}

// pin keeps tombstones above a position from being purged.
func (s *session) pin(lsn cluster.LSN) { s.pinned.Store(uint64(max(lsn, 1))) }

// position is what the replica is known to hold, for Status.
func (s *session) position() (lsn cluster.LSN, bytes int64, since time.Time) {
	lsn = cluster.LSN(s.acked.Load())
	return lsn, s.n.ring.distance(lsn), time.Unix(0, s.ackAt.Load())
}
