package node

import (
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
)

func TestProberIsAsFreshAsTheProbeWhoseEndWasApplied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var p prober
		if p.ask() != 0 {
			t.Fatal("a probe that nobody wants")
		}
		ask := func() (uint64, time.Time) { p.want(); return p.ask(), time.Now() }
		one, at1 := ask()
		time.Sleep(time.Second)
		two, at2 := ask() // before the first is answered
		time.Sleep(time.Second)
		if _, ok := p.fresh(100); ok {
			t.Fatal("fresh without an answer")
		}
		if !p.echo(one, 10) || p.echo(one, 10) || p.echo(77, 10) || p.echo(0, 10) {
			t.Fatal("an answer counts once, and only one that was asked for")
		}
		if _, ok := p.fresh(9); ok {
			t.Fatal("fresh before the end that was named is applied")
		}
		p.echo(two, 20) // a newer answer does not take the place of the older
		if at, ok := p.fresh(10); !ok || !at.Equal(at1) {
			t.Fatalf("as of %v, %v; want %v", at, ok, at1)
		}
		if at, ok := p.fresh(19); !ok || !at.Equal(at1) {
			t.Fatalf("as of %v, %v; want %v", at, ok, at1)
		}
		if at, ok := p.fresh(25); !ok || !at.Equal(at2) {
			t.Fatalf("as of %v, %v; want %v", at, ok, at2)
		}
	})
}

// Readers that ask without end, while writes go on without end, find the replica as fresh as the way there and back is long.
func TestProberUnderConstantDemand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var p prober
		type flight struct {
			n   uint64
			end cluster.LSN
		}
		const way = 20 // steps until an answer is here; its end is applied as many steps later
		var flying []flight
		for step := range 5000 {
			p.want()
			flying = append(flying, flight{p.ask(), cluster.LSN(step + way)})
			if len(flying) > way {
				p.echo(flying[0].n, flying[0].end)
				flying = flying[1:]
			}
			at, ok := p.fresh(cluster.LSN(step))
			if step > 3*way && (!ok || time.Since(at) > 2*way*time.Millisecond) {
				t.Fatalf("step %d: as of %v ago, %v", step, time.Since(at), ok)
			}
			time.Sleep(time.Millisecond)
		}
		for range 5000 { // nobody answers any more
			p.want()
			p.ask()
		}
		if len(p.sent) > maxProbes || len(p.answered) > maxProbes {
			t.Fatalf("%d and %d kept", len(p.sent), len(p.answered))
		}
	})
}
