//go:build unix

package chaos

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var saturate = flag.Duration("saturate", 5*time.Second, "how long TestSaturated writes")

// As many clients as it takes to leave no processor any rest write and read for a while, and nothing fails: there is no failover, and no member is taken
// out of the set.
func TestSaturated(t *testing.T) {
	const clients = 64
	f := newFleet(t, 5)
	f.settled(time.Minute)
	before, err := f.procs[f.primary()].state()
	must(t, err)
	value := strings.Repeat("v", 1000)
	end := time.Now().Add(*saturate)
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			var took []time.Duration
			for i := 0; time.Now().Before(end); i++ {
				op := Op{Kind: "set", Key: fmt.Sprintf("s-%d-%d", c, i%100), Value: value, Timeout: 10 * time.Second}
				if i%4 == 3 {
					op.Kind = "get"
				}
				var r Result
				began := time.Now()
				if err := f.procs[c%len(f.procs)].call("Do", op, &r, 20*time.Second); err != nil || r.Err != "" && r.Err != "absent" {
					t.Errorf("client %d, request %d: %v, %+v", c, i, err, r)
				}
				took = append(took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	after, err := f.procs[f.primary()].state()
	must(t, err)
	if after.Epoch != before.Epoch || after.InSync != before.InSync {
		t.Errorf("epoch %d with %d replicas in sync, after %v epoch %d with %d", before.Epoch, before.InSync, *saturate, after.Epoch, after.InSync)
	}
	slices.Sort(all)
	t.Logf("%d requests of %d clients in %v: median %v, 99 %% %v, most %v", len(all), clients, *saturate, all[len(all)/2].Round(time.Microsecond),
		all[len(all)*99/100].Round(time.Microsecond), all[len(all)-1].Round(time.Millisecond))
}
