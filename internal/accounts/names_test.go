package accounts

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func FuzzCleanUsername(f *testing.F) {
	for _, seed := range []string{"alice", " Ａlice ", "Straße", "ﷺ", "İstanbul", "ǅungla", "ᾳbc", "a\u0345bc", "김철수", "a b", "ß\u0301\u0327x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := cleanUsername(raw)
		if err != nil {
			require.Empty(t, name)
			return
		}
		require.True(t, utf8.ValidString(name))
		require.NotContains(t, name, "@")
		require.Equal(t, strings.TrimSpace(name), name)
		again, err := cleanUsername(name)
		require.NoError(t, err)
		require.Equal(t, name, again, "the stored form is a good name")
		require.Equal(t, key(name), loginKey(raw), "who registers with it can log in with it")
		require.Equal(t, key(name), loginKey(name))
	})
}

func FuzzCleanEmail(f *testing.F) {
	for _, seed := range []string{"a@example.com", "ａ@example．com", "A.b+c@x-y.co", "@", "a@b", "a@b.c\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		email, err := ParseEmail(raw)
		if err != nil {
			return
		}
		for _, c := range []byte(email) {
			require.True(t, c > ' ' && c < 0x7f)
		}
		require.Equal(t, 1, strings.Count(email, "@"))
		require.Equal(t, key(email), loginKey(raw))
		_, err = cleanUsername(email)
		require.Error(t, err, "no user name is an e-mail address")
	})
}
