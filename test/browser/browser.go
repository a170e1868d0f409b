// Package browser opens pages in a headless Chromium, for tests of what people see: it trusts a CA of the test's, finds all names on this
// machine, and tells what is wrong with a page.
package browser

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const (
	pageTimeout = time.Minute // a bound for a busy machine
	lookEvery   = 10 * time.Millisecond
)

// Browser is one window, which goes from page to page.
type Browser struct {
	tb  testing.TB
	ctx context.Context //nolint:containedctx // chromedp keeps the window in it

	mu       sync.Mutex
	problems []string
	answer   *network.Response // that the page is
}

// Page is what is in the window.
type Page struct {
	Status   int64
	Protocol string // "h2", say
	Security string // "secure"
	Issuer   string // of the certificate
	Title    string
	Heading  string
	Text     string // all that can be seen
	Width    int64  // of what is in it; more than the window's has to be scrolled
	Problems []string
}

// New starts a Chromium with a window as wide as a small telephone's. It trusts the root certificate, and nobody else's counts for what is
// on this machine. It ends with the test.
func New(tb testing.TB, rootPEM []byte) *Browser {
	tb.Helper()
	program, err := exec.LookPath("chromium")
	require.NoError(tb, err, "make setup-test installs Chromium")
	home := tb.TempDir()
	trust(tb, home, rootPEM)
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(program), chromedp.Env("HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home), chromedp.DisableGPU,
		chromedp.NoSandbox, // which root can't have; the pages are ours
		chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"), chromedp.UserDataDir(filepath.Join(home, "profile")))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	tb.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocator)
	tb.Cleanup(end)
	b := &Browser{tb: tb, ctx: ctx}
	require.NoError(tb, chromedp.Do(ctx, chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile)))
	require.NoError(tb, chromedp.Listen(ctx, b.hear))
	return b
}

// trust makes the user's certificate store, as somebody does who installs their company's root.
func trust(tb testing.TB, home string, rootPEM []byte) {
	tb.Helper()
	store, root := filepath.Join(home, ".pki", "nssdb"), filepath.Join(home, "root.pem")
	require.NoError(tb, os.MkdirAll(store, 0o700))
	require.NoError(tb, os.WriteFile(root, rootPEM, 0o600))
	for _, args := range [][]string{
		{"-N", "--empty-password"}, {"-A", "-n", "test root", "-t", "C,,", "-i", root},
	} {
		out, err := exec.CommandContext(tb.Context(), "certutil", append(args, "-d", "sql:"+store)...).CombinedOutput() //nolint:gosec // fixed arguments
		require.NoError(tb, err, "%s", out)
	}
}

// hear collects what a developer would see in the console, but for answers that are errors: those are the test's to judge.
func (b *Browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	problem := ""
	switch e := event.(type) {
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			b.answer = e.Response
		}
	case *runtime.EventExceptionThrown:
		problem = e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			problem = "console." + string(e.Type)
		}
	case *log.EventEntryAdded:
		if e.Entry.Source != "network" && e.Entry.Level != "info" && e.Entry.Level != "verbose" {
			problem = e.Entry.Text
		}
	}
	if problem != "" {
		b.problems = append(b.problems, problem)
	}
}

// Try goes to an address; the error is the browser's when there is no page at all.
func (b *Browser) Try(url string) (Page, error) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageTimeout)
	defer cancel()
	if err := b.navigate(ctx, url); err != nil {
		return Page{}, err
	}
	var answer *network.Response
	require.Eventually(b.tb, func() bool { // what is left of the page before may look like the end of this one
		b.mu.Lock()
		answer = b.answer
		b.mu.Unlock()
		return answer != nil && Eval[string](b, "document.readyState + ' ' + location.href") == "complete "+answer.URL
	}, pageTimeout, lookEvery, url)
	p := b.Look()
	p.Status, p.Protocol, p.Security = answer.Status, answer.Protocol, string(answer.SecurityState)
	if answer.SecurityDetails != nil {
		p.Issuer = answer.SecurityDetails.Issuer
	}
	return p, nil
}

// navigate goes again when Chromium gives up because a network came or went on this machine, as a container's of another test.
func (b *Browser) navigate(ctx context.Context, url string) error {
	for {
		b.mu.Lock()
		b.problems, b.answer = nil, nil
		b.mu.Unlock()
		err := chromedp.Do(ctx, chromedp.Navigate(url))
		if err == nil || !strings.Contains(err.Error(), "ERR_NETWORK_CHANGED") || ctx.Err() != nil {
			return err
		}
	}
}

// Open is Try for an address that has a page.
func (b *Browser) Open(url string) Page {
	b.tb.Helper()
	p, err := b.Try(url)
	require.NoError(b.tb, err, url)
	return p
}

// Look returns what is in the window now, which a script may have changed; what belongs to the answer is left out.
func (b *Browser) Look() Page {
	b.tb.Helper()
	var p Page
	p.Title = Eval[string](b, "document.title")
	p.Heading = Eval[string](b, "(document.querySelector('h1') || {innerText: ''}).innerText")
	p.Text = strings.Join(strings.Fields(Eval[string](b, "document.body.innerText")), " ")
	p.Width = Eval[int64](b, "document.documentElement.scrollWidth")
	b.mu.Lock()
	defer b.mu.Unlock()
	p.Problems = append([]string(nil), b.problems...)
	return p
}

// Eval runs a script in the page and returns its value, or what its promise brings. It is run again when the page goes away meanwhile.
func Eval[T any](b *Browser, script string) T {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageTimeout)
	defer cancel()
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
		if err == nil {
			return value
		}
		select {
		case <-ctx.Done():
			require.NoError(b.tb, err, script)
		case <-again.C:
		}
	}
}

// Picture writes what is in the window to a file.
func (b *Browser) Picture(file string) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageTimeout)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(b.tb, err)
	require.NoError(b.tb, os.WriteFile(file, png, 0o600))
}
