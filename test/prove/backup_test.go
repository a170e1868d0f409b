package prove_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/s3test"
	"controlplane/internal/secrets"
	"controlplane/test/rig"
)

// TestKill_Backups has a backup store, which the other tests' clients must not get: their deletions would wait for their last backups.
func TestKill_Backups(t *testing.T) {
	ctx := t.Context()
	server := s3test.New(t)
	settings := map[string]string{
		"S3_ENDPOINT": server.Endpoint, "S3_BUCKET": server.Bucket, "S3_ACCESS_KEY": server.AccessKey, "S3_SECRET_KEY": server.SecretKey.Reveal(),
		"S3_REGION": "us-east-1", "BACKUP_KEY": secrets.RandomHex(32),
	}
	shared.serve.Stop()
	var schedules []string
	require.NoError(t, shared.Pool.QueryRow(ctx, "SELECT array_agg(name) FROM schedules").Scan(&schedules))
	shared.Set(settings)
	t.Cleanup(func() {
		shared.serve.Kill()
		for name := range settings {
			settings[name] = ""
		}
		shared.Set(settings)
		_, err := shared.Pool.Exec(context.Background(), "DELETE FROM schedules WHERE name <> ALL ($1)", schedules) // nobody runs these any more
		require.NoError(t, err)
		require.NoError(t, shared.restart(context.Background()))
	})
	require.NoError(t, shared.restart(ctx))
	owner, err := shared.SignUp(ctx)
	require.NoError(t, err)
	c, err := shared.provision(ctx, owner, plan)
	require.NoError(t, err)
	k := &kept{tenant: c}
	for _, sc := range []scenario{k.taking(), k.restoring()} {
		t.Run(sc.name, func(t *testing.T) { killAll(t, sc) })
	}
}

// kept is a client with backups.
type kept struct {
	tenant tenant
	newest int64 // that is good
}

func (k *kept) taking() scenario {
	return scenario{
		name:  "backup",
		brief: true,
		prepare: func(ctx context.Context, w *world) (subject, error) {
			var before int64
			err := w.Pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM backups").Scan(&before)
			if err == nil { // nobody takes so many a day
				_, err = w.Pool.Exec(ctx, "UPDATE backups SET created_at = created_at - interval '2 days' WHERE tenant_id = $1", k.tenant.ID)
			}
			return subject{
				tenant: tenant{ID: k.tenant.ID, Name: k.tenant.Name, Subject: "backup/"}, kind: "backup.take", names: []string{k.tenant.Name},
				begin: func(ctx context.Context) error {
					_, err := w.admin.Must(ctx, http.MethodPost, "/api/clients/"+k.tenant.Name+"/backup?backup_type=manual", nil)
					return err
				},
				goal: func(ctx context.Context) error {
					err := w.Pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM backups WHERE tenant_id = $1 AND state = 'done'", k.tenant.ID).Scan(&k.newest)
					if err == nil && k.newest <= before {
						err = errors.New("the backup isn't done")
					}
					return errors.Join(err, w.active(ctx, k.tenant), w.noHelpers(ctx))
				},
			}, err
		},
		tidy: keep,
	}
}

func (k *kept) restoring() scenario {
	return scenario{
		name:  "restore",
		brief: true,
		prepare: func(ctx context.Context, w *world) (subject, error) {
			var before int64
			err := w.Pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM operations").Scan(&before)
			if err == nil {
				_, err = w.inDatabase(ctx, k.tenant, "INSERT INTO res_partner (name) VALUES ('who came later')")
			}
			return subject{
				tenant: k.tenant, kind: "tenant.restore", names: []string{k.tenant.Name},
				begin: func(ctx context.Context) error {
					return k.restore(ctx, w)
				},
				goal: func(ctx context.Context) error { return k.restored(ctx, w, before) },
			}, err
		},
		tidy: keep,
	}
}

// restore asks for one as soon as nothing else is done with the client: its links are followed up after each.
func (k *kept) restore(ctx context.Context, w *world) (err error) {
	path := fmt.Sprintf("/api/backups/%d/restore", k.newest)
	busy := rig.Eventually(ctx, reachTimeout/2, func(ctx context.Context) error {
		var a rig.Answer
		if a, err = w.admin.Do(ctx, http.MethodPost, path, map[string]any{"skip_safety_backup": true}); err == nil && a.Status == http.StatusConflict {
			return a.OK()
		}
		err = errors.Join(err, a.OK())
		return nil
	})
	return errors.Join(busy, err)
}

// restored says that the client is what the backup holds, and that nothing of the restore goes on.
func (k *kept) restored(ctx context.Context, w *world, before int64) error {
	if err := errors.Join(w.active(ctx, k.tenant), w.noHelpers(ctx)); err != nil {
		return err
	}
	err := w.holds(ctx, `SELECT count(*) = 1 AND bool_and(o.state = 'done' AND t.data_volume LIKE '%\_r' || o.id)
		FROM operations o, tenants t WHERE o.subject = $1 AND o.kind = 'tenant.restore' AND o.id > $2 AND t.id = $3`, k.tenant.Subject, before, k.tenant.ID)
	if err != nil {
		return err
	}
	later, err := w.inDatabase(ctx, k.tenant, "SELECT count(*) FROM res_partner WHERE name = 'who came later'")
	if err == nil && later > 0 {
		err = errors.New("what came after the backup is there")
	}
	return err
}

// inDatabase runs a statement in the client's database, and returns what it counts.
func (w *world) inDatabase(ctx context.Context, t tenant, sql string) (n int, err error) {
	var name string
	if err := w.Pool.QueryRow(ctx, "SELECT db_name FROM tenants WHERE id = $1", t.ID).Scan(&name); err != nil {
		return 0, err
	}
	conn, err := pgx.Connect(ctx, w.ClusterURL(name))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if !strings.HasPrefix(sql, "SELECT") {
		_, err = conn.Exec(ctx, sql)
		return 0, err
	}
	return n, conn.QueryRow(ctx, sql).Scan(&n)
}

// noHelpers says that no container is left that a backup or a restore worked with.
func (w *world) noHelpers(ctx context.Context) error {
	out, err := rig.Docker(ctx, "ps", "-a", "--filter", "label=com.odoo-cloud.installation="+w.Installation, "--filter", "name=^/?backup_", "--format", "{{.Names}}")
	if err == nil && out != "" {
		err = errors.New("left behind: " + out)
	}
	return err
}
