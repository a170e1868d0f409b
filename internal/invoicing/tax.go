package invoicing

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
)

// whole is 100 % in basis points.
const whole = 10_000

// taxRate is a tax as of a day.
type taxRate struct {
	name        string
	basisPoints int64
	note        string // why it isn't the seller's usual one, as an invoice says it
}

// netOf returns the part of an amount that isn't tax, rounded half up. It finds exactly the net amount that gross was made from.
func (t taxRate) netOf(gross int64) int64 { return divide(gross, whole, whole+t.basisPoints) }

// grossOf adds the tax to a net amount, rounded half up.
func (t taxRate) grossOf(net int64) int64 { return divide(net, whole+t.basisPoints, whole) }

// divide returns amount*times/by for amounts of zero or more, rounded half up, whatever the product's size.
func divide(amount, times, by int64) int64 {
	double := new(big.Int).Mul(big.NewInt(amount), big.NewInt(2*times))
	double.Add(double, big.NewInt(by))
	return double.Div(double, big.NewInt(2*by)).Int64()
}

// rate returns the tax of a country on a day; a country that we know no tax of has none.
func rate(ctx context.Context, q postgres.Querier, country string, day time.Time) (taxRate, error) {
	var t taxRate
	err := q.QueryRow(ctx, `
		SELECT name, basis_points FROM tax_rates WHERE country = $1 AND valid_from <= $2::date ORDER BY valid_from DESC LIMIT 1`,
		country, day.Format(time.DateOnly)).Scan(&t.name, &t.basisPoints)
	if postgres.NoRows(err) {
		return taxRate{}, nil
	}
	if err != nil {
		return taxRate{}, fmt.Errorf("find the tax of %s: %w", country, err)
	}
	return t, nil
}

// rateFor returns the tax that a buyer pays. Who is abroad is said by their billing profile, and counts only together with an address:
// a country alone is no evidence that would do for a tax office.
func (s *Service) rateFor(ctx context.Context, q postgres.Querier, to Party, day time.Time) (taxRate, error) {
	seller := s.opts.Seller.Country
	if to.Country == "" || to.Country == seller || to.Address == "" {
		return rate(ctx, q, seller, day)
	}
	var t taxRate
	err := q.QueryRow(ctx, `
		SELECT name, basis_points, note FROM tax_exports WHERE country = $1 AND buyer IN ('', $2) AND valid_from <= $3::date
		ORDER BY buyer DESC, valid_from DESC LIMIT 1`, seller, to.Country, day.Format(time.DateOnly)).Scan(&t.name, &t.basisPoints, &t.note)
	if postgres.NoRows(err) {
		return rate(ctx, q, seller, day)
	}
	if err != nil {
		return taxRate{}, fmt.Errorf("find the tax on exports of %s: %w", seller, err)
	}
	return t, nil
}

// Charge returns what an account has to pay for something of this price: the price itself where prices include the tax.
func (s *Service) Charge(ctx context.Context, q postgres.Querier, account accounts.ID, priceKobo int64) (int64, error) {
	if !s.opts.PricesExcludeTax {
		return priceKobo, nil
	}
	to, err := buyer(ctx, q, account)
	if err != nil {
		return 0, err
	}
	t, err := s.rateFor(ctx, q, to, s.today())
	return t.grossOf(priceKobo), err
}

// Taxes are what is paid on a price as of today, for those who add up prices of many accounts.
type Taxes struct {
	Included    bool  // in the prices
	Usual       int64 // basis points, of every account that isn't one of these:
	Accounts    []accounts.ID
	BasisPoints []int64 // of each of Accounts
}

// Taxes reads whom the usual tax isn't for by the rule of rateFor.
func (s *Service) Taxes(ctx context.Context, q postgres.Querier) (Taxes, error) {
	t := Taxes{Included: !s.opts.PricesExcludeTax, Accounts: []accounts.ID{}, BasisPoints: []int64{}}
	seller, today := s.opts.Seller.Country, s.today()
	usual, err := rate(ctx, q, seller, today)
	if err != nil {
		return t, err
	}
	t.Usual = usual.basisPoints
	rows, err := q.Query(ctx, `
		SELECT p.account_id, e.basis_points FROM billing_profiles p CROSS JOIN LATERAL (
			SELECT basis_points FROM tax_exports WHERE country = $1 AND buyer IN ('', p.country) AND valid_from <= $2::date
			ORDER BY buyer DESC, valid_from DESC LIMIT 1) AS e
		WHERE p.country <> '' AND p.country <> $1 AND p.address <> ''`, seller, today.Format(time.DateOnly))
	if err != nil {
		return t, fmt.Errorf("read the taxes of buyers abroad: %w", err)
	}
	var account accounts.ID
	var basisPoints int64
	_, err = pgx.ForEachRow(rows, []any{&account, &basisPoints}, func() error {
		t.Accounts, t.BasisPoints = append(t.Accounts, account), append(t.BasisPoints, basisPoints)
		return nil
	})
	if err != nil {
		return t, fmt.Errorf("read the taxes of buyers abroad: %w", err)
	}
	return t, nil
}
