package browser

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvhttp"
	"github.com/hessonite/kv/replica"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tab is a tab of a Chromium of its own, for two minutes.
func tab(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	out, end, err := Chromium(ctx)
	must(t, err)
	t.Cleanup(end)
	return out
}

// eval is the value of an expression on the page.
func eval[T any](t *testing.T, tab context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(tab, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// perform sets a scene, and serves the page of the node that is in it; loaded is told of each time that it is sent.
func perform(t *testing.T, stage func(testing.TB, func(*kv.Node)) *kv.Node, loaded ...func()) (*kv.Node, string) {
	t.Helper()
	pages := map[*kv.Node]http.Handler{}
	n := stage(t, func(n *kv.Node) { pages[n] = http.StripPrefix("/some/where", kvhttp.Status(n)) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages[n].ServeHTTP(w, r)
		for _, tell := range loaded {
			tell()
		}
	}))
	t.Cleanup(server.Close)
	return n, server.URL + "/some/where/"
}

// A page that is open while a replica syncs shows the bar rise to the end, without being loaded again.
func TestPageWatchesASyncReach100(t *testing.T) {
	n, url := perform(t, Syncing(4<<20, 1))
	tab := tab(t)
	must(t, chromedp.Do(tab, chromedp.Navigate(url)))
	eval[int](t, tab, `window.shown = [], window.told = [], new MutationObserver(function () {
		var bar = document.getElementById("progress");
		if (bar && bar.hasAttribute("value")) { shown.push(bar.value); told.push(document.querySelector(".sync").textContent); }
	}).observe(document.body, {subtree: true, childList: true}), 1`)
	must(t, Until(tab, `document.title == "n2: Following" && document.body.className == "ok"`))

	shown, told := eval[[]int](t, tab, `shown`), eval[[]string](t, tab, `told`)
	steps := slices.Compact(slices.Clone(shown))
	if !slices.IsSorted(shown) || len(steps) < 5 || shown[len(shown)-1] < 70 {
		t.Errorf("the bar showed %v", shown)
	}
	if text := strings.Join(strings.Fields(told[len(told)/2]), " "); !strings.Contains(text, "MiB/s") || !strings.Contains(text, " left") || !strings.Contains(text, " of 48.") {
		t.Errorf("half-way it said %q", text)
	}
	if last := eval[string](t, tab, `document.querySelector('[data-part="sync"]').textContent`); !strings.Contains(last, "100 %") {
		t.Errorf("at the end: %q", last)
	}
	if eval[bool](t, tab, `document.getElementById("progress") !== null`) {
		t.Error("a bar is left when the sync is done")
	}
	if lit := eval[string](t, tab, `Array.from(document.querySelectorAll(".machine .lit")).map(function (g) { return g.dataset.state; }).join()`); lit != "Following" {
		t.Errorf("lit: %q", lit)
	}
	if s := n.Status(); s.Sync.Percent != 100 || s.State != replica.Following {
		t.Errorf("and the node: %+v", s.Sync)
	}
}

// Without JavaScript the page says the same, and is loaded again by itself.
func TestPageWorksWithoutJavaScript(t *testing.T) {
	loads := make(chan struct{}, 100)
	_, url := perform(t, followed, func() { loads <- struct{}{} })
	tab := tab(t)
	_, err := chromedp.Call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	must(t, err)
	must(t, chromedp.Do(tab, chromedp.Navigate(url)))
	text, err := chromedp.Run(tab, chromedp.Text("main"))
	must(t, err)
	for _, want := range []string{"n2 is in step with its primary, n1.", "What to do", "Following", "Installed"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page: %s", want, text)
		}
	}
	for range 3 {
		select {
		case <-loads:
		case <-time.After(time.Minute):
			t.Fatal("it was not loaded again")
		}
	}
}

// A page that gets no answer says so, over what it last knew, and goes on when there is one again.
func TestPageSaysThatItIsOld(t *testing.T) {
	var away atomic.Bool
	n, err := kv.Open(t.Context(), kv.Options{ID: "n1"})
	must(t, err)
	defer n.Close()
	page := kvhttp.Status(n)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			http.Error(w, "bad gateway", http.StatusBadGateway)
			return
		}
		page.ServeHTTP(w, r)
	}))
	defer server.Close()
	tab := tab(t)
	must(t, chromedp.Do(tab, chromedp.Navigate(server.URL+"/")))
	if !eval[bool](t, tab, `document.getElementById("lost").hidden`) {
		t.Error("the warning is there from the start")
	}
	away.Store(true)
	must(t, Until(tab, `!document.getElementById("lost").hidden && /No answer for \d+ s/.test(document.getElementById("lost").textContent)`))
	if !eval[bool](t, tab, `document.querySelector("h1").textContent.startsWith("n1 is primary") && getComputedStyle(document.querySelector("main")).opacity < 1`) {
		t.Error("what was known is gone, or looks as if it were new")
	}
	away.Store(false)
	must(t, Until(tab, `document.getElementById("lost").hidden && getComputedStyle(document.querySelector("main")).opacity == 1`))
	must(t, n.Close())
	must(t, Until(tab, `document.title == "n1: Closed" && document.body.className == "act"`))
}

// Nothing that a node is called, or that an error says, does anything; and nothing of the page itself is refused by its policy.
func TestPageRunsNothingForeign(t *testing.T) {
	n, err := kv.Open(t.Context(), kv.Options{ID: `<img src=x onerror="window.evil=1"><script>window.evil=2</script>`})
	must(t, err)
	defer n.Close()
	server := httptest.NewServer(kvhttp.Status(n))
	defer server.Close()
	tab := tab(t)
	messages, end := context.WithCancel(tab)
	defer end()
	console := chromedp.Console(messages)
	must(t, chromedp.Do(tab, chromedp.Navigate(server.URL+"/")))
	must(t, Until(tab, `performance.getEntriesByType("resource").length > 1`)) // twice refreshed
	if !eval[bool](t, tab, `window.evil === undefined && document.querySelector("h1").textContent.startsWith("<img src=x")`) {
		t.Error("the name of a node was run, or is not shown")
	}
	if !eval[bool](t, tab, `getComputedStyle(document.querySelector(".hero")).borderLeftWidth == "8px"`) {
		t.Error("the page has no style")
	}
	eval[int](t, tab, `console.log("the end"), 1`)
	for m, err := range console {
		must(t, err)
		if m.Text == "the end" {
			break
		}
		if !strings.Contains(m.URL, "favicon") {
			t.Errorf("the console says %v", m)
		}
	}
}

// On a phone nothing reaches beyond the screen, in any situation, and what matters is on the first screen.
func TestPageFitsAPhone(t *testing.T) {
	tab := tab(t)
	for _, s := range Scenes() {
		t.Run(s.Name, func(t *testing.T) {
			_, url := perform(t, s.Stage)
			for _, width := range []int64{320, 390, 768, 1400} {
				_, err := chromedp.Call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 500})
				must(t, err)
				must(t, chromedp.Do(tab, chromedp.Navigate(url)))
				var got struct{ Wide, Inner, Advice float64 }
				b := eval[string](t, tab, `JSON.stringify({Wide: document.documentElement.scrollWidth, Inner: innerWidth, Advice: document.querySelector(".say dd").getBoundingClientRect().bottom})`)
				must(t, json.Unmarshal([]byte(b), &got))
				if got.Wide > got.Inner || int64(got.Inner) != width || got.Advice > 800 {
					t.Errorf("at %d: %+v", width, got)
				}
			}
		})
	}
}
