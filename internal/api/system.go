package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/capacity"
	"controlplane/internal/errs"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Metrics tells how the platform is doing, from what workers measured last.
type Metrics interface {
	Metrics(ctx context.Context) (capacity.Metrics, error)
}

// Cleaner deletes what has expired, now.
type Cleaner interface {
	// RunExpired waits up to wait for the deletions that it began. One that fails doesn't stop the others. Who asked goes on record.
	RunExpired(ctx context.Context, p accounts.Principal, ip netip.Addr, wait time.Duration) (CleanupReport, error)
}

// CleanupReport is what a run of a Cleaner came to.
type CleanupReport struct {
	Deleted            int // of the two below, what is gone by now
	UnpaidExpired      int
	ScheduledDeletions int
	Pending            int // still being deleted
	Failures           []CleanupFailure
}

// CleanupFailure is one client that couldn't be deleted; it is tried again.
type CleanupFailure struct {
	TenantID tenants.ID
	Error    string // safe to show
}

type (
	cpuAnswer struct {
		Percent float64 `json:"percent"`
		Count   int     `json:"count"`
	}
	shareAnswer struct {
		TotalGB float64 `json:"total_gb"`
		UsedGB  float64 `json:"used_gb"`
		Percent float64 `json:"percent"`
	}
	containersAnswer struct {
		Running int `json:"running"`
	}
	countAnswer struct {
		Total int `json:"total"`
		Used  int `json:"used"`
	}
	clientsAnswer struct {
		Total  int `json:"total"`
		Active int `json:"active"`
	}
	metricsAnswer struct {
		CPU         cpuAnswer        `json:"cpu"`
		Memory      shareAnswer      `json:"memory"`
		Disk        shareAnswer      `json:"disk"`
		Containers  containersAnswer `json:"containers"`
		Clients     clientsAnswer    `json:"clients"`
		Hosts       int              `json:"hosts"`
		Connections countAnswer      `json:"database_connections"`
		Subnets     countAnswer      `json:"subnets"`
		SampledAt   *wireTime        `json:"sampled_at"` // null: no worker has measured yet
		Stale       bool             `json:"stale"`
	}
	cleanupFailureAnswer struct {
		ClientName *string `json:"client_name"`
		Error      string  `json:"error"`
	}
	cleanupAnswer struct {
		Success            bool                   `json:"success"`
		Deleted            int                    `json:"deleted"`
		UnpaidExpired      int                    `json:"unpaid_expired"`
		ScheduledDeletions int                    `json:"scheduled_deletions"`
		Pending            int                    `json:"pending"`
		Failures           []cleanupFailureAnswer `json:"failures"`
		Message            string                 `json:"message"`
	}
)

var errCleanupToken = errs.New(errs.Unauthenticated, "bad_admin_token", "Invalid or missing admin token")

func (s *server) systemRoutes(r chi.Router) {
	r.Get("/api/system/metrics", s.admin(errAdminsOnly, s.metrics))
	r.Post("/api/cleanup/expired-clients", s.public(s.cleanup))
}

func (s *server) metrics(w http.ResponseWriter, r *http.Request, _ accounts.Principal) error {
	if s.deps.Metrics == nil {
		return errNoWorker
	}
	m, err := s.deps.Metrics.Metrics(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, metricsAnswer{
		CPU: cpuAnswer(m.CPU), Memory: shareAnswer(m.Memory), Disk: shareAnswer(m.Disk), Containers: containersAnswer{Running: m.Containers},
		Clients: clientsAnswer(m.Clients), Hosts: m.Hosts, Connections: countAnswer(m.Connections), Subnets: countAnswer(m.Subnets),
		SampledAt: timeOrNull(m.SampledAt), Stale: m.Stale,
	})
}

func (s *server) cleanup(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitAddress(r, "cleanup", s.opts.Rates.Cleanup); err != nil {
		return err
	}
	p, err := s.mayCleanUp(r)
	if err != nil {
		return err
	}
	report, err := s.deps.Cleaner.RunExpired(r.Context(), p, s.clientIP(r), s.opts.CleanupWait)
	if err != nil {
		return err
	}
	out := cleanupAnswer{
		Success: len(report.Failures) == 0, Deleted: report.Deleted, UnpaidExpired: report.UnpaidExpired,
		ScheduledDeletions: report.ScheduledDeletions, Pending: report.Pending,
		Message:  fmt.Sprintf("Deleted %d clients; %d are still being deleted, %d failed and are tried again", report.Deleted, report.Pending, len(report.Failures)),
		Failures: make([]cleanupFailureAnswer, 0, len(report.Failures)),
	}
	names, err := s.failedNames(r.Context(), report.Failures)
	if err != nil {
		return err
	}
	for _, f := range report.Failures {
		out.Failures = append(out.Failures, cleanupFailureAnswer{ClientName: orNull(names[f.TenantID]), Error: f.Error})
	}
	return reply(w, http.StatusOK, out)
}

func (s *server) failedNames(ctx context.Context, failures []CleanupFailure) (map[tenants.ID]string, error) {
	if len(failures) == 0 {
		return nil, nil
	}
	ids := make([]tenants.ID, 0, len(failures))
	for _, f := range failures {
		ids = append(ids, f.TenantID)
	}
	return s.deps.Tenants.NamesOf(ctx, ids)
}

// mayCleanUp knows the caller by a token of its own, in the query as old cron entries send it or in a header, or as an admin. Without
// ADMIN_CLEANUP_TOKEN there is no such token. Who has it is the system, for the record.
func (s *server) mayCleanUp(r *http.Request) (accounts.Principal, error) {
	q := parseQuery(r)
	token := q.secret("admin_token")
	if q.err != nil {
		return accounts.Principal{}, q.err
	}
	if token == "" {
		token = secrets.Secret(r.Header.Get("X-Admin-Token"))
	}
	if token == "" && r.Header.Get("Authorization") != "" {
		p, err := s.principal(r)
		if err == nil && !p.Admin {
			return accounts.Principal{}, errAdminsOnly
		}
		return p, err
	}
	if s.opts.CleanupToken == "" || !s.opts.CleanupToken.Equal(token.Reveal()) {
		return accounts.Principal{}, errCleanupToken
	}
	return accounts.System(), nil
}
