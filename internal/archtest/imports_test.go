// Package archtest holds the rules of docs/architecture.md that a test can check.
package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "controlplane/"

// layer is one row of the import table: what a package may import of ours, what it never may, and why.
type layer struct {
	pkg    string
	may    []string // of ours, below internal/; nil: nothing
	never  []string // of anybody's
	reason string
}

var (
	l0      = []string{"errs", "secrets"}
	l3      = []string{"errs", "secrets", "postgres", "ops", "accounts", "audit", "tenants", "ratelimit", "alerts", "ledger"}
	l4      = append([]string{"capacity", "notices"}, l3...)
	webSDKs = []string{"net/http", "github.com/moby/", "github.com/aws/", "github.com/caddyserver/"}
)

func table() []layer {
	return []layer{
		{"errs", nil, nil, "everybody imports it"},
		{"secrets", nil, nil, "everybody imports it"},
		{"cors", nil, []string{"github.com/"}, "the API and the edge both say it"},
		{"postgres", []string{"errs"}, nil, "it knows the database, not the domain"},
		{"ratelimit", []string{"errs", "postgres"}, nil, "it counts, and doesn't know what"},
		{"alerts", []string{"errs", "postgres"}, webSDKs, "it keeps what operators have to know, and sends nothing"},
		{"metrics", nil, []string{"github.com/jackc/pgx", "github.com/caddyserver/"}, "it tells numbers, and doesn't know whose"},
		{"certs", []string{"errs", "secrets", "postgres"}, webSDKs, "it keeps certificates, and knows no CA"},
		{"dnsupdate", l0, []string{"github.com/jackc/pgx", "github.com/caddyserver/"}, "it changes DNS, and doesn't know what for"},
		{"acme", []string{"errs", "secrets", "certs"}, []string{"github.com/moby/", "github.com/jackc/pgx"}, "it asks a CA; the edge says for whom"},
		{"idempotency", []string{"errs", "postgres"}, webSDKs, "it remembers answers, and doesn't know what for"},
		{"ops", []string{"errs", "postgres"}, nil, "it knows no tenant"},
		{"audit", []string{"errs", "secrets", "postgres", "ops"}, webSDKs, "the domain doesn't know how it is reached"},
		{"accounts", []string{"errs", "secrets", "postgres", "ops", "audit", "ratelimit"}, webSDKs, "the domain doesn't know how it is reached"},
		{"tenants", []string{"errs", "secrets", "postgres", "ops", "accounts", "audit"}, webSDKs, "the domain doesn't know how it is reached"},
		{"capacity", []string{"errs", "postgres", "alerts", "tenants"}, webSDKs, "it adds up rows; others measure"},
		{"notices", []string{"errs", "postgres", "accounts", "tenants"}, webSDKs, "it keeps what owners are to be told, and sends nothing"},
		{"ledger", []string{"errs", "postgres", "accounts", "tenants"}, webSDKs, "it keeps the books, and judges nothing"},
		{"feed", []string{"errs", "postgres", "ops", "accounts", "tenants"}, webSDKs, "it tells what happened, and doesn't know who follows"},
		{"invoicing", []string{"errs", "secrets", "postgres", "accounts", "audit", "tenants", "ledger"}, webSDKs, "it writes papers, and asks nobody for money"},
		{"billing", append([]string{"invoicing", "notices"}, l3...), webSDKs, "the gateway is behind an interface declared here"},
		{"provision", l4, append([]string{"github.com/jackc/pgx/v5/pgconn"}, webSDKs[1:]...), "engine and cluster are behind interfaces declared here"},
		{"backup", append([]string{"backup/archive", "backup/odoozip", "backup/retention", "backup/timing", "notices"}, l3...), webSDKs, "store, cluster and engine are behind interfaces declared here"},
		{"backup/retention", nil, []string{"github.com/"}, "it is pure"},
		{"backup/timing", nil, []string{"github.com/"}, "it is pure"},
		{"backup/archive", l0, append([]string{"github.com/jackc/pgx"}, webSDKs...), "the format doesn't know where it is kept"},
		{"backup/odoozip", l0, append([]string{"github.com/jackc/pgx"}, webSDKs...), "Odoo's own format, whoever made it; what it says is never run there"},
		{"backup/store", append([]string{"backup"}, l0...), []string{"github.com/jackc/pgx"}, "an adapter runs no SQL on our tables"},
		{"backup/pgtools", append([]string{"backup", "backup/archive", "backup/odoozip"}, l0...), []string{"github.com/moby/"}, "adapters don't import each other"},
		{"domains", append([]string{"certs"}, l4...), webSDKs, "the DNS is behind an interface declared here"},
		{"domains/resolver", append([]string{"domains"}, l0...), []string{"github.com/jackc/pgx"}, "an adapter runs no SQL on our tables"},
		{"billing/paystack", append([]string{"billing"}, l0...), []string{"github.com/jackc/pgx"}, "an adapter runs no SQL on our tables"},
		{"billing/paystack/simulator", l0, []string{"github.com/jackc/pgx"}, "it stands for a foreign service"},
		{"provision/docker", append([]string{"provision", "provision/netguard"}, l0...), []string{"github.com/jackc/pgx"}, "an adapter runs no SQL on our tables"},
		{"provision/netguard", append([]string{"provision"}, l0...), nil, "it runs alone in a container"},
		{"provision/pgcluster", append([]string{"provision"}, l0...), []string{"github.com/moby/"}, "adapters don't import each other"},
		{"edge", []string{"errs", "secrets", "cors", "postgres", "tenants", "accounts", "certs", "acme", "metrics"}, []string{"github.com/moby/"}, "it keeps serving when all else is down"},
		{"inspect", []string{"errs", "secrets", "accounts", "tenants"}, []string{"github.com/moby/", "github.com/jackc/pgx"}, "it carries questions to a worker; the worker's provision answers"},
		{"cleanup", []string{"errs", "postgres", "ops", "accounts", "audit", "tenants", "alerts"}, webSDKs, "sweeps only enqueue; what they call is wired in cmd"},
		{"api", []string{"errs", "secrets", "cors", "postgres", "ops", "accounts", "audit", "tenants", "billing", "invoicing", "domains", "backup", "ratelimit", "idempotency", "capacity", "alerts", "feed"}, []string{"github.com/moby/", "github.com/jackc/pgx"}, "handlers decode, call a service and encode"},
		{"config", l0, nil, "only cmd imports it"},
	}
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	imports := directImports(t)
	for _, l := range table() {
		direct, ok := imports[module+"internal/"+l.pkg]
		require.True(t, ok, "package %s of the table is missing", l.pkg)
		for _, imported := range direct {
			if ours, isOurs := strings.CutPrefix(imported, module); isOurs {
				ours = strings.TrimPrefix(ours, "internal/")
				require.True(t, slices.Contains(l.may, ours) || data(ours), "%s imports %s: %s", l.pkg, ours, l.reason)
				continue
			}
			for _, forbidden := range l.never {
				require.False(t, imported == forbidden || strings.HasPrefix(imported, strings.TrimSuffix(forbidden, "/")+"/"),
					"%s imports %s: %s", l.pkg, imported, l.reason)
			}
		}
	}
}

// data reports whether a package only holds embedded files.
func data(pkg string) bool { return pkg == "migrations" || strings.HasPrefix(pkg, "deploy/") }

func TestEveryPackageHasARow(t *testing.T) {
	t.Parallel()
	for pkg := range directImports(t) {
		name, ok := strings.CutPrefix(pkg, module+"internal/")
		if !ok || strings.HasSuffix(name, "test") {
			continue
		}
		require.True(t, slices.ContainsFunc(table(), func(l layer) bool { return l.pkg == name }), "internal/%s has no row in the import table", name)
	}
}

func TestOnlyTheAdapterImportsTheEngineClient(t *testing.T) {
	t.Parallel()
	for pkg, direct := range directImports(t) {
		for _, imported := range direct {
			if strings.HasPrefix(imported, "github.com/moby/") {
				require.Equal(t, module+"internal/provision/docker", pkg, "only the adapter knows the engine")
			}
		}
	}
}

// directImports returns the imports of each of our packages, tests left out.
func directImports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	imports := map[string][]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return imports
		}
		require.NoError(t, err)
		imports[p.ImportPath] = p.Imports
	}
}
