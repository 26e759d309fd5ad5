package check

import (
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
	{Config{Name: "attaching, one fault", Start: Attaching, Faults: 1, Epochs: 3, Records: 2, InFlight: 1}, true, false},
	{Config{Name: "attaching, one fault, in memory", Start: Attaching, Faults: 1, Epochs: 3, Records: 2, InFlight: 1}, true, true},
	{Config{Name: "attaching, one order", Start: Attaching, Orders: 1, Epochs: 3, Records: 2, InFlight: 1}, false, false},
	{Config{Name: "attaching, two faults", Start: Attaching, Faults: 2, Epochs: 2, Records: 2}, false, false},
	// DESIGN section 1: the primary dies, the node is detached, the primary forgotten, the node given the slot.
	{Config{Name: "the story", Start: Attaching, Faults: 1, Orders: 2, Epochs: 2, Records: 1, Only: []uint8{stDie, stForget, stOpen}}, true, false},
	// A complete group.
	{Config{Name: "complete, one fault", Start: Complete, Faults: 1, Epochs: 3, Records: 2}, false, false},
	{Config{Name: "complete, one fault, messages on their way", Start: Complete, Faults: 1, Epochs: 3, Records: 1, InFlight: 1}, false, false},
	{Config{Name: "complete, one fault, in memory", Start: Complete, Faults: 1, Epochs: 3, Records: 1}, true, true},
	{Config{Name: "complete, one order", Start: Complete, Orders: 1, Epochs: 3, Records: 2}, false, false},
	{Config{Name: "complete, one order, messages on their way", Start: Complete, Orders: 1, Epochs: 3, Records: 1, InFlight: 1}, false, false},
	{Config{Name: "hand-over and death", Start: Complete, Faults: 1, Orders: 1, Epochs: 2, Records: 1, Only: []uint8{stDie, stHandOver}}, false, false},
	{Config{Name: "failover and the end of a lease", Start: Complete, Faults: 1, Orders: 1, Epochs: 2, Records: 1, Only: []uint8{stExpire, stFailover}}, false, false},
	{Config{Name: "two deaths", Start: Complete, Faults: 2, Epochs: 3, Records: 1, Only: []uint8{stDie}}, false, false},
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
			cfg.Restarts = true
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
		{Name: "no deadline of draining", Start: Complete, Faults: 1, Orders: 1, Records: 1, Epochs: 2, Only: []uint8{stDie, stHandOver}, Defects: Defects{NoDeadline: replica.DrainDeadline}},
		{Name: "a switch before the prefix is whole", Start: Attaching, Records: 2, Epochs: 2, InFlight: 1, Defects: Defects{EarlySwitch: true}},
		{Name: "a lease is not waited for", Start: Complete, Orders: 1, Records: 1, Epochs: 2, Only: []uint8{stFailover}, Defects: Defects{NoLeaseWait: true}},
		{Name: "a seal is not obeyed", Start: Complete, Orders: 1, Records: 1, Epochs: 2, InFlight: 1, Only: []uint8{stFailover}, Defects: Defects{NoSeal: true}},
		{Name: "a staging store acknowledges", Start: Attaching, Records: 2, Epochs: 2, InFlight: 1, Defects: Defects{AckStaging: true}},
		{Name: "proposed members are not waited for", Start: Attaching, Records: 2, Epochs: 2, InFlight: 1, Defects: Defects{NoUnion: true}},
		{Name: "a primary serves in its former self's epoch", Start: Attaching, Faults: 1, Records: 1, Epochs: 2, InFlight: 1, Defects: Defects{SameEpoch: true}},
	} {
		t.Run(cfg.Name, func(t *testing.T) {
			cfg.Restarts = true
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
