package accounts_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
)

// claimsOf reads a token's claims without checking anything.
func claimsOf(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	var claims jwt.MapClaims
	require.NoError(t, json.Unmarshal(body, &claims))
	return claims
}

func TestAuthenticate_TokensHaveAllClaims(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.register(t, "alice")
	tokens := b.login(t, "alice")
	claims := claimsOf(t, tokens.Access.Reveal())
	require.Equal(t, "alice", claims["sub"])
	require.Equal(t, "access", claims["type"])
	require.Equal(t, "controlplane", claims["iss"])
	require.InDelta(t, float64(a.ID), claims["uid"], 0)
	now := float64(b.clock.Now().Unix())
	require.InDelta(t, now, claims["iat"], 0)
	require.InDelta(t, now, claims["nbf"], 0)
	require.InDelta(t, now+1800, claims["exp"], 0)
	require.NotEmpty(t, claims["jti"])
	require.NotEmpty(t, claims["sid"])
	require.NotEmpty(t, claims["aud"])
}

func TestAuthenticate_ForgedClaims(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	b.register(t, "bob")
	good := claimsOf(t, b.login(t, "alice").Access.Reveal())
	bob := claimsOf(t, b.login(t, "bob").Access.Reveal())
	now := b.clock.Now()
	sign := func(change map[string]any) string {
		claims := maps.Clone(good)
		for k, v := range change {
			if v == nil {
				delete(claims, k)
				continue
			}
			claims[k] = v
		}
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(signingKey.Reveal()))
		require.NoError(t, err)
		return token
	}
	_, err := b.Authenticate(t.Context(), sign(nil))
	require.NoError(t, err, "the forger's tool works")
	for name, change := range map[string]map[string]any{
		"refresh type":      {"type": "refresh"},
		"no type":           {"type": nil},
		"type is no string": {"type": 1},
		"expired":           {"exp": now.Add(-time.Minute).Unix()},
		"no expiry":         {"exp": nil},
		"expiry as text":    {"exp": "tomorrow"},
		"not yet":           {"nbf": now.Add(time.Minute).Unix()},
		"no nbf":            {"nbf": nil},
		"from the future":   {"iat": now.Add(time.Minute).Unix()},
		"no iat":            {"iat": nil},
		"other issuer":      {"iss": "somebody"},
		"no issuer":         {"iss": nil},
		"other audience":    {"aud": "somebody"},
		"no audience":       {"aud": nil},
		"no jti":            {"jti": nil},
		"no subject":        {"sub": nil},
		"no account":        {"uid": nil},
		"account 0":         {"uid": 0},
		"negative account":  {"uid": -1},
		"huge account":      {"uid": json.Number("1e30")},
		"other account":     {"uid": bob["uid"]},
		"no session":        {"sid": nil},
		"no such session":   {"sid": "8c1f2a50-0d5b-4f5e-9d0a-0c7c3f5d2a11"},
		"odd session":       {"sid": "x'; --"},
		"other's session":   {"sid": bob["sid"]},
	} {
		_, err := b.Authenticate(t.Context(), sign(change))
		require.ErrorIs(t, err, accounts.ErrBadToken, name)
	}
}

func TestAuthenticate_ForgedSignatures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	tokens := b.login(t, "alice")
	good := tokens.Access.Reveal()
	parts := strings.Split(good, ".")
	claims := claimsOf(t, good)
	signed := func(method jwt.SigningMethod, key any) string {
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		require.NoError(t, err)
		return token
	}
	header := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	for name, token := range map[string]string{
		"alg none":         signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"alg None":         header(`{"alg":"None","typ":"JWT"}`) + "." + parts[1] + ".",
		"other algorithm":  signed(jwt.SigningMethodHS512, []byte(signingKey.Reveal())),
		"other key":        signed(jwt.SigningMethodHS256, []byte("another key of thirty-two bytes!!")),
		"empty key":        signed(jwt.SigningMethodHS256, []byte{}),
		"no signature":     parts[0] + "." + parts[1] + ".",
		"two parts":        parts[0] + "." + parts[1],
		"changed claims":   parts[0] + "." + header(`{"sub":"admin"}`) + "." + parts[2],
		"a bit changed":    parts[0] + "." + parts[1] + "." + flip(parts[2]),
		"padded":           good + "=",
		"a refresh token":  tokens.Refresh.Reveal(),
		"garbage":          "garbage",
		"dots":             "..",
		"NUL":              good + "\x00",
		"huge":             good + strings.Repeat("A", 1_000_000),
		"header not JSON":  header("x") + "." + parts[1] + "." + parts[2],
		"embedded own key": header(`{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}`) + "." + parts[1] + "." + parts[2],
	} {
		_, err := b.Authenticate(t.Context(), token)
		require.ErrorIs(t, err, accounts.ErrBadToken, name)
	}
	_, err := b.Authenticate(t.Context(), "")
	require.ErrorIs(t, err, accounts.ErrNotAuthenticated)
}

func flip(signature string) string {
	if signature[0] == 'A' {
		return "B" + signature[1:]
	}
	return "A" + signature[1:]
}

func TestAuthenticate_ReadsTheAccountAsItIsNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	tokens := b.login(t, "alice")
	require.False(t, b.authenticate(t, tokens).Admin)
	_, err := b.UpdateMe(t.Context(), b.authenticate(t, tokens), b.ip, accounts.UpdateInput{Username: new("alice2"), Email: new("new@example.com")})
	require.NoError(t, err)
	p := b.authenticate(t, tokens)
	require.Equal(t, "alice2", p.Username)
	require.Equal(t, "new@example.com", p.Email)

	b.clock.Advance(30*time.Minute + 4*time.Second)
	b.authenticate(t, tokens)
	b.clock.Advance(2 * time.Second)
	_, err = b.Authenticate(t.Context(), tokens.Access.Reveal())
	require.ErrorIs(t, err, accounts.ErrBadToken, "30 minutes, and 5 s for clocks that differ")
}

func FuzzAuthenticate(f *testing.F) {
	s, err := accounts.New(unreachable(f), accounts.Options{SigningKey: signingKey})
	require.NoError(f, err)
	for _, seed := range []string{"", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", "\x00", strings.Repeat(".", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, err := s.Authenticate(t.Context(), token)
		require.Error(t, err)
		require.NotErrorIs(t, err, accounts.ErrUnavailable, "no token without our signature gets as far as the database")
	})
}
