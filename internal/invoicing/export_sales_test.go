package invoicing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/invoicing"
	"controlplane/internal/ledger"
)

// lives says where the customer is.
func (b *bundle) lives(country, address string) {
	b.t.Helper()
	_, err := b.UpdateProfile(b.t.Context(), b.ada, b.ip, invoicing.ProfileInput{Country: &country, Address: &address})
	require.NoError(b.t, err)
}

// What is sold abroad is zero-rated, and the invoice says why; a country without an address is no evidence.
func TestIssueTx_ToABuyerAbroad(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.lives("GH", "")
	home := b.issue(b.draft("payment/1", 1_500_000))
	require.Equal(t, int64(104_651), home.TaxKobo)
	require.Empty(t, home.TaxNote)

	b.lives("GH", "7 Ring Road\nAccra")
	abroad := b.issue(b.draft("payment/2", 1_500_000))
	require.Zero(t, abroad.TaxKobo)
	require.Equal(t, int64(1_500_000), abroad.NetKobo)
	require.Contains(t, abroad.TaxNote, "exported from Nigeria")
	require.Equal(t, int64(-104_651), b.balance(ledger.VAT))
	require.True(t, shows(plain(t, renderer(nil), abroad), abroad.TaxNote))
	read, err := b.Get(t.Context(), b.ada, abroad.Number)
	require.NoError(t, err)
	require.Equal(t, abroad.TaxNote, read.TaxNote)

	b.lives("NG", "7 Ring Road\nLagos")
	require.Equal(t, int64(104_651), b.issue(b.draft("payment/3", 1_500_000)).TaxKobo)
	note, err := b.credit(invoicing.CreditDraft{Key: "refund/1", InvoiceID: abroad.ID, GrossKobo: 500_000})
	require.NoError(t, err)
	require.Zero(t, note.TaxKobo, "as the invoice that it takes from")
	require.Equal(t, abroad.TaxNote, note.TaxNote)
}

// A row for one country goes before the one for all others, and a seller without any row taxes everybody alike.
func TestIssueTx_ExportsAreData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.owner.Exec(t.Context(), `INSERT INTO tax_exports (country, buyer, valid_from, name, basis_points, note) VALUES
		('NG', 'KE', '2026-01-01', 'Levy', 100, 'By treaty.'), ('NG', 'KE', '2027-01-01', 'Levy', 200, 'By treaty.')`)
	require.NoError(t, err)
	_, err = b.pool.Exec(t.Context(), `UPDATE tax_exports SET basis_points = 0`)
	require.Error(t, err, "the platform only reads it")
	b.lives("KE", "1 Moi Avenue\nNairobi")
	inv := b.issue(b.draft("payment/1", 10_100))
	require.Equal(t, "Levy", inv.TaxName)
	require.Equal(t, int64(100), inv.TaxKobo)

	elsewhere := setup(t, invoicing.Options{Seller: invoicing.Party{Country: "GH"}})
	elsewhere.lives("NG", "1 Street\nLagos")
	require.Empty(t, elsewhere.issue(elsewhere.draft("payment/1", 10_000)).TaxNote)
}

// Where prices are without tax a buyer abroad is asked for the price alone.
func TestCharge_ToABuyerAbroad(t *testing.T) {
	t.Parallel()
	b := setup(t, invoicing.Options{PricesExcludeTax: true})
	b.lives("GH", "7 Ring Road\nAccra")
	kobo, err := b.Charge(t.Context(), b.pool, b.ada.AccountID, 1_500_000)
	require.NoError(t, err)
	require.Equal(t, int64(1_500_000), kobo)
}

func TestIssueTx_PartlyPaidFromCredit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.draft("payment/1", 1_500_000)
	d.CreditKobo = 400_000
	inv := b.issue(d)
	read, err := b.Get(t.Context(), b.ada, inv.Number)
	require.NoError(t, err)
	require.Equal(t, int64(400_000), read.CreditKobo)
	document := plain(t, renderer(nil), inv)
	for _, text := range []string{"Paid from credit", "₦4,000.00", "Paid now", "₦11,000.00"} {
		require.True(t, shows(document, text), text)
	}
	d.Key, d.CreditKobo = "payment/2", 1_500_001
	_, err = b.tryIssue(d)
	require.Error(t, err)
}
