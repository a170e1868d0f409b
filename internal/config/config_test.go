package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

var all = []config.Part{config.PartPlatform, config.PartAuth, config.PartSealing, config.PartPayments, config.PartCluster, config.PartMigrate}

func production() map[string]string {
	return map[string]string{
		"BASE_DOMAIN":          "erp.hosting.ng",
		"CORS_ORIGINS":         " https://app.hosting.ng , https://www.hosting.ng/ ",
		"SECRET_KEY":           "0f6e3f0a9c1b4d7e8a2b5c8d1e4f7a0b3c6d9e2f5a8b1c4d7e0f3a6b9c2d5e8f",
		"DATA_KEY":             "9b2d5e8f0f6e3f0a9c1b4d7e8a2b5c8d1e4f7a0b3c6d9e2f5a8b1c4d7e0f3a6b",
		"DATABASE_URL":         "postgres://platform:Kq8vTz3mNw5pRx7b@10.0.0.10:5432/platform",
		"MIGRATE_DATABASE_URL": "postgres://platform_owner:Zt6yHn2cQw8eRd4f@10.0.0.10:5432/platform",
		"EXTERNAL_DB_PASSWORD": "Wn4kLs9dFj2hGx6cVb8m",
		"EXTERNAL_DB_NAME":     "template1",
		"PAYSTACK_SECRET_KEY":  "sk_live_5f0c1d2e3a4b",
		"SELLER_NAME":          "Hosting Nigeria Ltd",
		"SELLER_ADDRESS":       "12 Adeola Odeku Street, Lagos",
		"SELLER_TAX_ID":        "12345678-0001",
		"API_PUBLIC_URL":       "https://api.erp.hosting.ng",
		"EDGE_PUBLIC_URL":      "https://erp.hosting.ng",
	}
}

func TestLoad_AcceptsAProductionEnvironment(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(production(), all...)
	require.NoError(t, err)
	require.Equal(t, []string{"https://app.hosting.ng", "https://www.hosting.ng"}, cfg.CORSOrigins)
	require.Equal(t, "postgres", cfg.Cluster.Database, "template1 is the checklist's value; nobody should stay connected to it")
	require.Equal(t, "admin", cfg.DocsAccess())
	require.Equal(t, "https://acme.erp.hosting.ng", cfg.TenantURL("acme.erp.hosting.ng"))
	require.Equal(t, "https://api.erp.hosting.ng/payment/callback", cfg.CallbackURL())
	require.Equal(t, "127.0.0.1:8001", cfg.API.Listen)
}

func TestLoad_NamesEachProblem(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ name, value, want string }{
		"short signing key":            {"SECRET_KEY", "short", "SECRET_KEY is a sample value or shorter than 32 bytes"},
		"sample signing key":           {"SECRET_KEY", "change-me-change-me-change-me-change-me", "SECRET_KEY is a sample"},
		"short data key":               {"DATA_KEY", "short", "DATA_KEY: a data key is shorter than 32 bytes"},
		"no data key":                  {"DATA_KEY", "", "DATA_KEY must be set (or DATA_KEY_FILE)"},
		"test gateway key":             {"PAYSTACK_SECRET_KEY", "sk_test_5f0c1d2e3a4b", "PAYSTACK_SECRET_KEY is a test key"},
		"sample gateway key":           {"PAYSTACK_SECRET_KEY", "sk_live_xxx", "PAYSTACK_SECRET_KEY is a sample value"},
		"public key as secret":         {"PAYSTACK_SECRET_KEY", "pk_live_abc", "must begin with sk_test_ or sk_live_"},
		"short cluster password":       {"EXTERNAL_DB_PASSWORD", "short", "EXTERNAL_DB_PASSWORD is a sample value or shorter"},
		"sample cluster password":      {"EXTERNAL_DB_PASSWORD", "<strong-password>", "EXTERNAL_DB_PASSWORD is a sample"},
		"local domain":                 {"BASE_DOMAIN", "lvh.me", "BASE_DOMAIN is a sample or local name"},
		"platform in template":         {"DATABASE_URL", "postgres://a:b@h/template1", "DATABASE_URL must name the platform's own database"},
		"platform in a tenant":         {"DATABASE_URL", "postgres://a:b@h/odoo_acme", "DATABASE_URL must name the platform's own database"},
		"platform in an Odoo template": {"DATABASE_URL", "postgres://a:b@h/odootmpl_4f2a_1", "DATABASE_URL must name the platform's own database"},
		"platform in a spare":          {"DATABASE_URL", "postgres://a:b@h/odoospare_4f2a_1", "DATABASE_URL must name the platform's own database"},
		"platform unnamed":             {"DATABASE_URL", "postgres://a:b@h/", "DATABASE_URL must name a database"},
		"platform elsewhere":           {"DATABASE_URL", "sqlite:///x.db", "DATABASE_URL must look like postgres://"},
		"no owner of the schema":       {"MIGRATE_DATABASE_URL", "", "MIGRATE_DATABASE_URL must be set"},
		"one role for everything":      {"MIGRATE_DATABASE_URL", "postgres://platform:b@h/platform", "must name different roles"},
		"two databases":                {"MIGRATE_DATABASE_URL", "postgres://owner:b@h/other", "must name the same database"},
		"migrating a tenant":           {"MIGRATE_DATABASE_URL", "postgres://owner:b@h/odoo_acme", "MIGRATE_DATABASE_URL must name the platform's own database"},
		"star origin":                  {"CORS_ORIGINS", "*", "CORS_ORIGINS must list origins"},
		"local origin":                 {"CORS_ORIGINS", "http://localhost:5173", "CORS_ORIGINS has a local origin"},
		"other algorithm":              {"ALGORITHM", "none", "ALGORITHM must be HS256"},
		"minutes not a number":         {"ACCESS_TOKEN_EXPIRE_MINUTES", "soon", "ACCESS_TOKEN_EXPIRE_MINUTES is not a valid whole number"},
		"minutes zero":                 {"ACCESS_TOKEN_EXPIRE_MINUTES", "0", "ACCESS_TOKEN_EXPIRE_MINUTES must be at least 1"},
		"public supernet":              {"TENANT_SUPERNET", "41.0.0.0/8", "TENANT_SUPERNET must be a private IPv4 network"},
		"small supernet":               {"TENANT_SUPERNET", "10.0.0.0/24", "TENANT_SUPERNET must be a private IPv4 network"},
		"nothing to verify by":         {"EXTERNAL_DB_SSLMODE", "verify-ca", "EXTERNAL_DB_SSLROOTCERT must name the file"},
		"debug not a bool":             {"DEBUG", "maybe", "DEBUG is not a valid true or false"},
		"gateway over http":            {"PAYSTACK_BASE_URL", "http://127.0.0.1:8010", "PAYSTACK_BASE_URL must be https"},
		"test public key":              {"PAYSTACK_PUBLIC_KEY", "pk_test_5f0c1d2e3a4b", "PAYSTACK_PUBLIC_KEY is a test key"},
		"sample public key":            {"PAYSTACK_PUBLIC_KEY", "pk_live_xxx", "PAYSTACK_PUBLIC_KEY is a test key or a sample value"},
		"sample webhook secret":        {"PAYSTACK_WEBHOOK_SECRET", "whsec_xxx", "PAYSTACK_WEBHOOK_SECRET is a sample value"},
		"short cleanup token":          {"ADMIN_CLEANUP_TOKEN", "YOUR_TOKEN", "ADMIN_CLEANUP_TOKEN is a sample value or shorter than 32 bytes"},
		"local front end":              {"FRONTEND_URL", "http://localhost:5173", "FRONTEND_URL points to this machine"},
		"sample front end":             {"FRONTEND_URL", "https://yourdomain.com", "FRONTEND_URL points to this machine or to a sample domain"},
		"sample origin":                {"CORS_ORIGINS", "https://app.hosting.ng,https://yourdomain.com", "CORS_ORIGINS has a local origin or a sample domain"},
		"sample public URL":            {"EDGE_PUBLIC_URL", "https://erp.example.com", "EDGE_PUBLIC_URL points to this machine or to a sample domain"},
		"upstream is a URL":            {"EDGE_API_UPSTREAM", "http://127.0.0.1:8001", "EDGE_API_UPSTREAM is not valid"},
		"local public URL":             {"API_PUBLIC_URL", "http://localhost:8001", "API_PUBLIC_URL points to this machine"},
		"secret file is missing":       {"SECRET_KEY_FILE", "/nonexistent", "SECRET_KEY and SECRET_KEY_FILE are both set"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := production()
			env[tt.name] = tt.value
			_, err := config.Load(env, all...)
			require.ErrorContains(t, err, tt.want)
			if len(tt.value) > 5 && strings.HasPrefix(tt.name, "S") {
				require.NotContains(t, err.Error(), env["SECRET_KEY"], "values aren't shown")
			}
		})
	}
}

func TestLoad_ReportsAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(map[string]string{"DEBUG": "false", "ALGORITHM": "RS256"}, all...)
	var problems config.ProblemsError
	require.ErrorAs(t, err, &problems)
	for _, name := range []string{"ALGORITHM", "DATABASE_URL", "SECRET_KEY", "DATA_KEY", "PAYSTACK_SECRET_KEY", "EXTERNAL_DB_PASSWORD", "BASE_DOMAIN", "CORS_ORIGINS"} {
		require.ErrorContains(t, err, name)
	}
}

func TestLoad_DebugAllowsLocalValues(t *testing.T) {
	t.Parallel()
	env := maps.Clone(production())
	maps.Copy(env, map[string]string{
		"DEBUG": "true", "BASE_DOMAIN": "localhost", "CORS_ORIGINS": "http://localhost:5173", "API_PUBLIC_URL": "http://127.0.0.1:8001",
		"PAYSTACK_SECRET_KEY": "sk_test_abc", "PAYSTACK_BASE_URL": "http://127.0.0.1:8010", "EDGE_PUBLIC_URL": "http://localhost:8080",
	})
	cfg, err := config.Load(env, all...)
	require.NoError(t, err)
	require.Equal(t, "public", cfg.DocsAccess())
	require.Equal(t, "http://acme.localhost:8080", cfg.TenantURL("acme.localhost"))
}

func TestLoad_ReadsSecretsFromFiles(t *testing.T) {
	t.Parallel()
	env := production()
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte(env["SECRET_KEY"]+"\n"), 0o600))
	want := env["SECRET_KEY"]
	delete(env, "SECRET_KEY")
	env["SECRET_KEY_FILE"] = path
	cfg, err := config.Load(env, all...)
	require.NoError(t, err)
	require.Equal(t, want, cfg.Auth.SecretKey.Reveal())

	env["SECRET_KEY_FILE"] = path + ".not"
	_, err = config.Load(env, all...)
	require.ErrorContains(t, err, "SECRET_KEY_FILE can't be read")
}

func TestLoad_ACommandNeedsOnlyItsParts(t *testing.T) {
	t.Parallel()
	env := production()
	for _, name := range []string{"SECRET_KEY", "DATA_KEY", "PAYSTACK_SECRET_KEY", "EXTERNAL_DB_PASSWORD", "MIGRATE_DATABASE_URL"} {
		delete(env, name)
	}
	_, err := config.Load(env, config.PartPlatform)
	require.NoError(t, err)
}

func TestEnviron_FileIsOptionalAndWeaker(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("APP_NAME", "from the environment")
	file := filepath.Join(dir, ".env")
	require.NoError(t, os.WriteFile(file, []byte("APP_NAME=from the file\nBASE_DOMAIN=hosting.ng\n"), 0o600))
	env, err := config.Environ(file)
	require.NoError(t, err)
	require.Equal(t, "from the environment", env["APP_NAME"])
	require.Equal(t, "hosting.ng", env["BASE_DOMAIN"])

	_, err = config.Environ(filepath.Join(dir, "none"))
	require.NoError(t, err)
}
