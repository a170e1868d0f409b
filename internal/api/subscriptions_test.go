package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// subscriber is an account with a paid client, and another with one.
func subscriber(t *testing.T) (b *bundle, owner, stranger string) {
	t.Helper()
	b = setup(t)
	owner, stranger = b.user("owner"), b.user("stranger")
	for token, name := range map[string]string{owner: "acme", stranger: "other"} {
		b.client(token, name)
		reference := b.initialize(token, `{"plan":"basic"}`)
		b.gateway.pay(reference)
		require.Equal(t, http.StatusOK, b.get("/api/payments/verify/"+reference, token).Status)
	}
	return b, owner, stranger
}

func TestSubscription_OfTheOnlyAndOfTheNamedClient(t *testing.T) {
	t.Parallel()
	b, owner, stranger := subscriber(t)
	for _, path := range []string{"/api/payments/subscription", "/api/payments/subscription?client_name=acme"} {
		got := b.get(path, owner).object()
		require.Equal(t, "active", got["status"])
		require.Equal(t, "basic", got["plan"])
		require.InDelta(t, 1, got["auto_renew"], 0)
		require.InDelta(t, 15000, got["next_amount"], 0)
		require.Equal(t, got["end_date"], got["next_billing_date"])
	}
	require.Equal(t, http.StatusNotFound, b.get("/api/payments/subscription?client_name=acme", stranger).Status)
	require.Equal(t, http.StatusNotFound, b.get("/api/payments/subscription?client_name=acme", b.admin()).Status, "admins have only their own")
	require.Equal(t, "no_subscription", b.get("/api/payments/subscription", b.user("nobody")).object()["status"])

	b.client(owner, "second")
	reference := b.initialize(owner, `{"plan":"basic","client_name":"second"}`)
	b.gateway.pay(reference)
	b.get("/api/payments/verify/"+reference, owner)
	a := b.get("/api/payments/subscription", owner)
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	var list []map[string]any
	b.get("/api/payments/subscriptions", owner).json(&list)
	require.Len(t, list, 2)
}

func TestCancelSubscription_AndReactivate(t *testing.T) {
	t.Parallel()
	b, owner, stranger := subscriber(t)
	require.Equal(t, http.StatusNotFound, b.post("/api/payments/cancel-subscription", stranger, `{"client_name":"acme"}`).Status)
	a := b.post("/api/payments/cancel-subscription", owner, "")
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "success", a.object()["status"])
	got := b.get("/api/payments/subscription", owner).object()
	require.Equal(t, "cancelled", got["status"])
	require.InDelta(t, 0, got["auto_renew"], 0)
	require.Nil(t, got["next_billing_date"])
	require.Equal(t, http.StatusOK, b.post("/api/payments/reactivate-subscription", owner, `{"client_name":"acme"}`).Status)
	require.Equal(t, http.StatusConflict, b.post("/api/payments/reactivate-subscription", owner, "").Status)
}

func TestBillingSummary_AndAllSubscriptions(t *testing.T) {
	t.Parallel()
	b, _, _ := subscriber(t)
	admin := b.admin()
	var sums []map[string]any
	b.get("/api/admin/billing/summary", admin).json(&sums)
	require.InDelta(t, 27906.98, sums[0]["monthly_recurring_revenue"], 0.001, "without VAT")
	var list []map[string]any
	b.get("/api/admin/subscriptions?status=active", admin).json(&list)
	require.Len(t, list, 2)
	require.Equal(t, http.StatusUnprocessableEntity, b.get("/api/admin/subscriptions?status=nonsense", admin).Status)
}

// An owner's, and nobody else's: looked at first, dearer for the difference, cheaper from the next period on.
func TestChangePlan(t *testing.T) {
	t.Parallel()
	b, owner, stranger := subscriber(t)
	_, err := b.pool.Exec(t.Context(), `UPDATE tenants SET state = 'active', activated_at = now()`)
	require.NoError(t, err)
	const path = "/api/payments/change-plan"
	payments := b.count("payments")
	for token, status := range map[string]int{"": 401, stranger: 404, b.admin(): 404} {
		require.Equal(t, status, b.post(path, token, `{"plan":"business","client_name":"acme"}`).Status)
	}
	for body, status := range map[string]int{`{}`: 422, `{"plan":"none"}`: 400, `{"plan":5}`: 422, `{"plan":"business","preview":"yes"}`: 422} {
		require.Equal(t, status, b.post(path, owner, body).Status, body)
	}
	a := b.post(path, owner, `{"plan":"business","preview":true}`)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "payment_required", a.object()["outcome"])
	require.Positive(t, a.object()["amount_kobo"])
	require.Equal(t, payments, b.count("payments"))

	_, err = b.pool.Exec(t.Context(), `UPDATE plans SET storage_gb = 8 WHERE id = 'enterprise'`)
	require.NoError(t, err)
	_, err = b.pool.Exec(t.Context(), `INSERT INTO tenant_disks (tenant_id, database_bytes, filestore_bytes, measured_at) SELECT id, $1, 0, now() FROM tenants`, int64(9)<<30)
	require.NoError(t, err)
	a = b.post(path, owner, `{"plan":"enterprise"}`)
	require.Equal(t, http.StatusConflict, a.Status)
	require.Contains(t, a.detail(), "9.00 GB")
	require.Equal(t, payments, b.count("payments"))

	a = b.post(path, owner, `{"plan":"business"}`)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	reference, _ := a.object()["reference"].(string)
	require.NotEmpty(t, a.object()["authorization_url"])
	b.gateway.pay(reference)
	require.Equal(t, "success", b.get("/api/payments/verify/"+reference, owner).object()["status"])
	require.Equal(t, "business", b.get("/api/payments/subscription", owner).object()["plan"])
	a = b.post(path, owner, `{"plan":"basic"}`)
	require.Equal(t, "scheduled", a.object()["outcome"])
	require.Equal(t, "basic", b.get("/api/payments/subscription", owner).object()["next_plan"])
}
