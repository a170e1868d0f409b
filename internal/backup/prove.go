package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/backup/archive"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// ProveKind is the kind of operation that restores a backup for a trial. It is done to the backup, so that nobody removes it meanwhile.
const ProveKind = "backup.prove"

const (
	trialTimeout = 15 * time.Minute // of starting an Odoo and asking it
	closeTimeout = 10 * time.Minute
	proofTool    = "proof"
	loadStep     = "load" // whose errors are the backup's unless they say otherwise

	alertProof = "backup.proof_failed"
)

// MostTrials is how many trials may go on at once: each has a subnet of its own, which are few.
const MostTrials = 3

// Errors of a trial; all are safe to show.
var (
	ErrTrialRunning  = errs.New(errs.Conflict, "proof_running", "A backup of this client is being tried already.")
	ErrTooManyTrials = errs.New(errs.Conflict, "proofs_running", "As many backups as may be are being tried already; try again later.")
	ErrNoAnswer      = errs.New(errs.Internal, "proof_not_answering", "Odoo didn't answer on what was restored for a trial.")
	ErrNoSandbox     = errs.New(errs.Unavailable, "sandbox_unavailable", "There is no sandbox to try this backup in just now.")
)

// Prove asks for a backup to be restored into a sandbox, where Odoo is started on it. The client isn't touched.
// Errors: ErrNotFound, ErrNotGood, ErrNotFull, ErrTenantGone, ErrTrialRunning, ErrTooManyTrials,
// ErrInUse.
func (s *Service) Prove(ctx context.Context, id ID, by string, with ...also) (ops.Operation, error) {
	return s.enqueue(ctx, id, ProveKind, with, func(ctx context.Context, tx pgx.Tx, b Backup) error {
		switch {
		case b.State == Deleted:
			return ErrNotFound
		case !b.Good():
			return ErrNotGood
		case !b.Kind.Full():
			return ErrNotFull
		}
		t, err := s.tenants.Lock(ctx, tx, b.TenantID)
		if err != nil {
			return err
		}
		if isGoing(t) {
			return ErrTenantGone
		}
		return beginTrial(ctx, tx, b, by, s.now())
	})
}

func isGoing(t tenants.Tenant) bool { return t.State == tenants.Deleting || t.State == tenants.Deleted }

// ProveWorkflow restores a backup where nobody but us reaches it, and wants Odoo's login page from it. Each attempt at a step makes anew what
// it needs, so that no password is handed on.
func (w *Worker) ProveWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: ProveKind,
		Held: w.trialHeld,
		Steps: []ops.Step{
			{Name: loadStep, Timeout: loadTimeout, Do: w.trying(w.loadTrial), Undo: w.trialFailed},
			{Name: "start", Timeout: trialTimeout, Do: w.trying(w.startTrial)},
			{Name: "record", Tx: w.trialDone},
			{Name: "tear down", Timeout: closeTimeout, Do: w.closeTrial},
		},
	}
}

// trial is what the steps of one know.
type trial struct {
	*ops.Run
	backup Backup
	tenant tenants.Tenant
	slot   int
}

// trying wraps a step: what a few repetitions don't cure ends the trial.
func (w *Worker) trying(do func(ctx context.Context, t trial) error) func(ctx context.Context, r *ops.Run) error {
	return func(ctx context.Context, r *ops.Run) error {
		b, err := w.of(ctx, r)
		if err != nil {
			return err
		}
		last, err := lastTrial(ctx, w.pool, b.ID)
		if err != nil {
			return err
		}
		if !last.running { // it was given up while it was held
			return ops.Unwind(errors.New("the trial was given up"))
		}
		t, err := w.tenants.ByID(ctx, b.TenantID)
		if err == nil && isGoing(t) {
			err = ErrTenantGone
		}
		if err == nil {
			err = do(ctx, trial{r, b, t, last.slot})
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		return w.judgeTrial(ctx, r, b, fmt.Errorf("try backup %s of tenant %s: %w", b.ID, b.TenantID, err))
	}
}

// verdict is what an error of a trial means.
type verdict struct {
	limit   int  // of tries
	fault   bool // it is the backup's, as far as can be told
	damaged bool
}

// weigh tells what an error means: that the backup is no good, or that we can't tell just now.
func (w *Worker) weigh(ctx context.Context, r *ops.Run, b Backup, err error) (verdict, error) {
	v := verdict{limit: tries, fault: true}
	switch {
	case errors.Is(err, ErrTenantGone):
		v.limit, v.fault = 0, false
	case errors.Is(err, archive.ErrDamaged):
		v.limit, v.damaged = 0, true
	case errors.Is(err, ErrObjectMissing):
		right, storeErr := w.rightStore(ctx, b)
		v = verdict{fault: right, damaged: right}
		return v, storeErr
	case errors.Is(err, archive.ErrWrongKey), errors.Is(err, archive.ErrNewer), errors.Is(err, ErrToolVersion):
		v.limit, v.fault = 0, false
	case errors.Is(err, ErrNotTheSame), errors.Is(err, ErrTooLong):
		v.limit = 0
	case errors.Is(err, ErrNoAnswer):
		v.limit = 2
	case r.Step != loadStep, errors.Is(err, ErrNoSandbox), errs.KindOf(err) == errs.Unavailable:
		v.limit, v.fault = patience, false
	}
	return v, nil
}

// judgeTrial notes what an error means, and says whether there is another try.
func (w *Worker) judgeTrial(ctx context.Context, r *ops.Run, b Backup, err error) error {
	v, weighErr := w.weigh(ctx, r, b, err)
	if weighErr != nil {
		return ops.Outage(errors.Join(err, weighErr))
	}
	if noteErr := noteTrial(ctx, w.pool, b.ID, safeText(err), v.fault); noteErr != nil {
		return errors.Join(err, noteErr)
	}
	if r.Attempt < v.limit {
		return err
	}
	if v.damaged {
		err = errors.Join(err, w.tellDamaged(ctx, w.pool, b.ID, safeText(err)))
	}
	return ops.Unwind(err)
}

// loadTrial fills a new sandbox with the backup, and compares it with the manifest.
func (w *Worker) loadTrial(ctx context.Context, t trial) error {
	tool := helperName(t.backup, proofTool)
	if err := w.dropHelpers(ctx, tool); err != nil {
		return ErrNoSandbox.WithCause(err)
	}
	cell, err := w.sandbox.Open(ctx, t.tenant, t.backup.ID.Subject(), t.slot)
	if err != nil {
		return ErrNoSandbox.WithCause(err)
	}
	err = w.load(ctx, t.backup, place{access: cell.access(t.tenant.ID, tool), volume: cell.Volume, dir: cell.Dir}, nil)
	if err == nil {
		t.Note(ctx, "The backup is restored for a trial, and what the manifest counts is there")
	}
	return err
}

func (w *Worker) startTrial(ctx context.Context, t trial) error {
	err := w.sandbox.Start(ctx, t.tenant, t.backup.ID.Subject(), t.slot)
	if err == nil {
		t.Note(ctx, "Odoo has shown its login page")
	}
	return err
}

func (w *Worker) trialDone(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	if err := setProven(ctx, tx, in.BackupID, w.now()); err != nil {
		return err
	}
	return endTrial(ctx, tx, in.BackupID, ProofProven, w.now())
}

func (w *Worker) closeTrial(ctx context.Context, r *ops.Run) error {
	b, err := w.of(ctx, r)
	if err != nil {
		return err
	}
	last, err := lastTrial(ctx, w.pool, b.ID)
	if err != nil {
		return err
	}
	if err := w.dropHelpers(ctx, helperName(b, proofTool)); err != nil {
		return err
	}
	return w.sandbox.Close(ctx, b.ID.Subject(), last.slot)
}

// dropHelpers ends what an attempt that was cut short was loading with: a volume that it has can't be removed.
func (w *Worker) dropHelpers(ctx context.Context, tool string) error {
	for _, name := range []string{tool, tool + filesSuffix} {
		if err := w.volumes.RemoveContainer(ctx, name); err != nil {
			return fmt.Errorf("remove what was left of loading: %w", err)
		}
	}
	return nil
}

// trialFailed says what came of it before it tidies up, which may take some attempts.
func (w *Worker) trialFailed(ctx context.Context, r *ops.Run) error {
	err := postgres.InTx(ctx, w.pool, func(tx pgx.Tx) error { return w.failTrial(ctx, tx, r) })
	if err != nil {
		return err
	}
	return w.closeTrial(ctx, r)
}

// trialHeld is for one that nobody goes on with for now: another backup of the client may be tried meanwhile.
func (w *Worker) trialHeld(ctx context.Context, tx pgx.Tx, r *ops.Run, _ error) error {
	return w.failTrial(ctx, tx, r)
}

// failTrial ends a trial that goes on. One that failed by the backup's fault is told at once, since the next restore of it would too.
func (w *Worker) failTrial(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	last, err := lastTrial(ctx, tx, in.BackupID)
	if err != nil || !last.running {
		return err
	}
	if !last.fault {
		return endTrial(ctx, tx, in.BackupID, ProofGivenUp, w.now())
	}
	if err := endTrial(ctx, tx, in.BackupID, ProofFailed, w.now()); err != nil {
		return err
	}
	b, err := setUnproven(ctx, tx, in.BackupID, last.text, w.now())
	if err != nil {
		return err
	}
	return alerts.Raise(ctx, tx, alerts.Alert{
		Kind: alertProof, Subject: b.TenantID.Subject(),
		Message: fmt.Sprintf("The %s backup %s of %s couldn't be proven by restoring it: %s", b.Kind, b.ID, b.TenantName, last.text),
	})
}

// sweepTrials removes what abandoned trials left.
func (w *Worker) sweepTrials(ctx context.Context) error {
	removed, err := w.sandbox.Sweep(ctx, func(ctx context.Context, subject string) (bool, error) {
		return trialLives(ctx, w.pool, subject)
	})
	if removed > 0 {
		w.log.InfoContext(ctx, "removed what trials of backups left", "objects", removed)
	}
	return err
}
