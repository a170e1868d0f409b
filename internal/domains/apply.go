package domains

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/notices"
)

// What owners are told about their domains.
const (
	NoticeLive        notices.Kind = "domain.live"        // it is proven, or leads to us again
	NoticeMisdirected notices.Kind = "domain.misdirected" // data.reason says what is wrong
	NoticeLost        notices.Kind = "domain.lost"        // another client has proven it to be theirs
	NoticeExpired     notices.Kind = "domain.expired"     // nobody proved the claim in time
)

// application writes what follows from a look at the DNS, in one transaction.
type application struct {
	*Service

	tx pgx.Tx
	by accounts.Principal // who asked for the look; system for our own
	ip netip.Addr
	at time.Time
}

// apply returns the domain as it is afterwards; kept is false when the claim has expired and is dropped. Errors: ErrNotFound when it was
// given up meanwhile.
func (a *application) apply(ctx context.Context, d Domain, v verdict) (after Domain, kept bool, err error) {
	if err := lockName(ctx, a.tx, d.Name); err != nil {
		return d, false, err
	}
	claims, err := a.lockClaims(ctx, d.Name)
	if err != nil {
		return d, false, err
	}
	i := slices.IndexFunc(claims, func(c Domain) bool { return c.ID == d.ID })
	if i < 0 {
		return d, false, ErrNotFound
	}
	d = claims[i]
	others := slices.Delete(claims, i, i+1)
	d.CheckedAt, d.ReasonCode, d.Reason = &a.at, v.code, v.reason
	switch {
	case d.Status == Pending && v.code == "":
		d, err = a.prove(ctx, d, others, v.proofs)
	case d.Status == Live && v.code != "" && !v.unknown:
		d.Status, d.FlaggedAt = Misdirected, &a.at
		err = a.tell(ctx, d, "client.domain_flag", NoticeMisdirected)
	case d.Status == Misdirected && v.code == "":
		d.Status, d.FlaggedAt = Live, nil
		err = a.tell(ctx, d, "client.domain_recover", NoticeLive)
	}
	if err != nil {
		return d, false, err
	}
	if d.Status == Pending && !d.ExpiresAt.After(a.at) { // also one that another client keeps from being proven
		return d, false, a.forget(ctx, d, "client.domain_expire", NoticeExpired)
	}
	d.NextCheckAt = d.next(a.at)
	return d, true, update(ctx, a.tx, d)
}

// lockClaims locks the tenants that claim a domain, in the order that everybody keeps, and returns their claims.
func (a *application) lockClaims(ctx context.Context, name string) ([]Domain, error) {
	_, err := a.tx.Exec(ctx, `SELECT FROM tenants WHERE id IN (SELECT tenant_id FROM tenant_domains WHERE domain = $1) ORDER BY id FOR UPDATE`, name)
	if err != nil {
		return nil, wrap(err, "lock the clients that claim the domain")
	}
	return many(ctx, a.tx, "find the claims to the domain", "SELECT "+columns+" FROM tenant_domains WHERE domain = $1 ORDER BY id", name)
}

// prove gives the domain to its claimant, unless somebody has it whose proof is in the DNS as well: whoever commands the DNS decides, by
// taking that away. All other claims lapse.
func (a *application) prove(ctx context.Context, d Domain, others []Domain, proofs []string) (Domain, error) {
	for _, o := range others {
		if o.Status != Pending && slices.Contains(proofs, o.proofValue()) {
			d.ReasonCode = codeHeld
			d.Reason = "Another client has this domain, and its TXT record is still there. Whoever runs the domain's DNS decides: remove that record."
			return d, nil
		}
	}
	for _, o := range others {
		if err := a.forget(ctx, o, "client.domain_lose", NoticeLost); err != nil {
			return d, err
		}
	}
	d.Status, d.VerifiedAt, d.ExpiresAt = Live, &a.at, nil
	return d, a.tell(ctx, d, "client.domain_verify", NoticeLive)
}

// forget drops a claim that isn't given up by its owner.
func (a *application) forget(ctx context.Context, d Domain, action string, kind notices.Kind) error {
	if _, err := a.drop(ctx, a.tx, d); err != nil {
		return err
	}
	by := *a
	by.by, by.ip = accounts.System(), netip.Addr{} // whoever's look it was isn't that owner's business
	return by.tell(ctx, d, action, kind)
}

// tell records what has happened to a domain, and has its owner told.
func (a *application) tell(ctx context.Context, d Domain, action string, kind notices.Kind) error {
	t, err := a.deps.Tenants.Lock(ctx, a.tx, d.TenantID)
	if err != nil {
		return err
	}
	if err := a.record(ctx, a.tx, a.by, a.ip, d, action, reasonOf(d)); err != nil {
		return err
	}
	_, err = notices.EnqueueTx(ctx, a.tx, notices.Notice{
		AccountID: t.AccountID, TenantID: t.ID, Kind: kind, DedupeKey: fmt.Sprintf("%s/%d/%d", kind, d.ID, a.at.Unix()),
		Data: map[string]any{"client": t.Name, "domain": d.Name, "display": d.Display, "reason": d.Reason, "primary": t.PrimaryDomain == d.Name},
	})
	return err
}

func reasonOf(d Domain) map[string]any {
	if d.Reason == "" {
		return nil
	}
	return map[string]any{"reason": d.Reason}
}
