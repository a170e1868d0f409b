package edge_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

// domain gives a tenant an own domain in a status.
func (b *bundle) domain(id tenants.ID, domain, status string) {
	b.t.Helper()
	b.exec(`INSERT INTO tenant_domains (tenant_id, domain, display, token, created_at, next_check_at, status, expires_at, verified_at, flagged_at)
		VALUES ($1, $2, $2, repeat('a', 32), now(), now(), $3, CASE WHEN $3 = 'pending' THEN now() END, CASE WHEN $3 <> 'pending' THEN now() END,
			CASE WHEN $3 = 'misdirected' THEN now() END)`, id, domain, status)
}

func TestEdge_OwnDomains(t *testing.T) {
	t.Parallel()
	cable, cut := viaRelay(t)
	b := setup(t, cut)
	one, two := newUpstream(t, says("one"), nil), newUpstream(t, says("two"), nil)
	first, second := b.tenant("one", tenants.Active, one), b.tenant("two", tenants.Active, two)
	b.domain(first, "erp.example.com", "live")
	b.domain(first, "old.example.com", "misdirected")
	b.domain(first, "claimed.example.com", "pending")
	b.start()
	served := func(host string) string {
		a := b.get("http://" + host + "/web")
		if a.status != http.StatusOK {
			return http.StatusText(a.status)
		}
		return a.body
	}
	soon := func(host, want string) {
		t.Helper()
		eventually(t, host+" is "+want, func() bool { return served(host) == want })
	}
	misdirected := http.StatusText(http.StatusMisdirectedRequest)
	require.Equal(t, "one", served("erp.example.com"))
	require.Equal(t, "one", served("ERP.Example.COM.:80"))
	require.Equal(t, "one", served("old.example.com"), "flagged, not given up")
	require.Equal(t, misdirected, served("claimed.example.com"), "a claim is worth nothing")
	require.Equal(t, misdirected, served("www.erp.example.com"))
	require.Equal(t, http.StatusNotFound, b.status("http://erp.example.com/web/database/manager"), "no way round what is closed")

	b.exec("UPDATE tenant_domains SET status = 'live', verified_at = now(), expires_at = NULL WHERE domain = 'claimed.example.com'")
	soon("claimed.example.com", "one")
	b.exec("DELETE FROM tenant_domains WHERE domain = 'claimed.example.com'")
	soon("claimed.example.com", misdirected)
	require.Equal(t, "one", served("one.example.test"), "the platform address stays")

	b.exec("DELETE FROM tenant_domains WHERE domain = 'erp.example.com'")
	b.domain(second, "erp.example.com", "live")
	soon("erp.example.com", "two")
	b.setState(first, tenants.Suspended)
	soon("old.example.com", http.StatusText(http.StatusServiceUnavailable))
	b.setState(first, tenants.Deleted)
	soon("old.example.com", misdirected)

	cable.cut()
	b.stop()
	b.start()
	require.Equal(t, "two", served("erp.example.com"), "from the copy on disk")
	require.Equal(t, misdirected, served("old.example.com"))
}
