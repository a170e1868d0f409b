package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const (
	dialTimeout    = 3 * time.Second
	answerTimeout  = 15 * time.Second // until the header: an engine that hangs is given up on
	maxStatsBytes  = 1 << 20
	maxItemBytes   = 256 << 10 // a line of a log is cut far below
	maxFailedBytes = 64 << 10
)

// Client asks a worker. It is an Inspector.
type Client struct {
	base  string
	token secrets.Secret
	http  *http.Client
	zips  *http.Client // which waits longer
}

var _ Inspector = (*Client)(nil)

// NewClient returns a client of the worker at workerURL (WORKER_URL); it doesn't connect.
func NewClient(workerURL string, token secrets.Secret) (*Client, error) {
	u, err := url.Parse(workerURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("the worker's address must be an http:// or https:// URL")
	}
	if token == "" {
		return nil, errors.New("a worker isn't asked without a token")
	}
	return &Client{
		base: strings.TrimRight(workerURL, "/"), token: token, http: newHTTP(answerTimeout), zips: newHTTP(zipTimeout),
	}, nil
}

func newHTTP(patience time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, ResponseHeaderTimeout: patience,
			TLSHandshakeTimeout: dialTimeout, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // nobody else gets the token
	}
}

// Stats asks the worker for provision's. Errors: those, and ErrUnreachable.
func (c *Client) Stats(ctx context.Context, t tenants.Tenant) (tenants.Stats, error) {
	var stats tenants.Stats
	res, err := c.get(ctx, "/v1/tenants/"+t.ID.String()+"/stats")
	if err != nil {
		return stats, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStatsBytes)).Decode(&stats); err != nil {
		return stats, unreachable(ctx, fmt.Errorf("read the worker's answer: %w", err))
	}
	return stats, nil
}

// Logs asks the worker for provision's. Errors: those, line's, and ErrUnreachable, also when the worker stops in the middle.
func (c *Client) Logs(ctx context.Context, t tenants.Tenant, q tenants.LogQuery, line func(tenants.LogLine) error) error {
	query := url.Values{"tail": {strconv.Itoa(q.Tail)}, "follow": {strconv.FormatBool(q.Follow)}}
	res, err := c.get(ctx, "/v1/tenants/"+t.ID.String()+"/logs?"+query.Encode())
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	scanner := bufio.NewScanner(res.Body)
	scanner.Buffer(make([]byte, 4096), maxItemBytes)
	for scanner.Scan() {
		var i item
		if err := json.Unmarshal(scanner.Bytes(), &i); err != nil {
			return unreachable(ctx, fmt.Errorf("read a line of the worker's answer: %w", err))
		}
		switch {
		case i.End:
			return nil
		case i.Failure != nil:
			return i.Failure.asError()
		case i.Line != nil:
			if err := line(*i.Line); err != nil {
				return err
			}
		}
	}
	return unreachable(ctx, errors.Join(errors.New("the worker's answer was cut off"), scanner.Err()))
}

func (c *Client) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil) //nolint:gosec // the operator names the worker, and the path holds a number
	if err != nil {
		return nil, fmt.Errorf("ask the worker: %w", err)
	}
	return c.do(ctx, c.http, req)
}

func (c *Client) do(ctx context.Context, with *http.Client, req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	res, err := with.Do(req) //nolint:gosec // the operator names the worker
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusUnauthorized { // our caller has logged in; it is we who haven't
		return nil, ErrUnreachable.WithCause(errors.New("the worker refuses our token: is its SECRET_KEY the same?"))
	}
	var f failure
	if err := json.NewDecoder(io.LimitReader(res.Body, maxFailedBytes)).Decode(&f); err != nil {
		return nil, unreachable(ctx, fmt.Errorf("the worker answered %s", res.Status))
	}
	return nil, f.asError()
}

// unreachable leaves a caller who went away alone with that.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return ErrUnreachable.WithCause(err)
}
