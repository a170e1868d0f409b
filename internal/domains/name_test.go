package domains_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/domains"
	"controlplane/internal/errs"
)

// naming is a Service that parses; it has no database.
func naming(tb testing.TB) *domains.Service {
	tb.Helper()
	return domains.NewNaming(domains.Options{BaseDomain: base, Reserved: []string{"app.example.org"}})
}

func TestParse(t *testing.T) {
	t.Parallel()
	s := naming(t)
	for text, want := range map[string][2]string{
		"example.com":                     {"example.com", "example.com"},
		" ERP.Example.COM. ":              {"erp.example.com", "erp.example.com"},
		"a.b.c.example.co.uk":             {"a.b.c.example.co.uk", "a.b.c.example.co.uk"},
		"erp.my-company1.com":             {"erp.my-company1.com", "erp.my-company1.com"},
		"Bücher.Example.com":              {"xn--bcher-kva.example.com", "bücher.example.com"},
		"xn--bcher-kva.example.com":       {"xn--bcher-kva.example.com", "bücher.example.com"},
		"straße.de":                       {"xn--strae-oqa.de", "straße.de"},
		"ＥＲＰ．example。com":                 {"erp.example.com", "erp.example.com"},
		"дом.рф":                          {"xn--d1aqf.xn--p1ai", "дом.рф"},
		"mine.github.io":                  {"mine.github.io", "mine.github.io"},
		"hosting.example.net.example.com": {"hosting.example.net.example.com", "hosting.example.net.example.com"},
		"not" + base:                      {"not" + base, "not" + base},
		strings.Repeat("a", 63) + ".com":  {strings.Repeat("a", 63) + ".com", strings.Repeat("a", 63) + ".com"},
		"1.example.com":                   {"1.example.com", "1.example.com"},
	} {
		name, display, err := s.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, [2]string{name, display}, text)
	}
	for text, says := range map[string]string{
		"": "Invalid domain format", "localhost": "Invalid domain format", "com": "Invalid domain format", ".": "Invalid domain format",
		"a..example.com": "Invalid domain format", ".example.com": "Invalid domain format", "-a.example.com": "Invalid domain format",
		"a-.example.com": "Invalid domain format", "a_b.example.com": "Invalid domain format", "a b.example.com": "Invalid domain format",
		"ab--c.example.com": "Invalid domain format", "https://example.com": "Invalid domain format", "example.com/x": "Invalid domain format",
		"example.com:443": "Invalid domain format", "user@example.com": "Invalid domain format", "a\x00.example.com": "Invalid domain format",
		"a\u200b.exa\u202emple.com": "Invalid domain format", "xn--\xff.com": "Invalid domain format", "xn--zzzzzzz99.com": "Invalid domain format",
		strings.Repeat("a", 64) + ".com": "Invalid domain format", strings.Repeat("a.", 110) + "com": "Invalid domain format",
		strings.Repeat("ä", 2000): "Invalid domain format",
		"*.example.com":           "wildcards", "192.0.2.1": "IP address", "[2001:db8::1]": "IP address", "2001:db8::1": "IP address", "1.2.3": "IP address",
		"127.0.0.1.": "IP address",
		"co.uk":      "public ending", "github.io": "public ending", "xn--p1ai": "Invalid domain format", "com.ng": "public ending",
		"printer.local": "isn't a public ending", "x.internal": "isn't a public ending", "a.localhost": "isn't a public ending", "x.test": "isn't a public ending",
		base: "platform's own", "acme." + base: "platform's own", "API." + base + ".": "platform's own", "a.b." + base: "platform's own",
		"app.example.org": "platform's own", "APP.example.org": "platform's own",
	} {
		_, _, err := s.Parse(text)
		require.ErrorIs(t, err, domains.ErrBadDomain, "%q", text)
		var shown *errs.Error
		require.ErrorAs(t, err, &shown)
		require.Contains(t, shown.Message, says, "%q", text)
	}
}

var stored = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Whatever is taken is stored, is nobody's of ours, and means the same in every spelling.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"example.com", "Bücher.de", "*.a.com", "1.2.3.4", "xn--bcher-kva.example.com", "a.hosting.example.net", "co.uk", "ＥＲＰ．example。com."} {
		f.Add(seed)
	}
	s := naming(f)
	f.Fuzz(func(t *testing.T, text string) {
		name, display, err := s.Parse(text)
		if err != nil {
			require.ErrorIs(t, err, domains.ErrBadDomain)
			return
		}
		require.Regexp(t, stored, name)
		require.LessOrEqual(t, len(name), 220)
		require.False(t, strings.HasSuffix(name, base) && (name == base || strings.HasSuffix(name, "."+base)))
		for _, again := range []string{name, display, strings.ToUpper(name), name + "."} {
			got, _, err := s.Parse(again)
			require.NoError(t, err, "%q from %q", again, text)
			require.Equal(t, name, got)
		}
	})
}
