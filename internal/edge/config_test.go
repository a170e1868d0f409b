package edge

import (
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Times that Caddy would set for a request, an answer or a stream in all would cut uploads, reports and WebSockets, however well they go.
func TestConfig_HasNoTimeForWholeRequests(t *testing.T) {
	t.Parallel()
	e, err := New(Options{Pool: new(pgxpool.Pool), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NotEmpty(t, e.servers())
	for name, server := range e.servers() {
		server, ok := server.(object)
		require.True(t, ok, name)
		for _, setting := range []string{"read_timeout", "write_timeout"} {
			require.NotContains(t, server, setting, name)
		}
		require.Contains(t, server, "listener_wrappers", "%s: or a restart would drop what comes in", name)
	}
	for _, setting := range []string{"stream_timeout", "stream_close_delay", "request_buffers", "response_buffers"} {
		require.NotContains(t, e.proxy(), setting)
	}
	for _, setting := range []string{"read_timeout", "write_timeout", "response_header_timeout"} {
		require.NotContains(t, e.proxy()["transport"], setting)
	}
}
