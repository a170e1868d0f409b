package main

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdminBillingBackfill(t *testing.T) {
	t.Parallel()
	run := func(fail error, args ...string) (string, error) {
		cmd := newAdminBillingCommand(func(context.Context) (int, error) { return 3, fail })
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	out, err := run(nil, "backfill")
	require.NoError(t, err)
	require.Equal(t, "3 payments booked\n", out)
	out, err = run(errors.New("no room"), "backfill")
	require.EqualError(t, err, "no room")
	require.Contains(t, out, "3 payments booked")
	_, err = run(nil, "backfill", "everything")
	require.Error(t, err)
}
