package node

import (
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
)

func TestProberIsAsFreshAsTheProbeWhoseEndWasApplied(t *testing.T) {
	var p prober
	if p.ask(0) != 0 {
		t.Fatal("a probe that nobody wants")
	}
	const at1, at2 = time.Duration(0), time.Second // a clock may begin at 0
	ask := func(at time.Duration) uint64 { p.want(); return p.ask(at) }
	one := ask(at1)
	two := ask(at2) // before the first is answered
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
	for _, c := range []struct {
		applied cluster.LSN
		want    time.Duration
	}{{10, at1}, {19, at1}, {25, at2}} {
		if at, ok := p.fresh(c.applied); !ok || at != c.want {
			t.Fatalf("record %d applied: as of %v, %v; want %v", c.applied, at, ok, c.want)
		}
	}
}

// Who wants no more than what a probe under way will bring asks for no other.
func TestProberIsAskedOnce(t *testing.T) {
	var p prober
	if p.asked(0) {
		t.Fatal("asked by nobody")
	}
	p.want()
	if !p.asked(time.Hour) {
		t.Fatal("a probe that is about to be sent is as late as any")
	}
	n := p.ask(10)
	for _, step := range []string{"sent", "answered", "applied"} {
		switch step {
		case "answered":
			p.echo(n, 5)
		case "applied":
			p.fresh(5)
		}
		if now, later := p.asked(10), p.asked(11); now != (step != "applied") || later {
			t.Fatalf("%s at 10: as of 10 %v, as of 11 %v", step, now, later)
		}
	}
}

// Readers that ask without end, while writes go on without end, find the replica as fresh as the way there and back is long.
func TestProberUnderConstantDemand(t *testing.T) {
	var p prober
	type flight struct {
		n   uint64
		end cluster.LSN
	}
	const way = 20 // steps until an answer is here; its end is applied as many steps later
	var flying []flight
	for step := range 5000 {
		p.want()
		flying = append(flying, flight{p.ask(time.Duration(step)), cluster.LSN(step + way)})
		if len(flying) > way {
			p.echo(flying[0].n, flying[0].end)
			flying = flying[1:]
		}
		at, ok := p.fresh(cluster.LSN(step))
		if age := time.Duration(step) - at; step > 3*way && (!ok || age > 2*way) {
			t.Fatalf("step %d: as of %d steps ago, %v", step, age, ok)
		}
	}
	for range 5000 { // nobody answers any more
		p.want()
		p.ask(0)
	}
	if len(p.sent) > maxProbes || len(p.answered) > maxProbes {
		t.Fatalf("%d and %d kept", len(p.sent), len(p.answered))
	}
}
