package whole_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
	"controlplane/test/harness"
)

const (
	activeTimeout   = 3 * time.Minute // a bound for a busy machine, not a target: those are in the benchmark
	templateTimeout = 15 * time.Minute
	customerPass    = "Correct-horse-7!"
)

// customer is somebody with a browser: an account, its token, and an HTTP client.
type customer struct {
	t        *testing.T
	username string
	email    string
	token    string
	address  string // as the platform sees it: limits are per address, and no two customers share one
	http     *http.Client
}

// signUp registers and logs in a new customer, with the bodies that existing front ends send.
func signUp(t *testing.T) *customer {
	t.Helper()
	name := "user" + secrets.RandomHex(6)
	c := &customer{t: t, username: name, email: name + "@example.com", address: randomAddress(), http: &http.Client{Timeout: 30 * time.Second}}
	body := map[string]any{"username": name, "email": c.email, "password": customerPass, "full_name": "Ada " + name}
	c.call(http.MethodPost, "/api/auth/register", body, http.StatusOK)
	c.login()
	return c
}

func (c *customer) login() {
	c.t.Helper()
	form := url.Values{"username": {c.username}, "password": {customerPass}}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, shared.API+"/api/auth/login", strings.NewReader(form.Encode()))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, _, text := c.do(req)
	require.Equal(c.t, http.StatusOK, status, text)
	c.token = decode(c.t, text)["access_token"].(string)
}

// randomAddress is one of the addresses reserved for documentation.
func randomAddress() string {
	return "2001:db8:" + secrets.RandomHex(2) + ":" + secrets.RandomHex(2) + "::1"
}

// send sends JSON as this customer and returns the answer.
func (c *customer) send(method, path string, body any) (int, http.Header, string) {
	c.t.Helper()
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(c.t, err)
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, shared.API+path, payload)
	require.NoError(c.t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.do(req)
}

func (c *customer) do(req *http.Request) (int, http.Header, string) {
	c.t.Helper()
	status, header, text, err := c.attempt(req)
	require.NoError(c.t, err)
	return status, header, text
}

// attempt is do for a moment at which the API may be down.
func (c *customer) attempt(req *http.Request) (int, http.Header, string, error) {
	req.Header.Set("X-Forwarded-For", c.address)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text), err
}

// call is send for a request that has to succeed; the answer is a JSON object.
func (c *customer) call(method, path string, body any, want int) map[string]any {
	c.t.Helper()
	status, _, text := c.send(method, path, body)
	require.Equal(c.t, want, status, "%s %s: %s", method, path, text)
	return decode(c.t, text)
}

// create names a client and leaves it unpaid.
func (c *customer) create(plan string) (name string) {
	c.t.Helper()
	name = "t" + secrets.RandomHex(6)
	c.call(http.MethodPost, "/api/clients", map[string]any{
		"name": name, "domain": name + ".yourdomain.com", "email": c.email, "plan": plan, "redis_enabled": false,
	}, http.StatusCreated)
	return name
}

// checkout opens a payment and returns its reference and the gateway's page.
func (c *customer) checkout(name, plan string) (reference, page string) {
	c.t.Helper()
	got := c.call(http.MethodPost, "/api/payments/initialize", map[string]any{"plan": plan, "billing_cycle": "monthly", "client_name": name}, http.StatusOK)
	return got["reference"].(string), got["authorization_url"].(string)
}

// payAt does what a click on a test card does.
func (c *customer) payAt(page string) {
	c.t.Helper()
	browser := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.PostForm(page, url.Values{"action": {"card"}, "card": {"4084084084084081"}})
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(c.t, http.StatusSeeOther, resp.StatusCode, "the browser is sent back")
	require.Contains(c.t, resp.Header.Get("Location"), "reference=")
}

// await polls the client until it is in the state.
func (c *customer) await(name, state string) map[string]any {
	c.t.Helper()
	var last map[string]any
	require.Eventually(c.t, func() bool {
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, shared.API+"/api/clients/"+name, nil)
		require.NoError(c.t, err)
		req.Header.Set("Authorization", "Bearer "+c.token)
		status, _, text, err := c.attempt(req)
		if err != nil || status != http.StatusOK {
			return false // some tests kill the API
		}
		last = decode(c.t, text)
		return last["status"] == state
	}, activeTimeout, tick, "%s doesn't become %s", name, state)
	return last
}

// provision makes an active client the whole way: create, pay, wait.
func (c *customer) provision(plan string) string {
	c.t.Helper()
	name := c.create(plan)
	_, page := c.checkout(name, plan)
	c.payAt(page)
	c.await(name, "active")
	return name
}

// credentials reads the one-time credentials.
func (c *customer) credentials(name string) (login, password string) {
	c.t.Helper()
	got := c.call(http.MethodGet, "/api/clients/"+name+"/credentials", nil, http.StatusOK)
	return got["login"].(string), got["password"].(string)
}

// odoo is a browser at a tenant's address.
type odoo struct {
	t    *testing.T
	host string
	http *http.Client
	edge string // base URL of the edge that is asked; "": the platform's own
}

func visit(t *testing.T, name string) *odoo {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &odoo{t: t, host: name + ".localhost", http: &http.Client{Timeout: time.Minute, Jar: jar}}
}

// request builds a request to the edge for the tenant's host.
func (o *odoo) request(method, path string, body io.Reader) *http.Request {
	o.t.Helper()
	base := cmp.Or(o.edge, shared.Edge)
	req, err := http.NewRequestWithContext(o.t.Context(), method, base+path, body)
	require.NoError(o.t, err)
	req.Header.Set("X-Forwarded-For", randomAddress()) // the edge limits addresses
	req.Host = o.host + ":" + harness.Port(req.URL.Host)
	return req
}

func (o *odoo) do(req *http.Request) (int, string) {
	o.t.Helper()
	resp, err := o.http.Do(req)
	require.NoError(o.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(o.t, err)
	return resp.StatusCode, string(text)
}

// rpc calls a JSON-RPC route and returns its result; an error of Odoo's comes back as err.
func (o *odoo) rpc(path string, params map[string]any) (result any, err error) {
	o.t.Helper()
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": "call", "id": 1, "params": params})
	require.NoError(o.t, err)
	req := o.request(http.MethodPost, path, bytes.NewReader(text))
	req.Header.Set("Content-Type", "application/json")
	status, answer := o.do(req)
	if status != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", status, answer)
	}
	got := decode(o.t, answer)
	if got["error"] != nil {
		return nil, fmt.Errorf("odoo: %v", got["error"])
	}
	return got["result"], nil
}

// login logs in as the database's owner does in the browser.
func (o *odoo) login(name, login, password string) (map[string]any, error) {
	result, err := o.rpc("/web/session/authenticate", map[string]any{"db": "odoo_" + strings.ReplaceAll(name, "-", "_"), "login": login, "password": password})
	if err != nil {
		return nil, err
	}
	return result.(map[string]any), nil
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &got), text)
	return got
}

// docker runs the engine's command line tool, as an operator would.
func docker(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// mustDocker is docker for a command that has to succeed.
func mustDocker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := docker(t, args...)
	require.NoError(t, err, "docker %s: %s", strings.Join(args, " "), out)
	return out
}
