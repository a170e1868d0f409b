package backup_test

import (
	"bytes"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/odoozip"
	s3 "controlplane/internal/backup/store"
)

// trickle is a body that comes bit by bit, by a clock that it moves.
type trickle struct {
	*office
	bytes, rounds int
	every         time.Duration
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.rounds == 0 {
		return 0, io.EOF
	}
	s.rounds--
	s.now = s.now.Add(s.every)
	return min(len(p), s.bytes), nil
}

// Who sends slowly on purpose gets one place and loses it: others find one.
func TestUploadsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.client("acme", "basic")
	theirs := o.client("globex", "basic")
	o.exec("UPDATE tenants SET account_id = $2 WHERE id = $1", theirs, o.other.AccountID)
	keys, err := archive.NewKeys(backupKey)
	require.NoError(t, err)
	intake, err := backup.NewIntake(backup.IntakeDeps{Desk: o.desk, Store: &s3.Store{}, Keys: keys, Log: slog.New(slog.DiscardHandler)},
		backup.IntakeOptions{Dir: filepath.Join(t.TempDir(), "uploads"), AtOnce: 2, Reserve: 1})
	require.NoError(t, err)
	send := func(p accounts.Principal, client string, body io.Reader) error {
		_, err := intake.Import(t.Context(), o.asks(p), client, body, -1)
		return err
	}
	require.ErrorIs(t, send(o.owner, "acme", &trickle{o, 1000, 100, 10 * time.Second}), backup.ErrImportSlow)
	steady := &trickle{o, 32 << 10, 300, time.Second / 2}
	require.ErrorIs(t, send(o.owner, "acme", steady), odoozip.ErrNotZip, "it was taken in, and looked at")
	require.Zero(t, steady.rounds)

	held, hold := io.Pipe()
	first := make(chan error, 1)
	go func() { first <- send(o.owner, "acme", held) }()
	_, err = hold.Write([]byte("PK"))
	require.NoError(t, err)
	require.ErrorIs(t, send(o.owner, "acme", bytes.NewReader([]byte("x"))), backup.ErrImportRunning)
	require.ErrorIs(t, send(o.other, "globex", bytes.NewReader([]byte("x"))), odoozip.ErrNotZip)
	require.NoError(t, hold.Close())
	require.ErrorIs(t, <-first, odoozip.ErrNotZip)
	require.ErrorIs(t, send(o.owner, "acme", bytes.NewReader([]byte("x"))), odoozip.ErrNotZip, "its place is free again")
}
