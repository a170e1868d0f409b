package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"controlplane/internal/secrets"
)

const (
	minKeyBytes      = 32
	minPasswordChars = 16 // the checklist's "16+ characters"
)

// missing checks what the parts need, whatever DEBUG says.
func (c Config) missing(parts []Part) []string {
	var problems []string
	require := func(part Part, name string, value secrets.Secret) {
		if slices.Contains(parts, part) && value == "" {
			problems = append(problems, name+" must be set (or "+name+"_FILE)")
		}
	}
	require(PartPlatform, "DATABASE_URL", c.Platform.URL)
	require(PartAuth, "SECRET_KEY", c.Auth.SecretKey)
	require(PartSealing, "DATA_KEY", c.Auth.DataKey)
	require(PartPayments, "PAYSTACK_SECRET_KEY", c.Paystack.SecretKey)
	require(PartCluster, "EXTERNAL_DB_PASSWORD", c.Cluster.Password)
	problems = append(problems, c.TLS.missing(slices.Contains(parts, PartTLS), c)...)
	problems = append(problems, c.Backup.missing(slices.Contains(parts, PartBackups))...)
	problems = append(problems, c.Cluster.unverifiable()...)
	if c.Platform.URL != "" {
		problems = append(problems, platformURLProblems("DATABASE_URL", c.Platform.URL)...)
	}
	if c.Platform.MigrateURL != "" {
		problems = append(problems, platformURLProblems("MIGRATE_DATABASE_URL", c.Platform.MigrateURL)...)
	}
	if c.Auth.DataKey != "" {
		if _, err := secrets.NewSealer(c.Auth.DataKey); err != nil {
			problems = append(problems, "DATA_KEY: "+err.Error())
		}
	}
	if c.Paystack.SecretKey != "" && !isGatewayKey(c.Paystack.SecretKey) {
		problems = append(problems, "PAYSTACK_SECRET_KEY must begin with sk_test_ or sk_live_ (each one, if several)")
	}
	if !c.Cluster.Supernet.IsValid() || !c.Cluster.Supernet.Addr().Is4() || !isPrivate(c.Cluster.Supernet) || c.Cluster.Supernet.Bits() > 22 {
		problems = append(problems, "TENANT_SUPERNET must be a private IPv4 network of /22 or larger, like 10.212.0.0/16")
	}
	return problems
}

// unverifiable is about how the tenants' database server can't be verified.
func (c Cluster) unverifiable() []string {
	if c.SSLMode != "verify-ca" && c.SSLMode != "verify-full" {
		return nil
	}
	var problems []string
	if c.RootCert == "" {
		problems = append(problems, "EXTERNAL_DB_SSLROOTCERT must name the file with the root certificate that EXTERNAL_DB_SSLMODE="+c.SSLMode+" verifies the server by")
	}
	if addr, err := netip.ParseAddr(c.Host); c.SSLMode == "verify-full" && c.TenantHost == "" && (c.Host == "localhost" || err == nil && addr.IsLoopback()) {
		problems = append(problems, "EXTERNAL_DB_SSLMODE=verify-full needs TENANT_DB_HOST with a server on this machine: tenants would reach it by addresses "+
			"of their networks, which are in no certificate; verify-ca does without")
	}
	return problems
}

// platformURLProblems keeps the platform's own tables out of the tenants' databases and of templates.
func platformURLProblems(variable string, raw secrets.Secret) []string {
	u, err := url.Parse(raw.Reveal())
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Host == "" && u.Query().Get("host") == "" {
		return []string{variable + " must look like postgres://user:password@host:5432/name"}
	}
	name := strings.TrimPrefix(u.Path, "/")
	switch {
	case name == "":
		return []string{variable + " must name a database"}
	case name == "postgres", strings.HasPrefix(name, "template"),
		slices.ContainsFunc([]string{"odoo_", "odootmpl_", "odoospare_"}, func(ours string) bool { return strings.HasPrefix(name, ours) }):
		return []string{variable + " must name the platform's own database, not \"postgres\", a template or a tenant's (odoo_…)"}
	}
	return nil
}

// unsafe lists what may only be used with DEBUG=true.
func (c Config) unsafe(parts []Part) []string {
	var problems []string
	add := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf(format, args...)+" (DEBUG is false)")
	}
	needs := func(p Part) bool { return slices.Contains(parts, p) }
	if needs(PartAuth) && c.Auth.SecretKey != "" && weakKey(c.Auth.SecretKey) {
		add("SECRET_KEY is a sample value or shorter than %d bytes", minKeyBytes)
	}
	if needs(PartMigrate) {
		for _, problem := range c.unsafeMigration() {
			add("%s", problem)
		}
	}
	if needs(PartSealing) && c.Auth.DataKey != "" && isSample(c.Auth.DataKey.Reveal()) {
		add("DATA_KEY is a sample value")
	}
	if c.Auth.SecretKey != "" && c.Auth.SecretKey == c.Auth.DataKey {
		add("DATA_KEY must differ from SECRET_KEY")
	}
	if c.Backup.Key != "" && (c.Backup.Key == c.Auth.DataKey || c.Backup.Key == c.Auth.SecretKey) {
		add("BACKUP_KEY must differ from DATA_KEY and SECRET_KEY")
	}
	if needs(PartPayments) {
		for _, problem := range append(c.unsafeGateway(), c.Seller.unsafe()...) {
			add("%s", problem)
		}
	}
	if needs(PartCluster) && c.Cluster.Password != "" && (isSample(c.Cluster.Password.Reveal()) || len(c.Cluster.Password) < minPasswordChars) {
		add("EXTERNAL_DB_PASSWORD is a sample value or shorter than %d characters", minPasswordChars)
	}
	if c.Auth.CleanupToken != "" && weakKey(c.Auth.CleanupToken) {
		add("ADMIN_CLEANUP_TOKEN is a sample value or shorter than %d bytes; leave it out to switch the route off", minKeyBytes)
	}
	for _, problem := range append(c.sampleAddresses(), c.Backup.unsafe()...) {
		add("%s", problem)
	}
	return problems
}

// unsafeMigration insists on two roles: what runs all day must not be able to rewrite the audit log.
func (c Config) unsafeMigration() []string {
	if c.Platform.MigrateURL == "" {
		return []string{"MIGRATE_DATABASE_URL must be set: the schema's owner, while DATABASE_URL names a lesser role"}
	}
	owner, err := url.Parse(c.Platform.MigrateURL.Reveal())
	lesser, err2 := url.Parse(c.Platform.URL.Reveal())
	if err != nil || err2 != nil { // told already
		return nil
	}
	var problems []string
	if owner.User.Username() == lesser.User.Username() {
		problems = append(problems, "MIGRATE_DATABASE_URL and DATABASE_URL must name different roles")
	}
	if owner.Path != lesser.Path {
		problems = append(problems, "MIGRATE_DATABASE_URL and DATABASE_URL must name the same database")
	}
	return problems
}

// unsafeGateway is also about what we only take for the checklist's sake: whoever left a sample there left others.
func (c Config) unsafeGateway() []string {
	var problems []string
	if strings.Contains(c.Paystack.SecretKey.Reveal(), "sk_test_") {
		problems = append(problems, "PAYSTACK_SECRET_KEY is a test key")
	}
	if isSample(c.Paystack.SecretKey.Reveal()) {
		problems = append(problems, "PAYSTACK_SECRET_KEY is a sample value")
	}
	if strings.HasPrefix(c.Paystack.PublicKey, "pk_test_") || isSample(c.Paystack.PublicKey) {
		problems = append(problems, "PAYSTACK_PUBLIC_KEY is a test key or a sample value")
	}
	if isSample(c.Paystack.WebhookSecret.Reveal()) {
		problems = append(problems, "PAYSTACK_WEBHOOK_SECRET is a sample value; it isn't used, so leave it out")
	}
	if !strings.HasPrefix(c.Paystack.BaseURL, "https://") {
		problems = append(problems, "PAYSTACK_BASE_URL must be https")
	}
	return problems
}

// sampleAddresses finds what customers' browsers can't reach.
func (c Config) sampleAddresses() []string {
	var problems []string
	if isSampleDomain(c.BaseDomain) {
		problems = append(problems, "BASE_DOMAIN is a sample or local name")
	}
	for _, u := range []struct{ name, value string }{
		{"API_PUBLIC_URL", c.API.PublicURL}, {"EDGE_PUBLIC_URL", c.Edge.PublicURL}, {"FRONTEND_URL", c.FrontendURL},
	} {
		if u.value != "" && isLocal(u.value) {
			problems = append(problems, u.name+" points to this machine or to a sample domain")
		}
	}
	if slices.ContainsFunc(c.CORSOrigins, isLocal) {
		problems = append(problems, "CORS_ORIGINS has a local origin or a sample domain")
	}
	return problems
}

func weakKey(k secrets.Secret) bool { return len(k) < minKeyBytes || isSample(k.Reveal()) }

// isSample knows the placeholders of the checklists, templates and tutorials.
func isSample(s string) bool {
	lower := strings.ToLower(s)
	for _, sample := range []string{"xxx", "changeme", "change-me", "change_me", "your-", "your_", "<strong", "strong-password", "strong_password", "example", "placeholder", "secret-key", "development", "insecure"} {
		if strings.Contains(lower, sample) {
			return true
		}
	}
	return len(s) > 0 && strings.Count(s, s[:1]) == len(s)
}

func isSampleDomain(d string) bool {
	for _, suffix := range []string{"localhost", "lvh.me", "yourdomain.com", "example.com", "example.org", "local", "test", "invalid"} {
		if d == suffix || strings.HasSuffix(d, "."+suffix) {
			return true
		}
	}
	return false
}

// isLocal reports whether a URL's host is this machine, a sample, or nothing at all.
func isLocal(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return isSampleDomain(strings.ToLower(u.Hostname())) || err == nil && (addr.IsLoopback() || addr.IsUnspecified())
}

func isGatewayKey(keys secrets.Secret) bool {
	for key := range strings.SplitSeq(keys.Reveal(), ",") {
		key = strings.TrimSpace(key)
		if !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "sk_live_") {
			return false
		}
	}
	return true
}

func isPrivate(p netip.Prefix) bool { return p.Addr().IsPrivate() }
