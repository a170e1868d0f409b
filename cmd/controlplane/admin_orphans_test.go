package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

// runOrphans runs the command on a list.
func runOrphans(t *testing.T, list []provision.Orphan, err error, args ...string) (string, error) {
	t.Helper()
	cmd := newAdminOrphansCommand(func(context.Context) ([]provision.Orphan, error) { return list, err })
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAdminOrphans(t *testing.T) {
	t.Parallel()
	seen := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	list := []provision.Orphan{
		{Object: provision.Object{Kind: provision.KindVolume, Name: "odoo_acme_data", Owner: "tenant/7"}, Reason: "its client is deleted", FirstSeen: seen},
		{Object: provision.Object{Kind: provision.KindRole, Name: "odoo_acme"}, Reason: "was left half-made", Keep: true},
	}
	out, err := runOrphans(t, nil, nil)
	require.NoError(t, err)
	require.Empty(t, out)

	out, err = runOrphans(t, list, nil)
	require.EqualError(t, err, "2 orphaned")
	require.Equal(t, "KIND    NAME            OWNER     FIRST SEEN            REASON\n"+
		"volume  odoo_acme_data  tenant/7  2026-03-04T05:06:07Z  its client is deleted\n"+
		"role    odoo_acme       -         now                   was left half-made\n", out)

	out, err = runOrphans(t, list, nil, "--json")
	require.Error(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2, "one object per line")
	require.JSONEq(t, `{"kind":"volume","name":"odoo_acme_data","owner":"tenant/7","reason":"its client is deleted","first_seen":"2026-03-04T05:06:07Z","kept":false}`, lines[0])
	require.JSONEq(t, `{"kind":"role","name":"odoo_acme","owner":"","reason":"was left half-made","first_seen":null,"kept":true}`, lines[1])

	out, err = runOrphans(t, nil, errors.New("the engine can't be reached"), "--json")
	require.EqualError(t, err, "the engine can't be reached")
	require.Empty(t, out)
}
