package tenants_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"acme": "acme", " Acme\n": "acme", "a-b": "a-b", "123": "123", "a--b": "a--b", "0-0": "0-0",
		strings.Repeat("a", 40): strings.Repeat("a", 40),
	}
	for text, want := range good {
		got, err := tenants.ParseName(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	bad := []string{
		"", "a", "ab", strings.Repeat("a", 41), strings.Repeat("a", 1<<20), "-abc", "abc-", "a_b", "a.b", "a b", "ab--cd", "xn--bcher-kva",
		"acme\x00", "ac\x00me", "acme\u200b", "аcme" /* Cyrillic */, "ａｃｍｅ" /* full width */, "acmé", "\u212Aelvin", "\u017Fhop",
		"acme;", "acme/..", "../acme", "acme\ufeff", "a\tb", "acme\u202e", "\xff\xfe\xfd", "acme\nfoo", "%61cme", "acme'--",
	}
	for _, text := range bad {
		_, err := tenants.ParseName(text)
		require.ErrorIs(t, err, tenants.ErrBadName, "%q", text)
		require.Equal(t, errs.Invalid, errs.KindOf(err))
	}
	for name := range strings.FieldsSeq("www api admin stats pending new health backup monitor postgres template0 template1 mail ftp API odoo") {
		_, err := tenants.ParseName(name)
		require.Equal(t, errs.Invalid, errs.KindOf(err), name)
		require.ErrorContains(t, err, "reserved", name)
	}
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"acme", "A-B", "xn--a", "-", "a\x00b", "ａbc", "\u212Aelvin"} {
		f.Add(seed)
	}
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{1,38}[a-z0-9])$`)
	database := regexp.MustCompile(`^odoo_[a-z0-9_]{3,40}$`)
	f.Fuzz(func(t *testing.T, text string) {
		name, err := tenants.ParseName(text)
		if err != nil {
			require.Empty(t, name)
			return
		}
		require.Regexp(t, label, name)
		require.Regexp(t, database, tenants.DBName(name))
		require.False(t, tenants.Reserved(name))
		again, err := tenants.ParseName(name)
		require.NoError(t, err)
		require.Equal(t, name, again)
	})
}
