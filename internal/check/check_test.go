package check

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

var (
	disks  = [numNodes]cluster.StoreKind{cluster.DiskStore, cluster.DiskStore, cluster.DiskStore}
	memory = [numNodes]cluster.StoreKind{}
)

// searches are the bounds within which every state is visited. Those marked small are also visited under the race detector.
var searches = []struct {
	Config
	small  bool
	memory bool
}{
	// From nothing, and with one node attaching: the sync itself.
	{Config{Name: "empty, three orders", Start: Empty, Orders: 3, Epochs: 2, Records: 1, InFlight: 1}, true, false},
	{Config{Name: "attaching, messages outlive attempts", Start: Attaching, Epochs: 2, Records: 2, InFlight: 2, Reorder: true}, true, false},
	{Config{Name: "attaching, one fault", Start: Attaching, Faults: 1, Epochs: 3, Records: 2, InFlight: 1}, false, false},
	{Config{Name: "attaching, one fault, in memory", Start: Attaching, Faults: 1, Epochs: 3, Records: 2, InFlight: 1}, false, true},
	{Config{Name: "attaching, one order", Start: Attaching, Orders: 1, Epochs: 3, Records: 2, InFlight: 1}, false, false},
	{Config{Name: "attaching, two faults", Start: Attaching, Faults: 2, Epochs: 2, Records: 1}, false, false},
	// DESIGN section 1: the primary dies, the node is detached, the primary forgotten, the node given the slot.
	{Config{Name: "the story", Start: Attaching, Faults: 1, Orders: 2, Epochs: 2, Records: 1, Stay: true, Only: []uint8{stDie, stForget, stOpen}}, true, false},
	// A complete group.
	{Config{Name: "complete, one fault", Start: Complete, Faults: 1, Epochs: 3, Records: 2}, false, false},
	{Config{Name: "complete, one fault, messages on their way", Start: Complete, Faults: 1, Epochs: 3, Records: 1, InFlight: 1}, false, false},
	{Config{Name: "complete, one fault, in memory", Start: Complete, Faults: 1, Epochs: 3, Records: 1}, false, true},
	{Config{Name: "complete, one order", Start: Complete, Orders: 1, Epochs: 3, Records: 2}, false, false},
	{Config{Name: "complete, one order, messages on their way", Start: Complete, Orders: 1, Epochs: 3, Records: 1, InFlight: 1}, false, false},
	{Config{Name: "hand-over and death", Start: Complete, Faults: 1, Orders: 1, Epochs: 2, Records: 1, Only: []uint8{stDie, stHandOver}}, false, false},
	{Config{Name: "failover and the end of a lease", Start: Complete, Faults: 1, Orders: 1, Epochs: 2, Records: 1, Only: []uint8{stExpire, stFailover}}, false, false},
	{Config{Name: "two deaths", Start: Complete, Faults: 2, Epochs: 3, Records: 2, InFlight: 1, Stay: true, Only: []uint8{stDie}}, false, false},
	{Config{Name: "two cuts", Start: Complete, Faults: 2, Epochs: 3, Records: 2, Only: []uint8{stCut, stHang, stShrink}}, false, false},
	{Config{Name: "commands lost and doubled", Start: Complete, Faults: 1, Orders: 1, Epochs: 2, Records: 1, Only: []uint8{stLose, stDouble, stFailover, stHandOver}}, false, false},
	{Config{Name: "detach and add", Start: Complete, Orders: 2, Epochs: 2, Records: 1, Only: []uint8{stDetach, stAdd}}, false, false},
}

// TestEveryState visits every state within the bounds. In each, never two nodes serve the slot, nobody recovers while it leads or is
// unassigned, every member that can be promoted has all that was acknowledged or seen; and from each there is a path to rest,
// at which every decided promotion has been carried out.
func TestEveryState(t *testing.T) {
	for _, search := range searches {
		if underRace && !search.small {
			continue
		}
		t.Run(search.Name, func(t *testing.T) {
			t.Parallel()
			cfg := search.Config
			if !search.memory {
				cfg.Kinds = disks
			}
			begin := time.Now()
			r, err := New(cfg).Run()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %s, in %v", cfg, r, time.Since(begin).Round(time.Millisecond))
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestPlantedDefects: a check that finds nothing is worth what it finds when something is there.
func TestPlantedDefects(t *testing.T) {
	for _, cfg := range []Config{
		{Name: "a flag beside the state", Start: Attaching, Records: 1, Epochs: 2, InFlight: 1, Defects: Defects{Flag: true}},
		{Name: "an attempt's number is not checked", Start: Attaching, Records: 1, Epochs: 2, InFlight: 2, Reorder: true, Defects: Defects{NoAttemptCheck: true}},
		{Name: "no deadline of receiving", Start: Attaching, Faults: 2, Records: 1, Epochs: 2, Only: []uint8{stHang, stBehind}, Defects: Defects{NoDeadline: replica.ReceiveDeadline}},
		{Name: "no deadline of connecting", Start: Attaching, Faults: 2, Records: 1, Epochs: 2, InFlight: 1, Only: []uint8{stHang, stBehind}, Defects: Defects{NoDeadline: replica.ConnectDeadline}},
		{Name: "no deadline of catching up", Start: Attaching, Faults: 2, Records: 1, Epochs: 2, Only: []uint8{stHang, stBehind}, Defects: Defects{NoDeadline: replica.CatchUpDeadline}},
		{Name: "no deadline of draining", Start: Complete, Faults: 1, Orders: 1, Records: 1, Epochs: 2, Stay: true, Only: []uint8{stDie, stHandOver}, Defects: Defects{NoDeadline: replica.DrainDeadline}},
		{Name: "a switch before the prefix is whole", Start: Attaching, Records: 2, Epochs: 2, InFlight: 1, Defects: Defects{EarlySwitch: true}},
		{Name: "a lease is not waited for", Start: Complete, Orders: 1, Records: 1, Epochs: 2, Only: []uint8{stFailover}, Defects: Defects{NoLeaseWait: true}},
		{Name: "a seal is not obeyed", Start: Complete, Orders: 1, Records: 1, Epochs: 2, InFlight: 1, Only: []uint8{stFailover}, Defects: Defects{NoSeal: true}},
		{Name: "a staging store acknowledges", Start: Attaching, Records: 2, Epochs: 2, InFlight: 1, Defects: Defects{AckStaging: true}},
		{Name: "proposed members are not waited for", Start: Attaching, Records: 2, Epochs: 2, InFlight: 1, Defects: Defects{NoUnion: true}},
		{Name: "a primary serves in its former self's epoch", Start: Attaching, Faults: 1, Records: 1, Epochs: 2, InFlight: 1, Defects: Defects{SameEpoch: true}},
	} {
		t.Run(cfg.Name, func(t *testing.T) {
			if cfg.Kinds == memory {
				cfg.Kinds = disks
			}
			r, err := New(cfg).Run()
			if err != nil {
				t.Fatal(err)
			}
			if r.Violation == "" {
				t.Fatalf("not found in %s", r)
			}
			t.Logf("found in %d states, after %d steps: %s", r.States, len(r.Path)/2, r.Violation)

			cfg.Defects = Defects{}
			r, err = New(cfg).Run()
			if err != nil || r.Err() != nil {
				t.Fatalf("found without the defect too: %v, %v", err, r.Err())
			}
		})
	}
}

// TestModelGetsAnywhere: searches that find nothing must have come to where something could go wrong.
func TestModelGetsAnywhere(t *testing.T) {
	for _, want := range []struct {
		name string
		cfg  Config
		goal func(*Checker, *state) bool
	}{
		{"the node that could not attach leads a group of its own and serves the slot",
			Config{Start: Attaching, Faults: 1, Orders: 2, Epochs: 2, Records: 1, Stay: true, Only: []uint8{stDie, stForget, stOpen}},
			func(_ *Checker, s *state) bool {
				return s.nodes[1].serves() && s.nodes[1].group == 2 && !s.nodes[0].has(alive)
			}},
		{"a replica leads after its primary died, with what was acknowledged",
			Config{Start: Complete, Faults: 1, Epochs: 2, Records: 1, Stay: true, Only: []uint8{stDie}},
			func(_ *Checker, s *state) bool {
				return s.nodes[1].serves() && s.nodes[1].epoch == 2 && s.safe == 1 && !s.nodes[0].has(alive)
			}},
		{"the old primary follows, and its tail is gone",
			Config{Start: Complete, Orders: 1, Epochs: 2, Records: 1, InFlight: 1, Only: []uint8{stFailover}},
			func(_ *Checker, s *state) bool {
				n := &s.nodes[0]
				return n.state() == replica.Following && n.epoch == 2 && s.records[0] == 1 && n.base == 0
			}},
		{"a hand-over is cancelled, and the primary goes on",
			Config{Start: Complete, Orders: 1, Epochs: 2, Only: []uint8{stHandOver}},
			func(c *Checker, s *state) bool {
				return s.orders == 0 && s.nodes[0].serves() && s.nodes[0].epoch == 1 && c.views.get(s.view).Version >= 10
			}},
		{"everybody leads once",
			Config{Start: Complete, Orders: 2, Epochs: 3, Only: []uint8{stFailover}},
			func(_ *Checker, s *state) bool { return s.nodes[2].serves() && s.nodes[2].epoch == 3 }},
	} {
		t.Run(want.name, func(t *testing.T) {
			want.cfg.Kinds = disks
			c, reached := New(want.cfg), 0
			c.watch = func(s *state) {
				swapped := c.swapped(s)
				if want.goal(c, s) || want.goal(c, &swapped) {
					reached++
				}
			}
			r, err := c.Run()
			if err != nil || r.Err() != nil {
				t.Fatalf("%v, %v", err, r.Err())
			}
			if reached == 0 {
				t.Errorf("not reached in %s", r)
			}
		})
	}
}

// TestRandomWalks goes beyond the bounds of TestEveryState, by ways that the seed decides.
func TestRandomWalks(t *testing.T) {
	walks := *walksFlag
	if underRace {
		walks = min(walks, 20)
	}
	for _, cfg := range []Config{
		{Name: "complete", Start: Complete, Kinds: disks},
		{Name: "complete in memory", Start: Complete, Kinds: memory},
		{Name: "attaching", Start: Attaching, Kinds: disks},
		{Name: "mixed", Start: Complete, Kinds: [numNodes]cluster.StoreKind{cluster.MemoryStore, cluster.DiskStore, cluster.MemoryStore}},
	} {
		t.Run(cfg.Name, func(t *testing.T) {
			t.Parallel()
			cfg.Faults, cfg.Orders, cfg.Epochs, cfg.Records, cfg.InFlight, cfg.Reorder = 4, 4, 6, 2, 2, true
			seed := *seedFlag
			if seed == 0 {
				seed = rand.Uint64()
			}
			r, err := New(cfg).Walk(seed, walks, 250)
			t.Logf("seed %d: %d walks, %d steps, %d views", seed, r.States, r.Edges, r.Views)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Err(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		})
	}
}

var walksFlag = flag.Int("walks", 300, "random walks of each kind")

var seedFlag = flag.Uint64("seed", 0, "walk the ways of this seed again; 0 draws one")

// TestWalksRepeat: the same seed walks the same ways.
func TestWalksRepeat(t *testing.T) {
	cfg := Config{Start: Complete, Kinds: disks, Faults: 2, Orders: 2, Epochs: 3, Records: 2, InFlight: 2, Reorder: true}
	first, err := New(cfg).Walk(7, 5, 100)
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(cfg).Walk(7, 5, 100)
	if err != nil || again.Edges != first.Edges || again.Views != first.Views {
		t.Errorf("first %s, then %s, %v", first, again, err)
	}
}

// TestSearchIsSound: renaming the replicas twice changes nothing, and both names of a state have one fingerprint.
func TestSearchIsSound(t *testing.T) {
	c := New(Config{Start: Complete, Kinds: disks, Faults: 2, Orders: 2, Epochs: 3, Records: 2, InFlight: 2, Reorder: true})
	s, err := c.start()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		swapped := c.swapped(&s)
		back := c.swapped(&swapped)
		if back != s || c.fingerprint(&swapped) != c.fingerprint(&s) {
			t.Fatalf("%s\n%s\n%s", c.describe(&s), c.describe(&swapped), c.describe(&back))
		}
		if (c.broken(&s) == "") != (c.broken(&swapped) == "") || c.rests(&s) != c.rests(&swapped) {
			t.Fatalf("judged by its names: %s", c.describe(&s))
		}
		from, n := s, 0
		c.expand(&from, func(_ step, t *state) {
			if n++; rng.IntN(n) == 0 {
				s = *t
			}
		})
	}
}

// TestStepsHaveNames that tell who does what.
func TestStepsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for kind := range numSteps {
		name := step{kind, 1, 2}.String()
		if name == "" || seen[name] {
			t.Errorf("step %d is called %q", kind, name)
		}
		seen[name] = true
	}
}
