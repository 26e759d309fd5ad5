package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	raftNodes   = 3
	raftTimeout = 10 * time.Second
)

// raftPeer is a map that three nodes of hashicorp/raft in this process keep alike. Everything is in memory and nothing is ever compacted:
// raft at its best.
type raftPeer struct {
	leader *raft.Raft
	nodes  []*raft.Raft
}

// openRaft opens the nodes and waits for a leader. They are closed with the lane.
func openRaft(ctx context.Context, e *env, tcp bool) (*raftPeer, error) {
	links, err := raftLinks(e, tcp)
	if err != nil {
		return nil, fmt.Errorf("raft transports: %w", err)
	}
	var all raft.Configuration
	for i, l := range links {
		all.Servers = append(all.Servers, raft.Server{ID: raftID(i), Address: l.LocalAddr()})
	}
	p := &raftPeer{}
	for i, l := range links {
		fsm, logs, stable, snaps := &raftMap{m: map[string][]byte{}}, raft.NewInmemStore(), raft.NewInmemStore(), raft.NewDiscardSnapshotStore()
		r, err := raft.NewRaft(raftConfig(i), fsm, logs, stable, snaps, l)
		if err != nil {
			return nil, fmt.Errorf("open raft node %d: %w", i, err)
		}
		e.cleanup(func() { _ = r.Shutdown().Error() })
		p.nodes = append(p.nodes, r)
	}
	if err := p.nodes[0].BootstrapCluster(all).Error(); err != nil {
		return nil, fmt.Errorf("bootstrap raft: %w", err)
	}
	return p, p.await(ctx)
}

func raftID(i int) raft.ServerID { return raft.ServerID(fmt.Sprintf("r%d", i)) }

// raftConfig differs from the default in what makes a loaded leader faster: it takes what waits in one go, and sends it in one go. Larger and
// smaller MaxAppendEntries, shorter CommitTimeout and more MaxRPCsInFlight of the transport were tried: none made a write clearly cheaper, and
// many in flight made it dearer.
func raftConfig(i int) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raftID(i)
	c.Logger = hclog.NewNullLogger()
	c.MaxAppendEntries = 256
	c.BatchApplyCh = true
	c.NoLegacyTelemetry = true
	// A busy machine is no reason to elect another leader.
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 2*time.Second, 2*time.Second, 2*time.Second
	return c
}

// raftLinks are the transports, each connected with all others.
func raftLinks(e *env, tcp bool) ([]raft.Transport, error) {
	if tcp {
		return raftTCP(e)
	}
	var links []raft.Transport
	var inner []*raft.InmemTransport
	for range raftNodes {
		_, t := raft.NewInmemTransportWithTimeout("", raftTimeout)
		e.cleanup(func() { t.Close() })
		links, inner = append(links, t), append(inner, t)
	}
	for _, from := range inner {
		for _, to := range inner {
			if from != to {
				from.Connect(to.LocalAddr(), to)
			}
		}
	}
	return links, nil
}

func raftTCP(e *env) ([]raft.Transport, error) {
	var links []raft.Transport
	for range raftNodes {
		t, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, raftNodes, raftTimeout, hclog.NewNullLogger())
		if err != nil {
			return nil, err
		}
		e.cleanup(func() { t.Close() })
		links = append(links, t)
	}
	return links, nil
}

// await waits until there is a leader that all nodes follow.
func (p *raftPeer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for p.leader == nil || !p.alike() {
		for _, r := range p.nodes {
			if r.State() == raft.Leader {
				p.leader = r
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a raft leader: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return p.leader.Barrier(raftTimeout).Error()
}

func (p *raftPeer) alike() bool {
	for _, r := range p.nodes {
		if addr, _ := r.LeaderWithID(); addr == "" || r.CommitIndex() < p.leader.CommitIndex() {
			return false
		}
	}
	return true
}

// Set sets a key: acknowledged when two of the three nodes have it, and the leader has applied it.
func (p *raftPeer) Set(_ context.Context, k, v []byte) error {
	cmd := make([]byte, 0, 2+len(k)+len(v))
	cmd = binary.LittleEndian.AppendUint16(cmd, uint16(len(k)))
	cmd = append(append(cmd, k...), v...)
	// Without a timeout it need not make a timer for each.
	return p.leader.Apply(cmd, 0).Error()
}

// raftMap is what the nodes keep. Values are parts of the log's entries, which stay.
type raftMap struct {
	mu sync.RWMutex
	m  map[string][]byte
}

func (f *raftMap) set(cmd []byte) {
	n := int(binary.LittleEndian.Uint16(cmd))
	f.m[string(cmd[2:2+n])] = cmd[2+n:]
}

func (f *raftMap) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(l.Data)
	return nil
}

// ApplyBatch makes the map a raft.BatchingFSM.
func (f *raftMap) ApplyBatch(logs []*raft.Log) []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			f.set(l.Data)
		}
	}
	return make([]any, len(logs))
}

var _ raft.BatchingFSM = (*raftMap)(nil)

// errNoSnapshot is what snapshots end with: they would begin after minutes, and no lane takes as long.
var errNoSnapshot = errors.New("no snapshots are taken here")

func (f *raftMap) Snapshot() (raft.FSMSnapshot, error) { return nil, errNoSnapshot }
func (f *raftMap) Restore(io.ReadCloser) error         { return errNoSnapshot }
