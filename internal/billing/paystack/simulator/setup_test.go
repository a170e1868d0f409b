package simulator_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/secrets"
)

const (
	testKey = "sk_test_simulator_key"
	liveKey = "sk_live_simulator_key"
)

type bundle struct {
	*simulator.Simulator
	server   *httptest.Server
	receiver *receiver
}

// receiver is a shop that answers webhooks with a status that can be changed.
type receiver struct {
	mu     sync.Mutex
	status int
	bodies [][]byte
	header []http.Header
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies, r.header = append(r.bodies, body), append(r.header, req.Header)
	w.WriteHeader(r.status)
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) got() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bodies
}

func start() time.Time { return time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC) }

func setup(t *testing.T, change ...func(*simulator.Options)) *bundle {
	t.Helper()
	b := &bundle{receiver: &receiver{status: http.StatusOK}}
	hook := httptest.NewServer(b.receiver)
	t.Cleanup(hook.Close)
	opts := simulator.Options{
		SecretKeys: []secrets.Secret{testKey, liveKey}, WebhookURL: hook.URL, Clock: simulator.NewVirtualClock(start()), Seed: 7,
	}
	for _, c := range change {
		c(&opts)
	}
	sim, err := simulator.New(opts)
	require.NoError(t, err)
	b.Simulator = sim
	b.server = httptest.NewServer(sim.Handler())
	t.Cleanup(func() {
		b.server.Close()
		sim.Close()
	})
	return b
}

// envelope is an API answer.
type envelope struct {
	HTTP    int
	Status  bool            `json:"status"`
	Message string          `json:"message"`
	Code    string          `json:"code"`
	Data    json.RawMessage `json:"data"`
	Meta    map[string]any  `json:"meta"`
}

func (e envelope) field(t *testing.T, name string) any {
	t.Helper()
	var data map[string]any
	require.NoError(t, json.Unmarshal(e.Data, &data))
	return data[name]
}

func (b *bundle) call(t *testing.T, method, path, key string, body any) envelope {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, b.server.URL+path, bytes.NewReader(text))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var e envelope
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&e))
	e.HTTP = resp.StatusCode
	return e
}

// open initializes a transaction and returns its checkout address.
func (b *bundle) open(t *testing.T, reference string, extra map[string]any) string {
	t.Helper()
	body := map[string]any{"email": "ada@example.com", "amount": 1_500_000, "currency": "NGN", "reference": reference, "callback_url": "http://shop.test/done"}
	for name, value := range extra {
		body[name] = value
	}
	e := b.call(t, http.MethodPost, "/transaction/initialize", testKey, body)
	require.Equal(t, http.StatusOK, e.HTTP, e.Message)
	address, ok := e.field(t, "authorization_url").(string)
	require.True(t, ok)
	return address
}

// submit posts a checkout form without following the redirect.
func submit(t *testing.T, address string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	return resp.Header.Get("Location")
}

func page(t *testing.T, address string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}

func (b *bundle) verify(t *testing.T, reference string) envelope {
	t.Helper()
	return b.call(t, http.MethodGet, "/transaction/verify/"+url.PathEscape(reference), testKey, nil)
}
