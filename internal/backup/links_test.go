package backup_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/secrets"
)

func TestDesk_LinksAreForAWhile(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.client("acme", "basic")
	b, err := o.desk.Order(t.Context(), o.asks(o.owner), "acme", "manual")
	require.NoError(t, err)
	_, err = o.desk.Link(t.Context(), o.asks(o.owner), b.ID)
	require.ErrorIs(t, err, backup.ErrNotGood)
	o.done()
	_, err = o.desk.Link(t.Context(), o.asks(o.other), b.ID)
	require.ErrorIs(t, err, backup.ErrNotFound)
	require.Zero(t, o.count("backup_links"))

	link, err := o.desk.Link(t.Context(), o.asks(o.owner), b.ID)
	require.NoError(t, err)
	require.Equal(t, o.now.Add(15*time.Minute), link.ExpiresAt)
	require.Equal(t, 1, o.count("activity_log WHERE action = 'backup.download' AND actor = 'owner'"))
	require.Zero(t, o.count("backup_links WHERE link_hash::text LIKE '%' || $1 || '%'", link.Secret.Reveal()), "only what it hashes to is kept")
	for range 5 {
		_, _, err = o.desk.Redeem(t.Context(), link.Secret, false)
		require.NoError(t, err)
	}
	for range 3 {
		got, account, err := o.desk.Redeem(t.Context(), link.Secret, true)
		require.NoError(t, err)
		require.Equal(t, b.ID, got.ID)
		require.Equal(t, o.owner.AccountID, account)
	}
	over := func(link backup.Link) {
		t.Helper()
		_, _, err := o.desk.Redeem(t.Context(), link.Secret, true)
		require.ErrorIs(t, err, backup.ErrLinkOver)
	}
	over(link)
	for _, secret := range []secrets.Secret{"", "x", "bl_", link.Secret + "x", "bl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		over(backup.Link{Secret: secret})
	}
	late, err := o.desk.Link(t.Context(), o.asks(o.owner), b.ID)
	require.NoError(t, err)
	o.now = o.now.Add(15 * time.Minute)
	over(late)

	// It is for whom could ask for another.
	lost, err := o.desk.Link(t.Context(), o.asks(o.owner), b.ID)
	require.NoError(t, err)
	o.exec("UPDATE tenants SET account_id = $1", o.other.AccountID)
	over(lost)
	o.exec("UPDATE tenants SET account_id = $1", o.owner.AccountID)
	o.exec("UPDATE accounts SET disabled_at = now() WHERE id = $1", o.owner.AccountID)
	over(lost)
	o.exec("UPDATE accounts SET disabled_at = NULL")
	o.exec("UPDATE backups SET broken_at = now()")
	_, _, err = o.desk.Redeem(t.Context(), lost.Secret, true)
	require.ErrorIs(t, err, backup.ErrNotGood)
}
