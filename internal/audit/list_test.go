package audit_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/audit"
	"controlplane/internal/postgres/pgtest"
)

func TestList_NarrowsByEverything(t *testing.T) {
	t.Parallel()
	owner, lesser := pgtest.NewPair(t)
	log := audit.New(lesser)
	day := func(n int) time.Time { return time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC) }
	for i, action := range []string{"client.create", "client.suspend", "clientele.x", "payment.paid", "client_x", "client%x"} {
		_, err := owner.Exec(t.Context(), "INSERT INTO activity_log (at, actor, action) VALUES ($1, $2, $3)", day(i+1), "a"+action, action)
		require.NoError(t, err)
	}
	tests := map[string]struct {
		filter audit.Filter
		want   []string
	}{
		"everything":    {audit.Filter{}, []string{"client%x", "client_x", "payment.paid", "clientele.x", "client.suspend", "client.create"}},
		"prefix":        {audit.Filter{ActionPrefix: "client."}, []string{"client.suspend", "client.create"}},
		"no wildcard _": {audit.Filter{ActionPrefix: "client_"}, []string{"client_x"}},
		"no wildcard %": {audit.Filter{ActionPrefix: "client%"}, []string{"client%x"}},
		"actor":         {audit.Filter{Actor: "apayment.paid"}, []string{"payment.paid"}},
		"since, until":  {audit.Filter{Since: day(2), Until: day(4)}, []string{"clientele.x", "client.suspend"}},
		"all of it":     {audit.Filter{Since: day(2), ActionPrefix: "client", Before: 3, Limit: 5}, []string{"client.suspend"}},
		"nothing":       {audit.Filter{AccountID: 9}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			records, err := log.List(t.Context(), tt.filter)
			require.NoError(t, err)
			var actions []string
			for _, r := range records {
				actions = append(actions, r.Action)
			}
			require.Equal(t, tt.want, actions)
		})
	}
}

func TestActivity_ShowsOwnersWhatIsTheirs(t *testing.T) {
	t.Parallel()
	log := audit.New(pgtest.New(t))
	const tenant, owner, staff = 9, 7, 1
	home, office := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("198.51.100.1")
	detail := func(reason string) map[string]any {
		return map[string]any{"plan": "basic", "reason": reason, "operation": 5, "notes": "changed", "desired": "x"}
	}
	for _, e := range []audit.Entry{
		{AccountID: owner, Actor: "ada", Action: "client.create", IP: home, Detail: detail("mine")},
		{AccountID: staff, Actor: "root", Action: "client.suspend", IP: office, Detail: detail("unpaid invoice")},
		{AccountID: staff, Actor: "root", Action: "client.activate", IP: office, Detail: detail("a friend of the boss")},
		{Actor: "system", Action: "payment.applied", Detail: detail("paid")},
		{Actor: "operator", Action: "client.delete", Detail: detail("tidying up")},
		{AccountID: staff, Actor: "root", Action: "operation.retry", IP: office},
		{Actor: "system", Action: "client.secrets_rekey"},
	} {
		e.TenantID = tenant
		require.NoError(t, log.Record(t.Context(), e))
	}
	require.NoError(t, log.Record(t.Context(), audit.Entry{TenantID: tenant + 1, Actor: "eve", Action: "client.create"}))

	records, err := log.Activity(t.Context(), audit.ActivityFilter{TenantID: tenant, OwnerID: owner})
	require.NoError(t, err)
	plain, reason := map[string]any{"plan": "basic"}, func(r string) map[string]any { return map[string]any{"plan": "basic", "reason": r} }
	want := []audit.Entry{
		{Actor: audit.Support, TenantID: tenant, Action: "client.delete", Detail: plain},
		{Actor: "system", TenantID: tenant, Action: "payment.applied", Detail: reason("paid")},
		{Actor: audit.Support, TenantID: tenant, Action: "client.activate", Detail: plain},
		{Actor: audit.Support, TenantID: tenant, Action: "client.suspend", Detail: reason("unpaid invoice")},
		{AccountID: owner, Actor: "ada", TenantID: tenant, Action: "client.create", IP: home, Detail: reason("mine")},
	}
	require.Len(t, records, len(want))
	for i, r := range records {
		require.Equal(t, want[i], r.Entry)
	}
	page, err := log.Activity(t.Context(), audit.ActivityFilter{TenantID: tenant, OwnerID: owner, Before: records[2].ID, Limit: 1})
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, records[3].ID, page[0].ID)
}

func TestDiff_TellsWhatWasAndIs(t *testing.T) {
	t.Parallel()
	before := map[string]any{"email": "a@x", "plan": "basic", "password": "old", "apps": []string{"crm"}}
	after := map[string]any{"email": "b@x", "plan": "basic", "password": "new", "apps": []string{"crm"}, "notes": "n"}
	require.Equal(t, map[string]any{"email": []any{"a@x", "b@x"}, "password": "changed", "notes": []any{nil, "n"}}, audit.Diff(before, after))
}
