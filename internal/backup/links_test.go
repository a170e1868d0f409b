package backup_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/backup"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
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
		_, err = o.desk.Redeem(t.Context(), link.Secret, false)
		require.NoError(t, err)
	}
	for range 3 {
		got, err := o.desk.Redeem(t.Context(), link.Secret, true)
		require.NoError(t, err)
		require.Equal(t, b.ID, got.Backup.ID)
		require.Equal(t, o.owner.AccountID, got.Account)
		require.False(t, got.Neutralised())
	}
	over := func(link backup.Link) {
		t.Helper()
		_, err := o.desk.Redeem(t.Context(), link.Secret, true)
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
	_, err = o.desk.Redeem(t.Context(), lost.Secret, true)
	require.ErrorIs(t, err, backup.ErrNotGood)
}

// A neutralised backup is asked for like any other, by whom it belongs to, five times a day; the operation is the same until it has ended.
func TestDesk_NeutralLinks(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	acme := o.client("acme", "basic")
	all := o.takeAll(acme, backup.Daily, 7)
	ask := func(p accounts.Principal, b backup.Backup) (backup.Link, *ops.Operation, error) {
		return o.desk.NeutralLink(t.Context(), o.asks(p), b.ID)
	}
	_, _, err := ask(o.other, all[0])
	require.ErrorIs(t, err, backup.ErrNotFound)
	require.Zero(t, o.count("backup_neutral_dumps"))
	require.Zero(t, o.count("operations WHERE kind = 'backup.neutralise'"))

	_, first, err := ask(o.owner, all[0])
	require.NoError(t, err)
	for _, p := range []accounts.Principal{o.owner, o.boss} {
		_, again, err := ask(p, all[0])
		require.NoError(t, err)
		require.Equal(t, first.ID, again.ID)
	}
	require.Equal(t, 1, o.count("activity_log WHERE action = 'backup.neutralise' AND actor = 'owner'"))
	_, _, err = ask(o.owner, all[1])
	require.ErrorIs(t, err, backup.ErrNeutralRunning)
	_, err = o.backups.Verify(t.Context(), all[0].ID)
	require.ErrorIs(t, err, backup.ErrInUse)
	o.neutralised()

	link, op, err := ask(o.owner, all[0])
	require.NoError(t, err)
	require.Nil(t, op)
	got, err := o.desk.Redeem(t.Context(), link.Secret, true)
	require.NoError(t, err)
	require.True(t, got.Neutralised())
	require.Equal(t, 1, o.count("activity_log WHERE action = 'backup.download' AND detail->>'neutralised' = 'true'"))

	for _, b := range all[1:5] {
		_, _, err = ask(o.owner, b)
		require.NoError(t, err)
		o.neutralised()
	}
	_, _, err = ask(o.owner, all[5])
	require.ErrorIs(t, err, backup.ErrTooManyNeutral)
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 24*time.Hour, e.RetryAfter)
	_, _, err = ask(o.owner, all[0])
	require.NoError(t, err, "what is there can be had")
	_, _, err = ask(o.boss, all[5])
	require.NoError(t, err)
	o.exec("UPDATE operations SET state = 'abandoned', finished_at = now() WHERE finished_at IS NULL") // as an administrator may
	_, _, err = ask(o.boss, all[6])
	require.NoError(t, err, "what nobody makes any more is in nobody's way")
	require.Equal(t, 1, o.count("backup_neutral_dumps WHERE state = 'failed'"))
	o.neutralised()

	o.now = o.now.Add(24*time.Hour + time.Second)
	_, op, err = ask(o.owner, all[0])
	require.NoError(t, err)
	require.NotNil(t, op, "after a day it is made again")
	o.neutralised()
	o.move(acme, tenants.Deleting)
	_, _, err = ask(o.owner, all[1])
	require.ErrorIs(t, err, backup.ErrTenantGone)
}

// neutralised ends what is under way, and well.
func (o *office) neutralised() {
	o.Helper()
	o.exec(`UPDATE backup_neutral_dumps SET state = 'ready', part = '{"object": "x.neutral.dump.zst.age"}', finished_at = $1, expires_at = $2 WHERE state = 'running'`,
		o.now, o.now.Add(24*time.Hour))
	o.exec("UPDATE operations SET state = 'done', finished_at = now() WHERE finished_at IS NULL")
}

// Proofs and neutral dumps share the few sandboxes: two are neutralised at most, so that one is always left to prove something in.
func TestSandboxes_AreShared(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	var backups []backup.Backup
	for _, name := range []string{"acme", "globex", "initech", "umbrella", "hooli"} {
		backups = append(backups, o.take(o.client(name, "basic"), backup.Daily))
	}
	o.done()
	o.exec("UPDATE tenants SET account_id = $1 WHERE name = 'initech'", o.other.AccountID)
	takes := func(b backup.Backup) *int {
		t.Helper()
		slot, err := o.backups.TakeSlot(t.Context(), b.ID)
		require.NoError(t, err)
		return slot
	}
	for _, b := range backups[:3] {
		_, _, err := o.desk.NeutralLink(t.Context(), o.asks(o.boss), b.ID)
		require.NoError(t, err)
	}
	for range 2 {
		require.Equal(t, 2, *takes(backups[0]))
		require.Nil(t, takes(backups[1]), "its account has one")
		require.Equal(t, 1, *takes(backups[2]))
	}
	_, err := o.backups.Prove(t.Context(), backups[4].ID, "system")
	require.NoError(t, err)
	_, err = o.backups.Prove(t.Context(), backups[3].ID, "system")
	require.ErrorIs(t, err, backup.ErrTooManyTrials)
	o.exec("UPDATE backup_neutral_dumps SET state = 'failed', finished_at = now()")
	_, err = o.backups.Prove(t.Context(), backups[3].ID, "system")
	require.ErrorIs(t, err, backup.ErrTooManyTrials, "it is being removed")
	o.exec("UPDATE operations SET state = 'done', finished_at = now() WHERE kind = 'backup.neutralise'")
	_, err = o.backups.Prove(t.Context(), backups[3].ID, "system")
	require.NoError(t, err)
}
