package api_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/audit"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

func TestASecondPaymentIsACreditThatAdminsSee(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	token, admin := b.user("ada"), b.admin()
	b.client(token, "acme")
	first, second := b.initialize(token, `{"plan":"basic"}`), b.initialize(token, `{"plan":"basic","billing_cycle":"annual"}`)
	for _, reference := range []string{first, second} {
		b.gateway.pay(reference)
		require.Equal(t, "success", b.get("/api/payments/verify/"+reference, token).object()["status"])
	}
	a := b.get("/api/admin/credits", admin)
	require.Equal(t, http.StatusOK, a.Status)
	require.Equal(t, "1", a.Header.Get("X-Total-Count"))
	var list []map[string]any
	a.json(&list)
	require.Len(t, list, 1)
	require.Equal(t, []any{second, "acme", 144000.0, 14400000.0, "NGN"}, []any{
		list[0]["reference"], list[0]["client_name"], list[0]["amount"], list[0]["amount_kobo"], list[0]["currency"],
	})
	require.NotEmpty(t, list[0]["reason"])
	a = b.get("/api/admin/credits?skip=1", admin)
	require.JSONEq(t, `[]`, string(a.Body))
	require.Equal(t, "1", a.Header.Get("X-Total-Count"))
}

func TestAdminsSeePaymentsToReview(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, admin := b.user("ada"), b.admin()
	b.client(token, "acme")
	references := []string{b.initialize(token, `{"plan":"basic"}`), b.initialize(token, `{"plan":"basic"}`)}
	require.JSONEq(t, `[]`, string(b.get("/api/admin/payments/review", admin).Body))
	for _, reference := range references {
		b.gateway.payWrongly(reference, 1)
		verified := b.get("/api/payments/verify/"+reference, token).object()
		require.Equal(t, "pending", verified["status"])
		require.Contains(t, verified["message"], "look by one of us")
		progress := b.get("/api/payments/progress/"+reference, "").object()
		require.Equal(t, true, progress["done"], "nobody waits for what only a person can settle")
		require.Equal(t, verified["message"], progress["message"])
	}
	a := b.get("/api/admin/payments/review?limit=1", admin)
	require.Equal(t, "2", a.Header.Get("X-Total-Count"))
	require.Equal(t, `<https://api.example.com/api/admin/payments/review?limit=1&skip=1>; rel="next"`, a.Header.Get("Link"))
	var list []map[string]any
	a.json(&list)
	require.Len(t, list, 1)
	require.Equal(t, []any{references[0], "acme", "pending", "test", "ada@example.com"}, []any{
		list[0]["reference"], list[0]["client_name"], list[0]["payment_status"], list[0]["mode"], list[0]["email"],
	})
	require.Contains(t, list[0]["review"], "amount")
}

// heldOperation gives the client something that was given up.
func (b *bundle) heldOperation(token, name string) (id string) {
	b.t.Helper()
	op, err := b.ops.Latest(b.t.Context(), b.enqueueBroken(token, name))
	require.NoError(b.t, err)
	id = strconv.FormatInt(int64(op.ID), 10)
	eventually(b.t, func() bool {
		op, err := b.ops.Get(b.t.Context(), op.ID)
		return err == nil && op.State == ops.Held
	})
	return id
}

func (b *bundle) enqueueBroken(token, name string) (subject string) {
	b.t.Helper()
	id, _ := b.get("/api/clients/"+name, token).object()["id"].(float64)
	subject = tenants.ID(id).Subject()
	require.NoError(b.t, postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		_, err := b.ops.EnqueueTx(b.t.Context(), tx, "test.broken", subject, nil)
		return err
	}))
	return subject
}

func TestAHeldOperationIsSeenAndRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mended atomic.Bool
	b.ops.Register(ops.Workflow{Kind: "test.broken", Steps: []ops.Step{{Name: "try", Do: func(context.Context, *ops.Run) error {
		if mended.Load() {
			return nil
		}
		return ops.Permanent(errors.New("disk sda1 is full"))
	}}}})
	b.work()
	token, admin := b.user("ada"), b.admin()
	b.client(token, "acme")
	id := b.heldOperation(token, "acme")

	a := b.get("/api/admin/operations?state=held", admin)
	require.Equal(t, "1", a.Header.Get("X-Total-Count"))
	var list []map[string]any
	a.json(&list)
	require.Len(t, list, 1)
	require.Equal(t, []any{"test.broken", "acme", "held", "try", 1.0, "try: disk sda1 is full", nil}, []any{
		list[0]["kind"], list[0]["client_name"], list[0]["state"], list[0]["step"], list[0]["attempts"], list[0]["error_detail"], list[0]["finished_at"],
	})
	require.NotContains(t, list[0]["error"], "sda1", "the owner reads no details")
	require.JSONEq(t, `[]`, string(b.get("/api/admin/operations?state=running", admin).Body))

	mended.Store(true)
	a = b.post("/api/admin/operations/"+id+"/retry", admin, "")
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Equal(t, "https://api.example.com/api/admin/operations/"+id, a.Header.Get("Location"))
	eventually(t, func() bool { return b.get("/api/admin/operations/"+id, admin).object()["state"] == "done" })
	detail := b.get("/api/admin/operations/"+id, admin).object()
	require.Nil(t, detail["error_detail"])
	require.NotEmpty(t, detail["events"])
	a = b.post("/api/admin/operations/"+id+"/retry", admin, "")
	require.Equal(t, http.StatusConflict, a.Status)

	trail, err := b.audit.List(t.Context(), audit.Filter{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []any{"operation.retry", "root1", "test.broken"}, []any{trail[0].Action, trail[0].Actor, trail[0].Detail["kind"]})
	require.NotZero(t, trail[0].TenantID)
}
