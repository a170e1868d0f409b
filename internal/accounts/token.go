package accounts

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"controlplane/internal/secrets"
)

const (
	accessType    = "access"
	audience      = "controlplane-api"
	leeway        = 5 * time.Second // between the clocks of replicas
	maxTokenBytes = 4096
	refreshPrefix = "rt_" // tells people and secret scanners what it is
	refreshBytes  = 32
)

// claims are those of an access token. The subject is the user name, as old clients expect; who it is for says the account id alone.
type claims struct {
	jwt.RegisteredClaims
	Type      string `json:"type"`
	AccountID ID     `json:"uid"`
	SessionID string `json:"sid"`
}

// tokenMaker makes and checks access tokens. It knows nothing of sessions being ended: Authenticate looks that up.
type tokenMaker struct {
	key    []byte
	issuer string
	ttl    time.Duration
	now    func() time.Time
	parser *jwt.Parser
}

func newTokenMaker(opts Options, now func() time.Time) *tokenMaker {
	return &tokenMaker{
		key: []byte(opts.SigningKey.Reveal()), issuer: opts.Issuer, ttl: opts.AccessTTL, now: now,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), // else the token would choose, "none" included
			jwt.WithIssuer(opts.Issuer), jwt.WithAudience(audience),
			jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
			jwt.WithLeeway(leeway), jwt.WithTimeFunc(now), jwt.WithStrictDecoding(),
		),
	}
}

func (m *tokenMaker) access(a Account, session string) (secrets.Secret, error) {
	now := m.now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: m.issuer, Subject: a.Username, Audience: jwt.ClaimStrings{audience}, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(m.ttl)),
		},
		Type: accessType, AccountID: a.ID, SessionID: session,
	}).SignedString(m.key)
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return secrets.Secret(token), nil
}

// parse checks everything that the token itself tells.
func (m *tokenMaker) parse(token string) (claims, error) {
	var c claims
	if len(token) > maxTokenBytes {
		return c, errors.New("the token is too long")
	}
	if _, err := m.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return m.key, nil }); err != nil {
		return c, fmt.Errorf("parse an access token: %w", err)
	}
	switch {
	case c.Type != accessType:
		return c, errors.New("not an access token")
	case c.Subject == "" || c.ID == "" || c.IssuedAt == nil || c.AccountID <= 0:
		return c, errors.New("an access token lacks claims")
	}
	if err := uuid.Validate(c.SessionID); err != nil {
		return c, errors.New("an access token names no session")
	}
	return c, nil
}

// newRefreshToken returns a random token and the hash that is stored. It has 256 random bits, so a plain SHA-256 is enough.
func newRefreshToken() (secrets.Secret, []byte) {
	b := make([]byte, refreshBytes)
	_, _ = rand.Read(b) // never fails
	token := refreshPrefix + base64.RawURLEncoding.EncodeToString(b)
	return secrets.Secret(token), hashRefreshToken(token)
}

func hashRefreshToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// refreshTokenShaped spares the database what can't be a refresh token.
func refreshTokenShaped(token string) bool {
	return len(token) == len(refreshPrefix)+base64.RawURLEncoding.EncodedLen(refreshBytes) && strings.HasPrefix(token, refreshPrefix)
}
