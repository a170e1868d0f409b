package prove_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // as Odoo does
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/s3test"
	"controlplane/internal/secrets"
	"controlplane/test/rig"
	"controlplane/test/wire"
)

// TestKill_Backups has a backup store, which the other tests' clients must not get: their deletions would wait for their last backups.
func TestKill_Backups(t *testing.T) {
	k := newKept(t)
	for _, sc := range k.scenarios() {
		t.Run(sc.name, func(t *testing.T) { killAll(t, sc) })
	}
}

// kept is a client with backups, and what is made of them.
type kept struct {
	owner  *rig.Person
	tenant tenant
	copy   tenant // that is neutralised again and again
	newest int64  // that is good
	zip    []byte // of a backup, as its owner takes it along
	dir    string // of the store's objects
}

// present is who is in the first backup, and later who came after it.
const (
	present = "who was there"
	later   = "who came later"
)

// newKept has serve work with a store for the time of the test, and nothing begun by schedule.
func newKept(t *testing.T) *kept {
	t.Helper()
	ctx := t.Context()
	server := s3test.New(t)
	base, err := rig.FreeBase()
	require.NoError(t, err)
	shared.store = wire.NewStore(strings.TrimPrefix(base, "http://"), strings.TrimPrefix(server.Endpoint, "http://"))
	require.NoError(t, shared.store.Up())
	settings := map[string]string{
		"S3_ENDPOINT": base, "S3_BUCKET": server.Bucket, "S3_ACCESS_KEY": server.AccessKey, "S3_SECRET_KEY": server.SecretKey.Reveal(),
		"S3_REGION": "us-east-1", "BACKUP_KEY": secrets.RandomHex(32), "BACKUP_DIR": t.TempDir(),
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
		require.NoError(t, shared.store.Down())
		shared.store = nil
	})
	require.NoError(t, shared.restart(ctx))
	require.NoError(t, rig.Eventually(ctx, quietTimeout, shared.nothingBySchedule))
	k := &kept{dir: server.Dir}
	k.owner, err = shared.SignUp(ctx)
	require.NoError(t, err)
	k.tenant, err = shared.provision(ctx, k.owner, plan)
	require.NoError(t, err)
	require.NoError(t, shared.attach(ctx, k.tenant))
	_, err = shared.inDatabase(ctx, k.tenant, "INSERT INTO res_partner (name) VALUES ('"+present+"')")
	require.NoError(t, err)
	k.newest, err = k.take(ctx, shared)
	require.NoError(t, err)
	return k
}

// nothingBySchedule switches off what begins backups and trials by itself, once serve has written those schedules down.
func (w *world) nothingBySchedule(ctx context.Context) error {
	tag, err := w.Pool.Exec(ctx, "UPDATE schedules SET enabled = false WHERE name IN ('backups', 'backup_proofs', 'platform_backup')")
	if err == nil && tag.RowsAffected() != 3 {
		err = errors.New("the schedules of backups aren't there")
	}
	return err
}

// attach gives the client a file that is uploaded in several parts.
func (w *world) attach(ctx context.Context, t tenant) error {
	content := make([]byte, 11<<19)
	_, _ = rand.Read(content) // never fails
	sum := sha1.Sum(content)  //nolint:gosec // see above
	hash := hex.EncodeToString(sum[:])
	name := hash[:2] + "/" + hash
	archive, err := rig.TarOf("filestore/odoo_"+t.Name+"/"+name, content)
	if err != nil {
		return err
	}
	into := exec.CommandContext(ctx, "docker", "cp", "-", "odoo_"+t.Name+":/var/lib/odoo") //nolint:gosec // a container of ours
	into.Stdin = bytes.NewReader(archive)
	if out, err := into.CombinedOutput(); err != nil {
		return fmt.Errorf("copy a file in: %w: %s", err, out)
	}
	_, err = w.inDatabase(ctx, t, "INSERT INTO ir_attachment (name, store_fname) VALUES ('large', '"+name+"')")
	return err
}

// take has a backup taken, and waits for it.
func (k *kept) take(ctx context.Context, w *world) (id int64, err error) {
	if err := k.order(w)(ctx); err != nil {
		return 0, err
	}
	return id, rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error {
		err := w.Pool.QueryRow(ctx, "SELECT max(id) FROM backups WHERE tenant_id = $1", k.tenant.ID).Scan(&id)
		return errors.Join(err, w.holds(ctx, "SELECT state = 'done' FROM backups WHERE id = $1", id))
	})
}

func (k *kept) order(w *world) func(ctx context.Context) error {
	return w.ask(http.MethodPost, "/api/clients/"+k.tenant.Name+"/backup?backup_type=manual", nil)
}

// ask asks as soon as nothing else is done with the client: its links are followed up after each restore. Nobody asks so often.
func (w *world) ask(method, path string, body any) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		return w.insist(ctx, func(ctx context.Context) (rig.Answer, error) { return w.admin.Do(ctx, method, path, body) })
	}
}

// insist repeats what is refused for what goes on.
func (w *world) insist(ctx context.Context, send func(ctx context.Context) (rig.Answer, error)) (err error) {
	busy := rig.Eventually(ctx, reachTimeout, func(ctx context.Context) error {
		if _, err = w.Pool.Exec(ctx, "DELETE FROM rate_limits"); err != nil {
			return err
		}
		var a rig.Answer
		if a, err = send(ctx); err == nil && a.Status == http.StatusConflict {
			return a.OK()
		}
		err = errors.Join(err, a.OK())
		return nil
	})
	return errors.Join(busy, err)
}

// restore has the newest backup restored: into the client that it is of, or another one.
func (k *kept) restore(w *world, into string) func(ctx context.Context) error {
	return w.ask(http.MethodPost, fmt.Sprintf("/api/backups/%d/restore", k.newest), map[string]any{"skip_safety_backup": true, "into": into})
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

// isOfBackup says that the client is what the backup holds, and nothing of what came after it.
func (w *world) isOfBackup(ctx context.Context, t tenant) error {
	n, err := w.inDatabase(ctx, t, "SELECT count(*) FILTER (WHERE name = '"+present+"') + 100 * count(*) FILTER (WHERE name = '"+later+"') FROM res_partner")
	if err == nil && n != 1 {
		err = fmt.Errorf("%s isn't as in the backup: %d", t.Name, n)
	}
	return err
}

// changed adds what no backup has, and returns the number of the last operation until then.
func (k *kept) changed(ctx context.Context, w *world) (before int64, err error) {
	if err := w.Pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM operations").Scan(&before); err != nil {
		return 0, err
	}
	_, err = w.inDatabase(ctx, k.tenant, "INSERT INTO res_partner (name) VALUES ('"+later+"')")
	return before, err
}
