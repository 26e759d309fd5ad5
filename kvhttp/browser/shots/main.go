// Shots takes pictures of the status page: of real nodes in five situations, in headless Chromium.
//
//	go run -C kvhttp/browser ./shots -o ../../docs/images       the pictures of the documentation
//	go run -C kvhttp/browser ./shots -o /tmp/all -all           each situation, wide and narrow, light and dark
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	kv "github.com/hessonite/kv"
	"github.com/hessonite/kv/kvhttp"
	"github.com/hessonite/kv/kvhttp/browser"
)

func main() {
	out := flag.String("o", ".", "directory to write to")
	all := flag.Bool("all", false, "every situation in every look")
	only := flag.String("scene", "", "this situation only")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *out, *only, *all); err != nil {
		fmt.Fprintln(os.Stderr, "shots:", err)
		os.Exit(1)
	}
}

// look is how the page is looked at.
type look struct {
	suffix string
	width  int64
	scale  float64
	dark   bool
}

var (
	wideLight   = look{"-light", 1200, 1, false}
	wideDark    = look{"-dark", 1200, 1, true}
	narrowLight = look{"-phone-light", 390, 2, false}
	narrowDark  = look{"-phone-dark", 390, 2, true}
)

// kept are the looks that the documentation shows.
var kept = map[string][]look{
	"idle": {{"", 1200, 1, false}}, "syncing": {{"", 1200, 1, false}, {"-phone", 390, 1.5, true}}, "following": {{"", 1200, 1, true}},
	"stale": {{"", 1200, 1, false}}, "fenced": {{"", 1200, 1, true}},
}

func run(ctx context.Context, dir, only string, all bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tab, cancel, err := browser.Chromium(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	for _, s := range browser.Scenes() {
		looks := kept[s.Name]
		if all {
			looks = []look{wideLight, wideDark, narrowLight, narrowDark}
		}
		if only != "" && only != s.Name {
			continue
		}
		if err := play(tab, s, looks, dir); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}

// play sets the scene, and takes its pictures.
func play(tab context.Context, s browser.Scene, looks []look, dir string) (err error) {
	set := &set{}
	defer set.end(&err)
	pages := map[*kv.Node]http.Handler{}
	n := s.Stage(set, func(n *kv.Node) { pages[n] = kvhttp.Status(n) })
	server := httptest.NewServer(pages[n])
	defer server.Close()
	for _, l := range looks {
		if err := shoot(tab, l, server.URL+"/", filepath.Join(dir, "status-"+s.Name+l.suffix+".png")); err != nil {
			return err
		}
	}
	return nil
}

func shoot(tab context.Context, l look, url, file string) error {
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	metrics := emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: 800, DeviceScaleFactor: l.scale, Mobile: l.width < 600}
	if _, err := chromedp.Call(tab, emulation.SetDeviceMetricsOverride, metrics); err != nil {
		return err
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
	if _, err := chromedp.Call(tab, emulation.SetEmulatedMedia, media); err != nil {
		return err
	}
	if err := chromedp.Do(tab, chromedp.Navigate(url)); err != nil {
		return err
	}
	// It has refreshed once: what is seen is what the script makes of it.
	if err := browser.Until(tab, `performance.getEntriesByType("resource").length > 0`); err != nil {
		return err
	}
	png, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
	if err != nil {
		return err
	}
	small, err := shrink(png)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d KB\n", file, len(small)>>10)
	return os.WriteFile(file, small, 0o644)
}

// set stands in for a test, which a program does not have: what is set up on it is taken down by end.
type set struct {
	testing.TB
	cleanups []func()
}

// broken is what Fatalf ends a scene with.
type broken struct{ error }

func (s *set) Helper()                      {}
func (s *set) Cleanup(f func())             { s.cleanups = append(s.cleanups, f) }
func (s *set) Fatalf(f string, args ...any) { panic(broken{fmt.Errorf(f, args...)}) }

func (s *set) end(err *error) {
	failed := recover()
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	if b, ok := failed.(broken); ok {
		*err = errors.Join(*err, b.error)
	} else if failed != nil {
		panic(failed)
	}
}
