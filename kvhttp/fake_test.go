package kvhttp

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

// fake is a node that says what a test lets it say, so that situations which real nodes leave in a moment can be looked at.
type fake struct {
	s     kv.Status
	v     cluster.View
	watch func(replica.Transition)
}

func (f *fake) Status() kv.Status  { return f.s }
func (f *fake) View() cluster.View { return f.v }
func (f *fake) Observe(w func(replica.Transition)) func() {
	f.watch = w
	return func() {}
}

var (
	testGroup = cluster.GroupID{0xab, 1}
	testStore = cluster.StoreID{0xcd, 2}
	testTime  = time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
)

// in is a node n2 of a group of three whose primary is n1 (or, if it leads, itself), in a row of the table of states.
func in(row replica.Row) *fake {
	info := replica.Machine{State: row.State, Phase: row.Phase}.Info()
	f := &fake{s: kv.Status{ID: "n2", Incarnation: 7, StoreID: testStore, State: row.State, Phase: row.Phase, Role: info.Role, Since: testTime.Add(-5 * time.Second),
		View: 9, Keys: 1234, LiveBytes: 5 << 20, LSN: 42, Commit: 41}}
	lead := cluster.MemberID{Node: "n1", Store: cluster.StoreID{1}}
	me := cluster.MemberID{Node: "n2", Store: testStore}
	f.v = cluster.View{Version: 9, Nodes: map[cluster.NodeID]cluster.NodeInfo{
		"n1": {ID: "n1", Addr: "10.0.0.1:7000", Store: lead.Store}, "n2": {ID: "n2", Addr: "10.0.0.2:7000", Store: testStore, Kind: cluster.DiskStore},
		"n3": {ID: "n3", Addr: "10.0.0.3:7000", Store: cluster.StoreID{3}}}}
	members := []cluster.Member{{MemberID: lead, InSync: true}}
	if info.Role != replica.RoleNone {
		f.s.Group, f.s.GroupName, f.s.Epoch, f.s.Slots, f.s.Primary = testGroup, "orders", 3, 8192, "n1"
		members = append(members, cluster.Member{MemberID: me, InSync: !info.Recovering, Joining: info.Recovering})
	}
	if info.Role == replica.RolePrimary {
		f.s.Primary, lead = "n2", me
	}
	if row.State == replica.Primary || row.State == replica.Draining {
		f.s.CanRead, f.s.CanWrite = true, row.State == replica.Primary
		f.s.Replicas = []kv.ReplicaStatus{{ID: "n1", StoreID: cluster.StoreID{1}, InSync: true, Linked: true, LSN: 40, Lag: 2, LagBytes: 300, LagTime: 20 * time.Millisecond}}
	}
	if row.Phase != replica.NoPhase {
		f.s.Sync = kv.SyncStatus{Attempt: 4, Kind: "full", Phase: row.Phase.String(), TotalBytes: 1000, ReadBytes: 420, LeftBytes: 580, TotalEntries: 100,
			ReadEntries: 42, Percent: 42, BytesPerSecond: 10, ETA: 58 * time.Second, Started: testTime.Add(-42 * time.Second), LastIO: testTime, Running: row.Phase != replica.Waiting}
	}
	f.v.Groups = map[cluster.GroupID]cluster.Group{testGroup: {ID: testGroup, Name: "orders", Epoch: 3, Primary: lead, Members: members, Slots: cluster.Slots(0, 8191)}}
	return f
}

func (f *fake) picture() picture { return picture{s: f.s, v: f.v, now: testTime} }

// get asks a handler, and wants an answer of that code.
func get(t *testing.T, h http.Handler, url string, code int) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
	if w.Code != code {
		t.Fatalf("GET %s: %d, not %d: %s", url, w.Code, code, w.Body)
	}
	return w
}

var errPlain = errors.New("it broke")

func wrapped(err error) error { return fmt.Errorf("the disk says: %w", err) }
