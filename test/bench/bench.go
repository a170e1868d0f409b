package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/secrets"
	"controlplane/test/harness"
)

const (
	poll         = 10 * time.Millisecond
	startTimeout = 5 * time.Minute
	memoryLimit  = "4g" // the business plan's
	cpuLimit     = "2"
)

// bench holds what the measurements share.
type bench struct {
	p        *harness.Platform
	http     *http.Client
	token    string
	template string   // database of the plan's template
	apps     []string // of the plan
	cluster  string   // superuser's URL of the tenants' server, without the database
}

func newBench(ctx context.Context, p *harness.Platform) (*bench, error) {
	b := &bench{p: p, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	b.cluster = fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%s/", p.Setting("DEV_CLUSTER_PASSWORD"), p.Env["EXTERNAL_DB_PORT"])
	if err := b.awaitTemplate(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// awaitTemplate waits for all templates, so that no install runs beside the measurements.
func (b *bench) awaitTemplate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, templateWait)
	defer cancel()
	for {
		var missing int
		row := b.p.Pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE t.state <> 'ready') FROM templates t`)
		if err := row.Scan(&missing); err != nil {
			return err
		}
		if missing == 0 {
			const q = `SELECT t.database_name, p.apps FROM templates t JOIN plans p ON p.id = $1 AND t.apps @> p.apps AND t.apps <@ p.apps`
			return b.p.Pool.QueryRow(ctx, q, plan).Scan(&b.template, &b.apps)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return errors.New("the templates aren't ready in time")
		}
	}
}

// awaitSpares waits until the platform has made all the clones that it keeps ready.
func (b *bench) awaitSpares(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, spareWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, b.cluster+"postgres?sslmode=disable")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var templates int
	if err := b.p.Pool.QueryRow(ctx, "SELECT count(*) FROM templates").Scan(&templates); err != nil {
		return err
	}
	for {
		var made int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_database WHERE datname LIKE 'odoospare%'").Scan(&made); err != nil {
			return err
		}
		if made >= spares*templates {
			return nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return errors.New("the spares aren't ready in time")
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// signUp makes a customer of their own: an account may have three unpaid clients.
func (b *bench) signUp(ctx context.Context) error {
	name := "bench" + secrets.RandomHex(5)
	body := map[string]any{"username": name, "email": name + "@example.com", "password": "Correct-horse-7!"}
	if _, err := b.call(ctx, http.MethodPost, "/api/auth/register", body); err != nil {
		return err
	}
	got, err := b.call(ctx, http.MethodPost, "/api/auth/login", map[string]any{"username": name, "password": "Correct-horse-7!"})
	if err != nil {
		return err
	}
	b.token, _ = got["access_token"].(string)
	return nil
}

func (b *bench) call(ctx context.Context, method, path string, body any) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, b.p.API+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+b.token)
	req.Header.Set("X-Forwarded-For", "2001:db8:"+secrets.RandomHex(2)+"::1") // the limits are per address
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	var got map[string]any
	return got, json.Unmarshal(answer, &got)
}

// unpaid makes a client with an open checkout and returns its name and the gateway's page.
func (b *bench) unpaid(ctx context.Context) (name, page string, err error) {
	if err := b.signUp(ctx); err != nil {
		return "", "", err
	}
	name = "b" + secrets.RandomHex(6)
	if _, err := b.call(ctx, http.MethodPost, "/api/clients", map[string]any{"name": name, "email": "b@example.com", "plan": plan}); err != nil {
		return "", "", err
	}
	got, err := b.call(ctx, http.MethodPost, "/api/payments/initialize", map[string]any{"plan": plan, "billing_cycle": "monthly", "client_name": name})
	if err != nil {
		return "", "", err
	}
	page, _ = got["authorization_url"].(string)
	return name, page, nil
}

// pay clicks on the test card and returns when the gateway's page has answered.
func (b *bench) pay(ctx context.Context, page string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, page, strings.NewReader(url.Values{"action": {"card"}, "card": {"4084084084084081"}}.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultTransport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// accepted returns when we accepted the webhook of the client's payment; both clocks are this machine's.
func (b *bench) accepted(ctx context.Context, name string) (time.Time, error) {
	var at time.Time
	const q = `SELECT e.received_at FROM payment_events e JOIN payments p ON p.reference = e.reference JOIN tenants t ON t.id = p.tenant_id WHERE t.name = $1`
	err := b.p.Pool.QueryRow(ctx, q, name).Scan(&at)
	return at, err
}

// awaitLogin polls /web/login at base until it answers 200; host is sent when it isn't empty.
func (b *bench) awaitLogin(ctx context.Context, base, host string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/web/login", nil)
		if err != nil {
			return time.Time{}, err
		}
		if host != "" {
			req.Host = host
			req.Header.Set("X-Forwarded-For", "2001:db8:"+secrets.RandomHex(2)+":"+secrets.RandomHex(2)+"::1") // the edge limits addresses
		}
		if resp, err := b.http.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Now(), nil
			}
		}
		if err := sleep(ctx, poll); err != nil {
			return time.Time{}, fmt.Errorf("%s%s doesn't answer in time", base, host)
		}
	}
}

// sql runs one statement on the tenants' server as its superuser.
func (b *bench) sql(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, b.cluster+"postgres?sslmode=disable")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

func docker(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s: %s", args[0], out)
	}
	return strings.TrimSpace(string(out)), nil
}

func sign(key, body string) string {
	mac := hmac.New(sha512.New, []byte(key))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func ratio(a, b time.Duration) string { return fmt.Sprintf("%.2f", a.Seconds()/b.Seconds()) }
