package domains_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/domains"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

func TestADomainGoesLiveByItsOwnDNS(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	d := b.add(ada, acme, "ERP.Bücher.example.com.")
	require.Equal(t, "erp.xn--bcher-kva.example.com", d.Name)
	require.Equal(t, "erp.bücher.example.com", d.Display)
	require.Equal(t, domains.Pending, d.Status)
	require.Equal(t, []domains.Record{
		{Type: "TXT", Name: "_odoo-hosting." + d.Name, Value: "odoo-hosting-verification=" + d.Token},
		{Type: "CNAME", Name: d.Name, Value: acme.Domain},
	}, b.Records(t.Context(), acme, d))

	look := func(code string) {
		t.Helper()
		b.advance(time.Minute)
		require.Equal(t, 1, b.check())
		got := b.of(ada, acme)[0]
		require.Equal(t, code, got.ReasonCode, got.Reason)
		require.Equal(t, code != "", got.Status == domains.Pending)
		require.True(t, b.clock().Equal(*got.CheckedAt))
	}
	require.Equal(t, 1, b.check(), "at once")
	require.Zero(t, b.check(), "not all the time")
	look("proof_missing")
	b.zone.set(d.ProofName(), "TXT", `"odoo-hosting-verification=0123"`)
	look("proof_wrong")
	b.zone.set(d.ProofName(), "TXT", `"something else"`, `"`+d.ProofValue()+`"`)
	look("no_address")
	b.zone.set(d.Name, "A", "203.0.113.9")
	look("points_elsewhere")
	require.Contains(t, b.of(ada, acme)[0].Reason, "203.0.113.9")
	b.zone.set(d.Name, "A", edge4.String(), "203.0.113.9")
	look("points_elsewhere")
	b.zone.set(d.Name, "A", edge4.String())
	b.zone.set(d.Name, "AAAA", "2001:db8::bad")
	look("points_elsewhere")
	b.zone.set(d.Name, "A")
	b.zone.set(d.Name, "AAAA")
	b.zone.set(d.Name, "CNAME", d.Name)
	look("dns_alias_loop")
	b.zone.fail(true)
	look("dns_unavailable")
	b.zone.fail(false)
	require.Empty(t, b.routed(acme))
	b.zone.set(d.Name, "CNAME", acme.Domain)
	look("")
	require.Equal(t, []string{d.Name}, b.routed(acme))
	require.Equal(t, []string{"client.domain_add", "client.domain_verify"}, b.actions(acme))
	require.Equal(t, []string{"domain.live"}, b.told(acme))
}

func TestRecordsOfAnApexAreAddresses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	d := b.add(ada, acme, "example.com")
	require.Equal(t, []domains.Record{{Type: "A", Name: "example.com", Value: edge4.String()}, {Type: "AAAA", Name: "example.com", Value: edge6.String()}},
		b.Records(t.Context(), acme, d)[1:])
}

// Where nobody has set the edges' addresses they are those that the platform address leads to.
func TestAddressesOfTheEdgesAreLookedUp(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *domains.Options) { o.Addresses = nil })
	ada, acme := b.owner("acme")
	d := b.add(ada, acme, "example.com")
	b.prove(d)
	b.zone.set(d.Name, "A", edge4.String())
	b.zone.set(acme.Domain, "A")
	require.Equal(t, "platform_addresses_unknown", b.verify(ada, acme, d.Name).ReasonCode)
	require.Equal(t, []domains.Record{{Type: "ALIAS", Name: "example.com", Value: acme.Domain}}, b.Records(t.Context(), acme, d)[1:])
	b.zone.set(acme.Domain, "A", edge4.String())
	require.Equal(t, domains.Live, b.verify(ada, acme, d.Name).Status)
	require.Equal(t, []domains.Record{{Type: "A", Name: "example.com", Value: edge4.String()}}, b.Records(t.Context(), acme, d)[1:])
}

func TestOneThatPointsElsewhereIsFlaggedNotDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	d := b.live(ada, acme, "erp.example.com")
	b.advance(21 * time.Hour)
	require.Zero(t, b.check(), "once a day")
	b.zone.fail(true)
	b.advance(3 * time.Hour)
	require.Equal(t, 1, b.check())
	got := b.of(ada, acme)[0]
	require.Equal(t, domains.Live, got.Status, "no answer says nothing")
	require.Equal(t, "dns_unavailable", got.ReasonCode)

	b.zone.fail(false)
	b.zone.set(d.Name, "A", "203.0.113.9")
	b.advance(time.Hour)
	require.Equal(t, 1, b.check())
	got = b.of(ada, acme)[0]
	require.Equal(t, domains.Misdirected, got.Status)
	require.True(t, b.clock().Equal(*got.FlaggedAt))
	require.Equal(t, []string{d.Name}, b.routed(acme), "it is still ours to serve")
	b.advance(time.Hour)
	require.Equal(t, 1, b.check())
	require.Equal(t, []string{"domain.live", "domain.misdirected"}, b.told(acme), "once")

	b.zone.set(d.Name, "A", edge4.String())
	b.zone.set(d.ProofName(), "TXT")
	require.Equal(t, "proof_missing", b.verify(ada, acme, d.Name).ReasonCode, "the proof stays")
	b.prove(d)
	got = b.verify(ada, acme, d.Name)
	require.Equal(t, domains.Live, got.Status)
	require.Nil(t, got.FlaggedAt)
	require.Equal(t, []string{"domain.live", "domain.misdirected", "domain.live"}, b.told(acme))
	require.Equal(t, []string{"client.domain_add", "client.domain_verify", "client.domain_flag", "client.domain_recover"}, b.actions(acme))
}

func TestTheFirstToProveWins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	eve, evil := b.owner("evil")
	mine, theirs := b.add(ada, acme, "erp.example.com"), b.add(eve, evil, "erp.example.com")
	require.NotEqual(t, mine.Token, theirs.Token)
	b.zone.set(mine.Name, "A", edge4.String())
	b.prove(mine)
	b.advance(time.Minute)
	require.Equal(t, 2, b.check())
	require.Equal(t, domains.Live, b.of(ada, acme)[0].Status)
	require.Empty(t, b.of(eve, evil), "the other claim has lapsed")
	require.Equal(t, []string{"domain.lost"}, b.told(evil))
	require.Equal(t, []string{"client.domain_add", "client.domain_lose"}, b.actions(evil))
	require.Equal(t, []string{"system"}, b.texts("SELECT actor FROM activity_log WHERE action = 'client.domain_lose'"))
	_, _, err := b.Add(t.Context(), eve, b.ip, evil.Name, "erp.example.com")
	require.ErrorIs(t, err, domains.ErrInUse)
	require.Equal(t, errs.Malformed, errs.KindOf(err))
}

// A domain may be sold. Its new owner has it as soon as the old proof is gone from the DNS, and not before.
func TestADomainWithAnotherOwnerMoves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	bob, beta := b.owner("bravo")
	old := b.live(ada, acme, "erp.example.com")
	_, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, old.Name)
	require.NoError(t, err)

	b.zone.set(old.ProofName(), "TXT")
	b.advance(25 * time.Hour)
	require.Equal(t, 1, b.check())
	fresh := b.add(bob, beta, "erp.example.com")
	b.prove(fresh)
	b.prove(old)
	got := b.verify(bob, beta, "erp.example.com")
	require.Equal(t, domains.Pending, got.Status)
	require.Equal(t, "held_by_another", got.ReasonCode)

	b.advance(7 * 24 * time.Hour)
	require.Equal(t, 2, b.check())
	require.Empty(t, b.of(bob, beta), "a claim that another keeps from being proven expires, too")
	require.Equal(t, domains.Live, b.of(ada, acme)[0].Status)

	b.zone.set(old.ProofName(), "TXT")
	b.advance(25 * time.Hour)
	require.Equal(t, 1, b.check())
	fresh = b.add(bob, beta, "erp.example.com")
	b.zone.set(old.ProofName(), "TXT", `"`+fresh.ProofValue()+`"`)
	require.Equal(t, domains.Live, b.verify(bob, beta, "erp.example.com").Status)
	require.Empty(t, b.of(ada, acme))
	require.Empty(t, b.routed(acme))
	require.Equal(t, []string{"erp.example.com"}, b.routed(beta))
	require.Equal(t, acme.Domain, b.tenant(acme.ID).PrimaryDomain)
	require.Contains(t, b.told(acme), "domain.lost")
}

func TestUnprovenClaimsExpire(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	b.add(ada, acme, "erp.example.com")
	b.advance(6*24*time.Hour + 23*time.Hour)
	require.Equal(t, 1, b.check())
	require.Len(t, b.of(ada, acme), 1)
	b.advance(time.Hour)
	require.Equal(t, 1, b.check())
	require.Empty(t, b.of(ada, acme))
	require.Equal(t, []string{"domain.expired"}, b.told(acme))
	require.Equal(t, []string{"client.domain_add", "client.domain_expire"}, b.actions(acme))

	b.add(ada, acme, "erp.example.com")
	b.advance(7 * 24 * time.Hour)
	_, err := b.Verify(t.Context(), ada, b.ip, acme.Name, "erp.example.com")
	require.ErrorIs(t, err, domains.ErrExpired, "the owner may look before we do")
	require.Empty(t, b.of(ada, acme))
	b.add(ada, acme, "erp.example.com")
}

func TestWhoMayAdd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	eve, _ := b.owner("evil")
	_, _, err := b.Add(t.Context(), eve, b.ip, acme.Name, "not even a domain")
	require.ErrorIs(t, err, tenants.ErrNotFound)
	_, _, err = b.Add(t.Context(), ada, b.ip, acme.Name, acme.Domain)
	require.ErrorIs(t, err, domains.ErrBadDomain, "its own address")
	b.add(ada, acme, "erp.example.com")
	_, _, err = b.Add(t.Context(), ada, b.ip, acme.Name, "ERP.example.com.")
	require.ErrorIs(t, err, domains.ErrAlreadyAdded)
	_, _, err = b.Add(t.Context(), accounts.Principal{AccountID: eve.AccountID, Username: "boss", Admin: true}, b.ip, acme.Name, "two.example.com")
	require.NoError(t, err, "an admin for the owner")
	for _, name := range []string{"3.example.com", "4.example.com", "5.example.com"} {
		b.add(ada, acme, name)
	}
	_, _, err = b.Add(t.Context(), ada, b.ip, acme.Name, "6.example.com")
	require.ErrorIs(t, err, domains.ErrTooMany)
	o, err := b.Of(t.Context(), ada, acme.Name)
	require.NoError(t, err)
	require.Equal(t, 5, o.Limit)
	_, _, err = b.Remove(t.Context(), ada, b.ip, acme.Name, "5.example.com")
	require.NoError(t, err)
	b.setState(acme, tenants.Active, tenants.Suspended)
	b.add(ada, acme, "6.example.com")
	_, _, err = b.Remove(t.Context(), ada, b.ip, acme.Name, "6.example.com")
	require.NoError(t, err)
	b.setState(acme, tenants.Suspended, tenants.Scheduled)
	_, _, err = b.Add(t.Context(), ada, b.ip, acme.Name, "7.example.com")
	require.ErrorIs(t, err, domains.ErrConflict)

	names, err := b.NamesOf(t.Context(), []tenants.ID{acme.ID, 999})
	require.NoError(t, err)
	require.Equal(t, map[tenants.ID][]string{acme.ID: {"erp.example.com", "two.example.com", "3.example.com", "4.example.com"}}, names)
}

func TestRemovalStopsRoutingAtOnceAndLinksGoBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	eve, _ := b.owner("evil")
	d := b.live(ada, acme, "bücher.example.com")
	c, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, "BÜCHER.example.com")
	require.NoError(t, err)
	require.Equal(t, tenants.LinksKind, c.Operation.Kind)
	require.Equal(t, d.Name, c.Tenant.PrimaryDomain)
	_, err = b.pool.Exec(t.Context(), "UPDATE tenants SET link_domain = primary_domain")
	require.NoError(t, err)
	require.NoError(t, b.ops.Abandon(t.Context(), c.Operation.ID, "done by the test"))

	_, _, err = b.Remove(t.Context(), eve, b.ip, acme.Name, d.Name)
	require.ErrorIs(t, err, tenants.ErrNotFound)
	for _, other := range []string{"other.example.com", "no domain", ""} {
		_, _, err = b.Remove(t.Context(), ada, b.ip, acme.Name, other)
		require.ErrorIs(t, err, domains.ErrNotFound, other)
	}
	_, op, err := b.Remove(t.Context(), ada, b.ip, acme.Name, "bücher.example.com")
	require.NoError(t, err)
	require.Equal(t, tenants.LinksKind, op.Kind)
	require.Empty(t, b.routed(acme))
	got := b.tenant(acme.ID)
	require.Equal(t, []string{acme.Domain, d.Name}, []string{got.PrimaryDomain, got.LinkDomain})
	_, _, err = b.Remove(t.Context(), ada, b.ip, acme.Name, d.Name)
	require.ErrorIs(t, err, domains.ErrNotFound)
	require.Equal(t, []string{"client.domain_add", "client.domain_verify", "client.domain_primary", "client.domain_remove"}, b.actions(acme))
}

func TestSetPrimary(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	eve, evil := b.owner("evil")
	d := b.live(ada, acme, "erp.example.com")
	b.add(ada, acme, "claimed.example.com")
	b.live(eve, evil, "evil.example.com")
	for domain, want := range map[string]error{
		"claimed.example.com": domains.ErrNotLive, "evil.example.com": domains.ErrNotFound, evil.Domain: domains.ErrNotFound, "": domains.ErrNotFound,
	} {
		_, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, domain)
		require.ErrorIs(t, err, want, domain)
	}
	_, err := b.SetPrimary(t.Context(), eve, b.ip, acme.Name, d.Name)
	require.ErrorIs(t, err, tenants.ErrNotFound)
	c, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, acme.Domain)
	require.NoError(t, err)
	require.Nil(t, c.Operation, "it is so")

	c, err = b.SetPrimary(t.Context(), ada, b.ip, acme.Name, d.Name)
	require.NoError(t, err)
	require.NotNil(t, c.Operation)
	again, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, d.Name)
	require.NoError(t, err)
	require.Nil(t, again.Operation, "under way")
	back, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, acme.Domain)
	require.NoError(t, err)
	require.Equal(t, acme.Domain, back.Tenant.PrimaryDomain)
	require.Equal(t, []string{"client.domain_primary", "client.domain_primary"}, b.actions(acme)[3:])
}

func TestAPrimaryDomainHasACertificate(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *domains.Options) { o.Certified, o.Authority = true, "letsencrypt.org" })
	ada, acme := b.owner("acme")
	d := b.live(ada, acme, "erp.example.com")
	refused := func() {
		t.Helper()
		_, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, d.Name)
		require.ErrorIs(t, err, domains.ErrNoCertificate)
	}
	refused()
	_, err := b.pool.Exec(t.Context(), `INSERT INTO certificates (host, failures, cause, last_error, last_error_at, updated_at)
		VALUES ($1, 1, 'caa', 'the words of the CA', now(), now())`, d.Name)
	require.NoError(t, err)
	refused()
	o, err := b.Of(t.Context(), ada, acme.Name)
	require.NoError(t, err)
	require.Contains(t, b.Trouble(o.Certificates[d.Name]), "allows letsencrypt.org")
	_, err = b.pool.Exec(t.Context(), `UPDATE certificates SET chain = 'x', private_key = 'x', issuer = 'x', version = 1, failures = 0, cause = '', last_error = NULL,
		last_error_at = NULL, not_before = $1, not_after = $2, renew_at = $1`, b.clock(), b.clock().Add(time.Hour))
	require.NoError(t, err)
	_, err = b.SetPrimary(t.Context(), ada, b.ip, acme.Name, d.Name)
	require.NoError(t, err)
	_, err = b.SetPrimary(t.Context(), ada, b.ip, acme.Name, acme.Domain)
	require.NoError(t, err, "the platform's own is always good")
}

func TestDeletedClientsDomainsAreFree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	bob, beta := b.owner("bravo")
	b.live(ada, acme, "erp.example.com")
	b.setState(acme, tenants.Active, tenants.Deleting)
	b.advance(25 * time.Hour)
	require.Zero(t, b.check(), "nobody asks for one that goes")
	b.setState(acme, tenants.Deleting, tenants.Deleted)
	b.zone.set("_odoo-hosting.erp.example.com", "TXT")
	b.live(bob, beta, "erp.example.com")
}
