// Package config turns the environment (and an optional .env file) into a checked Config. It reports all problems at once, by the
// variable's name and never with its value. Only cmd imports it.
package config

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"controlplane/internal/secrets"
)

// Config is the whole configuration. The variable names of the production checklist keep their meaning; see the table in README.md.
type Config struct {
	AppName     string   `env:"APP_NAME" envDefault:"Odoo Cloud Platform" validate:"max=100"`
	Debug       bool     `env:"DEBUG" envDefault:"false"`
	BaseDomain  string   `env:"BASE_DOMAIN" envDefault:"localhost" validate:"required,hostname_rfc1123"`
	Metrics     string   `env:"METRICS_LISTEN" validate:"omitempty,hostname_port|startswith=:"` // of serve; default: nowhere
	CORSOrigins []string `env:"CORS_ORIGINS" envDefault:"http://localhost:5173,http://localhost:3000" validate:"dive,cors_origin"`
	FrontendURL string   `env:"FRONTEND_URL" validate:"omitempty,http_url"`

	API      API
	Edge     Edge
	TLS      TLS
	Auth     Auth
	Platform Platform
	Cluster  Cluster
	Paystack Paystack
	Seller   Seller
	Dunning  Dunning
	Engine   Engine
	Worker   Worker
	Capacity Capacity
	Backup   Backup
	Domains  Domains
}

// API is how the HTTP API listens and presents itself.
type API struct {
	Listen         string         `env:"API_LISTEN" envDefault:"127.0.0.1:8001" validate:"hostname_port|startswith=:"`
	PublicURL      string         `env:"API_PUBLIC_URL" envDefault:"http://127.0.0.1:8001" validate:"http_url"`
	Docs           string         `env:"API_DOCS" validate:"omitempty,oneof=public admin off"` // default: public with DEBUG, else admin
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`
	LogLevel       string         `env:"LOG_LEVEL" envDefault:"info" validate:"oneof=debug info warn error"`
}

// Edge is how tenants are reached from the world.
type Edge struct {
	Listen    string `env:"EDGE_LISTEN" envDefault:":8080" validate:"hostname_port|startswith=:"`
	PublicURL string `env:"EDGE_PUBLIC_URL" envDefault:"http://localhost:8080" validate:"http_url"` // scheme and port of tenants' addresses
	ProbeURL  string `env:"EDGE_PROBE_URL" validate:"omitempty,http_url"`                           // where the worker reaches the edge; default: loopback at EDGE_LISTEN's port
	StateFile string `env:"EDGE_STATE_FILE" envDefault:"/var/lib/odoo-hosting/edge-routes.json"`
	Silent    int    `env:"EDGE_SILENT_MINUTES" envDefault:"10" validate:"min=5,max=1440"` // without a report until somebody is told; edges report every 2
	API       string `env:"EDGE_API_UPSTREAM" validate:"omitempty,hostname_port"`          // of an API that the edge shows at api.<BASE_DOMAIN>; default: none
	AccessLog string `env:"EDGE_ACCESS_LOG"`                                               // "off": none; default: edge-access.log beside StateFile
	Metrics   string `env:"EDGE_METRICS_LISTEN" validate:"omitempty,hostname_port|startswith=:"`

	BrandColor string `env:"BRAND_COLOR" validate:"omitempty,hexcolor,len=7"`
	BrandLogo  string `env:"BRAND_LOGO_FILE"`
	SupportURL string `env:"SUPPORT_URL" validate:"omitempty,startswith=https://|startswith=http://|startswith=mailto:"`
}

// AccessLogFile returns where requests are logged, "" for nowhere.
func (e Edge) AccessLogFile() string {
	switch e.AccessLog {
	case "off":
		return ""
	case "":
		return filepath.Join(filepath.Dir(e.StateFile), "edge-access.log")
	}
	return e.AccessLog
}

// SilentAfter returns how long an edge may report nothing.
func (e Edge) SilentAfter() time.Duration { return time.Duration(e.Silent) * time.Minute }

// Auth holds what signs tokens and seals secrets.
type Auth struct {
	SecretKey          secrets.Secret `env:"SECRET_KEY"`
	DataKey            secrets.Secret `env:"DATA_KEY"`            // one or more, comma-separated; the first one seals
	CleanupToken       secrets.Secret `env:"ADMIN_CLEANUP_TOKEN"` // empty: the cleanup route refuses everybody
	Algorithm          string         `env:"ALGORITHM" envDefault:"HS256" validate:"eq=HS256"`
	AccessTokenMinutes int            `env:"ACCESS_TOKEN_EXPIRE_MINUTES" envDefault:"30" validate:"min=1,max=1440"`
}

// AccessTTL returns how long an access token lives.
func (a Auth) AccessTTL() time.Duration { return time.Duration(a.AccessTokenMinutes) * time.Minute }

// Platform is the platform's own database, which two roles use: the lesser one can't change the schema nor the audit log.
type Platform struct {
	URL        secrets.Secret `env:"DATABASE_URL"`         // as the role that the running platform has
	MigrateURL secrets.Secret `env:"MIGRATE_DATABASE_URL"` // as the owner of the schema; only migrate uses it
}

// Cluster is the tenants' PostgreSQL server and the network that tenants see.
type Cluster struct {
	Host       string         `env:"EXTERNAL_DB_HOST" envDefault:"10.0.0.20" validate:"hostname_rfc1123|ip"`
	Port       int            `env:"EXTERNAL_DB_PORT" envDefault:"5432" validate:"min=1,max=65535"`
	User       string         `env:"EXTERNAL_DB_USER" envDefault:"odoo_clients" validate:"required,max=63"`
	Password   secrets.Secret `env:"EXTERNAL_DB_PASSWORD"`
	Database   string         `env:"EXTERNAL_DB_NAME" envDefault:"postgres" validate:"required,max=63"`
	SSLMode    string         `env:"EXTERNAL_DB_SSLMODE" envDefault:"prefer" validate:"oneof=disable prefer require verify-ca verify-full"`
	RootCert   string         `env:"EXTERNAL_DB_SSLROOTCERT"`                                         // file to verify the server by, for us and for tenants
	DiskGB     int            `env:"EXTERNAL_DB_DISK_GB" envDefault:"0" validate:"min=0,max=1048576"` // that databases may fill; 0: not known
	TenantHost string         `env:"TENANT_DB_HOST" validate:"omitempty,hostname_rfc1123|ip"`         // as tenants see it
	Supernet   netip.Prefix   `env:"TENANT_SUPERNET" envDefault:"10.212.0.0/16"`
	DNS        []netip.Addr   `env:"TENANT_DNS" envDefault:"1.1.1.1,9.9.9.9"`
	Spares     int            `env:"TEMPLATE_SPARES" envDefault:"10" validate:"min=0,max=100"` // clones kept ready per template in use
}

// Paystack is the payment gateway.
type Paystack struct {
	SecretKey     secrets.Secret `env:"PAYSTACK_SECRET_KEY"` // the first one is used; others (comma-separated) only check webhooks during a rotation
	PublicKey     string         `env:"PAYSTACK_PUBLIC_KEY"`
	WebhookSecret secrets.Secret `env:"PAYSTACK_WEBHOOK_SECRET"` // accepted, never used: Paystack signs with the secret key
	BaseURL       string         `env:"PAYSTACK_BASE_URL" envDefault:"https://api.paystack.co" validate:"http_url"`
}

// SecretKeys returns the keys one by one: the first is used, the others only check webhooks.
func (p Paystack) SecretKeys() []secrets.Secret {
	var keys []secrets.Secret
	for key := range strings.SplitSeq(p.SecretKey.Reveal(), ",") {
		keys = append(keys, secrets.Secret(strings.TrimSpace(key)))
	}
	return keys
}

// Engine is the container engine and what runs on it.
type Engine struct {
	Socket    string `env:"DOCKER_SOCKET_PATH" envDefault:"/var/run/docker.sock" validate:"required"`
	OdooImage string `env:"ODOO_IMAGE" envDefault:"odoo:19.0" validate:"required"`
	// PostgresImage has the programs that back up and restore tenants' databases: of the same version as their server.
	PostgresImage string `env:"POSTGRES_IMAGE" envDefault:"postgres:17" validate:"required"`
	Binary        string `env:"CONTROLPLANE_BINARY"` // default: this executable; it becomes the firewall guard's image
}

// DocsAccess returns who may see the API's documentation: "public", "admin" or "off".
func (c Config) DocsAccess() string {
	switch {
	case c.API.Docs != "":
		return c.API.Docs
	case c.Debug:
		return "public"
	default:
		return "admin"
	}
}

// TenantURL returns the address at which the world reaches host, a tenant's domain.
func (c Config) TenantURL(host string) string {
	u, err := url.Parse(c.Edge.PublicURL)
	if err != nil { // checked by Load
		return "http://" + host
	}
	if port := u.Port(); port != "" {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}

// CallbackURL returns where the browser lands after paying: the front end's callback, or our own page.
func (c Config) CallbackURL() string {
	base := c.FrontendURL
	if base == "" {
		base = c.API.PublicURL
	}
	return trimSlash(base) + "/payment/callback"
}

// EdgeProbeURL returns where the worker asks the edge for a tenant that it has just started.
func (c Config) EdgeProbeURL() string {
	if c.Edge.ProbeURL != "" {
		return trimSlash(c.Edge.ProbeURL)
	}
	host, port, err := net.SplitHostPort(c.Edge.Listen)
	if err != nil { // checked by Load
		return ""
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
