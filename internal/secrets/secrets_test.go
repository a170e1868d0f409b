package secrets_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

const (
	oldKey = "old-0123456789abcdef0123456789abcdef"
	newKey = "new-0123456789abcdef0123456789abcdef"
)

func TestSecret_DoesNotShowItself(t *testing.T) {
	t.Parallel()
	s := secrets.Secret("hunter2")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "in", struct{ P secrets.Secret }{s})
	encoded, err := json.Marshal(map[string]any{"p": s})
	require.NoError(t, err)
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%s %v %+v %#v %q", s, s, s, s, s), fmt.Sprintf("%+v %#v", struct{ P secrets.Secret }{s}, []secrets.Secret{s}),
		fmt.Errorf("with %v", s).Error(), log.String(), string(encoded),
	} {
		require.NotContains(t, text, "hunter2")
		require.Contains(t, text, "[redacted]")
	}
	require.Equal(t, "hunter2", s.Reveal())
	require.Empty(t, secrets.Secret("").String())
}

func TestSecret_Equal(t *testing.T) {
	t.Parallel()
	require.True(t, secrets.Secret("abc").Equal("abc"))
	require.False(t, secrets.Secret("abc").Equal("abd"))
	require.False(t, secrets.Secret("abc").Equal("abcd"))
}

func TestRandomPassword_IsLongAndPlain(t *testing.T) {
	t.Parallel()
	seen := map[secrets.Secret]bool{}
	for range 100 {
		p := secrets.RandomPassword(24)
		require.Len(t, p.Reveal(), 24)
		require.NotContains(t, p.Reveal(), "l", "no look-alikes")
		require.False(t, strings.ContainsAny(p.Reveal(), "'\"\\$ %:/@"), "needs no quoting")
		require.False(t, seen[p])
		seen[p] = true
	}
}

func TestSealer_RoundTripAndBinding(t *testing.T) {
	t.Parallel()
	s, err := secrets.NewSealer(newKey)
	require.NoError(t, err)
	sealed := s.Seal("hunter2", "tenants.db_password/1")
	require.NotContains(t, string(sealed), "hunter2")
	require.NotEqual(t, sealed, s.Seal("hunter2", "tenants.db_password/1"), "a fresh nonce each time")
	plain, err := s.Open(sealed, "tenants.db_password/1")
	require.NoError(t, err)
	require.Equal(t, "hunter2", plain.Reveal())

	_, err = s.Open(sealed, "tenants.db_password/2")
	require.ErrorIs(t, err, secrets.ErrTampered, "a value moved to another row doesn't open")
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		_, err := s.Open(bad, "tenants.db_password/1")
		require.Error(t, err, "byte %d flipped", i)
	}
	for n := range sealed {
		_, err := s.Open(sealed[:n], "tenants.db_password/1")
		require.Error(t, err, "cut to %d bytes", n)
	}
}

func TestSealer_RotatesKeys(t *testing.T) {
	t.Parallel()
	before, err := secrets.NewSealer(oldKey)
	require.NoError(t, err)
	sealed := before.Seal("hunter2", "x")
	during, err := secrets.NewSealer(newKey + " , " + oldKey)
	require.NoError(t, err)
	plain, err := during.Open(sealed, "x")
	require.NoError(t, err)
	resealed := during.Seal(plain, "x")
	require.Equal(t, during.KeyID(), resealed.KeyID())
	after, err := secrets.NewSealer(newKey)
	require.NoError(t, err)
	_, err = after.Open(sealed, "x")
	require.ErrorIs(t, err, secrets.ErrUnknownKey)
	plain, err = after.Open(resealed, "x")
	require.NoError(t, err)
	require.Equal(t, "hunter2", plain.Reveal())
}

func TestNewSealer_RefusesShortKeys(t *testing.T) {
	t.Parallel()
	for _, key := range []secrets.Secret{"", "short", newKey + ",short", newKey + ","} {
		_, err := secrets.NewSealer(key)
		require.Error(t, err)
	}
}
