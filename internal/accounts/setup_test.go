package accounts_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
)

const (
	signingKey = secrets.Secret("0123456789abcdef0123456789abcdef")
	password   = secrets.Secret("Correct-Horse9!")
	other      = secrets.Secret("Battery-Staple7?")
)

type bundle struct {
	*accounts.Service
	pool  *pgxpool.Pool
	audit *audit.Log
	clock *clock
	log   *slog.Logger
	logs  *bytes.Buffer // read only when nothing runs in parallel
	ip    netip.Addr
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{
		pool: pgtest.New(t), clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		logs: &bytes.Buffer{}, ip: netip.MustParseAddr("203.0.113.7"),
	}
	b.log = slog.New(slog.NewTextHandler(b.logs, nil))
	b.audit = audit.New(b.pool)
	b.Service = b.replica(t)
	return b
}

// replica returns another service on the same database and clock.
func (b *bundle) replica(t *testing.T) *accounts.Service {
	t.Helper()
	s, err := accounts.New(accounts.Deps{
		Pool: b.pool, Audit: b.audit, Now: b.clock.Now, Log: b.log,
	}, accounts.Options{SigningKey: signingKey})
	require.NoError(t, err)
	return s
}

func (b *bundle) register(t *testing.T, username string) accounts.Account {
	t.Helper()
	a, err := b.Register(t.Context(), b.ip, accounts.RegisterInput{Email: username + "@example.com", Username: username, Password: password})
	require.NoError(t, err)
	return a
}

func (b *bundle) login(t *testing.T, username string) accounts.Tokens {
	t.Helper()
	tokens, err := b.Login(t.Context(), b.ip, username, password)
	require.NoError(t, err)
	return tokens
}

func (b *bundle) authenticate(t *testing.T, tokens accounts.Tokens) accounts.Principal {
	t.Helper()
	p, err := b.Authenticate(t.Context(), tokens.Access.Reveal())
	require.NoError(t, err)
	return p
}

// requireEnded checks that neither token of a session is worth anything.
func (b *bundle) requireEnded(t *testing.T, tokens accounts.Tokens) {
	t.Helper()
	_, err := b.Authenticate(t.Context(), tokens.Access.Reveal())
	require.ErrorIs(t, err, accounts.ErrBadToken)
	_, err = b.Refresh(t.Context(), b.ip, tokens.Refresh)
	require.ErrorIs(t, err, accounts.ErrBadToken)
}

// freeTries forgets what was counted.
func (b *bundle) freeTries(t *testing.T) {
	t.Helper()
	_, err := b.pool.Exec(t.Context(), "DELETE FROM rate_limits")
	require.NoError(t, err)
}

func (b *bundle) count(t *testing.T, table string) int {
	t.Helper()
	var n int
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func (b *bundle) actions(t *testing.T) []string {
	t.Helper()
	records, err := b.audit.List(t.Context(), audit.Filter{})
	require.NoError(t, err)
	var actions []string
	for _, r := range records {
		actions = append([]string{r.Actor + " " + r.Action}, actions...)
	}
	return actions
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
