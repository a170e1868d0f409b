package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/audit"
)

func TestAdminAuditVerify(t *testing.T) {
	t.Parallel()
	anchor := "3:" + strings.Repeat("ab", 32)
	good := audit.Report{Batches: 3, Rows: 10, Unsealed: 2, Head: anchor}
	bad := good
	bad.Problems, bad.More = []audit.Problem{{Batch: 2, Row: 6, What: "it was changed"}}, 4
	tests := map[string]struct {
		report audit.Report
		args   []string
		want   []string
		fails  string
	}{
		"good":       {good, nil, []string{"10 rows in 3 batches, 2 rows not sealed yet", "head: " + anchor}, ""},
		"bad":        {bad, nil, []string{"batch 2: row 6: it was changed", "and 4 more"}, "isn't what was sealed"},
		"bad anchor": {good, []string{"--anchor", "x"}, nil, "--anchor: an anchor looks like"},
		"anchored":   {good, []string{"--anchor", anchor}, []string{"head: "}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := runAudit(t, tt.report, tt.args...)
			for _, line := range tt.want {
				require.Contains(t, out, line)
			}
			if tt.fails != "" {
				require.ErrorContains(t, err, tt.fails)
				return
			}
			require.NoError(t, err)
		})
	}
	out, err := runAudit(t, bad, "--json")
	require.Error(t, err)
	var back audit.Report
	require.NoError(t, json.Unmarshal([]byte(out), &back))
	require.Equal(t, bad, back)
}

func runAudit(t *testing.T, r audit.Report, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newAdminAuditCommand(func(_ context.Context, anchors []audit.Anchor) (audit.Report, error) {
		require.Len(t, anchors, len(args)/2)
		return r, nil
	})
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append([]string{"verify"}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}
