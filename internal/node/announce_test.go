package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/internal/clock"
	"github.com/hessonite/kv/internal/storage/memory"
)

// electing is a coordinator that takes announced nodes for alive for a while, is without a leader for another, and begins anew as often as that.
type electing struct {
	cluster.Coordinator
	cluster.Keeper
	mu        sync.Mutex // not held while a leader is elected
	begun     time.Time
	elections int // how many there are, one each time that somebody has waited for one lease
}

func (e *electing) Propose(ctx context.Context, c cluster.Command) (cluster.View, error) {
	if _, ok := c.(cluster.Announce); !ok {
		return e.Coordinator.Propose(ctx, c)
	}
	e.mu.Lock()
	elect := e.elections > 0 && time.Since(e.begun) > e.Lease()
	if elect {
		e.elections--
	}
	e.mu.Unlock()
	if elect {
		time.Sleep(e.Lease() / 2)
	}
	e.mu.Lock()
	if elect {
		e.begun = time.Now()
	}
	alive := time.Since(e.begun) < e.Lease()*11/10
	e.mu.Unlock()
	if alive {
		return cluster.View{}, fmt.Errorf("%w: as far as this coordinator knows", cluster.ErrAlive)
	}
	return e.Coordinator.Propose(ctx, c)
}

func openElecting(t *testing.T, elections int) (time.Duration, error) {
	coordinator := cluster.NewMemory()
	defer coordinator.Close()
	began := time.Now()
	n, err := Open(t.Context(), Config{
		ID: "n1", Engine: memory.New(memory.Options{}), Store: cluster.StoreID{1}, Incarnation: 1, Logger: hclog.NewNullLogger(),
		Coordinator: &electing{Coordinator: coordinator, Keeper: coordinator.(cluster.Keeper), begun: began, elections: elections},
		Clock:       clock.New(), LogBytes: 1 << 20,
		Timing: Timing{OpenTimeout: 5 * time.Second, ConnectTimeout: time.Second, RetryMin: time.Second, RetryMax: time.Second, ProposeTimeout: time.Second},
	})
	took := time.Since(began)
	if err == nil {
		n.Close()
	}
	return took, err
}

// Who starts anew while the coordinators elect is not told that its former self is alive; and who is told so for ever ends all the same.
func TestAnnounceDuringElections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for elections := range 3 {
			if took, err := openElecting(t, elections); err != nil {
				t.Errorf("with %d elections: %v after %v", elections, err, took)
			}
		}
		took, err := openElecting(t, 1000)
		if !errors.Is(err, cluster.ErrAlive) || took > 10*time.Second {
			t.Errorf("with elections all the time: %v after %v", err, took)
		}
	})
}
