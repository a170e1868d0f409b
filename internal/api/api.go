// Package api is the HTTP face of the control plane: routes, middleware, request and answer types, problem documents and the
// OpenAPI description. Handlers decode, call one service method and encode; rules live in the services.
package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"controlplane/internal/accounts"
	"controlplane/internal/alerts"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/billing"
	"controlplane/internal/cors"
	"controlplane/internal/domains"
	"controlplane/internal/feed"
	"controlplane/internal/idempotency"
	"controlplane/internal/invoicing"
	"controlplane/internal/ops"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Limiter counts calls per key and refuses those over limit within per.
type Limiter interface {
	Allow(ctx context.Context, key string, limit int, per time.Duration) error
}

// PasswordResetter gives the Odoo of a running tenant a new admin password. When it returns nil the owner can read it from the
// credentials, once.
type PasswordResetter interface {
	ResetAdminPassword(ctx context.Context, t tenants.Tenant) error
}

// Check is one thing that must work before this process should get requests.
type Check struct {
	Name  string // shown to everybody: "database"
	Probe func(ctx context.Context) error
}

// Deps is what the API works with; all are required, but for Checks and what is marked.
type Deps struct {
	Accounts    *accounts.Service
	Tenants     *tenants.Service
	Billing     *billing.Service
	Invoices    *invoicing.Service
	Domains     *domains.Service
	Ops         *ops.Engine
	Audit       *audit.Log
	Alerts      *alerts.Board
	Feed        *feed.Feed
	Idempotency *idempotency.Store
	Limiter     Limiter
	Passwords   PasswordResetter
	Schedules   Schedules
	Cleaner     Cleaner
	Backups     *backup.Desk    // nil: there are none, and what is about them answers 503
	BackupPlans *backup.Planner // nil: likewise
	Zips        Zipper          // nil: no worker can be reached, and there are no downloads of backups
	Imports     Importer        // nil: as Backups
	Inspector   Inspector       // nil: no worker can be reached, and what needs one answers 503
	Metrics     Metrics         // nil: likewise
	Checks      []Check
	Log         *slog.Logger
}

// Docs is who may read the API's description.
type Docs string

// The choices for Options.Docs.
const (
	DocsPublic Docs = "public"
	DocsAdmin  Docs = "admin"
	DocsOff    Docs = "off"
)

// Rates is how many calls of a kind are let through per minute.
type Rates struct {
	Login      int // per address; default 5. Accounts count per account
	Register   int // per address; default 10
	Refresh    int // per address; default 30
	Initialize int // per account; default 10
	Confirm    int // per account: each asks the gateway; default 30
	Profile    int // changes of one's own account, per account: each tells whether a name is taken; default 20
	Reset      int // of an Odoo admin password, per account; default 5
	Progress   int // per address: a callback page asks once a second; default 240
	Ready      int // per address; default 600
	Cleanup    int // per address, also with the right token; default 10
	Tickets    int // for event streams, per account; default 60
	Invoice    int // PDFs, per account; default 60
	Domains    int // claims and look-ups of own domains, per account; default 60
	Backup     int // to be taken, read back or handed out, per account; default 10
	Download   int // of backups, per address; default 30
	Import     int // uploads, per account; default 5
}

// Options are the settings. Zero values mean the defaults.
type Options struct {
	AppName        string                     // default "Odoo Cloud Platform"
	Version        string                     // default "dev"
	PublicURL      string                     // where the world reaches this API, without a final slash; default "http://127.0.0.1:8001"
	TenantURL      func(domain string) string // default: http:// before the domain
	CORSOrigins    []string
	TrustedProxies []netip.Prefix
	Docs           Docs           // default DocsAdmin
	CleanupToken   secrets.Secret // ADMIN_CLEANUP_TOKEN; empty: the cleanup route refuses everybody
	Rates          Rates
	MaxBody        int64         // bytes, default 64 KiB
	MaxWebhookBody int64         // bytes, default 1 MB
	MaxWebhooks    int           // signed ones per second, of this process, and forged ones of each address; default 500. It is the only limit on them
	RequestTimeout time.Duration // default 30 s; streams have none
	TransitionWait time.Duration // how long suspend and the like wait for their work before they answer 202; default 5 s
	CleanupWait    time.Duration // how long a clean-up run waits for its deletions; default 20 s
	TransferTime   time.Duration // how long the download or upload of a backup may take; default 6 h
	Streams        StreamLimits
}

func (o Options) withDefaults() Options {
	o.AppName = cmp.Or(o.AppName, "Odoo Cloud Platform")
	o.Version = cmp.Or(o.Version, "dev")
	o.PublicURL = cmp.Or(o.PublicURL, "http://127.0.0.1:8001")
	o.Docs = cmp.Or(o.Docs, DocsAdmin)
	o.MaxBody = cmp.Or(o.MaxBody, 64<<10)
	o.MaxWebhookBody = cmp.Or(o.MaxWebhookBody, 1_000_000)
	o.MaxWebhooks = cmp.Or(o.MaxWebhooks, 500)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 30*time.Second)
	o.TransitionWait = cmp.Or(o.TransitionWait, 5*time.Second)
	o.CleanupWait = cmp.Or(o.CleanupWait, 20*time.Second)
	o.TransferTime = cmp.Or(o.TransferTime, 6*time.Hour)
	o.Streams = o.Streams.withDefaults()
	if o.TenantURL == nil {
		o.TenantURL = func(domain string) string { return "http://" + domain }
	}
	r := &o.Rates
	r.Login, r.Register, r.Refresh = cmp.Or(r.Login, 5), cmp.Or(r.Register, 10), cmp.Or(r.Refresh, 30)
	r.Initialize, r.Confirm = cmp.Or(r.Initialize, 10), cmp.Or(r.Confirm, 30)
	r.Profile, r.Reset, r.Progress = cmp.Or(r.Profile, 20), cmp.Or(r.Reset, 5), cmp.Or(r.Progress, 240)
	r.Ready, r.Cleanup, r.Tickets, r.Invoice = cmp.Or(r.Ready, 600), cmp.Or(r.Cleanup, 10), cmp.Or(r.Tickets, 60), cmp.Or(r.Invoice, 60)
	r.Backup, r.Domains = cmp.Or(r.Backup, 10), cmp.Or(r.Domains, 60)
	r.Download, r.Import = cmp.Or(r.Download, 30), cmp.Or(r.Import, 5)
	return o
}

type server struct {
	deps      Deps
	opts      Options
	origins   cors.Policy
	checker   *checker
	document  []byte // the OpenAPI description
	streams   *streams
	transfers *streams // downloads of backups
	webhooks  *perSecond
	forgeries *perAddress // in their place
}

// New returns the API's handler. It fails on settings that can't be served safely, such as CORS for any origin.
func New(deps Deps, opts Options) (http.Handler, error) {
	s, err := newServer(deps, opts)
	if err != nil {
		return nil, err
	}
	return s.router(), nil
}

func newServer(deps Deps, opts Options) (*server, error) {
	if deps.Accounts == nil || deps.Tenants == nil || deps.Billing == nil || deps.Invoices == nil || deps.Domains == nil || deps.Ops == nil || deps.Audit == nil || deps.Alerts == nil ||
		deps.Feed == nil || deps.Idempotency == nil || deps.Limiter == nil || deps.Passwords == nil || deps.Schedules == nil || deps.Cleaner == nil || deps.Log == nil {
		return nil, errors.New("the API lacks something that it works with")
	}
	opts = opts.withDefaults()
	origins, err := cors.New(opts.CORSOrigins)
	if err != nil {
		return nil, err
	}
	document, err := openAPIDocument(opts)
	if err != nil {
		return nil, err
	}
	return &server{
		deps: deps, opts: opts, origins: origins, checker: newChecker(), document: document, streams: newStreams(opts.Streams),
		transfers: newStreams(StreamLimits{PerAccount: 2, InAll: 8}), webhooks: &perSecond{max: opts.MaxWebhooks}, forgeries: &perAddress{max: opts.MaxWebhooks},
	}, nil
}

// router names every route by its whole path: chi's Match, which HEAD and 405 need, isn't exact across mounted routers.
func (s *server) router() chi.Router {
	r := chi.NewRouter()
	r.Use(s.withRequestID, s.accessLog, s.recoverPanics, securityHeaders, s.cors, stripSlash, middleware.GetHead)
	r.NotFound(s.public(func(http.ResponseWriter, *http.Request) error { return errNoRoute }))
	r.MethodNotAllowed(s.methodNotAllowed)
	r.Get("/", s.public(s.index))
	r.Get("/payment/callback", s.public(s.callbackPage))
	r.Get("/payment/callback.js", s.public(s.callbackScript))
	r.Get("/payment/callback.css", s.public(s.callbackStyle))
	r.Get("/api/health", s.public(s.health))
	r.Get("/api/ready", s.public(s.ready))
	r.Get("/api/plans", s.public(s.listPlans))
	s.authRoutes(r)
	s.clientRoutes(r)
	s.paymentRoutes(r)
	s.invoiceRoutes(r)
	s.domainRoutes(r)
	s.backupRoutes(r)
	s.operationRoutes(r)
	s.eventRoutes(r)
	s.adminRoutes(r)
	s.moneyRoutes(r)
	s.systemRoutes(r)
	s.docsRoutes(r)
	return r
}

// methodNotAllowed is the one problem without a kind: only HTTP has methods.
func (s *server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	const status = http.StatusMethodNotAllowed
	rctx := chi.RouteContext(r.Context())
	path := cmp.Or(rctx.RoutePath, r.URL.EscapedPath())
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if rctx.Routes.Match(chi.NewRouteContext(), method, path) {
			w.Header().Add("Allow", method)
		}
	}
	writeProblem(w, status, errNoRoute, problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: "Method Not Allowed", Code: "method_not_allowed",
		RequestID: requestID(r.Context()),
	})
}
