package edge_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
	"controlplane/internal/certs"
	"controlplane/internal/edge"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const dataKey = "0123456789abcdef0123456789abcdef"

// A process that is started with issueInstead asks for a certificate, as "cert renew" does, while the edge of another answers the CA.
const issueInstead = "EDGE_TEST_ISSUE"

func TestMain(m *testing.M) {
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // each test removes its own containers
	if job := os.Getenv(issueInstead); job != "" {
		if err := issue(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// secure is an edge with TLS, and the CA that it asks.
type secure struct {
	*bundle

	tls     edge.TLS
	tlsAt   string
	acme    acme.Options
	ca      *acmetest.CA
	folder  string
	healths chan acme.Health
}

// setupTLS returns an edge that isn't started yet. doors changes where the CA looks for it, and dns by whom it is asked about names.
func setupTLS(t *testing.T, dns string, doors func(*acmetest.Options), change ...func(*edge.Options)) *secure {
	t.Helper()
	s := &secure{bundle: setup(t, change...), tlsAt: freeAddress(t), folder: filepath.Join(t.TempDir(), "certificates"), healths: make(chan acme.Health, 100)}
	looks := acmetest.Options{HTTPPort: portOf(t, s.opts.Listen), TLSPort: portOf(t, s.tlsAt), DNS: dns}
	if doors != nil {
		doors(&looks)
	}
	s.ca = acmetest.New(t, looks)
	s.acme = acme.Options{
		Directory: s.ca.Directory, Roots: s.ca.Roots, Email: "ops@example.test", BaseDomain: "example.test",
		ListenHost: "127.0.0.1", HTTPPort: portOf(t, s.opts.Listen), TLSPort: portOf(t, s.tlsAt),
	}
	sealer, err := secrets.NewSealer(dataKey)
	require.NoError(t, err)
	folder, err := certs.NewFolder(s.folder, sealer)
	require.NoError(t, err)
	s.tls = edge.TLS{
		Listen: s.tlsAt, PublicPort: strconv.Itoa(portOf(t, s.tlsAt)), Store: certs.NewStore(s.opts.Pool, sealer), Folder: folder,
		OnHealth: func(_ context.Context, h acme.Health) error { s.healths <- h; return nil },
	}
	return s
}

// begin starts the edge with what was prepared.
func (s *secure) begin() {
	s.t.Helper()
	client, err := acme.New(s.acme, s.tls.Store)
	require.NoError(s.t, err)
	s.tls.ACME = client
	s.opts.TLS = &s.tls
	s.start()
}

// shake makes a handshake and returns what a browser would know then.
func (s *secure) shake(name string, change ...func(*tls.Config)) (tls.ConnectionState, error) {
	s.t.Helper()
	config := &tls.Config{ServerName: name, RootCAs: s.ca.Trust, NextProtos: []string{"h2", "http/1.1"}}
	for _, c := range change {
		c(config)
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 20 * time.Second}, Config: config}
	conn, err := dialer.DialContext(s.t.Context(), "tcp", s.tlsAt)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState(), nil //nolint:forcetypeassert // tls.Dialer's
}

// served waits until name has a certificate that browsers accept.
func (s *secure) served(name string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { _, err := s.shake(name); return err == nil }, time.Minute, 50*time.Millisecond, "%s has a certificate: %s", name, s.log)
}

// client returns one that trusts the CA and finds all names at the edge.
func (s *secure) browser() *http.Client {
	s.t.Helper()
	dialer := &net.Dialer{}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", s.tlsAt)
		},
		TLSClientConfig: &tls.Config{RootCAs: s.ca.Trust}, ForceAttemptHTTP2: true,
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// domain gives a tenant a domain of its own.
func (s *secure) domain(id tenants.ID, name, status string) {
	s.t.Helper()
	s.exec(`INSERT INTO tenant_domains (tenant_id, domain, display, token, status, created_at, next_check_at, expires_at, verified_at)
		VALUES ($1, $2, $2, md5($2), $3, now(), now(), CASE WHEN $3 = 'pending' THEN now() + interval '1 day' END, CASE WHEN $3 <> 'pending' THEN now() END)`,
		id, name, status)
}

// job is what another process needs to ask for a certificate.
func (s *secure) job(host string) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "roots.pem")
	require.NoError(s.t, os.WriteFile(file, s.ca.RootsPEM, 0o600))
	config := s.pool.Config().ConnConfig
	return fmt.Sprintf("%s %s %s %d %d postgres://%s:%s@%s/%s?sslmode=disable", host, s.ca.Directory, file, s.acme.HTTPPort, s.acme.TLSPort,
		config.User, config.Password, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), config.Database)
}

// issue does a job.
func issue(job string) error {
	var host, directory, file, url string
	opts := acme.Options{Email: "ops@example.test", BaseDomain: "example.test", ListenHost: "127.0.0.1"}
	if _, err := fmt.Sscan(job, &host, &directory, &file, &opts.HTTPPort, &opts.TLSPort, &url); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pool, err := postgres.Open(ctx, url, postgres.Options{MaxConns: 4})
	if err != nil {
		return err
	}
	defer pool.Close()
	sealer, err := secrets.NewSealer(dataKey)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file) //nolint:gosec // the test's
	if err != nil {
		return err
	}
	opts.Directory, opts.Roots = directory, pool509(text)
	store := certs.NewStore(pool, sealer)
	client, err := acme.New(opts, store)
	if err != nil {
		return err
	}
	_, err = client.Issue(ctx, host)
	return err
}
