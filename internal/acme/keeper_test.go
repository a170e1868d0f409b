package acme_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
	"controlplane/internal/certs"
	"controlplane/internal/dnsupdate"
)

func TestAllOfThePlatformHasOneCertificateByDNS01(t *testing.T) {
	t.Parallel()
	dns := acmetest.NewNameServer(t)
	provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: dns.Address, Key: dns.Key, Secret: dns.Secret})
	require.NoError(t, err)
	b := setup(t, []string{acme.Platform("example.test")}, func(o *acme.Options) {
		o.DNS, o.DNSResolvers = provider, []string{dns.Address}
	})
	b.look()
	b.verified("*.example.test", "shop.example.test", "api.example.test", "example.test")
	require.Equal(t, int64(1), b.ca.Orders.Load())
	require.Empty(t, dns.Texts(t, "_acme-challenge.example.test"), "what was put into DNS is gone again")
	require.NotContains(t, b.log.String(), "PRIVATE")
	require.NotContains(t, b.log.String(), dns.Secret.Reveal())
}

func TestAHookOfTheOperatorsServesAsWell(t *testing.T) {
	t.Parallel()
	dns := acmetest.NewNameServer(t)
	self, err := os.Executable()
	require.NoError(t, err)
	provider := dnsupdate.NewHook(self, []string{hookServer + "=" + dns.Address, hookServer + "_KEY=" + dns.Secret.Reveal()})
	b := setup(t, []string{"*.example.test"}, func(o *acme.Options) { o.DNS, o.DNSResolvers = provider, []string{dns.Address} })
	b.look()
	b.verified("*.example.test", "shop.example.test", "example.test")
	require.Empty(t, dns.Texts(t, "_acme-challenge.example.test"))
}

func TestADNSServerThatRefusesIsNamedAndTriedAgain(t *testing.T) {
	t.Parallel()
	dns := acmetest.NewNameServer(t)
	provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: dns.Address, Key: dns.Key, Secret: "d3JvbmcgYnV0IGxvbmcgZW5vdWdo"})
	require.NoError(t, err)
	b := setup(t, []string{"*.example.test"}, func(o *acme.Options) { o.DNS, o.DNSResolvers = provider, []string{dns.Address} })
	b.look()
	r := b.record("*.example.test")
	require.Equal(t, 1, r.Failures)
	require.Contains(t, r.LastError, "BADSIG")
	require.NotContains(t, r.LastError, "d3Jvbmc")
	told := b.troubles()
	require.Len(t, told, 1, "that the platform has none is for operators")
	require.Contains(t, told[0].Trouble, "BADSIG")
}

func TestADomainIsIssuedOnceForAllEdgesAndRenewedInTime(t *testing.T) {
	t.Parallel()
	b := setup(t, []string{"shop.test"})
	var edges sync.WaitGroup
	for range 4 {
		_, keeper := b.newKeeper(b.newStore())
		edges.Go(func() { _ = keeper.Look(t.Context()) }) // one may find the other's lease
	}
	edges.Wait()
	first := b.verified("shop.test", "shop.test")
	require.Equal(t, int64(1), b.ca.Orders.Load())

	b.advance(59 * 24 * time.Hour)
	b.look()
	require.Equal(t, int64(1), b.ca.Orders.Load(), "more than a third of its life is left")
	require.Equal(t, 1, b.keeper.Summary().Count[acme.Valid])

	b.advance(2 * 24 * time.Hour)
	b.look()
	second := b.verified("shop.test", "shop.test")
	require.NotEqual(t, first.SerialNumber, second.SerialNumber)
	require.NotEqual(t, first.PublicKey, second.PublicKey, "each certificate has a key of its own")
	require.Equal(t, int64(2), b.ca.Orders.Load())
}

func TestAnAccountThatTheCAHasClosedIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t, []string{"one.test"})
	b.look()
	b.verified("one.test", "one.test")
	closeAccount(t, b)

	b.hosts = append(b.hosts, "two.test")
	b.look()
	b.verified("two.test", "two.test")
	require.Empty(t, b.record("two.test").LastError)
}

// Some CAs only take accounts that belong to a customer of theirs.
func TestAnAccountIsBoundToACustomerOfTheCA(t *testing.T) {
	t.Parallel()
	const key = "YSBzZWNyZXQgdGhhdCB0aGUgQ0EgaGFzIGdpdmVuIHRvIHVz"
	b := setup(t, []string{"shop.test"}, func(o *acme.Options) { o.EABKeyID, o.EABKey = "customer-7", key })
	unbound := b.opts
	unbound.EABKeyID, unbound.EABKey = "", ""
	client, err := acme.New(unbound, b.store)
	require.NoError(t, err)
	_, err = client.Issue(t.Context(), "shop.test")
	require.ErrorContains(t, err, "externalAccountRequired")
	b.look()
	b.verified("shop.test", "shop.test")
	require.NotContains(t, b.log.String(), key)
}

// The domain leads to somebody else, by whichever way the CA looks.
func TestSomebodyElseAnswersTheCA(t *testing.T) {
	t.Parallel()
	plain, secure := httptest.NewServer(http.NotFoundHandler()), httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	b := setup(t, []string{"shop.test"}, func(o *acme.Options) { o.HTTPPort, o.TLSPort = port(t, plain.URL), port(t, secure.URL) })
	b.look()
	require.Contains(t, []certs.Cause{certs.Elsewhere, certs.Unreachable}, b.record("shop.test").Cause, b.record("shop.test").LastError)
}

func port(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return number(t, u.Port())
}

func TestALimitOfTheCAIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t, []string{"shop.test"})
	b.ca.Trouble(acmetest.RateLimited("too many certificates already issued"))
	b.look()
	r := b.record("shop.test")
	require.Contains(t, r.LastError, "rateLimited")
	require.Equal(t, certs.TooMany, r.Cause)
	require.Equal(t, time.Hour, r.RetryAt.Sub(r.LastErrorAt), "a minute is enough for other errors")
	b.advance(59 * time.Minute)
	b.look()
	require.Equal(t, 1, b.record("shop.test").Failures)

	until := b.clock().Add(30 * time.Hour).UTC().Truncate(time.Second)
	b.ca.Trouble(acmetest.RateLimited("too many new orders recently, retry after " + until.Format(time.DateTime) + " UTC: see the manual"))
	b.advance(2 * time.Minute)
	b.look()
	require.WithinDuration(t, until, b.record("shop.test").RetryAt, time.Second)
	require.Empty(t, b.troubles(), "a customer's new domain is the customer's affair")

	b.ca.Trouble(nil)
	b.advance(31 * time.Hour)
	b.look()
	b.verified("shop.test", "shop.test")
	require.Empty(t, b.record("shop.test").LastError)
}

func TestACAThatIsDownForADayIsAskedNowAndThen(t *testing.T) {
	t.Parallel()
	b := setup(t, []string{"shop.test"})
	b.look()
	issued := b.verified("shop.test", "shop.test")
	b.troubles()
	tries := 0
	b.ca.Trouble(func(w http.ResponseWriter, r *http.Request) bool { return acmetest.Down(w, r) })
	b.advance(75 * 24 * time.Hour) // long past the time for renewal
	dayEnds := b.clock().Add(24 * time.Hour)
	for r := b.record("shop.test"); b.clock().Before(dayEnds); b.advance(time.Minute) {
		if r.Due(b.clock()) {
			b.look()
			before := r.Failures
			r = b.record("shop.test")
			tries += r.Failures - before
		}
	}
	require.InDelta(t, 9, tries, 1, "after 1, 5 and 15 minutes, then 1, 2, 4, 6 and 6 hours")
	kept := b.verified("shop.test")
	require.Equal(t, issued.SerialNumber, kept.SerialNumber, "the old one is in use meanwhile")
	told := b.troubles()
	require.Len(t, told, 1, "told once")
	require.Contains(t, told[0].Trouble, "expires on")
	require.Equal(t, 1, b.keeper.Summary().Count[acme.Expiring])

	b.ca.Trouble(nil)
	b.advance(6 * time.Hour)
	b.look()
	require.NotEqual(t, issued.SerialNumber, b.verified("shop.test", "shop.test").SerialNumber)
	require.NotEmpty(t, b.troubles())
	require.Equal(t, certs.Record{}.LastError, b.record("shop.test").LastError)
	require.Equal(t, 0, b.record("shop.test").Failures)
}

func TestStoppingIsNoFailure(t *testing.T) {
	t.Parallel()
	b := setup(t, []string{"shop.test"})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	var once sync.Once
	b.ca.Trouble(func(_ http.ResponseWriter, r *http.Request) bool {
		once.Do(func() { close(asked) })
		<-r.Context().Done()
		return true
	})
	done := make(chan error, 1)
	go func() { done <- b.keeper.Look(ctx) }()
	<-asked
	cancel()
	require.Error(t, <-done)
	_, err := b.store.Record(t.Context(), "shop.test")
	require.ErrorIs(t, err, certs.ErrNotFound)
}

func TestARehearsalStoresNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	cert, err := b.client.Rehearsal().Issue(t.Context(), "shop.test")
	require.NoError(t, err)
	require.NotEmpty(t, cert.Chain)
	all, err := b.store.All(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
	_, err = b.client.Issue(t.Context(), "*.example.test")
	require.ErrorIs(t, err, acme.ErrNoDNS)
}

func TestLetsEncryptHasAnotherCAForRehearsals(t *testing.T) {
	t.Parallel()
	client, err := acme.New(acme.Options{BaseDomain: "example.test", Email: "a@b.test"}, nil)
	require.NoError(t, err)
	require.Equal(t, acme.LetsEncrypt, client.Directory())
	require.Equal(t, acme.LetsEncryptStaging, client.Rehearsal().Directory())
	require.Len(t, client.ChallengeKeys(), 2, "an edge answers for both")
}

func TestTheWildcardStandsForOneLabel(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"example.test": true, "a.example.test": true, "api.example.test": true, "a.b.example.test": false, ".example.test": false,
		"badexample.test": false, "example.test.evil.test": false, "": false,
	} {
		require.Equal(t, want, acme.Covers("example.test", host), host)
	}
}
