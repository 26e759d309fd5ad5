package kvhttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/kvtest"
	"github.com/hessonite/kv/replica"
)

func health(t *testing.T, h http.Handler, path string, code int) HealthReport {
	t.Helper()
	var r HealthReport
	w := get(t, h, path, code)
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || r.OK != (code == 200) || r.Reason == "" {
		t.Fatalf("%s: %v: %s", path, err, w.Body)
	}
	return r
}

// The table of docs/status.md: what each row of the table of states means to the probes.
func TestProbesOfEveryState(t *testing.T) {
	const y, n = 200, 503
	for _, row := range replica.Rows() {
		want := [5]int{} // livez, livez with KeepFailed, readyz, with Leading, with InStep
		switch row.State {
		case replica.Primary:
			want = [5]int{y, y, y, y, y}
		case replica.Draining, replica.Following:
			want = [5]int{y, y, y, n, y}
		case replica.Resyncing, replica.Unassigned:
			want = [5]int{y, y, y, n, n}
		case replica.Opening, replica.Joining, replica.Stale, replica.Fenced:
			want = [5]int{y, y, n, n, n}
		case replica.Failed:
			want = [5]int{n, y, n, n, n}
		case replica.Closed:
			want = [5]int{n, n, n, n, n}
		}
		node := in(row)
		for i, ask := range []struct {
			path string
			opts []HealthOption
		}{{"/livez", nil}, {"/x/livez", []HealthOption{KeepFailed()}}, {"/readyz", nil}, {"/x/readyz", []HealthOption{Leading()}}, {"/readyz", []HealthOption{InStep()}}} {
			t.Run(row.String()+ask.path, func(t *testing.T) {
				r := health(t, newHealth(node, ask.opts...), ask.path, want[i])
				if r.ID != "n2" || r.State != row.State.String() || r.Phase != row.Phase.String() || r.CanRead != node.s.CanRead || r.CanWrite != node.s.CanWrite {
					t.Errorf("%+v", r)
				}
			})
		}
	}
	get(t, newHealth(in(replica.Row{State: replica.Primary})), "/healthz", 404)
}

// A state alone does not make a node ready: there must be somebody to forward to, and the lease must hold.
func TestReadyNeedsMoreThanAState(t *testing.T) {
	for what, f := range map[string]func() *fake{
		"a primary whose lease has run out": func() *fake {
			n := in(replica.Row{State: replica.Primary})
			n.s.CanWrite = false
			return n
		},
		"a replica of a group without a primary": func() *fake {
			n := in(replica.Row{State: replica.Following})
			n.s.Primary = ""
			return n
		},
		"a node that the view does not know": func() *fake {
			n := in(replica.Row{State: replica.Unassigned})
			delete(n.v.Nodes, "n2")
			return n
		},
		"a node without anybody who holds slots": func() *fake {
			n := in(replica.Row{State: replica.Unassigned})
			n.v.Groups = nil
			return n
		},
		"a node beside a group without a primary": func() *fake {
			n := in(replica.Row{State: replica.Unassigned})
			g := n.v.Groups[testGroup]
			g.Primary = cluster.MemberID{}
			n.v.Groups[testGroup] = g
			return n
		},
	} {
		t.Run(what, func(t *testing.T) { health(t, newHealth(f()), "/readyz", 503) })
	}
	n := in(replica.Row{State: replica.Stale})
	n.s.Sync.Err = errors.New(`dial <b>: "no"`)
	if r := health(t, newHealth(n), "/readyz", 503); r.Error != n.s.Sync.Err.Error() {
		t.Errorf("%+v", r)
	}
}

// A group of real nodes: ready means that a request is answered, through each of them, at every stage of its life.
func TestReadyMeansAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kvtest.NewCluster(t, 3, kvtest.WithCoordinator(cluster.WithLease(time.Second)))
		ctx, cancel := c.Context()
		defer cancel()
		check := func(when string, ready ...bool) {
			t.Helper()
			synctest.Wait()
			for i, want := range ready {
				code := 200
				if !want {
					code = 503
				}
				r := health(t, Health(c.Node(i)), "/readyz", code)
				_, err := c.Node(i).Get(ctx, []byte("k"))
				if answered := err == nil || errors.Is(err, kv.ErrNotFound); answered != want {
					t.Errorf("%s: %s is ready: %v (%s), and a request ends with %v", when, r.ID, want, r.Reason, err)
				}
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check("without slots", false, false, false)
		must(c.Node(0).Join(ctx, "g"))
		must(c.Node(0).Set(ctx, []byte("k"), []byte("v")))
		check("with a primary, and two that forward", true, true, true)
		must(c.Node(1).Join(ctx, "g"))
		c.WaitStatus(0, "with a replica in sync", func(s kv.Status) bool { return len(s.Replicas) == 1 && s.Replicas[0].InSync })
		check("with a replica", true, true, true)
		health(t, Health(c.Node(0), Leading()), "/readyz", 200)
		health(t, Health(c.Node(1), InStep()), "/readyz", 200)
		health(t, Health(c.Node(2), InStep()), "/readyz", 503)

		c.Kill(0)
		c.WaitState(1, replica.Stale)
		check("without its primary", false, false)
		if r := health(t, Health(c.Node(1)), "/livez", 200); !strings.Contains(r.Error, "n1") {
			t.Errorf("%+v", r)
		}
		health(t, Health(c.Node(0)), "/livez", 503) // closed
		_, err := c.Node(1).Failover(ctx, kv.FailoverOptions{})
		must(err)
		c.WaitState(1, replica.Primary)
		synctest.Wait()
		health(t, Health(c.Node(1)), "/readyz", 200)
		_, err = c.Node(2).Get(ctx, []byte("k"))
		must(err)
		health(t, Health(c.Node(2)), "/readyz", 200)

		c.CutCoordinator(1, true)
		c.WaitState(1, replica.Fenced)
		health(t, Health(c.Node(1)), "/readyz", 503)
		health(t, Health(c.Node(1)), "/livez", 200)
	})
}
