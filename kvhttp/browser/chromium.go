package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/chromedp/chromedp"
)

// Chromium starts a headless Chromium, which ends with the context or by cancel, and gives a context that chromedp.Do takes. It looks for
// chromium, chromium-browser and google-chrome. Its own sandbox is off, as it cannot have one as root or in most containers; it loads nothing
// but our pages.
func Chromium(ctx context.Context) (tab context.Context, cancel func(), err error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("no Chromium (Debian: apt-get install chromium): %w", err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true))
	alloc, stop := chromedp.NewExecAllocator(ctx, opts...)
	tab, end := chromedp.NewContext(alloc)
	cancel = func() { end(); stop() }
	if err := chromedp.Do(tab); err != nil {
		cancel()
		return nil, nil, fmt.Errorf("start %s: %w", path, err)
	}
	return tab, cancel, nil
}

// Until waits until an expression is true on the page. (chromedp's own Poll makes a function of a text, which the page's policy forbids.)
func Until(tab context.Context, expression string) error {
	ok, err := chromedp.Run(tab, chromedp.Evaluate[bool](`new Promise(function (done) {
		(function look() { if (`+expression+`) { done(true); } else { setTimeout(look, 20); } })();
	})`, chromedp.EvalAwaitPromise))
	if err == nil && !ok {
		err = errors.New("the page went away")
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", expression, err)
	}
	return nil
}
