package simulator_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/secrets"
)

func TestInitialize_StartsAbandoned(t *testing.T) {
	t.Parallel()
	b := setup(t)
	address := b.open(t, "ODOO-1", nil)
	require.Contains(t, address, b.server.URL+"/checkout/")

	e := b.verify(t, "ODOO-1")
	require.Equal(t, http.StatusOK, e.HTTP)
	require.Equal(t, "abandoned", e.field(t, "status"))
	require.Equal(t, "test", e.field(t, "domain"))
	require.Nil(t, e.field(t, "paid_at"))
	require.Equal(t, map[string]any{}, e.field(t, "authorization"))
	require.Greater(t, e.field(t, "id"), float64(1<<32))
}

func TestInitialize_RefusesAsPaystackDoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.open(t, "taken", nil)
	for _, tc := range []struct {
		name, message string
		change        map[string]any
	}{
		{"reused reference", "Duplicate Transaction Reference", map[string]any{"reference": "taken"}},
		{"bad character", "Invalid character in transaction reference", map[string]any{"reference": "a/b"}},
		{"no email", "Email is not allowed to be empty", map[string]any{"email": ""}},
		{"bad email", "Invalid Email Address Passed", map[string]any{"email": "nobody"}},
		{"local email", "Invalid Email Address Passed", map[string]any{"email": "a@host.local"}},
		{"no amount", "You must specify a valid amount", map[string]any{"amount": 0}},
		{"fraction", "Invalid Amount Sent", map[string]any{"amount": 1.5}},
		{"below the minimum", "You must specify a valid amount", map[string]any{"amount": 4999}},
		{"beyond the maximum", "You must specify a valid amount", map[string]any{"amount": 1_000_000_001}},
		{"currency", "Currency not supported by merchant", map[string]any{"currency": "EUR"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			body := map[string]any{"email": "a@example.com", "amount": "500000", "reference": "new"}
			for k, v := range tc.change {
				body[k] = v
			}
			e := b.call(t, http.MethodPost, "/transaction/initialize", testKey, body)
			require.Equal(t, http.StatusBadRequest, e.HTTP)
			require.False(t, e.Status)
			require.Equal(t, tc.message, e.Message)
		})
	}
}

func TestAuthentication_AndModesAreApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.open(t, "R1", nil)
	require.Equal(t, http.StatusUnauthorized, b.call(t, http.MethodGet, "/transaction/verify/R1", "", nil).HTTP)
	wrong := b.call(t, http.MethodGet, "/transaction/verify/R1", "sk_test_other", nil)
	require.Equal(t, http.StatusUnauthorized, wrong.HTTP)
	require.Equal(t, "invalid_Key", wrong.Code)
	live := b.call(t, http.MethodGet, "/transaction/verify/R1", liveKey, nil)
	require.Equal(t, http.StatusBadRequest, live.HTTP)
	require.Equal(t, "transaction_not_found", live.Code)
}

func TestFetchAndVerify_UnknownOnes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.open(t, "R1", nil)
	id, ok := b.verify(t, "R1").field(t, "id").(float64)
	require.True(t, ok)
	require.Equal(t, "R1", b.call(t, http.MethodGet, fmt.Sprintf("/transaction/%.0f", id), testKey, nil).field(t, "reference"))
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/transaction/1", testKey, nil).HTTP)
	require.Equal(t, "Transaction ID should be numeric.", b.call(t, http.MethodGet, "/transaction/verify/", testKey, nil).Message)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/nothing", testKey, nil).HTTP)
}

func TestList_PagesBothWays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 5 {
		b.open(t, fmt.Sprintf("R%d", i), nil)
	}
	require.NoError(t, b.Pay("R2", ""))
	e := b.call(t, http.MethodGet, "/transaction?perPage=2&page=3", testKey, nil)
	require.InDelta(t, 5, e.Meta["total"], 0)
	require.InDelta(t, 3, e.Meta["pageCount"], 0)
	require.Contains(t, string(e.Data), `"R0"`)

	e = b.call(t, http.MethodGet, "/transaction?status=success", testKey, nil)
	require.InDelta(t, 1, e.Meta["total"], 0)

	seen := 0
	for next := ""; ; {
		e = b.call(t, http.MethodGet, "/transaction?use_cursor=true&perPage=2&next="+next, testKey, nil)
		var ok bool
		seen++
		if next, ok = e.Meta["next"].(string); !ok {
			break
		}
	}
	require.Equal(t, 3, seen)
	require.Equal(t, "[]", string(b.call(t, http.MethodGet, "/transaction?customer=CUS_x", testKey, nil).Data))
}

func TestMetadata_Trap(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.open(t, "stringified", map[string]any{"metadata": `{"user_id":42}`})
	b.open(t, "object", map[string]any{"metadata": map[string]any{"user_id": 42}})
	b.open(t, "none", nil)
	require.Equal(t, map[string]any{"user_id": float64(42)}, b.verify(t, "stringified").field(t, "metadata"))
	require.Equal(t, map[string]any{"user_id": "42"}, b.verify(t, "object").field(t, "metadata"))
	require.Empty(t, b.verify(t, "none").field(t, "metadata"))
}

func TestSeed_MakesRunsRepeat(t *testing.T) {
	t.Parallel()
	one, two := setup(t), setup(t)
	for _, b := range []*bundle{one, two} {
		b.open(t, "R1", nil)
		require.NoError(t, b.Pay("R1", ""))
	}
	require.JSONEq(t, string(one.verify(t, "R1").Data), string(two.verify(t, "R1").Data))
}

func TestState_SurvivesARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "state", "paystack.json")
	keep := func(o *simulator.Options) { o.StateFile = file }
	first := setup(t, keep)
	first.open(t, "R1", nil)
	before := first.verify(t, "R1").Data

	second := setup(t, keep)
	require.JSONEq(t, string(before), string(second.verify(t, "R1").Data))
	second.open(t, "R2", nil)
	require.NotEqual(t, second.verify(t, "R1").field(t, "id"), second.verify(t, "R2").field(t, "id"))
}

func TestNew_RefusesWrongKeys(t *testing.T) {
	t.Parallel()
	_, err := simulator.New(simulator.Options{})
	require.Error(t, err)
	_, err = simulator.New(simulator.Options{SecretKeys: []secrets.Secret{"pk_test_public"}})
	require.Error(t, err)
}
