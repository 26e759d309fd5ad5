package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// proposals asks the coordinator, again and again until the view agrees, for what follows from the node's state alone: to be known
// under its address and store, to be detached from what it has given up on, and (a primary) to have the in-sync set as it
// is. It is level-triggered: update computes what is wanted, run proposes it.
type proposals struct {
	n    *Node
	wake chan struct{}

	mu   sync.Mutex
	want []wanted
	grow map[cluster.MemberID]growing
}

type wanted struct {
	cmd  cluster.Command
	done func(err error)
}

// growing is a member in step that is on its way into the in-sync set: it is required already, and is proposed when it has
// acknowledged target.
type growing struct {
	reign  *reign
	target cluster.LSN
}

func newProposals(n *Node) *proposals {
	return &proposals{n: n, wake: make(chan struct{}, 1), grow: map[cluster.MemberID]growing{}}
}

func (p *proposals) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// update computes what has to be proposed. It is called by the driver whenever view or state changed.
func (p *proposals) update(v cluster.View, m replica.Machine, r *reign) {
	if m.State == replica.Opening || m.State == replica.Closed {
		return
	}
	n := p.n
	var want []wanted
	if c := n.pendingReset(v); c != nil {
		want = append(want, wanted{cmd: c})
	} else if n.resetDecided(v) {
		// The data is dropped as soon as the machine may; to announce it again would undo the reset.
	} else if info, ok := v.Nodes[n.cfg.ID]; !ok || info != n.info() {
		want = append(want, wanted{cmd: cluster.Announce{Node: n.info()}})
	} else if g, member, listed := membership(v, n.member()); listed && m.State == replica.Unassigned && member.Since <= m.GaveUp {
		want = append(want, wanted{cmd: cluster.Leave{On: g.On(), Member: member.MemberID}})
	} else if c := n.abandoned(g); listed && c != nil {
		want = append(want, wanted{cmd: c})
	}
	if m.State == replica.Primary && r != nil {
		if g, ok := v.Groups[r.group]; ok && g.Epoch == r.epoch {
			p.readmit(r)
			want = append(want, p.memberChanges(v, g, r)...)
		}
	}
	p.mu.Lock()
	changed := len(want) > 0
	p.want = want
	p.mu.Unlock()
	if changed {
		p.kick()
	}
}

// readmit looks for members outside the set that have the whole log, on links that have been in step: one that hung for a while was
// taken out, and may have sent its last acknowledgement, if nobody writes, before that was decided.
func (p *proposals) readmit(r *reign) {
	_, end := r.ring.bounds()
	for _, s := range p.n.sessions.list() {
		acked := cluster.LSN(s.acked.Load())
		if s.reign == r && s.inStep.Load() && acked >= end && !r.requires(s.member) {
			p.inStep(r, s.member)
			r.ack(s.member, acked, p.n.now())
		}
	}
}

// memberChanges are the entries into and removals from the in-sync set that a primary wants.
func (p *proposals) memberChanges(v cluster.View, g cluster.Group, r *reign) []wanted {
	n := p.n
	var want []wanted
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range r.laggards(n.now(), n.cfg.LagTimeout) {
		delete(p.grow, id)
		r.unrequire(id)
		if r.requires(id) {
			n.log.Warn("a member of the in-sync set does not keep up, it is proposed out", "member", id.Node)
			want = append(want, wanted{cmd: cluster.Shrink{On: g.On(), By: r.self, Member: id}})
		}
	}
	for id, gr := range p.grow {
		m, ok := g.Member(id.Node)
		if gr.reign != r || !ok || m.MemberID != id || m.InSync || v.Leaving(m) {
			delete(p.grow, id)
			gr.reign.unrequire(id)
			continue
		}
		if !r.reached(id, gr.target) {
			continue
		}
		r.propose(id, g.Version)
		want = append(want, wanted{
			cmd: cluster.Confirm{On: g.On(), By: r.self, Member: id},
			done: func(err error) {
				if decidedAgainst(err) {
					r.refused(id, g.Version)
				}
			},
		})
	}
	return want
}

// inStep is called when a replica says that it is in step and at lsn: it is required from now on, and proposed when it has
// acknowledged what the log's end is a moment later.
func (p *proposals) inStep(r *reign, id cluster.MemberID) {
	v := p.n.coord.View()
	g, ok := v.Groups[r.group]
	if !ok || g.Epoch != r.epoch {
		return
	}
	if m, ok := g.Member(id.Node); !ok || m.MemberID != id || m.InSync || v.Leaving(m) {
		return
	}
	p.mu.Lock()
	gr, ok := p.grow[id]
	p.mu.Unlock()
	if ok && gr.reign == r && r.requires(id) {
		return // it is on its way
	}
	// What is on its way must be required: the reign may have seen the member enter and leave the set while no proposals were computed.
	target := r.require(id, p.n.now())
	p.mu.Lock()
	p.grow[id] = growing{reign: r, target: target}
	p.mu.Unlock()
	p.n.drv.kick()
}

// acked is called with every acknowledgement: a member on its way into the set may have reached its target.
func (p *proposals) acked(id cluster.MemberID) {
	p.mu.Lock()
	gr, ok := p.grow[id]
	p.mu.Unlock()
	if ok && gr.reign.reached(id, gr.target) {
		p.n.drv.kick()
	}
}

// gone is called when the link of a member ended: what is not proposed yet will not be.
func (p *proposals) gone(r *reign, id cluster.MemberID) {
	p.mu.Lock()
	gr, ok := p.grow[id]
	if ok && gr.reign == r {
		delete(p.grow, id)
	}
	p.mu.Unlock()
	if ok {
		r.unrequire(id)
		p.n.drv.kick()
	}
}

// run proposes what is wanted until ctx ends. The same is proposed again after a while, or as soon as the view has changed: on the same view
// it would be refused again at once, or was decided by one that is on its way here.
func (p *proposals) run(ctx context.Context) error {
	retry := time.NewTimer(p.n.cfg.RetryMin)
	defer retry.Stop()
	var last struct {
		failures int // one after the other
		view     uint64
		until    time.Time
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-retry.C:
			p.n.drv.kick() // recompute: laggards come of age, refused commands may be allowed now
			retry.Reset(p.pace())
			continue
		}
		seen := p.n.coord.View().Version
		if last.view == seen && time.Now().Before(last.until) {
			continue
		}
		p.mu.Lock()
		want := p.want
		p.want = nil
		p.mu.Unlock()
		refused := false
		for _, w := range want {
			pctx, cancel := context.WithTimeout(ctx, p.n.cfg.ProposeTimeout)
			_, err := p.n.coord.Propose(pctx, w.cmd)
			cancel()
			if err != nil && !errors.Is(err, cluster.ErrStaleCommand) && ctx.Err() == nil {
				p.n.log.Debug("a proposal failed", "command", w.cmd.Name(), "error", err)
				p.n.noteAnnounce(w.cmd, err)
			}
			if w.done != nil {
				w.done(err)
			}
			refused = refused || err != nil
		}
		if len(want) == 0 {
			continue
		}
		pause := min(p.pace(), p.n.cfg.RetryMin<<min(last.failures, 16))
		last.view, last.until = seen, time.Now().Add(pause)
		if refused {
			last.failures++
		} else {
			last.failures = 0
			p.n.drv.kick()
		}
		retry.Reset(pause)
	}
}

// pace is how often wants are computed anew while nothing happens.
func (p *proposals) pace() time.Duration {
	return min(max(p.n.cfg.LagTimeout/4, p.n.cfg.RetryMin), 5*time.Second)
}

// decidedAgainst reports whether a proposal is known to have been refused: any other failure leaves open whether it will
// be decided.
func decidedAgainst(err error) bool {
	return err != nil && (errors.Is(err, cluster.ErrStaleCommand) || errors.Is(err, cluster.ErrRefused) || errors.Is(err, cluster.ErrInvalid) ||
		errors.Is(err, cluster.ErrUnknownNode) || errors.Is(err, cluster.ErrUnknownGroup))
}
