// Package paystack is the billing.Gateway over the Paystack API: a hand-written client that tolerates Paystack's loose JSON, the
// signature check and the decoding of events. It holds no SQL and decides nothing about payments.
package paystack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"controlplane/internal/billing"
	"controlplane/internal/secrets"
)

// DefaultBaseURL is Paystack's, for test and live keys alike.
const DefaultBaseURL = "https://api.paystack.co"

const (
	callTimeout    = 14 * time.Second // one Gateway call with all its attempts
	attemptTimeout = 10 * time.Second
	maxAttempts    = 3
	maxAnswer      = 1 << 20
)

// Options configure a Client.
type Options struct {
	SecretKeys []secrets.Secret // sk_test_… or sk_live_…, all of one mode; the first is used, the others only check signatures
	BaseURL    string           // default DefaultBaseURL; plain http only to loopback
	Transport  http.RoundTripper
	// RetryPause is the wait before the second attempt of a GET or after a 429 that names no time; default 300 ms.
	RetryPause time.Duration
}

// Client is a billing.Gateway. It may be used by many goroutines.
type Client struct {
	http       *http.Client
	base       string
	keys       []secrets.Secret
	mode       string
	retryPause time.Duration
}

var _ billing.Gateway = (*Client)(nil)

// New returns a client, or tells what is wrong with the options; keys never appear in the error.
func New(opts Options) (*Client, error) {
	mode, err := modeOf(opts.SecretKeys)
	if err != nil {
		return nil, err
	}
	base := strings.TrimRight(cmp.Or(opts.BaseURL, DefaultBaseURL), "/")
	if err := checkBaseURL(base); err != nil {
		return nil, err
	}
	transport := opts.Transport
	if transport == nil {
		transport = newTransport()
	}
	return &Client{
		// A redirect would carry the key elsewhere; the API has none.
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		base: base, keys: opts.SecretKeys, mode: mode, retryPause: cmp.Or(opts.RetryPause, 300*time.Millisecond),
	}, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: attemptTimeout, MaxResponseHeaderBytes: 64 << 10,
	}
}

// Mode is "test" or "live".
func (c *Client) Mode() string { return c.mode }

func modeOf(keys []secrets.Secret) (string, error) {
	if len(keys) == 0 {
		return "", errors.New("a Paystack secret key is needed")
	}
	mode := ""
	for i, key := range keys {
		m := keyMode(key)
		if m == "" {
			return "", fmt.Errorf("paystack secret key %d must begin with sk_test_ or sk_live_", i+1)
		}
		if mode != "" && m != mode {
			return "", errors.New("paystack secret keys must all be of one mode, test or live")
		}
		mode = m
	}
	return mode, nil
}

func keyMode(key secrets.Secret) string {
	switch text := key.Reveal(); {
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "" // would break the header
	case strings.HasPrefix(text, "sk_test_") && len(text) > len("sk_test_"):
		return "test"
	case strings.HasPrefix(text, "sk_live_") && len(text) > len("sk_live_"):
		return "live"
	}
	return ""
}

func checkBaseURL(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the Paystack base URL must be an absolute URL without user, query and fragment")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return errors.New("the Paystack base URL must be https (http only to loopback)")
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// envelope is what every answer is wrapped in; status only says that the call worked.
type envelope struct {
	Status  looseBool       `json:"status"`
	Message looseString     `json:"message"`
	Type    looseString     `json:"type"`
	Code    looseString     `json:"code"`
	Data    json.RawMessage `json:"data"`
	Meta    pageMeta        `json:"meta"`
}

// get may be repeated after anything that isn't an answer.
func (c *Client) get(ctx context.Context, path string) (json.RawMessage, error) {
	data, _, err := c.getPage(ctx, path)
	return data, err
}

func (c *Client) getPage(ctx context.Context, path string) (json.RawMessage, pageMeta, error) {
	e, err := c.call(ctx, http.MethodGet, path, nil, func(e *apiError) bool { return e.HTTP == http.StatusTooManyRequests || e.HTTP >= 500 || e.HTTP == 0 })
	return e.Data, e.Meta, err
}

// post is repeated only when Paystack says that it did nothing because of its rate limit.
func (c *Client) post(ctx context.Context, path string, body any) (json.RawMessage, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	e, err := c.call(ctx, http.MethodPost, path, text, func(e *apiError) bool { return e.HTTP == http.StatusTooManyRequests })
	return e.Data, err
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, repeatable func(*apiError) bool) (envelope, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		e, failed := c.attempt(ctx, method, path, body)
		if failed == nil {
			return e, nil
		}
		pause := max(failed.RetryAfter, c.retryPause<<(attempt-1))
		if attempt == maxAttempts || !repeatable(failed) || !wait(ctx, pause) {
			return envelope{}, failed
		}
	}
}

// wait reports whether the pause went by within ctx; it doesn't begin one that ctx can't outlast.
func wait(ctx context.Context, pause time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (c *Client) attempt(ctx context.Context, method, path string, body []byte) (envelope, *apiError) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return envelope{}, &apiError{cause: errors.New("make the request")} // the library's text quotes the URL
	}
	req.Header.Set("Authorization", "Bearer "+c.keys[0].Reveal())
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "controlplane")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return envelope{}, &apiError{cause: err}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return envelope{}, &apiError{cause: fmt.Errorf("read the answer: %w", err)}
	}
	if len(text) > maxAnswer {
		return envelope{}, &apiError{cause: errors.New("the answer is over 1 MB")}
	}
	return c.read(resp, text)
}

func (c *Client) read(resp *http.Response, text []byte) (envelope, *apiError) {
	var e envelope
	err := json.Unmarshal(text, &e)
	ok := resp.StatusCode >= 200 && resp.StatusCode < 300
	switch {
	case ok && err == nil && bool(e.Status):
		return e, nil
	case ok && err != nil:
		// Whatever it was, the call may have worked: HTTP stays 0, "outcome unknown".
		return envelope{}, &apiError{cause: errors.New("the answer isn't the JSON that was expected")}
	}
	return envelope{}, &apiError{
		HTTP: resp.StatusCode, Code: string(e.Code), Type: string(e.Type), Message: c.redact(string(e.Message)),
		RetryAfter: retryAfter(resp.Header, time.Now()),
	}
}

// authorizationPattern also fits codes in the middle of a text.
var authorizationPattern = regexp.MustCompile(`AUTH_[A-Za-z0-9]+`)

// redact is for logs: an answer could quote the key or the authorization that was sent.
func (c *Client) redact(text string) string {
	text = authorizationPattern.ReplaceAllString(text, "AUTH_[redacted]")
	for _, key := range c.keys {
		text = strings.ReplaceAll(text, key.Reveal(), key.String())
	}
	return text[:min(len(text), 300)]
}

// retryAfter reads both headers that were seen; x-ratelimit-reset is taken as seconds, or as a Unix time when that large.
func retryAfter(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After", "X-Ratelimit-Reset"} {
		n, err := strconv.ParseInt(strings.TrimSpace(h.Get(name)), 10, 64)
		if err != nil || n <= 0 {
			continue
		}
		if n > 1_000_000_000 {
			return max(0, time.Unix(n, 0).Sub(now))
		}
		return time.Duration(min(n, 3600)) * time.Second
	}
	return 0
}
