package invoicing_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/invoicing"
)

// What a net price is charged with can be taken apart again to the kobo, and nothing is lost on the way.
func TestTax_RoundsBothWays(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 5)) //nolint:gosec // reproducible
	for range 20_000 {
		rate := rng.Int64N(10_001)
		price := rng.Int64N(1_000_000_000_000)
		require.Equal(t, price, invoicing.NetOf(invoicing.GrossOf(price, rate), rate), "price %d, rate %d", price, rate)
		net := invoicing.NetOf(price, rate)
		require.LessOrEqual(t, net, price)
		require.GreaterOrEqual(t, net, price/2)
	}
	require.Equal(t, int64(1075), invoicing.GrossOf(1000, 750))
	require.Equal(t, int64(1000), invoicing.NetOf(1075, 750))
	require.Equal(t, int64(math.MaxInt64/4), invoicing.NetOf(invoicing.GrossOf(math.MaxInt64/4, 750), 750))
}

func TestCharge(t *testing.T) {
	t.Parallel()
	inclusive := setup(t)
	kobo, err := inclusive.Charge(t.Context(), inclusive.pool, inclusive.ada.AccountID, 1_500_000)
	require.NoError(t, err)
	require.Equal(t, int64(1_500_000), kobo)
	exclusive := setup(t, invoicing.Options{PricesExcludeTax: true})
	kobo, err = exclusive.Charge(t.Context(), exclusive.pool, exclusive.ada.AccountID, 1_500_000)
	require.NoError(t, err)
	require.Equal(t, int64(1_612_500), kobo)
	inv := exclusive.issue(exclusive.draft("payment/1", kobo))
	require.Equal(t, int64(1_500_000), inv.NetKobo)
}

func TestAmount(t *testing.T) {
	t.Parallel()
	for want, kobo := range map[string]int64{
		"₦0.00": 0, "₦0.07": 7, "₦1.00": 100, "₦999.99": 99_999, "₦1,000.00": 100_000, "₦1,234,567.89": 123_456_789, "-₦12.30": -1230,
	} {
		require.Equal(t, want, invoicing.Amount("NGN", kobo))
	}
	require.Equal(t, "$5.00", invoicing.Amount("USD", 500))
	require.Equal(t, "XOF 5.00", invoicing.Amount("XOF", 500))
}
