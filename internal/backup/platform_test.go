package backup_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
	"controlplane/internal/backup"
	"controlplane/internal/backup/store"
	"controlplane/internal/postgres/pgtest"
)

// Five weeks: as many stay as of a client, and a failure takes none away.
func TestPlatform(t *testing.T) {
	t.Parallel()
	s := openStrongroom(t)
	now := time.Date(2026, 3, 2, 1, 15, 0, 0, time.UTC) // a Monday
	var fails bool
	p := backup.Platform{Vault: s.vault, Installation: "ours", Zone: time.UTC, Now: func() time.Time { return now }, Dump: func(_ context.Context, w io.Writer) error {
		if fails {
			return errors.New("the server is away")
		}
		_, err := io.WriteString(w, dumpText)
		return err
	}}
	theirs := p
	theirs.Installation, theirs.Now = "ours-too", func() time.Time { return now.AddDate(-1, 0, 0) }
	require.NoError(t, theirs.Take(t.Context()))
	for range 36 {
		require.NoError(t, p.Take(t.Context()))
		now = now.AddDate(0, 0, 1)
	}
	list, err := s.vault.List(t.Context(), "_platform_ours")
	require.NoError(t, err)
	var days []int
	for _, b := range list {
		days = append(days, b.At.YearDay()-60)
	}
	// 36 is 6 April. Seven days, the Mondays of four weeks, and the first of two months.
	require.Equal(t, []int{36, 35, 34, 33, 32, 31, 30, 29, 22, 15, 1}, days)
	fails = true
	require.ErrorContains(t, p.Take(t.Context()), "the server is away")
	after, err := s.vault.List(t.Context(), "_platform_ours")
	require.NoError(t, err)
	require.Equal(t, list, after)
	all, err := s.vault.List(t.Context(), backup.PlatformOwner)
	require.NoError(t, err)
	require.Len(t, all, len(list)+1, "another installation's stays, however old")
	require.Equal(t, "_platform_ours-too", all[len(list)].Client)
}

// What lies in the store counts, not what was said of it.
func TestPlatform_Watch(t *testing.T) {
	t.Parallel()
	s := openStrongroom(t)
	pool := pgtest.New(t)
	now := time.Date(2026, 3, 2, 1, 15, 0, 0, time.UTC)
	since := now.Add(-time.Hour)
	p := backup.Platform{
		Vault: s.vault, Installation: "ours", Zone: time.UTC, Now: func() time.Time { return now }, Alerts: pool,
		Dump: func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, dumpText)
			return err
		},
	}
	message := func() string {
		t.Helper()
		require.NoError(t, p.Watch(t.Context(), since))
		list, err := alerts.New(pool).List(t.Context(), alerts.Filter{Kind: "backup.platform_overdue", Limit: 10})
		require.NoError(t, err)
		if len(list) == 0 {
			return ""
		}
		return list[0].Message
	}
	require.Empty(t, message(), "it is new")
	now = now.Add(3 * time.Hour)
	require.Contains(t, message(), "is 4h0m0s old")
	require.NoError(t, p.Take(t.Context()))
	require.Empty(t, message())
	now = now.Add(4 * time.Hour)
	require.NotEmpty(t, message())

	away, err := store.New(store.Options{Endpoint: "http://127.0.0.1:1", Bucket: "odoo-backups", AccessKey: "a", SecretKey: "b"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	p.Vault = backup.NewVault(away, s.keys, "clients/")
	require.Error(t, p.Watch(ctx, since))
	list, err := alerts.New(pool).List(t.Context(), alerts.Filter{Kind: "backup.platform_overdue", Limit: 10})
	require.NoError(t, err)
	require.Contains(t, list[0].Message, "the backup store doesn't answer")
}
