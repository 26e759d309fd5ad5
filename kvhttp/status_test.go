package kvhttp

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/cluster"
	"github.com/hessonite/kv/replica"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// Both handlers only read, whatever they are asked for.
func TestMethods(t *testing.T) {
	n := in(replica.Row{State: replica.Primary})
	for path, h := range map[string]http.Handler{"/": newStatus(n), "/status.json": newStatus(n), "/livez": newHealth(n), "/readyz": newHealth(n)} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if method == "GET" || method == "HEAD" {
				if w.Code != 200 || w.Header().Get("Content-Length") == "" || (w.Body.Len() > 0) != (method == "GET") {
					t.Errorf("%s %s: %d with %d bytes", method, path, w.Code, w.Body.Len())
				}
			} else if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s %s: %s is %q", method, path, name, got)
				}
			}
		}
	}
}

// The page can live below any prefix, with StripPrefix and without; its links are relative.
func TestPrefixes(t *testing.T) {
	n := in(replica.Row{State: replica.Following})
	for _, prefix := range []string{"", "/debug/kv", "/a/b/c%20d"} {
		mux := http.NewServeMux()
		decoded := strings.ReplaceAll(prefix, "%20", " ")
		mux.Handle("/", http.StripPrefix(decoded, newStatus(n)))
		page := get(t, mux, prefix+"/", 200)
		if !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") || !strings.Contains(page.Body.String(), `href="status.json"`) {
			t.Errorf("%q: %v", prefix, page.Header())
		}
		if kind := get(t, mux, prefix+"/status.json", 200).Header().Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
			t.Errorf("%q: %s", prefix, kind)
		}
		get(t, mux, prefix+"/favicon.ico", 404)
		get(t, newStatus(n), prefix+"/status.json", 200) // not stripped
		get(t, newStatus(n), prefix+"/", 200)
		if prefix != "" {
			to := get(t, mux, prefix+"?x=/", 301).Header().Get("Location")
			if want := "./" + prefix[strings.LastIndexByte(prefix, '/')+1:] + "/"; to != want {
				t.Errorf("%q without a slash leads to %q, not %q", prefix, to, want)
			}
		}
	}
	for _, path := range []string{"/javascript:alert(1)", "/x//evil.example", "/" + `%0d%0aSet-Cookie:%20x`} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.URL.Path = "" // as StripPrefix leaves it
		w := httptest.NewRecorder()
		newStatus(n).ServeHTTP(w, r)
		if to := w.Header().Get("Location"); !strings.HasPrefix(to, "./") || strings.ContainsAny(to[2:len(to)-1], "/\r\n") {
			t.Errorf("%q leads to %q", path, to)
		}
	}
	html := get(t, newStatus(n), "/", 200).Body.String()
	for _, m := range regexp.MustCompile(`(?:href|src|action)="?([^" >]*)|url\(([^)]*)\)`).FindAllStringSubmatch(html, -1) {
		if link := m[1] + m[2]; link != "status.json" && !strings.HasPrefix(link, "#") {
			t.Errorf("the page asks for %q", link)
		}
	}
}

// The policy lets exactly the page's own style and script in: the hashes are those of what was sent.
func TestPolicyFitsThePage(t *testing.T) {
	w := get(t, newStatus(in(replica.Row{State: replica.Stale})), "/", 200)
	html, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	for _, tag := range []string{"style", "script"} {
		parts := strings.Split(html, "<"+tag+">")
		if len(parts) != 2 {
			t.Fatalf("%d of <%s>", len(parts)-1, tag)
		}
		text, _, _ := strings.Cut(parts[1], "</"+tag+">")
		if len(text) < 500 || !strings.Contains(policy, tag+"-src "+source256(text)+";") {
			t.Errorf("<%s> of %d bytes has the hash %s, and the policy is %s", tag, len(text), source256(text), policy)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
	if m := regexp.MustCompile(`<[^>]* (style|on[a-z]+)=`).FindString(html); m != "" {
		t.Errorf("the policy forbids %s", m)
	}
}

// wellFormed fails unless tags are closed in order, and gives the text in between.
func wellFormed(t *testing.T, html string) string {
	t.Helper()
	html = regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>`).ReplaceAllString(html, "")
	html = strings.NewReplacer("<!DOCTYPE html>", "", `role="alert" hidden>`, `role="alert">`, "<ol class=\"log\" reversed>", "<ol>").Replace(html)
	html = regexp.MustCompile(`<meta[^>]*`).ReplaceAllString(html, "$0/")
	d := xml.NewDecoder(strings.NewReader(html))
	d.Entity = xml.HTMLEntity
	var text strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		if err != nil {
			t.Fatalf("not well formed: %v", err)
		}
		if c, ok := token.(xml.CharData); ok {
			text.Write(c)
		}
	}
}

// Each row of the table of states has a page: the state is lit, alone, and the first sentence says more than its name.
func TestEveryState(t *testing.T) {
	lit := regexp.MustCompile(`<g class="lit" data-state="(\w+)">`)
	pip := regexp.MustCompile(`<circle class="pip piplit"[^>]*><title>(\w+)</title>`)
	texts := map[string]bool{}
	for _, row := range replica.Rows() {
		t.Run(row.String(), func(t *testing.T) {
			n := in(row)
			h := newStatus(n)
			html := get(t, h, "/", 200).Body.String()
			text := wellFormed(t, html)
			if m := lit.FindAllStringSubmatch(html, -1); len(m) != 1 || m[0][1] != row.State.String() {
				t.Errorf("lit: %v", m)
			}
			if m := pip.FindAllStringSubmatch(html, -1); (row.Phase != replica.NoPhase) != (len(m) == 1 && m[0][1] == row.Phase.String()) {
				t.Errorf("phases lit: %v", m)
			}
			s := summarize(take(n))
			texts[s.Text+string(s.Verdict)] = true
			if !strings.HasPrefix(s.Text, "n2 ") || !strings.Contains(text, s.Text) || !strings.Contains(text, s.Advice) || s.Advice == "" {
				t.Errorf("%+v", s)
			}
			if (s.Verdict == VerdictOK) != (s.Heals == HealsNothing) {
				t.Errorf("a node that is %s heals %q", s.Verdict, s.Heals)
			}
			if strings.Contains(text, "%!") || strings.Contains(text, "<nil>") || strings.Contains(text, "ZgotmplZ") {
				t.Errorf("a value of the wrong kind: %s", text)
			}
			if bar := strings.Contains(html, `<progress id="progress" max="100" value="42"`); bar != (row.Phase != replica.NoPhase) {
				t.Errorf("a progress bar is %v", bar)
			}
			var r Report
			if err := json.Unmarshal(get(t, h, "/status.json", 200).Body.Bytes(), &r); err != nil || r.State.State != row.State.String() || r.Summary != s {
				t.Errorf("%v: %+v", err, r.State)
			}
		})
	}
	if len(texts) != len(replica.Rows())-3 { // the phases of Resyncing are told by the steps
		t.Errorf("%d sentences for %d rows", len(texts), len(replica.Rows()))
	}
}

// What comes from outside is text, wherever it appears.
func TestEscaping(t *testing.T) {
	const evil = `<script>alert("evil")</script>'"><img src=x onerror=alert(1)>&lt;`
	for _, row := range replica.Rows() {
		n := in(row)
		n.s.ID, n.s.GroupName, n.s.Reason, n.s.Sync.Err, n.s.Sync.Kind, n.s.Sync.Started = evil, evil, errors.New(evil), errors.New("2"+evil), evil, testTime
		if n.s.Primary != "" {
			n.s.Primary = evil
		}
		n.s.Replicas = []kv.ReplicaStatus{{ID: evil}}
		n.v.Nodes[cluster.NodeID(evil)] = cluster.NodeInfo{ID: evil, Addr: evil}
		g := n.v.Groups[testGroup]
		g.Name, g.Primary.Node = evil, evil
		g.Members = append(g.Members, cluster.Member{MemberID: cluster.MemberID{Node: evil}})
		n.v.Groups[testGroup] = g
		h := newStatus(n)
		n.watch(replica.Transition{To: replica.Machine{State: row.State, Phase: row.Phase}, Cause: errors.New(evil)})
		html := get(t, h, "/", 200).Body.String()
		if strings.Count(html, "<script") != 1 || strings.Contains(html, "<img") || strings.Contains(html, `"evil"`) {
			t.Errorf("%v: not escaped", row)
		}
		if text := wellFormed(t, html); strings.Count(text, evil) < 6 {
			t.Errorf("%v: not shown as it is: %d times", row, strings.Count(text, evil))
		}
		if body := get(t, h, "/status.json", 200).Body.String(); strings.Contains(body, "<script") {
			t.Errorf("%v: a browser that takes the JSON for HTML runs it", row)
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s (%v) is not what there is now; go test -rewrite writes it anew, git diff shows what changed:\n%s", file, err, got)
	}
}

// Names and meanings of the fields are a promise: a replica that syncs, a primary with one replica away, and a node that knows nothing.
func TestJSONIsAsPromised(t *testing.T) {
	syncing, leading, blank := in(replica.Row{State: replica.Joining, Phase: replica.Receiving}), in(replica.Row{State: replica.Primary}), in(replica.Row{State: replica.Opening})
	syncing.s.Sync.Err = errPlain
	syncing.s.Link = kv.LinkStatus{Up: true, LastIO: testTime.Add(-time.Second)}
	leading.s.Replicas = append(leading.s.Replicas, kv.ReplicaStatus{ID: "n3", StoreID: cluster.StoreID{3}, Lag: 42})
	blank.v = cluster.View{}
	for name, n := range map[string]*fake{"syncing": syncing, "leading": leading, "blank": blank} {
		h := &history{since: testTime.Add(-time.Hour)}
		if name == "syncing" {
			h.add(replica.Transition{From: replica.Machine{State: replica.Unassigned}, To: replica.Machine{State: replica.Joining, Phase: replica.Connecting, Attempt: 3, Epoch: 3},
				Event: replica.Event{Kind: replica.Follow}, At: testTime.Add(-2 * time.Second)})
			h.add(replica.Transition{From: replica.Machine{State: replica.Joining, Phase: replica.Connecting}, To: replica.Machine{State: replica.Joining, Phase: replica.Waiting, Attempt: 3, Epoch: 3},
				Event: replica.Event{Kind: replica.AttemptFailed}, Cause: errPlain, At: testTime.Add(-time.Second), Dropped: 2})
		}
		b, err := json.MarshalIndent(report(n.picture(), h), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/"+name+".json", string(b)+"\n")
	}
}

// Each field is described in the page for operators, under its name.
func TestFieldsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var visit func(reflect.Type)
	visit = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
			return
		}
		for f := range typ.Fields() {
			count++
			name := f.Tag.Get("json")
			if name == "" || name != strings.ToLower(name) || !strings.Contains(string(b), "`"+name+"`") {
				t.Errorf("docs/status.md does not tell of %s.%s (%q)", typ.Name(), f.Name, name)
			}
			visit(f.Type)
		}
	}
	visit(reflect.TypeFor[Report]())
	visit(reflect.TypeFor[HealthReport]())
	if count < 80 {
		t.Errorf("only %d fields", count)
	}
}

// A large cluster makes a long JSON, and a page that still is one.
func TestManyNodes(t *testing.T) {
	n := in(replica.Row{State: replica.Following})
	for i := range 1000 {
		id := cluster.NodeID("x" + string(rune('a'+i%26)) + strings.Repeat("y", i/26))
		n.v.Nodes[id] = cluster.NodeInfo{ID: id}
	}
	delete(n.v.Nodes, "n2")
	n.s.ID = "zzz" // the last of all
	n.v.Nodes["zzz"] = cluster.NodeInfo{ID: "zzz"}
	h := newStatus(n)
	html := get(t, h, "/", 200).Body.String()
	if len(html) > 100<<10 || !strings.Contains(html, "<strong>zzz</strong>") || !strings.Contains(html, "902 more") {
		t.Errorf("%d bytes", len(html))
	}
	var r Report
	if err := json.Unmarshal(get(t, h, "/status.json", 200).Body.Bytes(), &r); err != nil || len(r.View.Nodes) != 1003 {
		t.Errorf("%v, %d nodes", err, len(r.View.Nodes))
	}
}

// Slots that are scattered make a bar of bounded length.
func TestSlotBar(t *testing.T) {
	if got := spans(cluster.Slots(5, 9).Union(cluster.Slots(100, 100))); !slices.Equal(got, []slotSpan{{5, 5}, {100, 1}}) {
		t.Errorf("%v", got)
	}
	var odd cluster.SlotSet
	for i := range cluster.Slot(500) {
		odd = odd.Union(cluster.Slots(2*i+1, 2*i+1))
	}
	odd = odd.Union(cluster.Slots(16383, 16383))
	if got := spans(odd); !slices.Equal(got, []slotSpan{{0, 1024}, {16320, 64}}) {
		t.Errorf("%v", got)
	}
	if got := spans(cluster.SlotSet{}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := &history{}
	for i := range 3 * historyLength {
		tr := replica.Transition{To: replica.Machine{Attempt: replica.Attempt(i)}}
		if i == 10 {
			tr.Dropped = 5
		}
		h.add(tr)
	}
	list, gone := h.last()
	if len(list) != historyLength || cap(h.list) > 2*historyLength || gone != 2*historyLength+5 || list[0].To.Attempt != 3*historyLength-1 {
		t.Errorf("%d in the list, %d gone, the newest is %v", len(list), gone, list[0].To)
	}
	if !slices.IsSortedFunc(list, func(a, b replica.Transition) int { return int(b.To.Attempt) - int(a.To.Attempt) }) {
		t.Error("not the newest first")
	}
}
