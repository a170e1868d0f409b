package whole_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The tests of this file stop parts of the platform that all tests share, so they aren't parallel: go test runs them before the
// parallel ones go on.

func TestKill_ControlPlaneDuringProvisioning(t *testing.T) {
	c := signUp(t)
	// The delays spread the kills over the steps: nothing made yet, cloning, copying, starting, probing.
	for _, delay := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, 800 * time.Millisecond, 2 * time.Second, 4 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			c.t = t
			name := c.create("basic")
			_, page := c.checkout(name, "basic")
			c.payAt(page)
			<-time.After(delay)
			kill(t, "serve")
			processOf(t, "serve")
			c.await(name, "active")
			login, password := c.credentials(name)
			_, err := visit(t, name).login(name, login, password)
			require.NoError(t, err)
			requireNothingLeftOver(t, name)
		})
	}
}

// requireNothingLeftOver checks that there is one of everything and no half-made second one.
func requireNothingLeftOver(t *testing.T, name string) {
	t.Helper()
	require.Equal(t, "odoo_"+name, mustDocker(t, "ps", "-a", "--filter", "name="+name, "--format", "{{.Names}}"))
	require.Equal(t, name+"_network", mustDocker(t, "network", "ls", "--filter", "name="+name, "--format", "{{.Name}}"))
	volumes := strings.Fields(mustDocker(t, "volume", "ls", "--filter", "name="+name, "--format", "{{.Name}}"))
	require.ElementsMatch(t, []string{"odoo_" + name + "_data", "odoo_" + name + "_addons", "odoo_" + name + "_config"}, volumes)
	var unfinished, subnets int
	row := shared.Pool.QueryRow(t.Context(), `SELECT
		(SELECT count(*) FROM operations o JOIN tenants t ON o.subject = 'tenant/' || t.id WHERE t.name = $1 AND o.finished_at IS NULL),
		(SELECT count(*) FROM tenant_subnets s JOIN tenants t ON t.id = s.tenant_id WHERE t.name = $1)`, name)
	require.NoError(t, row.Scan(&unfinished, &subnets))
	require.Zero(t, unfinished)
	require.Equal(t, 1, subnets)
}

func TestOutage_PlatformDatabase(t *testing.T) {
	c := signUp(t)
	running := c.provision("basic")
	name := c.create("basic")
	_, page := c.checkout(name, "basic")
	database := "odoo-hosting-" + shared.Setting("DEV_INSTANCE") + "-platform-db"

	mustDocker(t, "stop", "--time", "10", database)
	status, header, text := c.send(http.MethodGet, "/api/clients", nil)
	require.Equal(t, http.StatusServiceUnavailable, status, text)
	require.NotEmpty(t, header.Get("Retry-After"))
	require.NotContains(t, text, "127.0.0.1", "no inner addresses")
	require.Equal(t, http.StatusServiceUnavailable, postWebhook(t, `{"event":"charge.success","data":{"id":1}}`), "the gateway delivers it again")
	ready, _, text := c.send(http.MethodGet, "/api/ready", nil)
	require.Equal(t, http.StatusServiceUnavailable, ready)
	require.Contains(t, text, "platform database")
	o := visit(t, running)
	status, _ = o.do(o.request(http.MethodGet, "/web/login", nil))
	require.Equal(t, http.StatusOK, status, "tenants are served while the platform's database is down")
	c.payAt(page) // the webhook of this payment finds us down
	mustDocker(t, "start", database)
	c.await(name, "active")
}

func TestOutage_Gateway(t *testing.T) {
	c := signUp(t)
	name := c.create("basic")
	pid := processOf(t, "paystack-simulator")
	pause(t, pid)
	status, header, text := c.send(http.MethodPost, "/api/payments/initialize", map[string]any{"plan": "basic", "billing_cycle": "monthly", "client_name": name})
	require.Equal(t, http.StatusServiceUnavailable, status, text)
	require.NotEmpty(t, header.Get("Retry-After"))
	resume(t, pid)
	_, page := c.checkout(name, "basic")
	c.payAt(page)
	c.await(name, "active")
}

func TestOutage_TenantsDatabaseDuringProvisioning(t *testing.T) {
	c := signUp(t)
	name := c.create("basic")
	_, page := c.checkout(name, "basic")
	database := "odoo-hosting-" + shared.Setting("DEV_INSTANCE") + "-tenants-db"
	mustDocker(t, "stop", "--time", "10", database)
	c.payAt(page)
	detail := c.await(name, "provisioning")
	require.Equal(t, "success", detail["payment_status"], "what was paid stays paid")
	mustDocker(t, "start", database)
	c.await(name, "active")
}

// pause and resume stop a process without ending it: it takes connections and never answers.
func pause(t *testing.T, pid int) {
	t.Helper()
	signal(t, pid, stopSignal)
	t.Cleanup(func() { signal(t, pid, continueSignal) })
}

func resume(t *testing.T, pid int) {
	t.Helper()
	signal(t, pid, continueSignal)
}

func TestSecondStart_TakesSecondsAndKeepsEverything(t *testing.T) {
	c := signUp(t)
	name := c.provision("basic")
	login, password := c.credentials(name)
	require.NoError(t, shared.Stop())
	o := mustDocker(t, "ps", "--filter", "name=odoo_"+name, "--format", "{{.State}}")
	require.Equal(t, "running", o, "Ctrl-C leaves tenants alone")
	require.NoError(t, shared.Start())
	c.login()
	c.await(name, "active")
	_, err := visit(t, name).login(name, login, password)
	require.NoError(t, err)
}

func TestWrongAmount_ActivatesNothing(t *testing.T) {
	c := signUp(t)
	name := c.create("basic")
	reference, page := c.checkout(name, "basic")
	// The next payment takes one naira only.
	resp, err := http.Post("http://"+shared.Env["DEV_SIMULATOR_ADMIN_LISTEN"]+"/faults", "application/json", //nolint:noctx // a local call
		strings.NewReader(`{"kind":"partial_debit","amount":100,"times":1}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Less(t, resp.StatusCode, http.StatusMultipleChoices)
	c.payAt(page)

	require.Eventually(t, func() bool {
		var review *string
		err := shared.Pool.QueryRow(t.Context(), "SELECT review FROM payments WHERE reference = $1", reference).Scan(&review)
		return err == nil && review != nil
	}, activeTimeout, tick, "a person has to look")
	got := c.call(http.MethodGet, "/api/payments/verify/"+reference, nil, http.StatusOK)
	require.Equal(t, "pending", got["status"])
	detail := c.call(http.MethodGet, "/api/clients/"+name, nil, http.StatusOK)
	require.Equal(t, "pending", detail["status"])
	require.Equal(t, "pending", detail["payment_status"])
	require.Empty(t, mustDocker(t, "ps", "-a", "--filter", "name=odoo_"+name, "--format", "{{.Names}}"))
}
