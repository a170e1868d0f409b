package whole_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSignUpToLogin(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.provision("basic")

	detail := c.call(http.MethodGet, "/api/clients/"+name, nil, http.StatusOK)
	require.Equal(t, "success", detail["payment_status"])
	require.NotEmpty(t, detail["activated_at"])
	require.NotEmpty(t, detail["payment_reference"])
	require.Equal(t, name+".localhost", detail["domain"])

	login, password := c.credentials(name)
	require.Equal(t, c.email, login, "the owner's own e-mail address")
	status, _, text := c.send(http.MethodGet, "/api/clients/"+name+"/credentials", nil)
	require.Equal(t, http.StatusGone, status, text)

	o := visit(t, name)
	session, err := o.login(name, login, password)
	require.NoError(t, err)
	require.EqualValues(t, true, session["is_admin"])
	_, err = visit(t, name).login(name, login, "wrong")
	require.Error(t, err)
	_, err = visit(t, name).login(name, "admin", "admin")
	require.Error(t, err, "the template's identity is gone")

	demo, err := o.rpc("/web/dataset/call_kw", map[string]any{
		"model": "ir.module.module", "method": "search_count", "args": []any{[]any{[]any{"demo", "=", true}}}, "kwargs": map[string]any{},
	})
	require.NoError(t, err)
	require.Zero(t, demo, "no demo data")
	for _, app := range []string{"contacts", "crm"} {
		installed, err := o.rpc("/web/dataset/call_kw", map[string]any{
			"model": "ir.module.module", "method": "search_count", "kwargs": map[string]any{},
			"args": []any{[]any{[]any{"name", "=", app}, []any{"state", "=", "installed"}}},
		})
		require.NoError(t, err)
		require.EqualValues(t, 1, installed, app)
	}

	c.call(http.MethodPost, "/api/clients/"+name+"/reset-admin-password", nil, http.StatusOK)
	_, fresh := c.credentials(name)
	require.NotEqual(t, password, fresh)
	_, err = visit(t, name).login(name, login, password)
	require.Error(t, err, "the old password is gone")
	_, err = visit(t, name).login(name, login, fresh)
	require.NoError(t, err)
}

func TestBusinessPlan_HasWorkersAndAnEventPort(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	awaitTemplate(t, "business")
	name := c.provision("business")
	login, password := c.credentials(name)
	o := visit(t, name)
	_, err := o.login(name, login, password)
	require.NoError(t, err)
	processes := mustDocker(t, "top", "odoo_"+name)
	require.GreaterOrEqual(t, strings.Count(processes, "odoo"), 4, "two workers, one for cron, one for events:\n%s", processes)
	requireWebSocket(t, o)
}

func TestRace_ThirtyCreatesOfOneName(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := "race" + strings.TrimPrefix(c.username, "user")
	var mu sync.Mutex
	created := map[int]int{}
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			status, _, _ := c.send(http.MethodPost, "/api/clients", map[string]any{"name": name, "email": c.email, "plan": "basic"})
			mu.Lock()
			defer mu.Unlock()
			created[status]++
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusConflict: 29}, created)
	out := mustDocker(t, "ps", "-a", "--filter", "name=odoo_"+name, "--format", "{{.Names}}")
	require.Empty(t, out, "creating a client touches nothing outside our database")
}

func TestWebhook_FiftyTimesInParallelMakesOneTenant(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.create("basic")
	reference, page := c.checkout(name, "basic")
	c.payAt(page)
	body := fmt.Sprintf(`{"event":"charge.success","data":{"id":77,"domain":"test","status":"success","reference":%q,"amount":1500000,"currency":"NGN"}}`, reference)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { require.Equal(t, http.StatusOK, postWebhook(t, body)) })
	}
	wg.Wait()
	c.await(name, "active")
	require.Equal(t, "odoo_"+name, mustDocker(t, "ps", "-a", "--filter", "name=odoo_"+name, "--format", "{{.Names}}"))
	var operations, payments, credits int
	row := shared.Pool.QueryRow(t.Context(), `SELECT
		(SELECT count(*) FROM operations o JOIN tenants t ON o.subject = 'tenant/' || t.id WHERE t.name = $1 AND o.kind = 'tenant.provision'),
		(SELECT count(*) FROM payments p JOIN tenants t ON t.id = p.tenant_id WHERE t.name = $1 AND p.status = 'success'),
		(SELECT count(*) FROM credits c JOIN payments p ON p.id = c.payment_id JOIN tenants t ON t.id = p.tenant_id WHERE t.name = $1)`, name)
	require.NoError(t, row.Scan(&operations, &payments, &credits))
	require.Equal(t, []int{1, 1, 0}, []int{operations, payments, credits})
}

func TestWebhook_BadSignatureAndUnpaidChangeNothing(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.create("basic")
	reference, _ := c.checkout(name, "basic") // never paid at the gateway
	body := fmt.Sprintf(`{"event":"charge.success","data":{"id":78,"domain":"test","status":"success","reference":%q,"amount":1500000,"currency":"NGN"}}`, reference)
	require.Equal(t, http.StatusUnauthorized, postUnsigned(t, body))
	require.Equal(t, http.StatusOK, postWebhook(t, body), "the signature is right; the gateway will say that nothing was paid")
	got := c.call(http.MethodGet, "/api/payments/verify/"+reference, nil, http.StatusOK)
	require.Equal(t, "pending", got["status"])
	require.Equal(t, "pending", c.call(http.MethodGet, "/api/clients/"+name, nil, http.StatusOK)["status"])
}

func TestSecondPayment_BecomesACredit(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.create("basic")
	_, first := c.checkout(name, "basic")
	reference, second := c.checkout(name, "basic")
	c.payAt(first)
	c.await(name, "active")
	c.payAt(second)
	require.Eventually(t, func() bool {
		var n int
		err := shared.Pool.QueryRow(t.Context(), "SELECT count(*) FROM credits c JOIN payments p ON p.id = c.payment_id WHERE p.reference = $1", reference).Scan(&n)
		return err == nil && n == 1
	}, activeTimeout, tick)
	require.Equal(t, "active", c.call(http.MethodGet, "/api/clients/"+name, nil, http.StatusOK)["status"])
}
