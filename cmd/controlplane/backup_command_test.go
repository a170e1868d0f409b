package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
)

// shelf is a store with one backup.
type shelf struct{ client, verified, fetched, restored, tried string }

func (s *shelf) List(_ context.Context, client string) ([]backup.Stored, error) {
	s.client = client
	at := time.Date(2026, 3, 2, 2, 15, 0, 0, time.UTC)
	return []backup.Stored{
		{Name: "acme/one", Client: "acme", Kind: backup.Daily, At: at, Bytes: 3 << 19, Complete: true}, {Name: "acme/two", Kind: backup.Hourly, At: at},
	}, nil
}

func (s *shelf) manifest() archive.Manifest {
	return archive.Manifest{
		Tenant: "acme", Kind: "daily", TakenAt: time.Date(2026, 3, 2, 2, 15, 0, 0, time.UTC), Dump: archive.Part{Bytes: 5 << 20},
		Filestore: &archive.Files{Count: 7, Size: 1 << 20},
	}
}

func (s *shelf) Verify(_ context.Context, name string) (archive.Manifest, error) {
	s.verified = name
	if name != "acme/one" {
		return archive.Manifest{}, backup.ErrNotStored
	}
	return s.manifest(), nil
}

func (s *shelf) Fetch(_ context.Context, name, dir string) (archive.Manifest, error) {
	s.fetched = name + " to " + dir
	return s.manifest(), nil
}

func backupCommand(t *testing.T, s *shelf, run func(ctx context.Context, client string) (backup.Backup, error), args ...string) (string, error) {
	t.Helper()
	inPlace := func(_ context.Context, name string) error {
		s.restored = name
		if name != "acme/one" {
			return backup.ErrNotFound
		}
		return nil
	}
	try := func(_ context.Context, name string) error {
		s.tried = name
		return nil
	}
	cmd := newBackupCommand(func() (vault, error) { return s, nil }, run, inPlace, try)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestBackupCommands(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	out, err := backupCommand(t, s, nil, "list", "--client", "acme")
	require.NoError(t, err)
	require.Equal(t, "acme", s.client)
	require.Equal(t, "TAKEN                 KIND    SIZE    NAME\n2026-03-02T02:15:00Z  daily   1.5 MB  acme/one\n2026-03-02T02:15:00Z  hourly  0.0 MB  acme/two (not complete)\n", out)

	out, err = backupCommand(t, s, nil, "verify", "acme/one")
	require.NoError(t, err)
	require.Equal(t, "All of it is as it was written: acme, daily of 2026-03-02T02:15:00Z, a dump of 5.0 MB and 7 files of 1.0 MB\n", out)
	_, err = backupCommand(t, s, nil, "verify", "acme/two")
	require.ErrorIs(t, err, backup.ErrNotStored)

	s.verified = ""
	out, err = backupCommand(t, s, nil, "verify", "acme/one", "--restore")
	require.NoError(t, err)
	require.Equal(t, []string{"acme/one", ""}, []string{s.tried, s.verified})
	require.Contains(t, out, "Odoo answered on it")

	out, err = backupCommand(t, s, nil, "restore", "acme/one", "/mnt/acme")
	require.NoError(t, err)
	require.Equal(t, "acme/one to /mnt/acme", s.fetched)
	require.Contains(t, out, "All of it is in /mnt/acme")
	require.Empty(t, s.restored)

	out, err = backupCommand(t, s, nil, "restore", "acme/one", "--in-place")
	require.NoError(t, err)
	require.Equal(t, "acme/one", s.restored)
	require.Equal(t, "The client is restored and answers\n", out)
	_, err = backupCommand(t, s, nil, "restore", "acme/two", "--in-place")
	require.ErrorIs(t, err, backup.ErrNotFound)
	for _, args := range [][]string{{"restore", "acme/one", "/mnt", "--in-place"}, {"verify"}, {"restore", "acme/one"}, {"run"}, {"list", "x"}, {"unknown"}} {
		_, err = backupCommand(t, s, nil, args...)
		require.Error(t, err, "%v", args)
	}
}

func TestBackupRunCommand(t *testing.T) {
	t.Parallel()
	run := func(_ context.Context, client string) (backup.Backup, error) {
		switch client {
		case "acme":
			return backup.Backup{ID: 7, TenantName: "acme", State: backup.Done, KeyPrefix: "clients/acme/x/", StoredBytes: 1 << 20}, nil
		case "globex":
			return backup.Backup{ID: 8, TenantName: "globex", State: backup.Failed, Error: "The store is full."}, nil
		}
		return backup.Backup{}, errors.New("the platform database is away")
	}
	out, err := backupCommand(t, nil, run, "run", "acme")
	require.NoError(t, err)
	require.Equal(t, "clients/acme/x/\n1.0 MB, read back whole\n", out)
	_, err = backupCommand(t, nil, run, "run", "globex")
	require.ErrorContains(t, err, "backup 8 of globex is failed: The store is full.")
	_, err = backupCommand(t, nil, run, "run", "other")
	require.ErrorContains(t, err, "away")
}
