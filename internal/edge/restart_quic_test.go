package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"controlplane/internal/acme/acmetest"
	"controlplane/internal/tenants"
)

// TestEdge_RestartKeepsHTTP3 restarts edges while clients ask over HTTP/3, which do as browsers do: where nobody speaks it, or a server sends
// them away before it has looked at their request, they ask over TCP.
func TestEdge_RestartKeepsHTTP3(t *testing.T) {
	t.Parallel()
	if os.Getenv(roleVariable) == "world" {
		restartUnderQUIC(t)
		return
	}
	oneAtATime.Lock()
	t.Cleanup(oneAtATime.Unlock)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), roleVariable+"=world", "EDGE_TEST_TLS="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Log(string(out))
}

func restartUnderQUIC(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/report" {
			timer := time.NewTimer(700 * time.Millisecond) // longer than the leave that an edge takes
			defer timer.Stop()
			<-timer.C
		}
		_, _ = io.WriteString(w, "odoo")
	}), nil)
	dir := os.Getenv("EDGE_TEST_TLS")
	state, err := json.Marshal(map[string]any{"version": 1, "saved_at": time.Now(), "routes": []tenants.Route{{
		TenantID: 1, Name: "acme", Host: "acme.example.test", State: tenants.Active, Address: netip.MustParseAddr("127.0.0.1"),
		HTTPPort: up.httpPort, EventPort: up.eventPort,
	}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "routes.json"), state, 0o600))
	chain, key := acmetest.SelfSigned(t, time.Now(), "example.test", "*.example.test")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "chain.pem"), chain, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600))

	running := startEdgeProcess(t, dir, 0)
	ctx, cancel := context.WithCancel(t.Context())
	var answers [4]atomic.Int64 // by major version
	problems := make(chan error, 1000)
	var clients sync.WaitGroup
	for _, path := range []string{"/", "/", "/", "/report"} {
		b := newVisitor(pool509(chain))
		clients.Go(func() {
			defer b.close()
			for ctx.Err() == nil {
				version, err := b.ask(path)
				if err != nil {
					problems <- fmt.Errorf("%s: %w", path, err)
					continue
				}
				answers[version].Add(1)
			}
		})
	}
	served := func(i int) {
		before := answers[3].Load()
		require.Eventually(t, func() bool { return answers[3].Load() > before+20 }, worldTimeout, 5*time.Millisecond, "edge %d speaks HTTP/3", i)
	}
	const restarts = 3
	for i := range restarts {
		served(i)
		next := startEdgeProcess(t, dir, i+1)
		served(i) // a second edge doesn't disturb the first
		require.NoError(t, running.Process.Signal(syscall.SIGTERM))
		require.NoError(t, running.Wait())
		running = next
	}
	served(restarts)
	cancel()
	clients.Wait()
	require.NoError(t, running.Process.Signal(syscall.SIGTERM))
	require.NoError(t, running.Wait())
	close(problems)
	for err := range problems {
		t.Error("dropped:", err)
	}
	t.Logf("%d restarts, %d answers over HTTP/3, %d over HTTP/2", restarts, answers[3].Load(), answers[2].Load())
}

// visitor asks over HTTP/3, and over HTTP/2 where that isn't to be had.
type visitor struct {
	three *http3.Transport
	two   *http.Transport
}

func newVisitor(roots *x509.CertPool) *visitor {
	trust := &tls.Config{RootCAs: roots, ServerName: "acme.example.test"}
	return &visitor{
		three: &http3.Transport{TLSClientConfig: trust, QUICConfig: &quic.Config{HandshakeIdleTimeout: 2 * time.Second}},
		two:   &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true},
	}
}

func (b *visitor) close() {
	_ = b.three.Close()
	b.two.CloseIdleConnections()
}

func (b *visitor) ask(path string) (version int, err error) {
	version, err = once(b.three, path)
	if err != nil && unheard(err) {
		return once(b.two, path)
	}
	return version, err
}

func once(by http.RoundTripper, path string) (version int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), worldTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+worldTLS+path, nil)
	if err != nil {
		return 0, err
	}
	req.Host = "acme.example.test"
	res, err := by.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != "odoo" {
		return 0, fmt.Errorf("%d %q: %w", res.StatusCode, body, err)
	}
	return res.ProtoMajor, nil
}

// unheard reports whether a request was surely not looked at by the server (RFC 9114, 4.1.1 and 5.2), so that anybody asks again.
func unheard(err error) bool {
	var stream *http3.Error
	var refused *quic.TransportError
	var handshake *quic.HandshakeTimeoutError
	return errors.As(err, &stream) && stream.ErrorCode == http3.ErrCodeRequestRejected ||
		errors.As(err, &refused) && refused.ErrorCode == quic.ConnectionRefused || errors.As(err, &handshake)
}
