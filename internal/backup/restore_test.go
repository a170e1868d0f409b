package backup_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/provision"
	"controlplane/internal/provision/docker"
	"controlplane/internal/tenants"
)

// runner is an engine on which the tenant's Odoo starts and stops.
type runner struct {
	stopped atomic.Bool
	broken  atomic.Bool // it doesn't start on what was restored
	starts  atomic.Int64
}

// EnsureVolume leaves the volume to whoever mounts it first.
func (r *runner) EnsureVolume(context.Context, tenants.Tenant, string) error { return nil }

// Adopt leaves the database as it is.
func (r *runner) Adopt(context.Context, tenants.Tenant, string) error { return nil }

func (r *runner) Halt(context.Context, tenants.Tenant) error {
	r.stopped.Store(true)
	return nil
}

func (r *runner) Prepare(context.Context, tenants.Tenant) error { return nil }

func (r *runner) Answers(context.Context, tenants.Tenant) error {
	if r.stopped.Load() {
		return errors.New("nobody answers")
	}
	return nil
}

func (r *runner) Run(context.Context, tenants.Tenant) error {
	r.starts.Add(1)
	if r.broken.CompareAndSwap(true, false) {
		return errors.New("it stops again and again")
	}
	r.stopped.Store(false)
	return nil
}

func (p *plant) state() tenants.State {
	p.Helper()
	t, err := p.tenants.ByID(p.Context(), p.tenant.ID)
	require.NoError(p, err)
	return t.State
}

// files returns the names of the tenant's files, and whose they are.
func (p *plant) files() map[string]int {
	p.Helper()
	now, err := p.tenants.ByID(p.Context(), p.tenant.ID)
	require.NoError(p, err)
	volume, dir := provision.Filestore(now)
	mount := "look_" + p.tenant.Name
	require.NoError(p, p.engine.MountVolume(p.Context(), mount, volume, p.tenant.ID.String(), p.odoo.Image(), true))
	tree, err := p.engine.ReadTree(p.Context(), mount, dir)
	require.NoError(p, err)
	found := map[string]int{}
	for r := tar.NewReader(tree); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(p, err)
		if h.Typeflag == tar.TypeReg {
			found[h.Name[len(p.tenant.DBName)+1:]] = h.Uid
		}
	}
	require.NoError(p, tree.Close())
	require.NoError(p, p.engine.RemoveContainer(p.Context(), mount))
	return found
}

// leavesNothing sweeps what restores may leave for a day, and wants nothing else to be there than what the tenant uses.
func (p *plant) leavesNothing() {
	p.Helper()
	_, err := p.worker().SweepRestores(p.Context(), time.Now().Add(time.Hour))
	require.NoError(p, err)
	now, err := p.tenants.ByID(p.Context(), p.tenant.ID)
	require.NoError(p, err)
	volume, _ := provision.Filestore(now)
	objects, err := p.engine.Objects(p.Context())
	require.NoError(p, err)
	require.Equal(p, []docker.Object{{Kind: "volume", Name: volume, Tenant: p.tenant.ID.String()}}, objects)
	require.Equal(p, []string{p.tenant.DBName}, p.odoo.Databases(p.T))
	var spares int
	require.NoError(p, p.pool.QueryRow(p.Context(), "SELECT count(*) FROM spare_volumes").Scan(&spares))
	require.Zero(p, spares)
}

// lose is what a restore is for.
func (p *plant) lose() {
	p.Helper()
	p.odoo.Exec(p.T, "DELETE FROM res_partner WHERE id > 10; DELETE FROM ir_attachment")
	volume, _ := provision.Filestore(p.tenant)
	require.NoError(p, p.engine.RemoveVolume(p.Context(), volume))
	p.file("a file that came later")
	p.odoo.Attach(p.T, "a file that came later")
}

// buildLost is a plant that was backed up and has lost something since.
func buildLost(t *testing.T) (*plant, *ops.Engine, backup.Backup) {
	t.Helper()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	p.lose()
	return p, engine, b
}

func TestRestore_GivesBackWhatWasSaved(t *testing.T) {
	t.Parallel()
	p, engine, b := buildLost(t)
	require.Nil(t, b.ProvenAt)
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.NoError(t, err)
	_, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.ErrorIs(t, err, backup.ErrTenantBusy)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 1000, p.odoo.Partners(t))
	require.Contains(t, p.files(), backuptest.FileName(logo))
	require.NotContains(t, p.files(), backuptest.FileName("a file that came later"), "it is another volume")
	require.Equal(t, tenants.Active, p.state())
	require.False(t, p.runner.stopped.Load())
	b, err = p.backups.Get(t.Context(), b.ID)
	require.NoError(t, err)
	require.NotNil(t, b.ProvenAt)
	restored, err := p.tenants.ByID(t.Context(), p.tenant.ID)
	require.NoError(t, err)
	require.NotEqual(t, restored.PrimaryDomain, restored.LinkDomain, "its links are set anew")
	p.idle()

	// The safety backup holds what there was before, and leads back to it.
	page, err := p.backups.List(t.Context(), backup.Filter{TenantID: p.tenant.ID})
	require.NoError(t, err)
	require.Equal(t, backup.Safety, page.Backups[0].Kind)
	op, err = p.backups.Restore(t.Context(), page.Backups[0].ID, backup.RestoreInput{})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 10, p.odoo.Partners(t))
	require.Contains(t, p.files(), backuptest.FileName("a file that came later"))
}

func TestRestore_TriesAStartAgain(t *testing.T) {
	t.Parallel()
	p, engine, b := buildLost(t)
	p.runner.broken.Store(true)
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 1000, p.odoo.Partners(t))
}

// never is a runner on which nothing starts that was restored.
type never struct {
	*runner
	odoo *backuptest.Odoo
	t    *testing.T
}

func (n never) Run(ctx context.Context, t tenants.Tenant) error {
	if n.odoo.Partners(n.t) == 1000 {
		return errors.New("it stops again and again")
	}
	return n.runner.Run(ctx, t)
}

func TestRestore_RollsBack(t *testing.T) {
	t.Parallel()
	p, engine, b := buildLost(t)
	opstest.Stop(t, engine)
	p.run = never{p.runner, p.odoo, t}
	engine = p.start()
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	ended := opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Equal(t, backup.ErrDidNotStart.Message, ended.Error)
	require.Equal(t, 10, p.odoo.Partners(t), "it is as it was")
	require.Equal(t, tenants.Active, p.state())
	require.False(t, p.runner.stopped.Load())

	// What is damaged isn't even swapped in.
	for _, object := range p.stored() {
		content, err := os.ReadFile(object) //nolint:gosec // of this test
		require.NoError(t, err)
		content[len(content)/2] ^= 1
		require.NoError(t, os.WriteFile(object, content, 0o600))
	}
	starts := p.runner.starts.Load()
	op, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Equal(t, 10, p.odoo.Partners(t))
	require.Equal(t, starts, p.runner.starts.Load(), "nobody was interrupted")
	p.idle()
}

// dead is a runner on which nothing starts any more, until it is mended.
type dead struct {
	*runner
	mended *atomic.Bool
}

func (d dead) Run(context.Context, tenants.Tenant) error {
	if d.mended.Load() {
		return nil
	}
	return errors.New("it stops again and again")
}

func (d dead) Answers(context.Context, tenants.Tenant) error {
	if d.mended.Load() {
		return nil
	}
	return errors.New("nobody answers")
}

// What doesn't answer even as it was must not stay closed for it: it is the reconciliation's then, and operators know.
func TestRestore_ThatLeavesASilentOdooEndsOpenAndTold(t *testing.T) {
	t.Parallel()
	p, engine, b := buildLost(t)
	opstest.Stop(t, engine)
	mended := &atomic.Bool{}
	p.run = dead{p.runner, mended}
	engine = p.start()
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Equal(t, tenants.Active, p.state())
	require.Equal(t, 10, p.odoo.Partners(t), "it is as it was")
	require.Contains(t, p.files(), backuptest.FileName("a file that came later"))
	require.Equal(t, 1, p.openAlerts())
	w := p.worker()
	require.NoError(t, w.WatchRestores(t.Context()))
	require.Equal(t, 1, p.openAlerts(), "it doesn't answer yet")
	mended.Store(true)
	require.NoError(t, w.WatchRestores(t.Context()))
	require.Zero(t, p.openAlerts())
	p.idle()
	dropped, err := w.SweepRestores(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, dropped, "nothing was left behind")

	// One that somebody gave up half-way keeps its client closed, which is told, and another restore leads out.
	_, err = p.pool.Exec(t.Context(), "UPDATE tenants SET state = 'maintenance'")
	require.NoError(t, err)
	_, err = p.pool.Exec(t.Context(), `UPDATE operations SET data = jsonb_set(data, '{swap_at}', to_jsonb(now() - interval '1 hour')) WHERE id = $1`, op.ID)
	require.NoError(t, err)
	require.NoError(t, w.WatchRestores(t.Context()))
	require.Equal(t, 1, p.openAlerts())
	op, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, tenants.Active, p.state())
	require.Equal(t, 1000, p.odoo.Partners(t))
	require.NoError(t, w.WatchRestores(t.Context()))
	require.Zero(t, p.openAlerts())
}

// A client whose data is gone has a held operation that says so, and nothing that could be saved first.
func TestRestore_OfWhatIsGone(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	_, err := p.pool.Exec(t.Context(), "INSERT INTO operations (kind, subject, state, step) VALUES ('tenant.resume', $1, 'held', 'prepare')", p.tenant.ID.Subject())
	require.NoError(t, err)
	p.odoo.Lose(t)
	volume, _ := provision.Filestore(p.tenant)
	require.NoError(t, p.engine.RemoveVolume(t.Context(), volume))
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.NoError(t, err, "the held one is given up for it")
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 1000, p.odoo.Partners(t))
	require.Contains(t, p.files(), backuptest.FileName(logo))
	page, err := p.backups.List(t.Context(), backup.Filter{TenantID: p.tenant.ID})
	require.NoError(t, err)
	require.Len(t, page.Backups, 1, "no safety backup")
	p.idle()
}

// crowded volumes are on a disk with hardly any space left.
type crowded struct{ backup.Volumes }

func (crowded) FreeBytes(context.Context) (int64, bool, error) { return 1000, true, nil }

// narrow is a server of whose disk hardly anything is left.
type narrow struct{ backup.Cluster }

func (narrow) FreeBytes(context.Context) (int64, bool, error) { return -5, true, nil }

func TestRestore_WantsSpaceFirst(t *testing.T) {
	t.Parallel()
	p, engine, b := buildLost(t)
	opstest.Stop(t, engine)
	p.volumes = crowded{p.volumes}
	engine = p.start()
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	ended := opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Contains(t, ended.Error, "0 MB are free")
	opstest.Stop(t, engine)
	p.cluster = narrow{p.cluster}
	engine = p.start()
	op, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	ended = opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Contains(t, ended.Error, "on our database server")
	require.Equal(t, 10, p.odoo.Partners(t), "nothing has changed")
	require.Zero(t, p.runner.starts.Load())
	require.Equal(t, tenants.Active, p.state())
	p.idle()
}

// waiting is a runner that doesn't get ready before the tenant is deleted.
type waiting struct {
	*runner
	p *plant
}

func (w waiting) EnsureVolume(ctx context.Context, t tenants.Tenant, _ string) error {
	if _, err := w.p.pool.Exec(ctx, "UPDATE tenants SET state = 'deleting', desired = 'deleted' WHERE id = $1", t.ID); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestRestore_StopsForADeletion(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	opstest.Stop(t, engine)
	p.run = waiting{p.runner, p}
	engine = p.start()
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	ended := opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Equal(t, backup.ErrTenantGone.Message, ended.Error)
	p.idle()
}

// One that fails before it has loaded anything mustn't take back an earlier one that went well.
func TestRestore_ThatFailsAtOnceLeavesAnEarlierOneAlone(t *testing.T) {
	t.Parallel()
	p, engine, good := buildLost(t)
	before := p.stored()
	bad := p.took(engine, backup.Manual, ops.Done)
	op, err := p.backups.Restore(t.Context(), good.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 1000, p.odoo.Partners(t))
	for _, object := range p.stored() {
		if !slices.Contains(before, object) {
			require.NoError(t, os.WriteFile(object, []byte("no manifest, no dump and no files"), 0o600))
		}
	}
	starts := p.runner.starts.Load()
	opstest.Stop(t, engine)
	op, err = p.backups.Restore(t.Context(), bad.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	first, _ := provision.Filestore(p.tenant)
	volume, owner := fmt.Sprintf("%s_r%d", first, op.ID), p.tenant.ID.String()
	for _, killed := range []string{fmt.Sprintf("backup_%s_r%d_files", path.Base(bad.KeyPrefix), op.ID), volume + "_holder"} {
		require.NoError(t, p.engine.MountVolume(t.Context(), killed, volume, owner, p.odoo.Image(), false))
	}
	engine = p.start()
	ended := opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Equal(t, archive.ErrDamaged.Message, ended.Error)
	require.Equal(t, 1000, p.odoo.Partners(t), "what the good one restored")
	require.Equal(t, starts, p.runner.starts.Load())
	require.Equal(t, tenants.Active, p.state())
	p.idle()
	there, err := p.engine.HasVolume(t.Context(), volume, owner)
	require.NoError(t, err)
	require.False(t, there, "what a process left that was killed goes")
}

// stopping is a runner that says when a restore is about to swap.
type stopping struct {
	*runner
	now func()
}

func (s stopping) Halt(ctx context.Context, t tenants.Tenant) error {
	s.now()
	return s.runner.Halt(ctx, t)
}

func TestRestore_HoldsOnToItsBackupsAndDatabases(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	opstest.Stop(t, engine)
	refused, swept := make(chan error, 2), make(chan error, 1)
	var worker *backup.Worker
	p.run = stopping{p.runner, func() {
		page, err := p.backups.List(t.Context(), backup.Filter{TenantID: p.tenant.ID})
		if err != nil || len(page.Backups) != 2 {
			refused <- fmt.Errorf("%d backups: %w", len(page.Backups), err)
			return
		}
		for _, b := range page.Backups {
			_, err := p.backups.Delete(t.Context(), b.ID)
			refused <- err
		}
		_, err = worker.SweepRestores(t.Context(), time.Now().Add(time.Hour))
		swept <- err
	}}
	worker = p.worker()
	engine = opstest.Start(t, p.pool, worker.TakeWorkflow(), worker.DeleteWorkflow(), worker.RestoreWorkflow())
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	for range 2 {
		require.ErrorIs(t, <-refused, backup.ErrInUse)
	}
	require.NoError(t, <-swept)
	require.Equal(t, 1000, p.odoo.Partners(t), "nothing was swept away")
	dropped, err := worker.SweepRestores(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 2, dropped, "now what was there before is: database and volume")
	require.Contains(t, p.files(), backuptest.FileName(logo))
	op, err = p.backups.Delete(t.Context(), b.ID)
	require.NoError(t, err, "it was given back")
	opstest.Wait(t, engine, op.ID, ops.Done)
}

func TestRestore_OfWhatIsSuspendedStartsNothing(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	hourly := p.took(engine, backup.Hourly, ops.Done)
	p.lose()
	_, err := p.backups.Restore(t.Context(), hourly.ID, backup.RestoreInput{})
	require.ErrorIs(t, err, backup.ErrNotFull)
	_, err = p.pool.Exec(t.Context(), "UPDATE tenants SET state = 'suspended', desired = 'suspended', suspended_by = 'billing', suspended_at = now()")
	require.NoError(t, err)
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 1000, p.odoo.Partners(t))
	require.Equal(t, tenants.Suspended, p.state())
	require.Zero(t, p.runner.starts.Load())
	_, err = p.pool.Exec(t.Context(), "UPDATE tenants SET state = 'deleting', desired = 'deleted', suspended_by = NULL")
	require.NoError(t, err)
	_, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.ErrorIs(t, err, backup.ErrNotNow)
}

func TestRestore_SurvivesFailuresAndCrashesAtEachStep(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(*testing.T, *pgxpool.Pool, func(*testing.T) ops.Workflow, any, string, func(*testing.T)){
		"repeat": opstest.Repeat, "fail": opstest.FailEach, "crash": opstest.CrashEach,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := build(t)
			engine := p.start()
			b := p.took(engine, backup.Daily, ops.Done)
			opstest.Stop(t, engine)
			prove(t, p.pool, func(*testing.T) ops.Workflow {
				p.odoo.Exec(p.T, "DELETE FROM res_partner WHERE id > 10")
				return p.worker().RestoreWorkflow()
			}, map[string]any{"tenant_id": p.tenant.ID, "backup_id": b.ID, "without_safety": true}, p.tenant.ID.Subject(), func(t *testing.T) {
				t.Helper()
				require.Equal(t, 1000, p.odoo.Partners(p.T))
				require.Equal(t, tenants.Active, p.state())
				require.False(t, p.runner.stopped.Load())
				require.Contains(t, p.files(), backuptest.FileName(logo))
				p.idle()
				p.leavesNothing()
			})
		})
	}
}
