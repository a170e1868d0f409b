package edge_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

// What goes on for much longer than any of the edge's times, here a tenth of a second, isn't cut: neither a WebSocket on which nothing is said,
// nor an answer that comes in pieces, nor an upload that is slow but steady.
func TestEdge_NothingCutsWhatTakesLong(t *testing.T) {
	t.Parallel()
	const short, long = 100 * time.Millisecond, time.Second
	b := setup(t, func(o *edge.Options) { o.SlowClient = short })
	wait := func() { timer := time.NewTimer(long); <-timer.C; timer.Stop() }
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, _ := io.Copy(io.Discard, r.Body); n > 0 {
			_, _ = io.WriteString(w, "thanks")
			return
		}
		for _, piece := range []string{"first ", "second"} {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
			wait()
		}
	}), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = stream.Flush()
		_, _ = io.Copy(conn, stream)
	}))
	b.tenant("acme", tenants.Active, up)
	b.start()

	conn, err := net.Dial("tcp", b.opts.Listen)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /websocket HTTP/1.1\r\nHost: acme.example.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)

	require.Equal(t, "first second", b.get("http://acme.example.test/report").body)
	steady := io.LimitReader(&trickle{every: short / 4, piece: 1 << 10}, 30<<10)
	require.Equal(t, "thanks", b.do(b.request(http.MethodPost, "http://acme.example.test/upload", steady)).body)

	_, err = io.WriteString(conn, "still there")
	require.NoError(t, err)
	got := make([]byte, len("still there"))
	_, err = io.ReadFull(in, got)
	require.NoError(t, err)
	require.Equal(t, "still there", string(got))
}
