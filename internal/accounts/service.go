package accounts

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/audit"
	"controlplane/internal/ratelimit"
	"controlplane/internal/secrets"
)

// Account is a person (or a program) that logs in and pays. It never holds the password's hash.
type Account struct {
	ID        ID
	Email     string // as given, trimmed
	Username  string // as given, trimmed and NFKC
	FullName  string // "" if not given
	Active    bool   // not disabled
	Admin     bool
	CreatedAt time.Time
}

// Tokens is what a log-in gives. Access is a JWT, Refresh is opaque, is good for one use and is stored only as a hash.
type Tokens struct {
	Access    secrets.Secret
	Refresh   secrets.Secret
	ExpiresIn time.Duration // of Access
}

// Deps is what the service works with.
type Deps struct {
	Pool  *pgxpool.Pool
	Audit *audit.Log
	Log   *slog.Logger
	Now   func() time.Time // nil: time.Now
}

// Options are the service's settings; zero durations and an empty Issuer mean the defaults.
type Options struct {
	SigningKey secrets.Secret // SECRET_KEY
	Issuer     string         // of access tokens; default "controlplane"
	AccessTTL  time.Duration  // default 30 minutes
	RefreshTTL time.Duration  // default 7 days; also how long an unused session lives
}

// Service does everything with accounts. It is safe for concurrent use, and several processes may share a database.
type Service struct {
	store  store
	audit  *audit.Log
	log    *slog.Logger
	now    func() time.Time
	limits *ratelimit.Limiter
	hasher *hasher
	tokens *tokenMaker
	opts   Options
}

// New returns a service. It makes one password hash, so it takes some tens of milliseconds.
func New(deps Deps, opts Options) (*Service, error) {
	if deps.Pool == nil || deps.Audit == nil || deps.Log == nil {
		return nil, errors.New("accounts need a pool, an audit log and a logger")
	}
	if opts.SigningKey == "" {
		return nil, errors.New("accounts need a signing key")
	}
	opts.Issuer = cmp.Or(opts.Issuer, "controlplane")
	opts.AccessTTL = cmp.Or(opts.AccessTTL, 30*time.Minute)
	opts.RefreshTTL = cmp.Or(opts.RefreshTTL, 7*24*time.Hour)
	now := deps.Now
	if now == nil {
		now = time.Now
	}
	hasher, err := newHasher()
	if err != nil {
		return nil, err
	}
	return &Service{
		store: store{pool: deps.Pool}, audit: deps.Audit, log: deps.Log, now: now, limits: ratelimit.New(deps.Pool),
		hasher: hasher, tokens: newTokenMaker(opts, now), opts: opts,
	}, nil
}
