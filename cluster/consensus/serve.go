package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/transport"
)

// maxServed is how many requests of one peer are carried out at a time; further ones wait in its stream.
const maxServed = 64

// serve answers the requests of one peer.
func (c *Coordinator) serve(s transport.Stream) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	out := make(chan transport.Frame)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { sendAll(ctx, s, out) })
	slots := make(chan struct{}, maxServed)
	for {
		f, err := s.Recv(ctx)
		if err != nil {
			return
		}
		r, err := decodeRequest(f.Head)
		if err != nil {
			c.log.Warn("a peer sent a malformed request", "peer", s.Peer().ID, "error", err)
			return
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			answer := func(code code, body []byte) bool {
				select {
				case out <- transport.Frame{Head: answerHead(r.id, code), Body: body}:
					return true
				case <-ctx.Done():
					return false
				}
			}
			if r.kind == askWatch {
				c.serveWatch(ctx, answer)
				cancel() // whoever watches goes elsewhere
				return
			}
			answer(c.answer(ctx, r, f.Body))
		})
	}
}

// answer carries a request out, if this voter leads.
func (c *Coordinator) answer(ctx context.Context, r request, body []byte) (code, []byte) {
	if ours := c.fsm.current(); !ours.IsZero() && !r.generation.IsZero() && ours != r.generation {
		err := fmt.Errorf("%w: the request is of generation %s, this voter of %s", ErrOtherCluster, r.generation, ours)
		return codeOf(err), []byte(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, max(r.left, time.Millisecond))
	defer cancel()
	l := c.leading.Load()
	if l == nil {
		return codeNotLeader, c.leaderHint()
	}
	b, err := c.carryOut(ctx, l, r.kind, body)
	switch {
	case errors.Is(err, errNotLeader):
		return codeNotLeader, c.leaderHint()
	case err != nil:
		return codeOf(err), []byte(err.Error())
	}
	return codeOK, b
}

func (c *Coordinator) leaderHint() []byte {
	if c.raft == nil {
		return nil
	}
	a, id := c.raft.LeaderWithID()
	if string(id) == c.opts.ID {
		return nil // not yet, or not any more
	}
	return []byte(a)
}

// carryOut is what a leader does for a request, be it its own or another's.
func (c *Coordinator) carryOut(ctx context.Context, l *leadership, k kind, body []byte) ([]byte, error) {
	switch k {
	case askPropose:
		cmd, err := cluster.DecodeCommand(body)
		if err != nil {
			return nil, err
		}
		v, err := l.propose(ctx, cmd)
		if err != nil {
			return nil, err
		}
		return cluster.EncodeView(v), nil
	case askBeat, askRelease:
		b, err := decodeBeat(body)
		if err != nil {
			return nil, err
		}
		if k == askRelease {
			return nil, l.release(b)
		}
		g, err := l.beat(ctx, b)
		return encodeGrant(g), err
	case askLease:
		var g cluster.GroupID
		if copy(g[:], body) != len(body) || len(body) != len(g) {
			return nil, fmt.Errorf("%w: a group of %d bytes", ErrProtocol, len(body))
		}
		left, err := l.leaseLeft(ctx, g)
		return binary.AppendUvarint(nil, uint64(left)), err
	case askAdd, askRemove, askVoters:
		return c.changeVoters(ctx, k, body)
	}
	return nil, fmt.Errorf("%w: a request of kind %d", ErrProtocol, k)
}

// changeVoters changes or lists Raft's configuration.
func (c *Coordinator) changeVoters(ctx context.Context, k kind, body []byte) ([]byte, error) {
	if k == askVoters {
		list, err := c.configuration()
		return encodePeers(list), err
	}
	list, err := decodePeers(body)
	if err != nil || len(list) != 1 {
		return nil, errors.Join(fmt.Errorf("%w: %d voters at once", ErrProtocol, len(list)), err)
	}
	p := list[0]
	if k == askAdd {
		if err := c.checkCandidate(p); err != nil {
			return nil, err
		}
	}
	return nil, wait(ctx, c, func() raft.Future {
		if k == askAdd {
			return c.raft.AddVoter(raft.ServerID(p.ID), raftAddress(cluster.NodeID(p.ID), p.Addr), 0, c.patience())
		}
		return c.raft.RemoveServer(raft.ServerID(p.ID), 0, c.patience())
	})
}

// checkCandidate asks whether a new voter is there, and of this cluster, before it counts for a majority.
func (c *Coordinator) checkCandidate(p Peer) error {
	conn, err := c.layer.Dial(raftAddress(cluster.NodeID(p.ID), p.Addr), c.patience())
	if err != nil {
		if errors.Is(err, ErrOtherCluster) {
			return err
		}
		return fmt.Errorf("%w: voter %q cannot be reached at %s; open it first: %w", cluster.ErrRefused, p.ID, p.Addr, err)
	}
	return conn.Close()
}

// configuration are the voters as this one knows them.
func (c *Coordinator) configuration() ([]Peer, error) {
	f := c.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, unavailable(err)
	}
	var list []Peer
	for _, s := range f.Configuration().Servers {
		list = append(list, Peer{ID: string(s.ID), Addr: peerAt(s.Address).Addr})
	}
	return list, nil
}

// serveWatch shows the view for as long as this voter hears from its leader.
func (c *Coordinator) serveWatch(ctx context.Context, answer func(code, []byte) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		t := time.NewTicker(c.patience())
		defer t.Stop()
		for c.inTouch() {
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
	})
	defer wg.Wait()
	defer cancel()
	for v := range c.views.Watch(ctx) {
		if !answer(codeOK, encodeSnapshot(c.fsm.current(), v)) {
			return
		}
	}
}

// inTouch reports whether this voter leads, or has heard from its leader lately.
func (c *Coordinator) inTouch() bool {
	if c.raft == nil {
		return false
	}
	return c.leading.Load() != nil || c.raft.State() == raft.Leader || time.Since(c.raft.LastContact()) < c.patience()
}
