package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/odoozip"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// NeutraliseKind is the kind of operation that makes a neutral dump of a backup: one in which nothing acts on the world any more. It is done
// to the backup, so that nobody removes it meanwhile.
const NeutraliseKind = "backup.neutralise"

const (
	// neutralObject ends the keys of neutral dumps; it isn't one of the parts that make a backup.
	neutralObject = "neutral.dump.zst.age"
	neutralTool   = "neutral"
	// neutralTries is for what Odoo's own command says of a database: it hardly says something else the second time.
	neutralTries = 2

	// partKey is under which the operation keeps what was stored.
	partKey = "neutral_part"
)

// Errors of neutral dumps; all are safe to show.
var (
	ErrNeutralRunning = errs.New(errs.Conflict, "neutralise_running", "Another backup of this client is being neutralised; try again when that has ended.")
	ErrNotReadBack    = errs.New(errs.Conflict, "neutral_dump_lost", "What was stored of the neutralised backup isn't what was written; ask for it once more.")
	ErrNotNeutralised = errs.New(errs.Conflict, "not_neutralised", "Odoo couldn't neutralise what was restored from this backup; our staff can tell why.")
)

// Neutral neutralises what was loaded into a sandbox.
type Neutral interface {
	// Neutralise runs Odoo's own command, which reaches nothing but the database, and returns how that is reached when the database itself
	// says that it is neutralised. It may be repeated. Errors: ErrNotNeutralised; all others are our trouble.
	Neutralise(ctx context.Context, t tenants.Tenant, subject string, slot int) (Cell, error)
}

// Eraser takes credentials out of an Odoo's database that its own neutralising leaves there, as the role that owns it.
type Eraser interface {
	EraseCredentials(ctx context.Context, a Access) error
}

// Neutraliser is what a Worker does so that backups can be handed out neutralised.
type Neutraliser struct {
	*Worker
	neutral Neutral
	eraser  Eraser
}

// NewNeutraliser adds neutral dumps to what w does.
func NewNeutraliser(w *Worker, neutral Neutral, eraser Eraser) (*Neutraliser, error) {
	if w == nil || neutral == nil || eraser == nil {
		return nil, errors.New("neutral dumps lack a dependency")
	}
	return &Neutraliser{Worker: w, neutral: neutral, eraser: eraser}, nil
}

// Register makes the workflow known to the operations engine; call it before the engine starts.
func (n *Neutraliser) Register() {
	n.ops.Register(n.NeutraliseWorkflow())
	n.ops.Every("neutral dumps", time.Hour, n.Sweep)
}

// NeutraliseWorkflow restores a backup's database into a sandbox, has Odoo's own command neutralise it there, and stores a dump of that beside
// the backup's own. The files are the backup's. Each attempt at a step makes anew what it needs, so that no password is handed on.
func (n *Neutraliser) NeutraliseWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: NeutraliseKind,
		Held: n.neutralHeld,
		Steps: []ops.Step{
			{Name: loadStep, Timeout: loadTimeout, Do: n.neutralising(n.loadDatabase), Undo: n.neutralFailed},
			{Name: "neutralise", Timeout: copyTimeout, Do: n.neutralising(n.neutralise)},
			{Name: "read back", Timeout: readTimeout, Do: n.neutralising(n.readNeutral), Tx: n.neutralDone},
			{Name: "tear down", Timeout: closeTimeout, Do: n.tearDown},
		},
	}
}

// loadDatabase fills a new sandbox with the backup's database alone: neutralising is done by SQL.
func (n *Neutraliser) loadDatabase(ctx context.Context, t trial) error {
	m, err := n.readManifest(ctx, t.backup.KeyPrefix)
	if err != nil {
		return err
	}
	if err := n.sameRelease(ctx, t, m); err != nil {
		return err
	}
	bare := m
	bare.Filestore = &archive.Files{}
	if err := n.fits(ctx, bare); err != nil {
		return err
	}
	tool := helperName(t.backup, neutralTool)
	if err := n.dropHelpers(ctx, tool); err != nil {
		return ErrNoSandbox.WithCause(err)
	}
	cell, err := n.sandbox.Open(ctx, t.tenant, t.backup.ID.Subject(), t.slot)
	if err != nil {
		return ErrNoSandbox.WithCause(err)
	}
	access := cell.access(t.tenant.ID, tool)
	all := &passed{tell: measured(ctx, t.Run), total: m.Dump.Bytes}
	err = within(ctx, n.longest(m.DumpBytes(), loadTimeout), func(ctx context.Context) error {
		err := n.read(ctx, t.backup.KeyPrefix+m.Dump.Object, m.Dump, func(content io.Reader) error {
			return full(n.database.Restore(ctx, access, all.reader(content), m.DumpBytes()))
		})
		if err != nil {
			return err
		}
		return n.compareDatabase(ctx, access, m.Database)
	})
	if err != nil {
		return err
	}
	t.Note(ctx, "The database is restored, apart from everything else")
	return nil
}

// compareDatabase wants what was restored to be what the manifest says.
func (w *Worker) compareDatabase(ctx context.Context, access Access, want archive.Database) error {
	snapshot, err := w.database.Snapshot(ctx, access)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	return sameDatabase(ctx, snapshot, want)
}

// access is how what is in a sandbox is reached, with a name for what has to run meanwhile.
func (c Cell) access(owner tenants.ID, tool string) Access {
	return Access{TenantID: owner, Database: c.Database, Role: c.Database, Password: c.Password, Tool: tool}
}

// sameRelease wants the backup to be of the release that the client's Odoo has, as far as that is known: another one's command isn't for it.
func (n *Neutraliser) sameRelease(ctx context.Context, t trial, m archive.Manifest) error {
	have, err := knownMajor(ctx, n.pool, t.tenant.ID)
	if err != nil {
		return err
	}
	if offered := odoozip.Major(m.Database.OdooVersion); have != "" && offered != have {
		return ErrOtherOdoo.WithMessage("The backup is of Odoo %.40s, and client %s has Odoo %.40s by now, which can't neutralise it.", offered, t.tenant.Name, have)
	}
	return nil
}

// neutralise dumps what came of it, under a name of this attempt's own.
func (n *Neutraliser) neutralise(ctx context.Context, t trial) error {
	tool := helperName(t.backup, neutralTool)
	if err := n.dropHelpers(ctx, tool); err != nil {
		return ErrNoSandbox.WithCause(err)
	}
	cell, err := n.neutral.Neutralise(ctx, t.tenant, t.backup.ID.Subject(), t.slot)
	if err != nil {
		return err
	}
	access := cell.access(t.tenant.ID, tool)
	if err := n.eraser.EraseCredentials(ctx, access); err != nil {
		return err
	}
	t.Note(ctx, "The database is neutralised")
	snapshot, err := n.database.Snapshot(ctx, access)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	all := &passed{tell: measured(ctx, t.Run), total: t.backup.DatabaseBytes}
	var part archive.Part
	err = within(ctx, n.longest(t.backup.DatabaseBytes, copyTimeout), func(ctx context.Context) (err error) {
		part, err = n.uploadDump(ctx, t.backup.KeyPrefix, neutralObject, snapshot, t.backup.DatabaseBytes, all)
		return err
	})
	if err != nil {
		return err
	}
	return t.Set(partKey, part)
}

// readNeutral is what makes it one that is handed out.
func (n *Neutraliser) readNeutral(ctx context.Context, t trial) error {
	part, err := neutralPart(t.Run)
	if err != nil {
		return err
	}
	err = n.read(ctx, t.backup.KeyPrefix+part.Object, part, func(content io.Reader) error {
		_, err := io.Copy(io.Discard, content)
		return err
	})
	if errors.Is(err, archive.ErrDamaged) || errors.Is(err, ErrObjectMissing) {
		return ErrNotReadBack.WithCause(errors.New(err.Error())) // nothing is known of the backup itself
	}
	return err
}

func neutralPart(r *ops.Run) (part archive.Part, err error) {
	found, err := r.Get(partKey, &part)
	if err == nil && !found {
		err = ops.Permanent(errors.New("the operation doesn't know what it stored"))
	}
	return part, err
}

func (n *Neutraliser) neutralDone(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	part, err := neutralPart(r)
	if err != nil {
		return err
	}
	return setNeutralReady(ctx, tx, in.BackupID, part, n.now())
}

// tearDown removes the sandbox, and what attempts before the last one stored.
func (n *Neutraliser) tearDown(ctx context.Context, r *ops.Run) error {
	b, err := n.of(ctx, r)
	if err != nil {
		return err
	}
	last, err := lastNeutral(ctx, n.pool, b.ID)
	if err != nil {
		return err
	}
	if err := n.removeStray(ctx, b); err != nil { // it goes with the backup, or the next sweep
		n.log.Warn("what attempts at a neutral dump stored stays behind for now", "backup", b.ID, "error", err)
	}
	if last.slot == nil { // nothing was begun
		return nil
	}
	err = n.dropHelpers(ctx, helperName(b, neutralTool))
	if err == nil {
		err = n.sandbox.Close(ctx, b.ID.Subject(), *last.slot)
	}
	switch {
	case errs.KindOf(err) == errs.Unavailable: // it ends by itself, and until then nobody else can use the backup's sandbox
		return ops.Outage(err)
	case err != nil:
		return fmt.Errorf("close the sandbox of backup %s: %w", b.ID, err)
	}
	return nil
}
