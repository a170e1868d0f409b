package backup_test

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// sandbox has a real database and a real volume, and an Odoo that answers unless it is told not to.
type sandbox struct {
	plant  *plant
	mute   atomic.Bool // no Odoo answers
	away   atomic.Bool // none can be made
	starts atomic.Int64
}

func (s *sandbox) name(subject string) string {
	return "proof_" + strings.ReplaceAll(subject, "/", "_") + "_" + s.plant.tenant.Name
}

func (s *sandbox) exec(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, pgtest.ServerURL(s.plant.T))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (s *sandbox) Open(ctx context.Context, _ tenants.Tenant, subject string, slot int) (backup.Cell, error) {
	if s.away.Load() {
		return backup.Cell{}, errors.New("the engine is away")
	}
	if err := s.Close(ctx, subject, slot); err != nil {
		return backup.Cell{}, err
	}
	name, password := s.name(subject), secrets.RandomPassword(20)
	quoted := pgx.Identifier{name}.Sanitize()
	err := s.exec(ctx, "CREATE ROLE "+quoted+" LOGIN PASSWORD '"+password.Reveal()+"'", "CREATE DATABASE "+quoted+" OWNER "+quoted)
	return backup.Cell{Database: name, Password: password, Volume: name, Dir: "filestore/" + name}, err
}

func (s *sandbox) Start(context.Context, tenants.Tenant, string, int) error {
	s.starts.Add(1)
	if s.mute.Load() {
		return backup.ErrNoAnswer.WithCause(errors.New("the container has stopped"))
	}
	return nil
}

func (s *sandbox) Close(ctx context.Context, subject string, _ int) error {
	name := s.name(subject)
	quoted := pgx.Identifier{name}.Sanitize()
	return errors.Join(s.exec(ctx, "DROP DATABASE IF EXISTS "+quoted+" WITH (FORCE)", "DROP ROLE IF EXISTS "+quoted), s.plant.engine.RemoveVolume(ctx, name))
}

func (s *sandbox) Sweep(context.Context, func(context.Context, string) (bool, error)) (int, error) {
	return 0, nil
}

// left is how many databases of sandboxes there are.
func (s *sandbox) left() (n int) {
	s.plant.Helper()
	conn, err := pgx.Connect(s.plant.Context(), pgtest.ServerURL(s.plant.T))
	require.NoError(s.plant, err)
	defer func() { _ = conn.Close(context.Background()) }()
	require.NoError(s.plant, conn.QueryRow(s.plant.Context(), "SELECT count(*) FROM pg_database WHERE datname ~ '^proof_' AND datname ~ $1",
		s.plant.tenant.Name+"$").Scan(&n))
	return n
}

func (p *plant) prove(b backup.Backup) ops.Operation {
	p.Helper()
	op, err := p.backups.Prove(p.Context(), b.ID, "system")
	require.NoError(p, err)
	return op
}

func (p *plant) reread(b backup.Backup) backup.Backup {
	p.Helper()
	b, err := p.backups.Get(p.Context(), b.ID)
	require.NoError(p, err)
	return b
}

func (p *plant) proofs() (states []string) {
	p.Helper()
	rows, err := p.pool.Query(p.Context(), "SELECT state FROM backup_proofs ORDER BY id")
	require.NoError(p, err)
	states, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(p, err)
	return states
}

func (p *plant) startProving() *ops.Engine {
	p.Helper()
	w := p.worker()
	return opstest.Start(p.T, p.pool, w.TakeWorkflow(), w.VerifyWorkflow(), w.DeleteWorkflow(), w.ProveWorkflow())
}

// A backup is proven on a copy: nothing of it stays, and the client isn't touched. One on which no Odoo starts is told of until it does.
func TestProve(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.startProving()
	b := p.took(engine, backup.Daily, ops.Done)
	p.lose()

	helper := "backup_" + path.Base(b.KeyPrefix) + "_proof_files" // what a worker that died left, with a volume
	require.NoError(t, p.engine.MountVolume(t.Context(), helper, p.cell.name(b.ID.Subject()), p.tenant.ID.String(), p.odoo.Image(), false))
	op := p.prove(b)
	_, err := p.backups.Prove(t.Context(), b.ID, "system")
	require.ErrorIs(t, err, backup.ErrTrialRunning)
	_, err = p.backups.Delete(t.Context(), b.ID)
	require.ErrorIs(t, err, backup.ErrInUse)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.NotNil(t, p.reread(b).ProvenAt)
	require.Equal(t, 10, p.odoo.Partners(t), "the client's own is as it was")
	require.Zero(t, p.cell.left())
	p.idle()

	p.cell.mute.Store(true)
	opstest.Wait(t, engine, p.prove(b).ID, ops.Abandoned)
	failed := p.reread(b)
	require.NotNil(t, failed.ProofFailedAt)
	require.Equal(t, backup.ErrNoAnswer.Message, failed.ProofError)
	require.True(t, failed.Good(), "it is whole; what is wrong with it is for a person to say")
	require.Zero(t, p.cell.left())
	require.Equal(t, 1, p.openAlerts())

	p.cell.mute.Store(false)
	opstest.Wait(t, engine, p.prove(b).ID, ops.Done)
	require.Nil(t, p.reread(b).ProofFailedAt)
	require.Zero(t, p.openAlerts())

	p.cell.away.Store(true)
	opstest.Wait(t, engine, p.prove(b).ID, ops.Abandoned)
	require.Nil(t, p.reread(b).ProofFailedAt, "our trouble is not the backup's")
	require.Zero(t, p.openAlerts())
	require.Equal(t, []string{"proven", "failed", "proven", "given_up"}, p.proofs())

	hourly := p.took(engine, backup.Hourly, ops.Done)
	_, err = p.backups.Prove(t.Context(), hourly.ID, "system")
	require.ErrorIs(t, err, backup.ErrNotFull)
}

// What a trial finds to be damaged doesn't count any more, as if it had been verified.
func TestProve_FindsDamage(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.startProving()
	b := p.took(engine, backup.Daily, ops.Done)
	for _, path := range p.stored() {
		if strings.HasSuffix(path, "filestore.tar.zst.age") {
			content, err := os.ReadFile(path) //nolint:gosec // the test's own
			require.NoError(t, err)
			content[len(content)/2] ^= 1
			require.NoError(t, os.WriteFile(path, content, 0o600)) //nolint:gosec // the test's own
		}
	}
	opstest.Wait(t, engine, p.prove(b).ID, ops.Abandoned)
	require.False(t, p.reread(b).Good())
	require.Equal(t, []string{"failed"}, p.proofs())
	require.Equal(t, 2, p.openAlerts(), "that it is damaged, and that nothing is proven")
	require.Zero(t, p.cell.left())
	_, err := p.backups.Prove(t.Context(), b.ID, "system")
	require.ErrorIs(t, err, backup.ErrNotGood)
}

// Each step twice, failing, and cut short by a crash.
func TestProve_Workflow(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.startProving()
	b := p.took(engine, backup.Daily, ops.Done)
	opstest.Stop(t, engine)
	for name, run := range map[string]func(*testing.T, *pgxpool.Pool, func(*testing.T) ops.Workflow, any, string, func(*testing.T)){
		"repeat": opstest.Repeat, "fail": opstest.FailEach, "crash": opstest.CrashEach,
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // on one backup
			run(t, p.pool, func(t *testing.T) ops.Workflow {
				t.Helper()
				_, err := p.pool.Exec(t.Context(), `INSERT INTO backup_proofs (backup_id, tenant_id, requested_by, created_at, slot)
					VALUES ($1, $2, 'system', now(), 0)`, b.ID, p.tenant.ID)
				require.NoError(t, err)
				return p.worker().ProveWorkflow()
			}, map[string]any{"backup_id": b.ID}, b.ID.Subject(), func(t *testing.T) {
				t.Helper()
				states := p.proofs()
				require.Equal(t, "proven", states[len(states)-1])
				require.Zero(t, p.cell.left())
			})
		})
	}
	p.idle()
}
