package api_test

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
)

const edgeAddress = "192.0.2.1"

// dnsBook is the DNS in memory: names with their texts or addresses.
type dnsBook struct {
	mu      sync.Mutex
	records map[string][]string
}

func (d *dnsBook) set(name string, values ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records[name] = values
}

func (d *dnsBook) TXT(_ context.Context, name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.records[name], nil
}

func (d *dnsBook) Addresses(ctx context.Context, name string) (list []netip.Addr, err error) {
	texts, err := d.TXT(ctx, name)
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list, err
}

type domainView struct {
	Domain, Display, Status string
	Primary                 bool
	SSLEnabled              bool    `json:"ssl_enabled"`
	ReasonCode              *string `json:"reason_code"`
	Reason                  *string
	Certificate             *struct {
		NotAfter  *string `json:"not_after"`
		LastError *string `json:"last_error"`
		ErrorCode *string `json:"error_code"`
	}
	Records []struct{ Type, Name, Value string }
}

type domainsView struct {
	Domains        []string
	PrimaryDomain  string `json:"primary_domain"`
	PlatformDomain string `json:"platform_domain"`
	Limit          int
	Details        []domainView
}

func (b *bundle) domains(token string) (v domainsView) {
	b.t.Helper()
	a := b.get("/api/clients/acme/domains", token)
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	a.json(&v)
	return v
}

// withActive is a bundle whose owner has one active client, acme.
func withActive(t *testing.T, change ...func(*api.Deps, *api.Options)) (b *bundle, owner string) {
	t.Helper()
	b = setup(t, change...)
	b.work()
	owner = b.user("owner")
	b.live(owner, "acme")
	return b, owner
}

// prove puts into the DNS what the API says belongs there.
func (b *bundle) proveDomain(d domainView) {
	b.t.Helper()
	require.Equal(b.t, "TXT", d.Records[0].Type)
	b.dns.set(d.Records[0].Name, d.Records[0].Value)
	b.dns.set(d.Domain, edgeAddress)
}

func (b *bundle) addDomain(token, domain string) domainView {
	b.t.Helper()
	a := b.do(request{method: http.MethodPost, path: "/api/clients/acme/domains?domain=" + url.QueryEscape(domain), token: token})
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	var out struct {
		Success         bool
		Domain, Message string
		Details         domainView
	}
	a.json(&out)
	require.True(b.t, out.Success)
	require.NotEmpty(b.t, out.Message)
	require.Equal(b.t, out.Domain, out.Details.Domain)
	return out.Details
}

func TestDomains_FromClaimToPrimary(t *testing.T) {
	t.Parallel()
	b, owner := withActive(t)
	require.Equal(t, domainsView{Domains: []string{}, PrimaryDomain: "acme.localhost", PlatformDomain: "acme.localhost", Limit: 5, Details: []domainView{}}, b.domains(owner))
	d := b.addDomain(owner, " ERP.Bücher.example.com. ")
	require.Equal(t, []string{"erp.xn--bcher-kva.example.com", "erp.bücher.example.com", "pending"}, []string{d.Domain, d.Display, d.Status})
	require.Equal(t, "CNAME", d.Records[1].Type)
	require.Equal(t, "acme.localhost", d.Records[1].Value)
	require.Equal(t, []any{d.Domain}, b.get("/api/clients/acme", owner).object()["custom_domains"])

	const path = "/api/clients/acme/domains/"
	verify := func() (v domainView) {
		a := b.post(path+d.Domain+"/verify", owner, "")
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		a.json(&v)
		return v
	}
	require.Equal(t, "proof_missing", *verify().ReasonCode)
	require.Equal(t, http.StatusConflict, b.post(path+d.Domain+"/primary", owner, "").Status)
	b.proveDomain(d)
	require.Equal(t, "live", verify().Status)
	_, err := b.pool.Exec(t.Context(), `INSERT INTO certificates (host, failures, cause, last_error, last_error_at, updated_at)
		VALUES ($1, 1, 'caa', 'the words of the CA, with our account', now(), now())`, d.Domain)
	require.NoError(t, err)

	a := b.post(path+url.PathEscape("ERP.bücher.example.com")+"/primary", owner, "")
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "The links of acme begin with "+d.Domain, a.object()["message"])
	v := b.domains(owner)
	require.Equal(t, d.Domain, v.PrimaryDomain)
	require.True(t, v.Details[0].Primary)
	require.False(t, v.Details[0].SSLEnabled)
	require.Contains(t, *v.Details[0].Certificate.LastError, "CAA record")
	require.NotContains(t, *v.Details[0].Certificate.LastError, "account", "the CA's words are for operators")
	require.Equal(t, "caa", *v.Details[0].Certificate.ErrorCode)
	require.Nil(t, v.Details[0].Certificate.NotAfter)

	a = b.do(request{method: http.MethodDelete, path: path + d.Domain, token: owner})
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "acme.localhost", b.domains(owner).PrimaryDomain)
	require.Equal(t, http.StatusNotFound, b.do(request{method: http.MethodDelete, path: path + d.Domain, token: owner}).Status)
	require.Equal(t, "Domain not found", b.post(path+d.Domain+"/verify", owner, "").detail())
	require.Contains(t, string(b.get("/api/clients/acme/activity", owner).Body), `"domain":"`+d.Domain+`"`)
}

func TestDomains_RefusesAsTheEarlierAPI(t *testing.T) {
	t.Parallel()
	b, owner := withActive(t)
	add := func(token, domain string) answer {
		return b.do(request{method: http.MethodPost, path: "/api/clients/acme/domains?domain=" + url.QueryEscape(domain), token: token})
	}
	for _, domain := range []string{"", "nonsense", "*.example.com", "192.0.2.1", "co.uk", "acme.localhost", "localhost", "x.localhost", "a_b.example.com", "https://example.com"} {
		a := add(owner, domain)
		require.Equal(t, http.StatusBadRequest, a.Status, "%s: %s", domain, a.Body)
		require.Contains(t, a.detail(), "Invalid domain format")
	}
	require.Equal(t, http.StatusUnprocessableEntity, add(owner, "a\x00.example.com").Status)
	require.Equal(t, http.StatusNotFound, add(b.user("stranger"), "nonsense").Status)
	require.Zero(t, b.count("tenant_domains"))

	b.addDomain(owner, "erp.example.com")
	a := add(owner, "ERP.example.com")
	require.Equal(t, http.StatusBadRequest, a.Status)
	require.Equal(t, "Domain already added", a.detail())
	a = b.post("/api/clients/acme/domains", owner, `{"domain":"shop.example.com"}`)
	require.Equal(t, http.StatusOK, a.Status, "in the body: %s", a.Body)
	for _, domain := range []string{"three.example.com", "four.example.com", "five.example.com"} {
		b.addDomain(owner, domain)
	}
	require.Equal(t, http.StatusConflict, add(owner, "six.example.com").Status)
	require.Equal(t, 5, b.count("tenant_domains"))

	_, err := b.pool.Exec(t.Context(), `UPDATE tenant_domains SET expires_at = now() WHERE domain = 'shop.example.com'`)
	require.NoError(t, err)
	a = b.post("/api/clients/acme/domains/shop.example.com/verify", owner, "")
	require.Equal(t, http.StatusNotFound, a.Status, "%s", a.Body)
	require.Contains(t, a.detail(), "it can be added again")
	b.addDomain(owner, "shop.example.com")

	for _, bad := range []string{"%zz", "nonsense", "a%00b", "%2e%2e"} {
		for _, r := range []request{
			{method: http.MethodDelete, path: "/api/clients/acme/domains/" + bad, token: owner},
			{method: http.MethodPost, path: "/api/clients/acme/domains/" + bad + "/verify", token: owner},
			{method: http.MethodPost, path: "/api/clients/acme/domains/" + bad + "/primary", token: owner},
		} {
			if _, err := url.Parse(r.path); err == nil {
				require.Equal(t, http.StatusNotFound, b.do(r).Status, r.path)
			}
		}
	}
	require.Equal(t, 5, b.count("tenant_domains"))
}

func TestDomains_InUseByAnother(t *testing.T) {
	t.Parallel()
	b, owner := withActive(t)
	d := b.addDomain(owner, "erp.example.com")
	b.proveDomain(d)
	require.Equal(t, http.StatusOK, b.post("/api/clients/acme/domains/erp.example.com/verify", owner, "").Status)
	eve := b.user("eve")
	a := b.post("/api/clients", eve, `{"name":"evil","domain":"ERP.example.com","email":"e@example.com"}`)
	require.Equal(t, http.StatusConflict, a.Status, "%s", a.Body)
	b.live(eve, "evil")
	a = b.do(request{method: http.MethodPost, path: "/api/clients/evil/domains?domain=erp.example.com", token: eve})
	require.Equal(t, http.StatusBadRequest, a.Status)
	require.Equal(t, "Domain is already in use", a.detail())
}

func TestDomains_AddIsDoneOnceWithAKey(t *testing.T) {
	t.Parallel()
	b, owner := withActive(t)
	r := request{method: http.MethodPost, path: "/api/clients/acme/domains?domain=erp.example.com", token: owner, header: http.Header{"Idempotency-Key": {"k1"}}}
	first, second := b.do(r), b.do(r)
	require.Equal(t, http.StatusOK, second.Status)
	require.Equal(t, first.Body, second.Body)
	require.Equal(t, "true", second.Header.Get("Idempotent-Replayed"))
}

func TestDomains_AreLimitedPerAccount(t *testing.T) {
	t.Parallel()
	b, owner := withActive(t, func(_ *api.Deps, o *api.Options) { o.Rates.Domains = 2 })
	for range 2 {
		b.post("/api/clients/acme/domains/none.example.com/verify", owner, "")
	}
	require.Equal(t, http.StatusTooManyRequests, b.post("/api/clients/acme/domains/none.example.com/verify", owner, "").Status)
}
