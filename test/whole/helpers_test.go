package whole_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func mustPort(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// postWebhook delivers an event signed as the gateway signs.
func postWebhook(t *testing.T, body string) int {
	t.Helper()
	mac := hmac.New(sha512.New, []byte(shared.Setting("PAYSTACK_SECRET_KEY")))
	mac.Write([]byte(body))
	return post(t, body, hex.EncodeToString(mac.Sum(nil)))
}

func postUnsigned(t *testing.T, body string) int {
	t.Helper()
	return post(t, body, "")
}

func post(t *testing.T, body, signature string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shared.API+"/api/payments/webhook", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if signature != "" {
		req.Header.Set("X-Paystack-Signature", signature)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

// rawGet asks the edge for a path that is sent as it is: Go's client would tidy it up.
func rawGet(t *testing.T, host, path string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(shared.Edge, "http://"), 10*time.Second)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\nConnection: close\r\n\r\n", path, host, randomAddress())
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

// awaitTemplate waits for the plan's template: the platform is up as soon as the first one is there.
func awaitTemplate(t *testing.T, plan string) {
	t.Helper()
	const q = `SELECT EXISTS (SELECT FROM templates t JOIN plans p ON t.apps @> p.apps AND t.apps <@ p.apps WHERE p.id = $1 AND t.state = 'ready')`
	require.Eventually(t, func() bool {
		var ready bool
		return shared.Pool.QueryRow(t.Context(), q, plan).Scan(&ready) == nil && ready
	}, templateTimeout, time.Second, "the template of plan %s", plan)
}

// requireWebSocket opens Odoo's bus through the edge. With workers it has a process of its own, which listens a moment after the others;
// browsers try again as this does.
func requireWebSocket(t *testing.T, o *odoo) {
	t.Helper()
	require.Eventually(t, func() bool { return upgrade(t, o) == http.StatusSwitchingProtocols }, activeTimeout, tick, "the bus answers")
}

// upgrade asks for a WebSocket and returns the status.
func upgrade(t *testing.T, o *odoo) int {
	t.Helper()
	conn := o.dial(t)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	req := o.request(http.MethodGet, "/", nil)
	_, err := fmt.Fprintf(conn, "GET /websocket?version=19.0-2 HTTP/1.1\r\nHost: %s\r\nOrigin: %s://%[1]s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", req.Host, req.URL.Scheme)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

// kill sends SIGKILL to the process of the platform that runs the subcommand; dev starts it again.
func kill(t *testing.T, subcommand string) {
	t.Helper()
	pid := processOf(t, subcommand)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

// processOf finds the child of our own dev; other platforms on this machine have other parents.
func processOf(t *testing.T, subcommand string) int {
	t.Helper()
	found := 0
	require.Eventually(t, func() bool {
		found = findProcess(subcommand)
		return found != 0
	}, activeTimeout, tick, "no %s process", subcommand)
	return found
}

func findProcess(subcommand string) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(string(args), "\x00"+subcommand+"\x00") {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		// "pid (comm) state ppid …"; comm may hold blanks, so read from its end.
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(shared.PID()) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	return 0
}

const (
	stopSignal     = syscall.SIGSTOP
	continueSignal = syscall.SIGCONT
)

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil && s == stopSignal {
		require.NoError(t, err)
	}
}
