package billing

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// savedCard is what a charge needs.
type savedCard struct {
	id    int64
	email string
	code  secrets.Secret
}

// cardKey tells one card from another. The gateway signs cards; what it doesn't sign is told by what is printed on it.
func cardKey(a Authorization) string {
	if a.Signature != "" {
		return a.Signature
	}
	return fmt.Sprintf("%s/%s/%s-%s", a.Bank, a.Last4, a.ExpYear, a.ExpMonth)
}

func cardContext(account accounts.ID, mode, card string) string {
	return fmt.Sprintf("payment_authorizations.code/%d/%s/%s", account, mode, card)
}

// keepCard saves the card with which a payment of ours was made, sealed. It is called where the gateway's answer comes in: a code never
// gets into an operation's row. Whatever goes wrong is only said, since the owner can pay by a link.
func (s *Service) keepCard(ctx context.Context, t Transaction) {
	a := t.Authorization
	if s.deps.Sealer == nil || t.Status != GatewaySuccess || !a.Reusable || a.Code == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	p, err := paymentByReference(ctx, s.deps.Pool, t.Reference)
	if err != nil {
		s.deps.Log.WarnContext(ctx, "a card can't be saved", "reference", t.Reference, "error", err)
		return
	}
	if v, _ := judge(p, t); v != paid {
		return
	}
	at := s.now()
	if t.PaidAt != nil {
		at = *t.PaidAt
	}
	key := cardKey(a)
	if err := upsertCard(ctx, s.deps.Pool, p, a, s.deps.Sealer.Seal(a.Code, cardContext(p.AccountID, p.Mode, key)), at); err != nil {
		s.deps.Log.WarnContext(ctx, "a card can't be saved", "reference", t.Reference, "error", err)
	}
}

// upsertCard keeps the newest code of a card. An answer about an old payment neither brings back an old code nor a card that the gateway
// has refused since.
func upsertCard(ctx context.Context, q postgres.Querier, p Payment, a Authorization, code secrets.Sealed, at time.Time) error {
	return exec(ctx, q, "save a card", `
		INSERT INTO payment_authorizations AS c (account_id, mode, card, email, code, last4, brand, exp_month, exp_year, bank, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
		ON CONFLICT (account_id, mode, card) DO UPDATE SET email = $4, code = $5, last4 = $6, brand = $7, exp_month = $8, exp_year = $9,
			bank = $10, updated_at = $11, unusable_at = NULL
		WHERE c.updated_at < $11 AND coalesce(c.unusable_at, '-infinity') < $11`,
		p.AccountID, p.Mode, cardKey(a), cmp.Or(a.Email, p.Email), code, clip(a.Last4), clip(a.Brand), clip(a.ExpMonth), clip(a.ExpYear),
		clip(a.Bank), at)
}

// cardOf returns the saved card with which a payment was made, 0 for none.
func cardOf(ctx context.Context, q postgres.Querier, p Payment, a Authorization) (int64, error) {
	if !a.Reusable {
		return 0, nil
	}
	var id int64
	err := q.QueryRow(ctx, `SELECT id FROM payment_authorizations WHERE account_id = $1 AND mode = $2 AND card = $3 AND unusable_at IS NULL`,
		p.AccountID, p.Mode, cardKey(a)).Scan(&id)
	if postgres.NoRows(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the card of payment %s: %w", p.Reference, err)
	}
	return id, nil
}

// usableCard returns the subscription's card, or one without a code when there is none that can be charged.
func (s *Service) usableCard(ctx context.Context, q postgres.Querier, sub Subscription) (savedCard, error) {
	if s.deps.Sealer == nil || sub.Authorization == 0 {
		return savedCard{}, nil
	}
	c := savedCard{id: sub.Authorization}
	var sealed secrets.Sealed
	var card string
	err := q.QueryRow(ctx, `SELECT email, card, code FROM payment_authorizations WHERE id = $1 AND mode = $2 AND unusable_at IS NULL`,
		c.id, s.deps.Gateway.Mode()).Scan(&c.email, &card, &sealed)
	if postgres.NoRows(err) {
		return savedCard{}, nil
	}
	if err != nil {
		return savedCard{}, fmt.Errorf("read card %d: %w", c.id, err)
	}
	if c.code, err = s.deps.Sealer.Open(sealed, cardContext(sub.AccountID, sub.Mode, card)); err != nil {
		return savedCard{}, fmt.Errorf("open card %d: %w", c.id, err)
	}
	return c, nil
}

// dropCard is for a card that the gateway won't charge again.
func dropCard(ctx context.Context, q postgres.Querier, id int64, now time.Time) error {
	return exec(ctx, q, "give up a card", `UPDATE payment_authorizations SET unusable_at = coalesce(unusable_at, $2) WHERE id = $1`, id, now)
}

func readCard(ctx context.Context, q postgres.Querier, id int64) (*Card, error) {
	if id == 0 {
		return nil, nil //nolint:nilnil // none is an answer
	}
	var c Card
	err := q.QueryRow(ctx, `SELECT brand, last4, exp_month, exp_year, bank FROM payment_authorizations WHERE id = $1 AND unusable_at IS NULL`, id).
		Scan(&c.Brand, &c.Last4, &c.ExpMonth, &c.ExpYear, &c.Bank)
	if postgres.NoRows(err) {
		return nil, nil //nolint:nilnil // likewise
	}
	if err != nil {
		return nil, fmt.Errorf("read card %d: %w", id, err)
	}
	return &c, nil
}

// RekeyCards seals every saved card again that isn't sealed with the first data key, and returns how many it changed. It may be stopped and
// repeated at any time.
func RekeyCards(ctx context.Context, pool *pgxpool.Pool, sealer *secrets.Sealer) (int, error) {
	// A sealed value starts with the key's id and a colon.
	rows, err := pool.Query(ctx, `SELECT id FROM payment_authorizations WHERE substring(code FOR 9) <> $1 ORDER BY id`, []byte(sealer.KeyID()+":"))
	if err != nil {
		return 0, fmt.Errorf("find the cards to seal again: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, fmt.Errorf("find the cards to seal again: %w", err)
	}
	for done, id := range ids {
		if err := rekeyCard(ctx, pool, sealer, id); err != nil {
			return done, fmt.Errorf("seal card %d again: %w", id, err)
		}
	}
	return len(ids), nil
}

func rekeyCard(ctx context.Context, pool *pgxpool.Pool, sealer *secrets.Sealer, id int64) error {
	return postgres.InTx(ctx, pool, func(tx pgx.Tx) error {
		var (
			account    accounts.ID
			mode, card string
			sealed     secrets.Sealed
		)
		err := tx.QueryRow(ctx, `SELECT account_id, mode, card, code FROM payment_authorizations WHERE id = $1 FOR UPDATE`, id).
			Scan(&account, &mode, &card, &sealed)
		if err != nil {
			return err
		}
		code, err := sealer.Open(sealed, cardContext(account, mode, card))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE payment_authorizations SET code = $2 WHERE id = $1`, id, sealer.Seal(code, cardContext(account, mode, card)))
		return err
	})
}
