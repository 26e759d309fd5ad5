package kvhttp

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

func fetch(t *testing.T, h http.Handler) Report {
	t.Helper()
	var r Report
	if err := json.Unmarshal(get(t, h, "/status.json", 200).Body.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The transitions of a real node are told, from the handler's making to the node's end, with their causes.
func TestTransitionsOfARealNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kvtest.NewCluster(t, 2, kvtest.WithCoordinator(cluster.WithLease(time.Second)))
		ctx, cancel := c.Context()
		defer cancel()
		h := Status(c.Node(1))
		synctest.Wait()
		if _, err := c.Node(0).AssignSlots(ctx, cluster.AllSlots()); err != nil {
			t.Fatal(err)
		}
		if err := c.Node(1).Replicate(ctx, "n1"); err != nil {
			t.Fatal(err)
		}
		c.Kill(0)
		c.WaitState(1, replica.Stale)
		synctest.Wait()
		r := fetch(t, h)
		if r.Summary.Verdict != VerdictWatch || !strings.Contains(r.Summary.Text, "n1") || r.Link == nil || r.Link.Up || r.Link.DownSince == nil || r.Sync == nil {
			t.Errorf("%+v, link %+v, sync %+v", r.Summary, r.Link, r.Sync)
		}
		last := r.Transitions[0]
		if last.From != "Following" || last.To != "Stale" || last.Event != "LinkLost" || last.Cause == "" || last.At.IsZero() {
			t.Errorf("the last transition: %+v", last)
		}
		for i := 1; i < len(r.Transitions); i++ {
			if a, b := r.Transitions[i], r.Transitions[i-1]; a.To != b.From || a.ToPhase != b.FromPhase {
				t.Errorf("%+v does not follow %+v", b, a)
			}
		}
		html := get(t, h, "/", 200).Body.String()
		if !strings.Contains(html, `class="arrow came" data-from="Following" data-to="Stale"`) {
			t.Error("the way is not marked")
		}
		if err := c.Node(1).Close(); err != nil {
			t.Fatal(err)
		}
		if r := fetch(t, h); r.State.State != "Closed" || r.Transitions[0].To != "Closed" {
			t.Errorf("after the end: %+v, %+v", r.State, r.Transitions[0])
		}
		get(t, h, "/", 200)
	})
}

// While a node is closed, and asked by many, nothing races; and nothing of the handlers is left.
func TestNothingIsLeftAfterClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		n, err := kv.Open(t.Context(), kv.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h, live := Status(n), Health(n)
		var asking sync.WaitGroup
		begun := make(chan struct{}, 4)
		for range 4 {
			asking.Go(func() {
				for i := 0; fetch(t, h).State.State != "Closed"; i++ {
					get(t, h, "/", 200)
					if i == 0 {
						begun <- struct{}{}
					}
				}
				health(t, live, "/livez", 503)
			})
		}
		for range 4 {
			<-begun
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		asking.Wait()
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched() // one that has done its last may still be on its way out
	}
	if after := runtime.NumGoroutine(); after > before {
		b := make([]byte, 1<<20)
		t.Fatalf("%d goroutines before, %d after:\n%s", before, after, b[:runtime.Stack(b, true)])
	}
}

// While a sync runs, what the page shows is what the node counts: never back, and 100 at the end.
func TestProgressOfARealSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kvtest.NewCluster(t, 2, kvtest.WithOptions(func(_ int, o *kv.Options) { o.SyncBytesPerSecond = 1 << 20 }))
		ctx, cancel := c.Context()
		defer cancel()
		if _, err := c.Node(0).AssignSlots(ctx, cluster.AllSlots()); err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			if err := c.Node(0).Set(ctx, []byte{byte(i), 1}, make([]byte, 40<<10)); err != nil {
				t.Fatal(err)
			}
		}
		h := Status(c.Node(1))
		if err := c.Node(1).Replicate(ctx, "n1", kv.Async()); err != nil {
			t.Fatal(err)
		}
		last, between, known := 0.0, 0, 0
		for {
			time.Sleep(100 * time.Millisecond)
			r := fetch(t, h)
			if r.State.State == "Following" {
				if r.Sync.Percent != 100 || r.Sync.LeftBytes != 0 || r.Sync.Running {
					t.Errorf("done: %+v", r.Sync)
				}
				break
			}
			if r.Sync == nil {
				continue
			}
			if r.Sync.Percent < last {
				t.Errorf("%v per cent after %v", r.Sync.Percent, last)
			}
			if last = r.Sync.Percent; last > 0 && last < 100 {
				between++
			}
			if r.Sync.LeftSeconds >= 0 && r.Sync.BytesPerSecond > 500<<10 && r.Sync.BytesPerSecond < 2<<20 {
				known++
			}
		}
		if between < 20 || known < 20 {
			t.Errorf("seen between 0 and 100 %d times, with rate and time left %d times", between, known)
		}
	})
}
