package backup_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/backup"
	"controlplane/internal/tenants"
)

func TestDesk_CopiesIntoClientsOfOnesOwn(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	shop, test := o.client("shop", "basic"), o.client("shoptest", "basic")
	foreign := o.client("foreign", "basic")
	o.exec("UPDATE tenants SET account_id = $2 WHERE id = $1", foreign, o.other.AccountID)
	b, err := o.backups.Take(t.Context(), backup.TakeInput{TenantID: shop, Kind: backup.Daily, By: "system"})
	require.NoError(t, err)
	o.done()
	as := func(p accounts.Principal) backup.Request {
		return backup.Request{By: p, IP: netip.MustParseAddr("192.0.2.7")}
	}
	into := func(p accounts.Principal, name string) error {
		_, err := o.desk.Restore(t.Context(), as(p), b.ID, backup.RestoreOrder{Into: name})
		return err
	}

	require.ErrorIs(t, into(o.owner, "foreign"), tenants.ErrNotFound)
	require.ErrorIs(t, into(o.owner, "nobodys"), tenants.ErrNotFound)
	require.ErrorIs(t, into(o.other, "foreign"), backup.ErrNotFound, "the backup is somebody else's")
	o.exec("UPDATE backups SET database_bytes = 8::bigint << 30, filestore_bytes = 10::bigint << 40")
	err = into(o.owner, "shoptest")
	require.ErrorIs(t, err, backup.ErrTooLarge)
	require.ErrorContains(t, err, "This backup takes 10248.0 GB, and the plan of client shoptest has room for ")
	o.exec("UPDATE backups SET database_bytes = 8 << 20, filestore_bytes = 0")
	o.exec("UPDATE tenants SET state = 'scheduled_for_deletion', desired = 'deleted', return_state = 'active', deletion_scheduled_at = now() WHERE id = $1", test)
	require.ErrorIs(t, into(o.owner, "shoptest"), backup.ErrNotNow)
	o.exec("UPDATE tenants SET state = 'active', desired = 'active', return_state = NULL, deletion_scheduled_at = NULL WHERE id = $1", test)
	require.Zero(t, o.count("operations WHERE kind = 'tenant.restore'"))

	require.NoError(t, into(o.owner, "shoptest"))
	require.ErrorIs(t, into(o.owner, "shoptest"), backup.ErrTenantBusy)
	require.Equal(t, 1, o.count("operations WHERE kind = 'tenant.restore' AND subject = $1 AND input->>'by' = 'owner'", test.Subject()))
	require.Equal(t, 1, o.count("activity_log WHERE action = 'backup.restore' AND tenant_id = $1 AND detail->>'into' = 'shoptest'", shop))
	require.Equal(t, 1, o.count("activity_log WHERE action = 'backup.copy' AND tenant_id = $1 AND detail->>'of' = 'shop'", test))
	_, err = o.backups.Delete(t.Context(), b.ID)
	require.ErrorIs(t, err, backup.ErrInUse, "another client is made of it")
	o.done()
	require.NoError(t, into(o.boss, "foreign"))
	require.Equal(t, 1, o.count("activity_log WHERE action = 'backup.copy' AND actor = 'boss' AND tenant_id = $1", foreign))
	o.done()
	require.NoError(t, into(o.owner, "shop"))
	require.Equal(t, 2, o.count("activity_log WHERE action = 'backup.copy'"), "into its own client it is no copy")
}

func TestDesk_MakesNewClientsCopies(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	shop := o.client("shop", "basic")
	b, err := o.backups.Take(t.Context(), backup.TakeInput{TenantID: shop, Kind: backup.Daily, By: "system"})
	require.NoError(t, err)
	create := func(p accounts.Principal, name string) (tenants.Tenant, error) {
		with, err := o.desk.Copying(t.Context(), backup.Request{By: p}, b.ID)
		if err != nil {
			return tenants.Tenant{}, err
		}
		return o.tenants.Create(t.Context(), p, netip.Addr{}, tenants.CreateInput{Name: name, Email: "a@example.test", With: with})
	}
	_, err = create(o.owner, "early")
	require.ErrorIs(t, err, backup.ErrNotGood)
	o.done()
	_, err = create(o.other, "thief")
	require.ErrorIs(t, err, backup.ErrNotFound)
	require.Zero(t, o.count("tenants WHERE name IN ('early', 'thief')"))

	twin, err := create(o.owner, "twin")
	require.NoError(t, err)
	require.Equal(t, 1, o.count("tenants WHERE id = $1 AND copy_of = $2 AND state = 'pending'", twin.ID, int64(b.ID)))
	change := func(plan string) error {
		_, err := o.tenants.Update(t.Context(), o.owner, netip.Addr{}, "twin", tenants.UpdateInput{PlanID: &plan, With: o.desk.StillFits})
		return err
	}
	o.exec("UPDATE backups SET filestore_bytes = 1::bigint << 30")
	o.exec("UPDATE plans SET storage_gb = 1 WHERE id = 'enterprise'")
	require.NoError(t, change("business"))
	o.exec("UPDATE backups SET filestore_bytes = 2::bigint << 30")
	require.ErrorIs(t, change("enterprise"), backup.ErrTooLarge)
	require.Equal(t, 1, o.count("tenants WHERE id = $1 AND plan_id = 'business'", twin.ID), "nothing has changed")
	_, err = o.backups.Delete(t.Context(), b.ID)
	require.ErrorIs(t, err, backup.ErrInUse, "somebody is to be made of it")
	o.exec("UPDATE tenants SET state = 'deleted', desired = 'deleted', deleted_at = now() WHERE id = $1", twin.ID)
	_, err = o.backups.Delete(t.Context(), b.ID)
	require.NoError(t, err)
	o.done()
	o.now = o.now.AddDate(1, 0, 0)
	o.exec("UPDATE backups SET state = 'deleted', deleted_at = created_at")
	o.prune(o.planner(backup.PlannerOptions{}))
	require.Zero(t, o.count("backups"), "who was to be a copy, and is gone, keeps no row")
}
