package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/cluster/consensus"
)

const (
	// seedTimeout is how long -join's addresses are asked by a node that knows voters from its last run.
	seedTimeout = 3 * time.Second
	// voterTimeout is how long a voter that starts waits for a leader, and until it is one, before it says that it is ready.
	voterTimeout = 10 * time.Second
	votersPause  = 200 * time.Millisecond // between two tries
	votersEvery  = 10 * time.Second       // to notice that others have come or moved
	votersFile   = "voters.json"          // below -dir: the voters when this node last heard of them
)

// firstVoters are whom the coordinator asks at first. Of a voter without state of its own they must not list itself: it would found a
// cluster anew, beside the one that it is told of. Only the founder does that, at its first start.
func (s *server) firstVoters(ctx context.Context, self consensus.Peer) ([]consensus.Peer, error) {
	saved, err := s.savedVoters()
	switch {
	case err != nil:
		return nil, err
	case s.cfg.bootstrap && len(saved) > 0:
		return saved, nil
	case s.cfg.bootstrap:
		return []consensus.Peer{self}, nil
	}
	others := func(all []consensus.Peer) []consensus.Peer {
		return slices.DeleteFunc(all, func(p consensus.Peer) bool { return p.ID == self.ID })
	}
	if saved = others(saved); len(saved) > 0 { // the others may all be starting as well: nobody waits for anybody
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, seedTimeout)
		defer cancel()
	}
	voters, err := s.peers.voters(ctx, s.cfg.join)
	switch voters = others(voters); {
	case err == nil && len(voters) > 0:
		return voters, nil
	case len(saved) > 0:
		return saved, nil
	case err == nil:
		err = fmt.Errorf("join: %s is the cluster's only voter: start it with -bootstrap, and with the -dir that it had", self.ID)
	}
	return nil, err
}

// savedVoters are those of this node's last run; none if it votes and its own state is gone.
func (s *server) savedVoters() (voters []consensus.Peer, err error) {
	if s.cfg.dir == "" {
		return nil, nil
	}
	if s.cfg.voter {
		if _, err := os.Stat(filepath.Join(s.cfg.dir, "raft")); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	b, err := os.ReadFile(filepath.Join(s.cfg.dir, votersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		voters, err = parseVoters(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it may be removed if -join names a server that is up", votersFile, err)
	}
	return voters, nil
}

func parseVoters(b []byte) (voters []consensus.Peer, err error) {
	if err := json.Unmarshal(b, &voters); err != nil {
		return nil, err
	}
	return voters, checkVoters(voters)
}

func checkVoters(voters []consensus.Peer) error {
	for _, v := range voters {
		if v.ID == "" || len(v.ID) > cluster.MaxNodeID || v.Addr == "" || len(v.Addr) > cluster.MaxAddr {
			return errors.New("malformed voter")
		}
	}
	return nil
}

// saveVoters keeps the voters for the next start.
func (s *server) saveVoters(voters []consensus.Peer) error {
	if s.cfg.dir == "" {
		return nil
	}
	b, err := json.Marshal(voters)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.cfg.dir, votersFile), func(f *os.File) error {
		_, err := f.Write(b)
		return err
	})
}

// followVoters keeps what is saved up to date, and makes this node a voter, at the address that it has now, if it is to be one and is not. It goes on
// until the server ends; settled is closed when all is as it should be for the first time.
func (s *server) followVoters(self consensus.Peer, settled chan<- struct{}) {
	var saved []consensus.Peer
	for first := true; s.ctx.Err() == nil; {
		voters, err := s.askVoters()
		if err == nil && s.cfg.voter && !slices.Contains(voters, self) {
			err = s.addVoter(self)
			voters = nil // look again
		}
		if err == nil && voters != nil && !slices.Equal(voters, saved) {
			if err = s.saveVoters(voters); err == nil {
				saved = voters
			}
		}
		pause := votersPause
		if err != nil {
			s.log.Debug("voters", "error", err)
		} else if voters != nil {
			if pause = votersEvery; first {
				first = false
				close(settled)
			}
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (s *server) askVoters() ([]consensus.Peer, error) {
	ctx, cancel := context.WithTimeout(s.ctx, askTimeout)
	defer cancel()
	return s.coordinator.Voters(ctx)
}

// addVoter may be repeated, also if it is not known what became of it.
func (s *server) addVoter(p consensus.Peer) error {
	ctx, cancel := context.WithTimeout(s.ctx, voterTimeout)
	defer cancel()
	return s.coordinator.AddVoter(ctx, p)
}

// dropVoter takes a forgotten node out of the voters, if it is one.
func (s *server) dropVoter(ctx context.Context, id cluster.NodeID) error {
	voters, err := s.coordinator.Voters(ctx)
	if err != nil || !slices.ContainsFunc(voters, func(p consensus.Peer) bool { return p.ID == string(id) }) {
		return err
	}
	return s.coordinator.RemoveVoter(ctx, string(id))
}
