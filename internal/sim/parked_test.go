package sim

import (
	"fmt"
	"os"
	"runtime/pprof"
	"testing"
	"testing/synctest"
	"time"
)

// TestGates parks a primary and a replica at each gate, under load: virtual time goes on for the others. It would not if whoever is parked held a
// mutex that another waits for.
func TestGates(t *testing.T) {
	t.Parallel()
	for _, disk := range []bool{false, true} {
		for _, p := range []place{atClock, atDial, atAccept, atSend, atReceive, atCoordinator, atCommitter} {
			if p == atCommitter && !disk {
				continue // it is one of stores on a disk
			}
			t.Run(fmt.Sprintf("%s/disk=%v", p, disk), func(t *testing.T) {
				t.Parallel()
				w := &trial{seed: 1, plan: plan{disk: disk, auto: true, lease: 200 * time.Millisecond, logBytes: 64 << 10, tombs: 1 << 20}}
				w.dir = t.TempDir()
				dog := time.AfterFunc(5*time.Minute, func() { // of real time
					_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
					panic(fmt.Sprintf("virtual time stands still while somebody is parked at %s", p))
				})
				defer dog.Stop()
				synctest.Test(t, func(t *testing.T) { w.park(t, p) })
			})
		}
	}
}

func (w *trial) park(t *testing.T, p place) {
	w.begin(t)
	w.open()
	w.seedData()
	stop := w.watch()
	defer func() { w.end(stop) }()
	w.startClients()
	for _, primary := range []bool{true, false} {
		i := w.leader()
		if !primary {
			i = (i + 1) % simNodes
		}
		if primary && p == atDial || !primary && p == atAccept { // replicas dial their primary, nobody else does
			continue
		}
		g := &w.hosts[i].gate
		g.closeAt(p)
		for since := time.Now(); !g.holds(p); time.Sleep(20 * time.Millisecond) {
			if time.Since(since) > time.Minute {
				t.Fatalf("%s is never held at %s", nodeID(i), p)
			}
			for j := range simNodes { // whoever is parked where links begin needs one that begins
				w.c.Network.Cut(nodeID(i), nodeID(j))
			}
		}
		time.Sleep(10 * time.Second)
		g.open()
		w.repair()
	}
	w.ending.Store(true)
	w.clients.Wait()
	w.rest()
	w.finalReads()
}
