package paystack_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/secrets"
)

const testKey = "sk_test_simulator_key"

type bundle struct {
	*paystack.Client
	sim *simulator.Simulator
}

func setup(t *testing.T) *bundle {
	t.Helper()
	sim, err := simulator.New(simulator.Options{SecretKeys: []secrets.Secret{testKey}})
	require.NoError(t, err)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(func() {
		server.Close()
		sim.Close()
	})
	return &bundle{Client: newClient(t, server.URL), sim: sim}
}

func newClient(t *testing.T, base string) *paystack.Client {
	t.Helper()
	c, err := paystack.New(paystack.Options{SecretKeys: []secrets.Secret{testKey}, BaseURL: base, RetryPause: time.Millisecond})
	require.NoError(t, err)
	return c
}

func request(reference string) billing.InitializeRequest {
	return billing.InitializeRequest{
		Reference: reference, Email: "ada@example.com", AmountKobo: 1_500_000, Currency: "NGN", CallbackURL: "http://localhost/payment/callback",
		Metadata: billing.Metadata{AccountID: 5, TenantID: 42, TenantName: "acme", PlanID: "basic", BillingCycle: billing.Monthly},
	}
}

func TestInitializeAndVerify(t *testing.T) {
	t.Parallel()
	b := setup(t)
	checkout, err := b.Initialize(t.Context(), request("ODOO-0123456789AB"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(checkout.AuthorizationURL, "/checkout/"+checkout.AccessCode))

	got, err := b.Verify(t.Context(), "ODOO-0123456789AB")
	require.NoError(t, err)
	require.Equal(t, billing.GatewayAbandoned, got.Status)
	require.Nil(t, got.PaidAt)

	require.NoError(t, b.sim.Pay("ODOO-0123456789AB", ""))
	got, err = b.Verify(t.Context(), "ODOO-0123456789AB")
	require.NoError(t, err)
	require.Equal(t, billing.GatewaySuccess, got.Status)
	require.Equal(t, int64(1_500_000), got.AmountKobo)
	require.Equal(t, int64(1_500_000), got.RequestedKobo)
	require.Equal(t, int64(22_500), *got.FeesKobo)
	require.Equal(t, "test", got.Mode)
	require.Equal(t, "NGN", got.Currency)
	require.Equal(t, "card", got.Channel)
	require.Greater(t, got.ID, int64(1)<<32)
	require.NotNil(t, got.PaidAt)
}

func TestVerify_ReadsLooseTypes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Initialize(t.Context(), request("ODOO-1"))
	require.NoError(t, err)
	require.NoError(t, b.sim.Pay("ODOO-1", ""))
	strict, err := b.Verify(t.Context(), "ODOO-1")
	require.NoError(t, err)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.LooseTypes}))
	loose, err := b.Verify(t.Context(), "ODOO-1")
	require.NoError(t, err)
	require.Nil(t, loose.FeesKobo)
	loose.FeesKobo = strict.FeesKobo
	require.Equal(t, strict, loose)
}

func TestErrors_AreTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Verify(t.Context(), "ODOO-NOTHING")
	require.ErrorIs(t, err, billing.ErrTransactionNotFound)
	_, err = b.Verify(t.Context(), "..")
	require.ErrorIs(t, err, billing.ErrTransactionNotFound)

	_, err = b.Initialize(t.Context(), request("ODOO-1"))
	require.NoError(t, err)
	_, err = b.Initialize(t.Context(), request("ODOO-1"))
	require.ErrorIs(t, err, billing.ErrGatewayRefused)
	require.ErrorIs(t, err, billing.ErrDuplicateReference)

	bad := request("ODOO-2")
	bad.Email = "nobody"
	_, err = b.Initialize(t.Context(), bad)
	require.ErrorIs(t, err, billing.ErrGatewayRefused)
	require.NotErrorIs(t, err, billing.ErrDuplicateReference)
}

// A router's 404 says nothing about the transaction.
func TestVerify_ARoutersNotFoundIsNoAnswer(t *testing.T) {
	t.Parallel()
	for body, known := range map[string]bool{
		`{"message":"no Route matched with those values"}`: false,
		`<html>404</html>`: false,
		`{"status":false,"message":"Route not found","code":"not_found"}`: false,
		`{"message":"Not Found"}`:                                       false,
		`{"status":false,"message":"Transaction not found"}`:            true,
		`{"status":false,"message":"Transaction reference not found."}`: true,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		client, err := paystack.New(paystack.Options{SecretKeys: []secrets.Secret{"sk_test_x"}, BaseURL: server.URL})
		require.NoError(t, err)
		_, err = client.Verify(t.Context(), "ODOO-0123456789AB")
		require.Error(t, err)
		require.Equal(t, known, errors.Is(err, billing.ErrTransactionNotFound), body)
	}
}

func TestFaults_OutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	for _, kind := range []simulator.FaultKind{simulator.APIError500, simulator.APIError502, simulator.APIMalformed, simulator.APIHTML} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: kind, Route: "initialize", Times: 1}))
			_, err := b.Initialize(t.Context(), request("ODOO-1"))
			require.Error(t, err)
			require.NotErrorIs(t, err, billing.ErrGatewayRefused)
			require.NotErrorIs(t, err, billing.ErrTransactionNotFound)

			// It was created all the same, and a GET is repeated by itself.
			require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: kind, Route: "verify", Times: 2}))
			_, err = b.Verify(t.Context(), "ODOO-1")
			require.NoError(t, err)
		})
	}
}

func TestRateLimit_IsWaitedForOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.APIRateLimited, Route: "initialize", Times: 1}))
	_, err := b.Initialize(t.Context(), request("ODOO-1"))
	require.NoError(t, err)
}

func TestTimeout_EndsWithTheContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.APITimeout}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Initialize(ctx, request("ODOO-1"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, billing.ErrGatewayRefused)
}

// serve answers everything with one status and body, and counts the calls.
func serve(t *testing.T, status int, body string) (*paystack.Client, *atomic.Int32) {
	t.Helper()
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Location", "https://elsewhere.example/")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return newClient(t, server.URL), &calls
}

func TestVerify_HostileAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		calls  int32
	}{
		{"empty", 200, "", 3},
		{"data is an array", 200, `{"status":true,"data":[]}`, 1},
		{"data is missing", 200, `{"status":true}`, 1},
		{"data is null", 200, `{"status":true,"data":null}`, 1},
		{"huge", 200, `{"status":true,"data":"` + strings.Repeat("x", 1<<20) + `"}`, 3},
		{"redirect", 302, "", 1},
		{"404 of a proxy", 404, "<html>", 1},
		{"status false", 200, `{"status":false,"message":"no"}`, 1},
		{"status false as text", 200, `{"status":"false","message":"no"}`, 1},
		{"unauthorized", 401, `{"status":false,"message":"Invalid key","code":"invalid_Key"}`, 1},
		{"deep nesting", 200, strings.Repeat("[", 100_000), 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, calls := serve(t, tc.status, tc.body)
			_, err := c.Verify(t.Context(), "ODOO-1")
			require.Error(t, err)
			require.NotErrorIs(t, err, billing.ErrTransactionNotFound)
			require.Equal(t, tc.calls, calls.Load())
		})
	}
	described, _ := serve(t, 404, `{"status":false,"message":"Transaction reference not found"}`)
	_, err := described.Verify(t.Context(), "ODOO-1")
	require.ErrorIs(t, err, billing.ErrTransactionNotFound, "the description says 404 where 400 was observed")
}

func TestInitialize_RefusesStrangeCheckouts(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		`{"authorization_url":"javascript:alert(1)","reference":"ODOO-1"}`,
		`{"authorization_url":"ftp://x/y","reference":"ODOO-1"}`,
		`{"authorization_url":"","reference":"ODOO-1"}`,
		`{"authorization_url":"https://checkout.paystack.com/a","reference":"ODOO-2"}`,
		`[]`, `null`, `"text"`,
	} {
		c, calls := serve(t, 200, `{"status":true,"data":`+data+`}`)
		_, err := c.Initialize(t.Context(), request("ODOO-1"))
		require.Error(t, err, data)
		require.NotErrorIs(t, err, billing.ErrGatewayRefused, data)
		require.Equal(t, int32(1), calls.Load(), "an initialize is never sent twice")
	}
}

func TestInitialize_OurTroubleIsNoRefusal(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"key not accepted":   {401, `{"status":false,"message":"Invalid key","code":"invalid_Key"}`},
		"address not listed": {403, `{"status":false,"message":"Your IP address is not allowed to make this call"}`},
		"403 of a proxy":     {403, "<html>"},
		"404 of a proxy":     {404, "<html>"},
		"413 of a proxy":     {413, ""},
	} {
		c, calls := serve(t, tc.status, tc.body)
		_, err := c.Initialize(t.Context(), request("ODOO-1"))
		require.Error(t, err, name)
		require.NotErrorIs(t, err, billing.ErrGatewayRefused, name)
		require.Equal(t, int32(1), calls.Load(), name)
	}
}

func TestErrors_HoldNoKey(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, 400, `{"status":false,"message":"bad key `+testKey+`"}`)
	_, err := c.Verify(t.Context(), "ODOO-1")
	require.NotContains(t, err.Error(), testKey)
	require.Contains(t, err.Error(), "[redacted]")
	require.NotContains(t, fmt.Sprintf("%+v %#v", paystack.Options{SecretKeys: []secrets.Secret{testKey}}, err), testKey)
}

func TestNew_ChecksItsOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		keys []secrets.Secret
		base string
		ok   bool
	}{
		{"default", []secrets.Secret{"sk_live_abc"}, "", true},
		{"rotation", []secrets.Secret{"sk_test_new", "sk_test_old"}, "", true},
		{"loopback", []secrets.Secret{"sk_test_a"}, "http://127.0.0.1:8010", true},
		{"localhost", []secrets.Secret{"sk_test_a"}, "http://localhost:8010/", true},
		{"no key", nil, "", false},
		{"public key", []secrets.Secret{"pk_test_abc"}, "", false},
		{"empty key", []secrets.Secret{"sk_test_"}, "", false},
		{"two modes", []secrets.Secret{"sk_test_a", "sk_live_a"}, "", false},
		{"line end", []secrets.Secret{"sk_test_a\r\nX: y"}, "", false},
		{"http elsewhere", []secrets.Secret{"sk_test_a"}, "http://api.paystack.co", false},
		{"user in URL", []secrets.Secret{"sk_test_a"}, "https://u:p@api.paystack.co", false},
		{"no URL", []secrets.Secret{"sk_test_a"}, "api.paystack.co", false},
	} {
		c, err := paystack.New(paystack.Options{SecretKeys: tc.keys, BaseURL: tc.base})
		require.Equal(t, tc.ok, err == nil, tc.name)
		if err == nil {
			require.Contains(t, []string{"test", "live"}, c.Mode())
			continue
		}
		require.NotContains(t, err.Error(), "abc", tc.name)
	}
}
