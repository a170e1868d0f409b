package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
)

func TestAdminWebhookReplay(t *testing.T) {
	t.Parallel()
	run := func(args ...string) (got billing.ReplayFilter, out string, err error) {
		cmd := newAdminWebhookCommand(func(_ context.Context, f billing.ReplayFilter) (int, error) {
			got = f
			return 3, nil
		})
		var buffer bytes.Buffer
		cmd.SetOut(&buffer)
		cmd.SetArgs(append([]string{"replay"}, args...))
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err = cmd.ExecuteContext(t.Context())
		return got, buffer.String(), err
	}
	got, out, err := run("--reference", "ODOO-0123456789AB", "--since", "2026-03-01T00:00:00Z", "--event", "7")
	require.NoError(t, err)
	require.Equal(t, "3 events will be applied again\n", out)
	require.Equal(t, billing.ReplayFilter{EventID: 7, Reference: "ODOO-0123456789AB", Since: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}, got)

	_, _, err = run()
	require.ErrorContains(t, err, "say which events")
	_, _, err = run("--until", "yesterday")
	require.ErrorContains(t, err, `--until: "yesterday" is not a time`)
	_, _, err = run("everything")
	require.Error(t, err)
}
