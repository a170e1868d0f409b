package whole_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/acme/acmetest"
	"controlplane/test/harness"
)

// secureEdge is another edge of the platform, with HTTPS and a certificate from files.
type secureEdge struct {
	address string
	trust   *x509.CertPool
}

// startSecureEdge starts one with the settings of the platform's own, and ends it with the test.
func startSecureEdge(t *testing.T) *secureEdge {
	t.Helper()
	chain, key := acmetest.SelfSigned(t, time.Now().Add(-time.Hour), "localhost", "*.localhost")
	e := &secureEdge{address: acmetest.FreeAddress(t), trust: x509.NewCertPool()}
	require.True(t, e.trust.AppendCertsFromPEM(chain))
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, chain, 0o600))
	require.NoError(t, os.WriteFile(keyFile, key, 0o600))

	own, err := os.ReadFile("/proc/" + strconv.Itoa(processOf(t, "edge")) + "/environ")
	require.NoError(t, err)
	cmd := shared.Command(context.WithoutCancel(t.Context()), "edge")
	cmd.Env = append(strings.Split(strings.Trim(string(own), "\x00"), "\x00"), // of two values the last counts
		"EDGE_LISTEN="+acmetest.FreeAddress(t), "EDGE_TLS_LISTEN="+e.address, "EDGE_TLS_CERT_FILE="+certFile, "EDGE_TLS_KEY_FILE="+keyFile,
		"EDGE_PUBLIC_URL=https://localhost:"+harness.Port(e.address), "EDGE_STATE_FILE="+filepath.Join(dir, "routes.json"), "EDGE_METRICS_LISTEN=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &harness.Transcript{}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log)
		}
	})
	nobody := e.visit(t, "nobody")
	require.Eventually(t, func() bool {
		resp, err := nobody.http.Do(nobody.request(http.MethodGet, "/", nil))
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusNotFound
	}, activeTimeout, tick, "the edge has its routes")
	return e
}

// visit is visit through this edge.
func (e *secureEdge) visit(t *testing.T, name string) *odoo {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", e.address)
		},
		TLSClientConfig: &tls.Config{RootCAs: e.trust}, ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	host := name + ".localhost"
	return &odoo{
		t: t, host: host, edge: "https://" + host + ":" + harness.Port(e.address),
		http: &http.Client{Timeout: activeTimeout, Jar: jar, Transport: transport},
	}
}

// dial opens a connection for a request that is written by hand.
func (o *odoo) dial(t *testing.T) net.Conn {
	t.Helper()
	if o.edge == "" {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(shared.Edge, "http://"), 10*time.Second)
		require.NoError(t, err)
		return conn
	}
	transport := o.http.Transport.(*http.Transport)
	raw, err := transport.DialContext(t.Context(), "tcp", "")
	require.NoError(t, err)
	conn := tls.Client(raw, &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, ServerName: o.host})
	require.NoError(t, conn.HandshakeContext(t.Context()))
	return conn
}

// requireSecureLogin logs in with the form, as people do, and looks at what Odoo makes of HTTPS: links, cookies, and where it sends on to.
func requireSecureLogin(t *testing.T, o *odoo, name, login, password string) {
	t.Helper()
	plain := *o.http
	plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := plain.Do(o.request(http.MethodGet, "/odoo", nil))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	location, err := resp.Location()
	require.NoError(t, err)
	require.Equal(t, o.edge, location.Scheme+"://"+location.Host)
	require.Equal(t, "/web/login", location.Path)

	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "params": map[string]any{
		"db": "odoo_" + strings.ReplaceAll(name, "-", "_"), "login": login, "password": password,
	}})
	require.NoError(t, err)
	req := o.request(http.MethodPost, "/web/session/authenticate", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	resp, err = o.http.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	cookies := resp.Cookies() // the jar wouldn't tell: to it, as to browsers, names below localhost are safe anyway
	require.NotEmpty(t, cookies)
	for _, cookie := range cookies {
		require.True(t, cookie.Secure, cookie.Raw)
	}
	_, err = o.rpc("/web/session/get_session_info", map[string]any{})
	require.NoError(t, err)
}
