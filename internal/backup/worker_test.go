package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/s3test"
	"controlplane/internal/backup/store"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/provision"
	"controlplane/internal/provision/docker"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const logo = "the logo of a customer, which nobody else may read"

// plant is a tenant with a database, files, a store and a worker: all real, but that its Odoo is only a database that looks like one.
type plant struct {
	*testing.T
	pool     *pgxpool.Pool
	tenants  *tenants.Service
	backups  *backup.Service
	engine   *docker.Runtime
	odoo     *backuptest.Odoo
	server   *s3test.Server
	store    backup.Store
	database backup.Database
	volumes  backup.Volumes // what workers get
	cluster  backup.Cluster
	runner   *runner
	run      backup.Runner // what workers get
	cell     *sandbox
	tenant   tenants.Tenant
	patience time.Duration // what workers have; 0: a lot
}

func build(t *testing.T) *plant {
	t.Helper()
	p := &plant{T: t, pool: pgtest.New(t), engine: backuptest.Engine(t), server: s3test.New(t)}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	desk, err := ops.New(ops.Deps{Pool: p.pool, Log: log}, ops.Options{})
	require.NoError(t, err)
	sealer, err := secrets.NewSealer("a data key for tests that is long enough")
	require.NoError(t, err)
	p.tenants = tenants.New(tenants.Deps{Pool: p.pool, Sealer: sealer, Audit: audit.New(p.pool), Ops: desk}, tenants.Options{BaseDomain: "example.test"})
	p.backups, err = backup.New(backup.Deps{Pool: p.pool, Ops: desk, Tenants: p.tenants}, backup.Options{Prefix: "clients/"})
	require.NoError(t, err)
	p.store, err = store.New(store.Options{
		Endpoint: p.server.Endpoint, Bucket: p.server.Bucket, AccessKey: p.server.AccessKey, SecretKey: p.server.SecretKey,
	})
	require.NoError(t, err)
	p.tenant = p.active("acme-" + secrets.RandomHex(3))
	known, err := p.tenants.Secrets(t.Context(), p.tenant.ID)
	require.NoError(t, err)
	p.odoo = backuptest.NewOdooOf(t, p.tenant.DBName, known.DBPassword)
	p.database = p.odoo.Server(t, p.engine, p.odoo.Image())
	p.cluster, p.runner = p.odoo.Cluster(t, p.tenant.ID.Subject()), &runner{}
	p.run, p.volumes = p.runner, p.engine
	p.cell = &sandbox{plant: p}
	p.file(logo)
	p.odoo.Attach(t, logo)
	return p
}

// active makes a tenant that has been up.
func (p *plant) active(name string) tenants.Tenant {
	p.Helper()
	owner := accounts.Principal{Username: name, Email: name + "@example.test"}
	require.NoError(p, p.pool.QueryRow(p.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $2, $2, 'x') RETURNING id`, owner.Email, name).Scan(&owner.AccountID))
	t, err := p.tenants.Create(p.Context(), owner, netip.MustParseAddr("192.0.2.7"), tenants.CreateInput{Name: name, Email: owner.Email, PlanID: "basic"})
	require.NoError(p, err)
	require.NoError(p, postgres.InTx(p.Context(), p.pool, func(tx pgx.Tx) error {
		if _, err := p.tenants.MarkPaidTx(p.Context(), tx, t.ID, "reference-"+name); err != nil {
			return err
		}
		if err := p.tenants.MintSecretsTx(p.Context(), tx, t.ID); err != nil {
			return err
		}
		return p.tenants.ActivateTx(p.Context(), tx, t.ID, tenants.Endpoint{Address: netip.MustParseAddr("127.0.0.1"), HTTPPort: 8069, EventPort: 8072})
	}))
	t, err = p.tenants.ByID(p.Context(), t.ID)
	require.NoError(p, err)
	return t
}

// file puts a file into the tenant's filestore.
func (p *plant) file(content string) { p.fileOf(backuptest.FileName(content), content) }

func (p *plant) fileOf(name, content string) {
	p.Helper()
	volume, dir := provision.Filestore(p.tenant)
	mount := "fill_" + p.tenant.Name
	require.NoError(p, p.engine.MountVolume(p.Context(), mount, volume, p.tenant.ID.String(), p.odoo.Image(), false))
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	require.NoError(p, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + "/" + name, Mode: 0o644, Uid: 101, Gid: 101, Size: int64(len(content))}))
	_, err := w.Write([]byte(content))
	require.NoError(p, err)
	require.NoError(p, w.Close())
	require.NoError(p, p.engine.WriteTree(p.Context(), mount, &files))
	require.NoError(p, p.engine.RemoveContainer(p.Context(), mount))
}

const backupKey = "a key for backups in tests which is long enough"

func (p *plant) worker() *backup.Worker { return p.workerWith(backupKey) }

func (p *plant) workerWith(key secrets.Secret) *backup.Worker {
	p.Helper()
	keys, err := archive.NewKeys(key)
	require.NoError(p, err)
	w, err := backup.NewWorker(backup.WorkerDeps{
		Backups: p.backups, Store: p.store, Keys: keys, Database: p.database, Volumes: p.volumes, Cluster: p.cluster, Runner: p.run, Sandbox: p.cell,
		Log: slog.New(slog.NewTextHandler(p.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1})),
	}, backup.WorkerOptions{Image: p.odoo.Image(), Filestore: provision.Filestore, Patience: p.patience})
	require.NoError(p, err)
	return w
}

func (p *plant) start() *ops.Engine {
	p.Helper()
	w := p.worker()
	return opstest.Start(p.T, p.pool, w.TakeWorkflow(), w.VerifyWorkflow(), w.DeleteWorkflow(), w.RestoreWorkflow())
}

func (p *plant) take(kind backup.Kind) backup.Backup {
	p.Helper()
	b, err := p.backups.Take(p.Context(), backup.TakeInput{TenantID: p.tenant.ID, Kind: kind, By: "system"})
	require.NoError(p, err)
	return b
}

// took takes a backup and waits for it.
func (p *plant) took(engine *ops.Engine, kind backup.Kind, want ops.State) backup.Backup {
	p.Helper()
	b := p.take(kind)
	opstest.Wait(p.T, engine, b.OperationID, want)
	b, err := p.backups.Get(p.Context(), b.ID)
	require.NoError(p, err)
	return b
}

// stored returns the paths of the bucket's objects.
func (p *plant) stored() []string {
	p.Helper()
	var paths []string
	require.NoError(p, filepath.WalkDir(p.server.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

func (p *plant) openAlerts() (n int) {
	p.Helper()
	require.NoError(p, p.pool.QueryRow(p.Context(), "SELECT count(*) FROM alerts WHERE resolved_at IS NULL").Scan(&n))
	return n
}

func (p *plant) idle() {
	p.Helper()
	objects, err := p.engine.Objects(p.Context())
	require.NoError(p, err)
	for _, o := range objects {
		require.Equal(p, "volume", o.Kind, "%s stays behind", o.Name)
	}
}

func TestTake_CountsWhenItWasReadBack(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Manual, ops.Done)
	require.Equal(t, backup.Done, b.State)
	require.True(t, b.Good())
	require.NotNil(t, b.VerifiedAt)
	require.EqualValues(t, 1, b.FilestoreFiles)
	require.EqualValues(t, len(logo), b.FilestoreBytes)
	require.Greater(t, b.DatabaseBytes, int64(10_000))
	require.True(t, strings.HasPrefix(b.KeyPrefix, "clients/"+p.tenant.Name+"/"), b.KeyPrefix)
	paths := p.stored()
	require.Len(t, paths, 3)
	for _, path := range paths {
		content, err := os.ReadFile(path) //nolint:gosec // of this test
		require.NoError(t, err)
		for _, plain := range []string{"customer", p.tenant.Name, "res_partner"} {
			require.NotContains(t, string(content), plain)
		}
	}
	p.idle()

	hourly := p.took(engine, backup.Hourly, ops.Done)
	require.Equal(t, backup.Done, hourly.State)
	require.Zero(t, hourly.FilestoreFiles)
	require.Len(t, p.stored(), 5)

	op, err := p.backups.Delete(t.Context(), b.ID)
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Len(t, p.stored(), 2)
	b, err = p.backups.Get(t.Context(), b.ID)
	require.NoError(t, err)
	require.Equal(t, backup.Deleted, b.State)
}

func TestVerify_FindsOneFlippedByte(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	verify := func() backup.Backup {
		op, err := p.backups.Verify(t.Context(), b.ID)
		require.NoError(t, err)
		opstest.Wait(t, engine, op.ID, ops.Done)
		b, err := p.backups.Get(t.Context(), b.ID)
		require.NoError(t, err)
		return b
	}
	require.True(t, verify().Good())
	for _, path := range p.stored() {
		content, err := os.ReadFile(path) //nolint:gosec // of this test
		require.NoError(t, err)
		content[len(content)/2] ^= 1
		require.NoError(t, os.WriteFile(path, content, 0o600))
		broken := verify()
		require.False(t, broken.Good(), path)
		require.Equal(t, archive.ErrDamaged.Message, broken.Error)
		require.Equal(t, 1, p.openAlerts())
		content[len(content)/2] ^= 1
		require.NoError(t, os.WriteFile(path, content, 0o600))
		require.True(t, verify().Good())
		require.Zero(t, p.openAlerts())
	}
	require.NoError(t, os.Remove(p.stored()[0]))
	require.Equal(t, backup.ErrObjectMissing.Message, verify().Error)
}

func TestTake_FailsForAMissingFile(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	p.odoo.Attach(t, "a file that somebody removed")
	b := p.took(engine, backup.Daily, ops.Abandoned)
	require.Equal(t, backup.Failed, b.State)
	require.Equal(t, backup.ErrFilesMissing.Message, b.Error)
	require.Empty(t, p.stored(), "nothing is left of what failed")
	require.Equal(t, 1, p.openAlerts())
	p.idle()
	p.file("a file that somebody removed")
	require.True(t, p.took(engine, backup.Daily, ops.Done).Good())
	require.Zero(t, p.openAlerts())
}

func TestTake_FailsForALostVolume(t *testing.T) {
	t.Parallel()
	p := build(t)
	volume, _ := provision.Filestore(p.tenant)
	require.NoError(t, p.engine.RemoveVolume(t.Context(), volume))
	b := p.took(p.start(), backup.Daily, ops.Abandoned)
	require.Equal(t, backup.Failed, b.State)
	require.Equal(t, backup.ErrVolumeGone.Message, b.Error)
	require.Equal(t, 1, p.openAlerts())
	objects, err := p.engine.Objects(t.Context())
	require.NoError(t, err)
	require.Empty(t, objects, "no new one is made")
}

// refusing is a server that gives no snapshots.
type refusing struct{ backup.Database }

func (refusing) Snapshot(context.Context, backup.Access) (backup.Snapshot, error) {
	return nil, errors.New("no snapshot today")
}

// One whose operation is held makes room for the next, and leaves nothing when somebody has it tried again.
func TestTake_FailsWhenItIsHeld(t *testing.T) {
	t.Parallel()
	p := build(t)
	p.database = refusing{p.database}
	workflow := p.worker().TakeWorkflow()
	workflow.MaxAttempts = 1
	engine := opstest.Start(t, p.pool, workflow)
	b := p.took(engine, backup.Daily, ops.Held)
	require.Equal(t, backup.Failed, b.State)
	require.NotEmpty(t, b.Error)
	require.Equal(t, 1, p.openAlerts())
	require.NoError(t, engine.Retry(t.Context(), b.OperationID))
	require.Eventually(t, func() bool {
		op, err := engine.Get(t.Context(), b.OperationID)
		return err == nil && op.State == ops.Abandoned
	}, time.Minute, 10*time.Millisecond)
	require.Empty(t, p.stored())
}

// busy is a server, and an engine, on whose tenant somebody works while the backup is taken.
type busy struct {
	backup.Database
	backup.Volumes
	snapshot func(take func() (backup.Snapshot, error)) (backup.Snapshot, error)
	read     func(all io.ReadCloser) io.ReadCloser
}

func (b busy) Snapshot(ctx context.Context, a backup.Access) (backup.Snapshot, error) {
	return b.snapshot(func() (backup.Snapshot, error) { return b.Database.Snapshot(ctx, a) })
}

func (b busy) ReadTree(ctx context.Context, name, path string) (io.ReadCloser, error) {
	tree, err := b.Volumes.ReadTree(ctx, name, path)
	if err != nil || strings.Count(path, "/") > 1 {
		return tree, err
	}
	return b.read(tree), nil
}

// ending does something when it is closed.
type ending struct {
	io.ReadCloser
	then func()
}

func (e ending) Close() error {
	e.then()
	return e.ReadCloser.Close()
}

// What comes while the files are copied is in the backup too, and what was half written is whole.
func TestTake_HoldsWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	p := build(t)
	half, damaged := "written in two goes, of which the first was copied", "a file that rotted where it lies"
	p.fileOf(backuptest.FileName(half), "written in two")
	p.fileOf(backuptest.FileName(damaged), "a file that rotted")
	p.odoo.Attach(t, damaged)
	copied := make(chan struct{})
	work := busy{p.database, p.volumes, func(take func() (backup.Snapshot, error)) (backup.Snapshot, error) {
		<-copied
		p.file("somebody's upload")
		p.odoo.Attach(t, "somebody's upload")
		p.file(half)
		p.odoo.Attach(t, half)
		return take()
	}, func(all io.ReadCloser) io.ReadCloser { return ending{all, func() { close(copied) }} }}
	p.database, p.volumes = work, work
	b := p.took(p.start(), backup.Daily, ops.Done)
	require.EqualValues(t, 3, b.FilestoreFiles, "the rotten one is copied as it is, and isn't counted")
	require.True(t, b.Good())
}

// A file that Odoo lets go of before it is copied is needed by nobody, but for a snapshot that came before: a later one has no need of it.
func TestTake_IsNotHarmedByWhatGoesMeanwhile(t *testing.T) {
	t.Parallel()
	p := build(t)
	p.odoo.Attach(t, "a file that is gone")
	snapshots := 0
	work := busy{p.database, p.volumes, func(take func() (backup.Snapshot, error)) (backup.Snapshot, error) {
		snapshots++
		defer p.odoo.Exec(t, "DELETE FROM ir_attachment WHERE store_fname = $1", backuptest.FileName("a file that is gone"))
		return take()
	}, func(all io.ReadCloser) io.ReadCloser { return all }}
	p.database, p.volumes = work, work
	b := p.took(p.start(), backup.Daily, ops.Done)
	require.True(t, b.Good())
	require.Equal(t, 2, snapshots)
	require.EqualValues(t, 1, b.FilestoreFiles)
	require.Len(t, p.stored(), 3, "of the first dump nothing is left")
}

// A panic far from the operation's own goroutine is a failure like others, and what was written up to it doesn't pass for whole.
func TestTake_OutlastsAPanic(t *testing.T) {
	t.Parallel()
	p := build(t)
	reads := 0
	work := busy{p.database, p.volumes, func(take func() (backup.Snapshot, error)) (backup.Snapshot, error) { return take() }, func(all io.ReadCloser) io.ReadCloser {
		if reads++; reads == 1 {
			panic("something nobody thought of")
		}
		return all
	}}
	p.database, p.volumes = work, work
	b := p.took(p.start(), backup.Daily, ops.Done)
	require.True(t, b.Good())
	require.Equal(t, 2, reads)
	require.Len(t, p.stored(), 3)
	p.idle()
}

func TestTake_OutlastsAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	p := build(t)
	p.server.Stop()
	engine := p.start()
	b := p.take(backup.Daily)
	require.Eventually(t, func() bool {
		now, err := p.backups.Get(t.Context(), b.ID)
		return err == nil && now.Error == backup.ErrStoreUnreachable.Message
	}, time.Minute, 50*time.Millisecond)
	_, err := p.backups.Take(t.Context(), backup.TakeInput{TenantID: p.tenant.ID, Kind: backup.Manual, By: "owner"})
	require.ErrorIs(t, err, backup.ErrBusy)
	p.server.Start(t)
	opstest.Wait(t, engine, b.OperationID, ops.Done)
	p.idle()
}

func TestTake_EndsWithItsTenant(t *testing.T) {
	t.Parallel()
	p := build(t)
	b := p.take(backup.Daily)
	_, err := p.pool.Exec(t.Context(), "UPDATE tenants SET state = 'deleting', desired = 'deleted' WHERE id = $1", p.tenant.ID)
	require.NoError(t, err)
	engine := p.start()
	opstest.Wait(t, engine, b.OperationID, ops.Abandoned)
	b, err = p.backups.Get(t.Context(), b.ID)
	require.NoError(t, err)
	require.Equal(t, backup.ErrTenantGone.Message, b.Error)
	require.Zero(t, p.openAlerts())
	require.True(t, p.took(engine, backup.Final, ops.Done).Good(), "but for the last one")
}

// again makes the rows and the bucket as they are before the operation.
func (p *plant) again(b backup.Backup) {
	p.Helper()
	_, err := p.pool.Exec(p.Context(), `UPDATE backups SET state = 'queued', manifest = NULL, error = NULL, started_at = NULL, finished_at = NULL,
		verified_at = NULL WHERE id = $1`, b.ID)
	require.NoError(p, err)
	for _, path := range p.stored() {
		require.NoError(p, os.Remove(path))
	}
}

// row makes a backup that nobody takes but the test.
func (p *plant) row() backup.Backup {
	p.Helper()
	b := p.take(backup.Daily)
	_, err := p.pool.Exec(p.Context(), "DELETE FROM operations; DELETE FROM river_job")
	require.NoError(p, err)
	return b
}

func TestTake_SurvivesFailuresAndCrashesAtEachStep(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(*testing.T, *pgxpool.Pool, func(*testing.T) ops.Workflow, any, string, func(*testing.T)){
		"repeat": opstest.Repeat, "fail": opstest.FailEach, "crash": opstest.CrashEach,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := build(t)
			b := p.row()
			prove(t, p.pool, func(*testing.T) ops.Workflow {
				p.again(b)
				return p.worker().TakeWorkflow()
			}, map[string]any{"backup_id": b.ID}, b.ID.Subject(), func(t *testing.T) {
				t.Helper()
				done, err := p.backups.Get(context.Background(), b.ID)
				require.NoError(t, err)
				require.Equal(t, backup.Done, done.State)
				require.Len(t, p.stored(), 3, "nothing of another attempt is left")
				p.idle()
			})
		})
	}
}
