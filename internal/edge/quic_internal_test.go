package edge

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClaimUDP_TellsWhoKeepsThePort(t *testing.T) {
	t.Parallel()
	held, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := &Edge{log: slog.New(slog.NewTextHandler(&log, nil)), tls: &tlsSide{TLS: TLS{Listen: held.LocalAddr().String()}}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		_, err := e.claimUDP(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1, strings.Count(log.String(), "another process keeps the UDP port"))
	})
	require.NoError(t, held.Close())
}
