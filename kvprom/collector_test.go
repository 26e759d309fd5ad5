package kvprom

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

var update = flag.Bool("update", false, "write the files that the tests compare with")

// Each field of a status has a value of its own here, so that the files in testdata tell when one stands in for another.

func ofAPrimary() kv.Status {
	return kv.Status{
		ID: "n1", State: replica.Primary, Role: replica.RolePrimary, Since: time.Now().Add(-time.Minute), CanRead: true, CanWrite: true,
		Group: cluster.GroupID{15: 1}, GroupName: "orders", Slots: 5461, Epoch: 7, LSN: 1000, Commit: 990, Primary: "n1", View: 12,
		Replicas: []kv.ReplicaStatus{
			{ID: "n2", InSync: true, Linked: true, LSN: 980, Lag: 20, LagBytes: 2048, LagTime: 1500 * time.Millisecond},
			{ID: "n3", Linked: true, LSN: 500, Lag: 500, LagBytes: 65536, LagTime: 250 * time.Millisecond},
			{ID: "n4", Lag: 1000},
		},
		Keys: 101, Tombstones: 102, LiveBytes: 103, Memory: 104, LogBytes: 105, Written: 106, Moved: 107, ExpiryLag: 108 * time.Millisecond,
		WriteRate: 109, SyncsLog: 110, SyncsDelta: 111, SyncsFull: 112, StaleMessages: 113, StaleEvents: 114, Transitions: 115,
		Entered: map[replica.State]uint64{replica.Unassigned: 1, replica.Fenced: 2, replica.Primary: 3, replica.Draining: 4},
	}
}

func ofAReplica() kv.Status {
	now := time.Now()
	return kv.Status{
		ID: "n2", State: replica.Joining, Phase: replica.CatchingUp, Role: replica.RoleReplica, Since: now.Add(-2 * time.Minute),
		Group: cluster.GroupID{15: 2}, Slots: 3, Epoch: 8, LSN: 900, Commit: 890, Primary: "n1", View: 11,
		Link: kv.LinkStatus{DownSince: now.Add(-20 * time.Second), LastIO: now.Add(-30 * time.Second)},
		Sync: kv.SyncStatus{Attempt: 4, Kind: "delta", Phase: "catching up", TotalBytes: 400, ReadBytes: 100, LeftBytes: 300, TotalEntries: 40,
			ReadEntries: 10, Percent: 25, BytesPerSecond: 12.5, ETA: 24 * time.Second, Started: now.Add(-8 * time.Second),
			LastIO: now.Add(-1750 * time.Millisecond), Running: true, Err: errors.New("of the attempt before")},
		InstallPause: 201 * time.Microsecond, SyncsDone: 202, SyncsFailed: 203, DroppedTail: 204,
		Entered: map[replica.State]uint64{replica.Joining: 205, replica.Stale: 206},
	}
}

// exposition is what a node with this status shows, as text.
func exposition(t *testing.T, s kv.Status) string {
	t.Helper()
	asked := 0
	c := newCollector(func() kv.Status { asked++; return s }, nil)
	asked = 0
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if asked != 1 {
		t.Errorf("%d statuses were taken for one scrape", asked)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// What stands in the files is what programs outside rely on: names, types, labels, and which figure is which.
func TestExposition(t *testing.T) {
	for name, status := range map[string]func() kv.Status{"primary": ofAPrimary, "replica": ofAReplica} {
		synctest.Test(t, func(t *testing.T) {
			got, file := exposition(t, status()), filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
			for _, line := range gotLines {
				if !slices.Contains(wantLines, line) {
					t.Errorf("%s does not have: %s", file, line)
				}
			}
			for _, line := range wantLines {
				if !slices.Contains(gotLines, line) {
					t.Errorf("only %s has: %s", file, line)
				}
			}
		})
	}
}

// What is not known is left out, and everything that is defined is shown at some time.
func TestWhatIsShown(t *testing.T) {
	unknown := ofAReplica()
	unknown.Sync.TotalBytes, unknown.Sync.LeftBytes, unknown.Sync.TotalEntries, unknown.Sync.ETA = -1, -1, -1, -1
	text := exposition(t, unknown)
	for _, name := range []string{"hessonite_master_sync_total_bytes", "hessonite_master_sync_left_bytes", "hessonite_sync_total_entries", "hessonite_sync_eta_seconds"} {
		if strings.Contains(text, name) {
			t.Errorf("%s is shown, but not known", name)
		}
	}
	if !strings.Contains(text, "\nhessonite_master_sync_read_bytes") || strings.Contains(text, "} -") {
		t.Error(text)
	}
	fenced := ofAPrimary()
	fenced.State, fenced.Replicas, fenced.Commit = replica.Fenced, nil, 0 // as before its first lease
	for _, name := range []string{"hessonite_replicas", "hessonite_commit_lsn"} {
		if strings.Contains(exposition(t, fenced), name) {
			t.Errorf("%s is shown, but not known", name)
		}
	}
	all := exposition(t, ofAPrimary()) + exposition(t, ofAReplica())
	var bare kv.Status
	bare.State = replica.Closed
	least := exposition(t, bare)
	for _, d := range Definitions() {
		shown := "\n" + d.Name + "{"
		if !strings.Contains(all, shown) {
			t.Errorf("%s is never shown", d.Name)
		}
		if always := strings.Contains(least, shown); always != (d.Only == "") {
			t.Errorf("%s is shown by a closed node: %v, but it is defined as shown only %q", d.Name, always, d.Only)
		}
		if d.Topic == "" || !strings.HasSuffix(d.Help, ".") || !strings.HasPrefix(d.Name, "hessonite_") || (d.Type == Counter) != strings.HasSuffix(d.Name, "_total") {
			t.Errorf("%+v", d)
		}
	}
}

// A label that cannot be shown fails the scrape, and not the program.
func TestLabelThatIsNoText(t *testing.T) {
	s := ofAPrimary()
	s.GroupName = "\xff"
	reg := prometheus.NewRegistry()
	if err := reg.Register(newCollector(func() kv.Status { return s }, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := reg.Gather(); err == nil || !strings.Contains(err.Error(), "hessonite_group_info") {
		t.Errorf("%v", err)
	}
	s.ID = "\xff"
	if err := reg.Register(newCollector(func() kv.Status { return s }, nil)); err == nil {
		t.Error("a node whose ID is no text was taken")
	}
}

// Definitions are the caller's.
func TestDefinitionsAreCopies(t *testing.T) {
	Definitions()[0].Labels[0] = "changed"
	if d := Definitions()[0]; d.Labels[0] != "state" {
		t.Errorf("%+v", d)
	}
}
