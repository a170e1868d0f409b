package backup_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// office is the rows of backups and those who decide about them, with nobody who takes any: tests say what came of each. Its clock
// stands still until it is moved.
type office struct {
	*testing.T
	pool    *pgxpool.Pool
	tenants *tenants.Service
	audit   *audit.Log
	backups *backup.Service
	desk    *backup.Desk
	now     time.Time
	owner   accounts.Principal
	other   accounts.Principal
	boss    accounts.Principal
}

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{T: t, pool: pgtest.New(t), now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	engine, err := ops.New(ops.Deps{Pool: o.pool, Log: log}, ops.Options{})
	require.NoError(t, err)
	sealer, err := secrets.NewSealer("a data key for tests that is long enough")
	require.NoError(t, err)
	clock := func() time.Time { return o.now }
	o.audit = audit.New(o.pool)
	o.tenants = tenants.New(tenants.Deps{Pool: o.pool, Sealer: sealer, Audit: o.audit, Ops: engine, Now: clock}, tenants.Options{})
	o.backups, err = backup.New(backup.Deps{Pool: o.pool, Ops: engine, Tenants: o.tenants, Now: clock}, backup.Options{Prefix: "clients/"})
	require.NoError(t, err)
	o.desk, err = backup.NewDesk(backup.DeskDeps{Pool: o.pool, Backups: o.backups, Tenants: o.tenants, Audit: o.audit, Now: clock}, backup.DeskOptions{})
	require.NoError(t, err)
	o.provingSince(o.now)
	o.owner, o.other, o.boss = o.account("owner"), o.account("other"), o.account("boss")
	o.boss.Admin = true
	return o
}

// provingSince says since when backups can be proven, which only a migration does.
func (o *office) provingSince(at time.Time) {
	o.Helper()
	pgtest.AsOwner(o.T, o.pool, "UPDATE backup_proving SET since = '"+at.Format(time.RFC3339Nano)+"'")
}

func (o *office) planner(opts backup.PlannerOptions) *backup.Planner {
	o.Helper()
	opts.Poll = time.Millisecond
	p, err := backup.NewPlanner(backup.PlannerDeps{
		Pool: o.pool, Backups: o.backups, Log: slog.New(slog.NewTextHandler(o.Output(), nil)), Now: func() time.Time { return o.now },
	}, opts)
	require.NoError(o, err)
	return p
}

func (o *office) exec(sql string, args ...any) {
	o.Helper()
	_, err := o.pool.Exec(o.Context(), sql, args...)
	require.NoError(o, err)
}

func (o *office) count(sql string, args ...any) (n int) {
	o.Helper()
	require.NoError(o, o.pool.QueryRow(o.Context(), "SELECT count(*) FROM "+sql, args...).Scan(&n))
	return n
}

func (o *office) account(name string) accounts.Principal {
	o.Helper()
	p := accounts.Principal{Username: name}
	require.NoError(o, o.pool.QueryRow(o.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1 || '@example.test', $1 || '@example.test', $1, $1, 'x') RETURNING id`, name).Scan(&p.AccountID))
	return p
}

// client makes a tenant that runs since an hour.
func (o *office) client(name, plan string) tenants.ID {
	o.Helper()
	var id tenants.ID
	require.NoError(o, o.pool.QueryRow(o.Context(), `
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline, paid_at, activated_at)
		VALUES ($1, $2, 'odoo_' || $2, $2 || '.example.test', 'a@example.test', $3, 'active', $4, $4, $4) RETURNING id`,
		o.owner.AccountID, name, plan, o.now.Add(-time.Hour)).Scan(&id))
	return id
}

// move takes a tenant elsewhere, as the state machine would.
func (o *office) move(id tenants.ID, to tenants.State) {
	o.Helper()
	o.exec(`WITH was AS (SELECT id, state FROM tenants WHERE id = $1), event AS (
			INSERT INTO tenant_events (tenant_id, at, from_state, to_state) SELECT id, $3, state, $2 FROM was)
		UPDATE tenants SET state = $2, deleted_at = CASE WHEN $2 = 'deleted' THEN $3::timestamptz END,
			return_state = CASE WHEN $2 = 'scheduled_for_deletion' THEN 'active' END,
			deletion_scheduled_at = CASE WHEN $2 = 'scheduled_for_deletion' THEN $3::timestamptz END,
			suspended_at = CASE WHEN $2 = 'suspended' THEN $3::timestamptz END, suspended_by = CASE WHEN $2 = 'suspended' THEN 'owner' END,
			desired = CASE $2 WHEN 'suspended' THEN 'suspended' WHEN 'active' THEN 'active' WHEN 'sleeping' THEN 'active' ELSE 'deleted' END
		WHERE id = $1`, id, to, o.now)
}

// done ends what is under way, and well.
func (o *office) done() {
	o.Helper()
	o.exec(`UPDATE backups SET state = 'done', started_at = $1, finished_at = $1, verified_at = $1, manifest = '{}', stored_bytes = 1 << 20
		WHERE state IN ('queued', 'running')`, o.now)
	o.exec("UPDATE backups SET state = 'deleted', deleted_at = $1 WHERE state = 'deleting'", o.now)
	o.exec("UPDATE operations SET state = 'done', finished_at = now() WHERE finished_at IS NULL")
}

func (o *office) failed() {
	o.Helper()
	o.exec(`UPDATE backups SET state = 'failed', started_at = $1, finished_at = $1, error = 'The store is away.' WHERE state IN ('queued', 'running')`, o.now)
	o.exec("UPDATE operations SET state = 'abandoned', finished_at = now() WHERE finished_at IS NULL")
}

func (o *office) take(id tenants.ID, kind backup.Kind) backup.Backup {
	o.Helper()
	b, err := o.backups.Take(o.Context(), backup.TakeInput{TenantID: id, Kind: kind, By: "system"})
	require.NoError(o, err)
	return b
}

// takeAll takes n backups, one after the other.
func (o *office) takeAll(id tenants.ID, kind backup.Kind, n int) (all []backup.Backup) {
	o.Helper()
	for range n {
		all = append(all, o.take(id, kind))
		o.done()
	}
	return all
}

func (o *office) asks(p accounts.Principal) backup.Request {
	return backup.Request{By: p, IP: netip.MustParseAddr("192.0.2.7")}
}

func TestDesk_Order(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.client("acme", "basic")
	for _, kind := range []string{"", "daily", "final", "MANUAL", "manual "} {
		_, err := o.desk.Order(t.Context(), o.asks(o.owner), "acme", kind)
		require.ErrorIs(t, err, backup.ErrNotManual)
	}
	_, err := o.desk.Order(t.Context(), o.asks(o.other), "acme", "manual")
	require.ErrorIs(t, err, tenants.ErrNotFound)
	require.Zero(t, o.count("backups"))
	require.Zero(t, o.count("activity_log WHERE action LIKE 'backup.%'"))

	b, err := o.desk.Order(t.Context(), o.asks(o.owner), "acme", "manual")
	require.NoError(t, err)
	require.Equal(t, []any{backup.Manual, backup.Queued, "owner"}, []any{b.Kind, b.State, b.RequestedBy})
	require.Equal(t, 1, o.count("operations WHERE kind = 'backup.take' AND id = $1", b.OperationID))
	require.Equal(t, 1, o.count("activity_log WHERE action = 'backup.take' AND actor = 'owner' AND tenant_id = $1 AND ip = '192.0.2.7'", b.TenantID))

	_, err = o.desk.Order(t.Context(), o.asks(o.owner), "acme", "manual")
	require.ErrorIs(t, err, backup.ErrBusy)
	_, err = o.desk.Order(t.Context(), o.asks(o.boss), "acme", "manual")
	require.ErrorIs(t, err, backup.ErrBusy)
	require.Equal(t, 1, o.count("backups"))
}

func TestDesk_OrderOfWhatHasNoOdoo(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	refused := func(why string) {
		t.Helper()
		_, err := o.desk.Order(t.Context(), o.asks(o.owner), "acme", "manual")
		require.ErrorIs(t, err, backup.ErrNothingThere, why)
	}
	o.move(id, tenants.Deleting)
	refused("it is going")
	o.exec("UPDATE tenants SET state = 'pending', desired = 'active', paid_at = NULL, activated_at = NULL WHERE id = $1", id)
	refused("it is unpaid")
	o.exec("UPDATE tenants SET state = 'provisioning', paid_at = now() WHERE id = $1", id)
	refused("it is being made")
	require.Zero(t, o.count("backups"))
}

func TestDesk_OrderFiveADay(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.client("acme", "basic")
	order := func(p accounts.Principal) error {
		_, err := o.desk.Order(t.Context(), o.asks(p), "acme", "manual")
		return err
	}
	for range 5 {
		require.NoError(t, order(o.owner))
		o.done()
		o.now = o.now.Add(time.Hour)
	}
	err := order(o.owner)
	require.ErrorIs(t, err, backup.ErrTooMany)
	var refused *errs.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 19*time.Hour, refused.RetryAfter)
	require.Equal(t, 5, o.count("backups"), "the refused one left nothing")
	require.NoError(t, order(o.boss), "an administrator may")
	o.failed()
	o.now = o.now.Add(19 * time.Hour)
	require.NoError(t, order(o.owner), "the first was a day ago, and what failed doesn't count")
	o.failed()
	require.NoError(t, order(o.owner))
}

func TestDesk_ShowsTheirOwn(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	acme, globex := o.client("acme", "basic"), o.client("globex", "basic")
	o.exec("UPDATE tenants SET account_id = $1 WHERE id = $2", o.other.AccountID, globex)
	mine, theirs := o.take(acme, backup.Manual), o.take(globex, backup.Manual)
	o.done()
	ids := func(p accounts.Principal, f backup.Filter) (ids []backup.ID) {
		page, err := o.desk.List(t.Context(), p, f)
		require.NoError(t, err)
		require.Equal(t, len(page.Backups), page.Total)
		for _, b := range page.Backups {
			ids = append(ids, b.ID)
		}
		return ids
	}
	require.Equal(t, []backup.ID{mine.ID}, ids(o.owner, backup.Filter{}))
	require.Equal(t, []backup.ID{mine.ID}, ids(o.owner, backup.Filter{AccountID: o.other.AccountID}), "nobody chooses the account")
	require.Empty(t, ids(o.owner, backup.Filter{TenantName: "globex"}))
	require.Equal(t, []backup.ID{theirs.ID, mine.ID}, ids(o.boss, backup.Filter{}))
	require.Equal(t, []backup.ID{theirs.ID}, ids(o.boss, backup.Filter{TenantName: "globex"}))

	for _, id := range []backup.ID{theirs.ID, 999, -1} {
		_, err := o.desk.Find(t.Context(), o.owner, id)
		require.ErrorIs(t, err, backup.ErrNotFound)
		_, err = o.desk.Verify(t.Context(), o.asks(o.owner), id)
		require.ErrorIs(t, err, backup.ErrNotFound)
		_, err = o.desk.Delete(t.Context(), o.asks(o.owner), id)
		require.ErrorIs(t, err, backup.ErrNotFound)
		_, err = o.desk.Keep(t.Context(), o.asks(o.owner), id, true)
		require.ErrorIs(t, err, backup.ErrNotFound)
	}
	require.Zero(t, o.count("activity_log WHERE action LIKE 'backup.%'"))
	require.Equal(t, 2, o.count("backups WHERE state = 'done' AND NOT kept"))
	named, err := o.backups.Named(t.Context(), strings.TrimPrefix(mine.KeyPrefix, "clients"))
	require.NoError(t, err)
	require.Equal(t, mine.ID, named.ID)
	_, err = o.backups.Named(t.Context(), "acme")
	require.ErrorIs(t, err, backup.ErrNotFound)
	found, err := o.desk.Find(t.Context(), o.boss, mine.ID)
	require.NoError(t, err)
	require.Equal(t, "acme", found.TenantName)
}

func TestDesk_DeletesAllButTheLast(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "business")
	old := o.take(id, backup.Manual)
	o.done()
	newer := o.take(id, backup.Manual)
	o.done()
	o.take(id, backup.Hourly)
	o.done()
	_, err := o.desk.Delete(t.Context(), o.asks(o.owner), old.ID)
	require.NoError(t, err)
	require.Equal(t, 1, o.count("operations WHERE kind = 'backup.delete' AND finished_at IS NULL"))
	_, err = o.desk.Delete(t.Context(), o.asks(o.owner), old.ID)
	require.ErrorIs(t, err, backup.ErrInUse)
	o.done()
	_, err = o.desk.Delete(t.Context(), o.asks(o.owner), old.ID)
	require.ErrorIs(t, err, backup.ErrNotFound, "it is gone")

	_, err = o.desk.Delete(t.Context(), o.asks(o.owner), newer.ID)
	require.ErrorIs(t, err, backup.ErrLastGood, "the copy of the database alone doesn't count")
	require.Equal(t, 1, o.count("backups WHERE id = $1 AND state = 'done'", newer.ID))
	_, err = o.desk.Delete(t.Context(), o.asks(o.boss), newer.ID)
	require.NoError(t, err)
	require.Equal(t, 2, o.count("activity_log WHERE action = 'backup.delete'"))
}

func TestDesk_Keeps(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	list := o.takeAll(id, backup.Manual, 11)
	for _, b := range list[:10] {
		kept, err := o.desk.Keep(t.Context(), o.asks(o.owner), b.ID, true)
		require.NoError(t, err)
		require.True(t, kept.Kept)
	}
	again, err := o.desk.Keep(t.Context(), o.asks(o.owner), list[0].ID, true)
	require.NoError(t, err)
	require.True(t, again.Kept)
	require.Equal(t, 10, o.count("activity_log WHERE action = 'backup.keep'"), "a repeat changes nothing")
	_, err = o.desk.Keep(t.Context(), o.asks(o.owner), list[10].ID, true)
	require.ErrorIs(t, err, backup.ErrMostKept)
	_, err = o.desk.Delete(t.Context(), o.asks(o.owner), list[0].ID)
	require.ErrorIs(t, err, backup.ErrKept)
	_, err = o.desk.Keep(t.Context(), o.asks(o.owner), list[0].ID, false)
	require.NoError(t, err)
	_, err = o.desk.Keep(t.Context(), o.asks(o.owner), list[10].ID, true)
	require.NoError(t, err)
	require.Equal(t, 10, o.count("backups WHERE kept"))
}

func TestEnsureFinal(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	o.take(id, backup.Manual)
	o.move(id, tenants.Deleting)
	final := func() (bool, error) { return o.backups.EnsureFinal(t.Context(), id) }
	requireGoingOn := func(finals int) {
		t.Helper()
		done, err := final()
		require.NoError(t, err)
		require.False(t, done)
		require.Equal(t, finals, o.count("backups WHERE kind = 'final'"))
	}
	requireGoingOn(0) // another is under way
	o.done()
	requireGoingOn(1)
	requireGoingOn(1)
	o.failed()
	_, err := final()
	require.ErrorIs(t, err, backup.ErrFinalFailed)
	require.ErrorContains(t, err, "The store is away.")
	o.now = o.now.Add(5 * time.Minute)
	requireGoingOn(2)
	o.done()
	done, err := final()
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, 2, o.count("backups WHERE kind = 'final'"), "a repeat finds it")
	o.exec("UPDATE backups SET broken_at = $1 WHERE kind = 'final'", o.now)
	requireGoingOn(3)
}
