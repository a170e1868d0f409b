package invoicing_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/invoicing"
)

func TestProfile_NamesTheBuyerFromThenOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := b.issue(b.draft("payment/1", 100))
	profile, err := b.Profile(t.Context(), b.ada)
	require.NoError(t, err)
	require.Equal(t, invoicing.Profile{}, profile)

	profile, err = b.UpdateProfile(t.Context(), b.ada, b.ip, invoicing.ProfileInput{
		Name: new("  Ada   & Sons "), Address: new("1 Road\r\n\r\n Lagos "), Country: new("ng"), TaxID: new("T-9"),
	})
	require.NoError(t, err)
	require.Equal(t, invoicing.Profile{Name: "Ada & Sons", Address: "1 Road\nLagos", Country: "NG", TaxID: "T-9"}, profile)
	profile, err = b.UpdateProfile(t.Context(), b.ada, b.ip, invoicing.ProfileInput{TaxID: new("")})
	require.NoError(t, err)
	require.Equal(t, "Ada & Sons", profile.Name)
	require.Empty(t, profile.TaxID)

	after := b.issue(b.draft("payment/2", 100))
	require.Equal(t, invoicing.Party{Name: "Ada & Sons", Address: "1 Road\nLagos", Country: "NG", Email: "ada@example.com"}, after.Buyer)
	unchanged, err := b.Get(t.Context(), b.ada, before.Number)
	require.NoError(t, err)
	require.Equal(t, "ada", unchanged.Buyer.Name)
	var entries int
	require.NoError(t, b.pool.QueryRow(t.Context(), `SELECT count(*) FROM activity_log WHERE action = 'account.billing_profile'`).Scan(&entries))
	require.Equal(t, 2, entries)
}

func TestUpdateProfile_RefusesBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, in := range map[string]invoicing.ProfileInput{
		"a long name":        {Name: new(strings.Repeat("x", 201))},
		"a name of lines":    {Name: new("a\nb")},
		"a control":          {Name: new("a\x00b")},
		"a bidi override":    {Name: new("a\u202eb")},
		"broken text":        {Address: new("\xff\xfe")},
		"a long address":     {Address: new(strings.Repeat("x", 501))},
		"many lines":         {Address: new(strings.Repeat("x\n", 9))},
		"no country":         {Country: new("Nigeria")},
		"half a country":     {Country: new("N")},
		"a country of signs": {Country: new("N1")},
		"a long tax number":  {TaxID: new(strings.Repeat("1", 51))},
	} {
		_, err := b.UpdateProfile(t.Context(), b.ada, b.ip, in)
		require.Equal(t, errs.Invalid, errs.KindOf(err), name)
	}
	profile, err := b.Profile(t.Context(), b.ada)
	require.NoError(t, err)
	require.Equal(t, invoicing.Profile{}, profile)
}

func TestUpdateProfile_TwoAtOnceKeepBothFields(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for _, in := range []invoicing.ProfileInput{{Name: new("Ada Ltd")}, {TaxID: new("T-9")}, {Country: new("NG")}, {Address: new("1 Road")}} {
		wg.Go(func() { _, _ = b.UpdateProfile(t.Context(), b.ada, b.ip, in) })
	}
	wg.Wait()
	profile, err := b.Profile(t.Context(), b.ada)
	require.NoError(t, err)
	require.Equal(t, invoicing.Profile{Name: "Ada Ltd", Address: "1 Road", Country: "NG", TaxID: "T-9"}, profile)
}
