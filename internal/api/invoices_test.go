package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/api"
	"controlplane/internal/audit"
	"controlplane/internal/invoicing"
	"controlplane/internal/ledger"
	"controlplane/internal/secrets"
)

// invoice issues one to a user, as a payment does.
func (b *bundle) invoice(user string) (number string) {
	b.t.Helper()
	var account accounts.ID
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT id FROM accounts WHERE username = $1`, user).Scan(&account))
	papers := invoicing.New(invoicing.Deps{Pool: b.pool, Audit: audit.New(b.pool)}, invoicing.Options{Seller: invoicing.Party{Name: "Seller Ltd"}})
	require.NoError(b.t, pgx.BeginFunc(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		inv, err := papers.IssueTx(b.t.Context(), tx, invoicing.Draft{
			Key: "payment/" + secrets.RandomHex(6), Mode: ledger.Live, AccountID: account, Reference: "ODOO-0123456789AB", Currency: "NGN",
			Lines: []invoicing.DraftLine{{Description: "Odoo hosting", Quantity: 1, GrossKobo: 1_500_000}},
		})
		number = inv.Number
		return err
	}))
	return number
}

func TestInvoices_OwnersAndAdmins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, stranger, admin := b.user("owner"), b.user("stranger"), b.admin()
	first, second := b.invoice("owner"), b.invoice("owner")
	list := b.get("/api/invoices?limit=1", owner)
	require.Equal(t, http.StatusOK, list.Status, "%s", list.Body)
	require.Equal(t, "2", list.Header.Get("X-Total-Count"))
	var invoices []map[string]any
	require.NoError(t, json.Unmarshal(list.Body, &invoices))
	require.Len(t, invoices, 1)
	require.Equal(t, second, invoices[0]["number"])
	require.InDelta(t, 15000, invoices[0]["amount"], 0)
	require.InDelta(t, 104_651, invoices[0]["tax_kobo"], 0)
	require.Equal(t, "/api/invoices/"+second+".pdf", invoices[0]["pdf"])
	require.JSONEq(t, "[]", string(b.get("/api/invoices", stranger).Body))

	for _, ending := range []string{".json", ".pdf"} {
		path := "/api/invoices/" + first + ending
		require.Equal(t, http.StatusUnauthorized, b.get(path, "").Status)
		require.Equal(t, http.StatusNotFound, b.get(path, stranger).Status)
		require.Equal(t, http.StatusOK, b.get(path, owner).Status)
		require.Equal(t, http.StatusOK, b.get(path, admin).Status)
	}
	document := b.get("/api/invoices/"+first+".pdf", owner)
	require.Equal(t, "application/pdf", document.Header.Get("Content-Type"))
	require.Equal(t, `inline; filename="`+first+`.pdf"`, document.Header.Get("Content-Disposition"))
	require.True(t, bytes.HasPrefix(document.Body, []byte("%PDF-1.")))
	for _, odd := range []string{"x", "%00", "%FF", "INV-2026-000001%22", "..", "INV-2026-000001'--"} {
		require.Equal(t, http.StatusNotFound, b.get("/api/invoices/"+odd+".json", owner).Status, odd)
	}
}

func TestInvoicePDF_IsLimited(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Rates.Invoice = 2 })
	owner := b.user("owner")
	path := "/api/invoices/" + b.invoice("owner") + ".pdf"
	for range 2 {
		require.Equal(t, http.StatusOK, b.get(path, owner).Status)
	}
	require.Equal(t, http.StatusTooManyRequests, b.get(path, owner).Status)
}

func TestBillingProfile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.user("owner")
	patch := func(body string) answer {
		return b.do(request{method: http.MethodPatch, path: "/api/billing/profile", token: owner, body: body, contentType: "application/json"})
	}
	require.Equal(t, http.StatusOK, patch(`{"name":"Acme Ltd","address":"1 Road\nLagos","country":"ng","tax_id":"T-9"}`).Status)
	require.Equal(t, http.StatusOK, patch(`{"tax_id":null}`).Status)
	a := b.get("/api/billing/profile", owner)
	require.JSONEq(t, `{"name":"Acme Ltd","address":"1 Road\nLagos","country":"NG","tax_id":"T-9"}`, string(a.Body))
	for _, bad := range []string{`{"country":"Nigeria"}`, `{"name":"a\u0000b"}`, `{"name":5}`, `{"address":"` + string(bytes.Repeat([]byte("x"), 501)) + `"}`} {
		require.Equal(t, http.StatusUnprocessableEntity, patch(bad).Status, bad)
	}
	a = b.get("/api/invoices/"+b.invoice("owner")+".json", owner)
	buyer, _ := a.object()["buyer"].(map[string]any)
	require.Equal(t, "Acme Ltd", buyer["name"])
}
