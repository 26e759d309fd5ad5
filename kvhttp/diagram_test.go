package kvhttp

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hessonite/kv/replica"
)

// The page's diagram and the one of docs/states.md, which is generated from the same table by other code, show the same arrows with the same events.
func TestDiagramIsThatOfTheTable(t *testing.T) {
	b, err := os.ReadFile("../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+): (.*)$`).FindAllStringSubmatch(string(b), -1) {
		for _, event := range strings.Split(m[3], ", ") {
			want[m[1]+" to "+m[2]+" by "+event] = true
		}
	}
	single, _ := edgesOfTable()
	got := map[string]bool{}
	for _, e := range single {
		for _, kind := range e.Events {
			got[fmt.Sprintf("%v to %v by %v", e.From, e.To, kind)] = true
		}
	}
	if len(want) < 30 {
		t.Fatalf("only %d arrows in docs/states.md", len(want))
	}
	for arrow := range want {
		if !got[arrow] {
			t.Errorf("the page does not show %s", arrow)
		}
	}
	for arrow := range got {
		if !want[arrow] {
			t.Errorf("only the page shows %s", arrow)
		}
	}
}

// What is drawn is what the table says: each arrow, alone or as one of a box, to a state that has a place of its own.
func TestDiagramDrawsEveryArrow(t *testing.T) {
	for _, s := range states() {
		r, ok := places[s]
		if !ok || r.W < 80 {
			t.Errorf("%v has no place in the diagram", s)
		}
		for _, o := range states() {
			if q := places[o]; s != o && r.X < q.X+q.W && q.X < r.X+r.W && r.Y < q.Y+q.H && q.Y < r.Y+r.H {
				t.Errorf("%v is drawn over %v", s, o)
			}
		}
		if box := boxes[s.Info().Role]; s.Info().Role != replica.RoleNone && (r.X < box.X || r.Y < box.Y || r.X+r.W > box.X+box.W || r.Y+r.H > box.Y+box.H) {
			t.Errorf("%v is not within the box of its role", s)
		}
	}
	if len(places) != len(states()) {
		t.Errorf("%d places for %d states", len(places), len(states()))
	}
	drawn := map[string]bool{}
	for _, a := range draw(replica.Opening, replica.NoPhase, nil).Arrows {
		from := []string{a.From}
		for _, role := range []replica.Role{replica.RoleReplica, replica.RolePrimary} {
			if a.From == role.String() {
				from = nil
				for _, s := range statesOf(role) {
					from = append(from, s.String())
				}
			}
		}
		for _, f := range from {
			if drawn[f+" "+a.To] {
				t.Errorf("%s to %s is drawn twice", f, a.To)
			}
			drawn[f+" "+a.To] = true
		}
		if strings.Contains(a.Path, "NaN") || strings.Contains(a.Path, "Inf") {
			t.Errorf("%s to %s: %s", a.From, a.To, a.Path)
		}
	}
	single, anywhere := edgesOfTable()
	for _, e := range single {
		if !drawn[e.From.String()+" "+e.To.String()] {
			t.Errorf("%v to %v is not drawn", e.From, e.To)
		}
	}
	if len(drawn) != len(single) {
		t.Errorf("%d arrows are drawn, and there are %d", len(drawn), len(single))
	}
	var stubs []string
	for _, e := range anywhere {
		stubs = append(stubs, fmt.Sprint(e.To, " by ", names(e.Events)))
	}
	if slices.Sort(stubs); !slices.Equal(stubs, []string{"Closed by Close", "Failed by StorageFault", "Unassigned by Unlisted, Detach, Reset"}) {
		t.Errorf("from anywhere: %q", stubs)
	}
}

// The drawing as a whole is looked at when it changes.
func TestDiagramIsAsItWasLookedAt(t *testing.T) {
	html := get(t, newStatus(in(replica.Row{State: replica.Resyncing, Phase: replica.CatchingUp})), "/", 200).Body.String()
	_, rest, _ := strings.Cut(html, `<svg class="machine"`)
	svg, _, _ := strings.Cut(rest, "</svg>")
	golden(t, "testdata/diagram.svg", `<svg xmlns="http://www.w3.org/2000/svg" class="machine"`+svg+"</svg>\n")
}

// The way that the machine came is marked, and what may come next; the latter in words too.
func TestDiagramShowsTheWay(t *testing.T) {
	came := &replica.Transition{From: replica.Machine{State: replica.Following}, To: replica.Machine{State: replica.Stale}}
	var in, out []string
	for _, a := range draw(replica.Stale, replica.NoPhase, came).Arrows {
		if a.Came {
			in = append(in, a.From+" "+a.To)
		}
		if a.Out {
			out = append(out, a.From+" "+a.To)
		}
	}
	slices.Sort(out)
	if !slices.Equal(in, []string{"Following Stale"}) || !slices.Equal(out, []string{"Stale Joining", "Stale Resyncing", "replica Fenced"}) {
		t.Errorf("came by %q, may go by %q", in, out)
	}
	after := nexts(replica.Row{State: replica.Stale})
	for _, want := range []string{"LinkUp Resyncing/Connecting", "Lead Fenced", "Close Closed"} {
		if !slices.ContainsFunc(after, func(n next) bool { return n.Event+" "+n.To == want && n.Why != "" }) {
			t.Errorf("%s is not among %v", want, after)
		}
	}
	if after := nexts(replica.Row{State: replica.Closed}); len(after) != 0 {
		t.Errorf("after the end: %v", after)
	}
}
