package edge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"controlplane/internal/certs"
	"controlplane/internal/edge"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const (
	roleVariable = "EDGE_TEST_ROLE" // what this program is when it starts itself: "world" or "edge"
	worldEdge    = "127.0.0.1:8080"
	worldTLS     = "127.0.0.1:8443"
	worldTimeout = 30 * time.Second
)

// TestEdge_RestartDropsNothing restarts edges under load: a new one is started beside the one that ends, both processes of their own, in a
// network namespace whose kernel setting is that of production. PostgreSQL isn't there at all.
func TestEdge_RestartDropsNothing(t *testing.T) {
	t.Parallel()
	switch os.Getenv(roleVariable) {
	case "world":
		restartUnderLoad(t)
		return
	case "edge":
		runEdgeProcess(t)
		return
	}
	oneAtATime.Lock()
	t.Cleanup(oneAtATime.Unlock)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), roleVariable+"=world")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Log(string(out))
}

// runEdgeProcess is one edge until somebody ends it.
func runEdgeProcess(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, "postgres://nobody@127.0.0.1:1/nothing?sslmode=disable&connect_timeout=1")
	require.NoError(t, err)
	defer pool.Close()
	var https *edge.TLS
	if dir := os.Getenv("EDGE_TEST_TLS"); dir != "" {
		sealer, err := secrets.NewSealer(dataKey)
		require.NoError(t, err)
		folder, err := certs.NewFolder(filepath.Join(dir, "certificates"), sealer)
		require.NoError(t, err)
		https = &edge.TLS{
			Listen: worldTLS, Store: certs.NewStore(pool, sealer), Folder: folder,
			CertFile: filepath.Join(dir, "chain.pem"), KeyFile: filepath.Join(dir, "key.pem"),
		}
	}
	e, err := edge.New(edge.Options{
		TLS: https, Listen: worldEdge, BaseDomain: "example.test", Pool: pool, StateFile: os.Getenv("EDGE_TEST_STATE"), MetricsListen: os.Getenv("EDGE_TEST_METRICS"),
		AccessLog: os.Getenv("EDGE_TEST_LOG"), LameDuck: 300 * time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	require.NoError(t, err)
	require.NoError(t, e.Run(ctx))
}

// load is what clients of the edge have seen.
type load struct {
	address  string
	answers  atomic.Int64
	problems chan error
}

func restartUnderLoad(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/tcp_migrate_req", []byte("1"), 0))
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/report" {
			timer := time.NewTimer(700 * time.Millisecond) // longer than the leave that an edge takes
			defer timer.Stop()
			<-timer.C
		}
		_, _ = io.WriteString(w, "odoo")
	}), nil)
	dir := t.TempDir()
	state, err := json.Marshal(map[string]any{"version": 1, "saved_at": time.Now(), "routes": []tenants.Route{{
		TenantID: 1, Name: "acme", Host: "acme.example.test", State: tenants.Active, Address: netip.MustParseAddr("127.0.0.1"),
		HTTPPort: up.httpPort, EventPort: up.eventPort,
	}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "routes.json"), state, 0o600))

	running := startEdgeProcess(t, dir, 0)
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{address: worldEdge, problems: make(chan error, 1000)}
	var clients sync.WaitGroup
	for range 6 {
		clients.Go(func() { l.ask(ctx, "/", true, 5*time.Millisecond) })
		clients.Go(func() { l.ask(ctx, "/", false, 2*time.Millisecond) })
	}
	clients.Go(func() { l.ask(ctx, "/report", false, time.Millisecond) })
	const restarts = 5
	for i := range restarts {
		next := startEdgeProcess(t, dir, i+1)
		require.NoError(t, running.Process.Signal(syscall.SIGTERM))
		require.NoError(t, running.Wait())
		running = next
	}
	cancel()
	clients.Wait()
	require.NoError(t, running.Process.Signal(syscall.SIGTERM))
	require.NoError(t, running.Wait())
	close(l.problems)
	for err := range l.problems {
		t.Error("dropped:", err)
	}
	t.Logf("%d restarts, %d answers", restarts, l.answers.Load())
	require.Greater(t, l.answers.Load(), int64(100))
	for i := range restarts + 1 {
		served, err := os.Stat(filepath.Join(dir, fmt.Sprintf("access-%d.log", i)))
		require.NoError(t, err)
		require.Positive(t, served.Size(), "edge %d has served", i)
	}
}

// startEdgeProcess returns when the new edge says that it serves.
func startEdgeProcess(t *testing.T, dir string, i int) *exec.Cmd {
	metrics := fmt.Sprintf("127.0.0.1:%d", 9100+i)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEdge_RestartDropsNothing$")
	cmd.Env = append(os.Environ(), roleVariable+"=edge", "EDGE_TEST_STATE="+filepath.Join(dir, "routes.json"), "EDGE_TEST_METRICS="+metrics,
		"EDGE_TEST_LOG="+filepath.Join(dir, fmt.Sprintf("access-%d.log", i)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		res, err := http.Get("http://" + metrics + "/health") //nolint:noctx // a local question
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}, worldTimeout, 5*time.Millisecond, "edge %d serves", i)
	return cmd
}

// ask asks again and again until ctx ends, on one connection for as long as the edge lets it, or on a new one each time. Nothing is asked
// twice: what isn't answered is dropped.
func (l *load) ask(ctx context.Context, path string, keep bool, pause time.Duration) {
	pace := time.NewTicker(pause)
	defer pace.Stop()
	var conn net.Conn
	for ctx.Err() == nil {
		again, err := l.once(&conn, path, keep)
		if err != nil {
			l.problems <- fmt.Errorf("%s after %d answers: %w", path, l.answers.Load(), err)
		}
		if (err != nil || !again) && conn != nil {
			_ = conn.Close()
			conn = nil
		}
		<-pace.C
	}
	if conn != nil {
		_ = conn.Close()
	}
}

func (l *load) once(conn *net.Conn, path string, keep bool) (again bool, err error) {
	if *conn == nil {
		if *conn, err = net.DialTimeout("tcp", l.address, worldTimeout); err != nil {
			return false, err
		}
	}
	_ = (*conn).SetDeadline(time.Now().Add(worldTimeout))
	header := ""
	if !keep {
		header = "Connection: close\r\n"
	}
	if _, err = io.WriteString(*conn, "GET "+path+" HTTP/1.1\r\nHost: acme.example.test\r\n"+header+"\r\n"); err != nil {
		return false, err
	}
	res, err := http.ReadResponse(bufio.NewReader(*conn), nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != "odoo" {
		return false, fmt.Errorf("%d %q: %w", res.StatusCode, body, err)
	}
	l.answers.Add(1)
	return keep && !res.Close, nil
}
