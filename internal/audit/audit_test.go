package audit_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/audit"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

func TestRecord_ComesBackAsItWas(t *testing.T) {
	t.Parallel()
	log := audit.New(pgtest.New(t))
	full := audit.Entry{
		AccountID: 7, Actor: "alice", TenantID: 9, Action: "tenant.create",
		IP: netip.MustParseAddr("203.0.113.7"), Detail: map[string]any{"plan": "basic"},
	}
	require.NoError(t, log.Record(t.Context(), full))
	require.NoError(t, log.Record(t.Context(), audit.Entry{Actor: "system", Action: "tenant.delete", IP: netip.MustParseAddr("fe80::1%eth0")}))
	require.NoError(t, log.Record(t.Context(), audit.Entry{Actor: "system", Action: "sweep"}))

	records, err := log.List(t.Context(), audit.Filter{})
	require.NoError(t, err)
	require.Len(t, records, 3, "newest first")
	require.Equal(t, "sweep", records[0].Action)
	require.False(t, records[0].IP.IsValid())
	require.Equal(t, "fe80::1", records[1].IP.String())
	require.Equal(t, full, records[2].Entry)
	require.False(t, records[2].At.IsZero())
}

func TestRecordTx_IsThereExactlyWhenTheWorkIs(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log := audit.New(pool)
	boom := errors.New("boom")
	err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		require.NoError(t, log.RecordTx(t.Context(), tx, audit.Entry{Actor: "alice", Action: "tenant.create"}))
		return boom
	})
	require.ErrorIs(t, err, boom)
	records, err := log.List(t.Context(), audit.Filter{})
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestList_FiltersAndPages(t *testing.T) {
	t.Parallel()
	log := audit.New(pgtest.New(t))
	for i := range int64(6) {
		require.NoError(t, log.Record(t.Context(), audit.Entry{AccountID: 1 + i%2, TenantID: 1 + i%3, Actor: "a", Action: "x"}))
	}
	mine, err := log.List(t.Context(), audit.Filter{AccountID: 2})
	require.NoError(t, err)
	require.Len(t, mine, 3)
	one, err := log.List(t.Context(), audit.Filter{AccountID: 2, TenantID: 2})
	require.NoError(t, err)
	require.Len(t, one, 1)
	first, err := log.List(t.Context(), audit.Filter{Limit: 4})
	require.NoError(t, err)
	require.Len(t, first, 4)
	rest, err := log.List(t.Context(), audit.Filter{Limit: 4, Before: first[3].ID})
	require.NoError(t, err)
	require.Len(t, rest, 2)
}

func TestLog_IsAppendOnly(t *testing.T) {
	t.Parallel()
	owner, lesser := pgtest.NewPair(t)
	require.NoError(t, audit.New(lesser).Record(t.Context(), audit.Entry{Actor: "alice", Action: "x"}))
	for _, sql := range []string{"UPDATE activity_log SET actor = 'bob'", "DELETE FROM activity_log", "TRUNCATE activity_log"} {
		_, err := lesser.Exec(t.Context(), sql)
		require.ErrorContains(t, err, "permission denied", sql)
		_, err = owner.Exec(t.Context(), sql)
		require.ErrorContains(t, err, "append-only", sql)
	}
}
