package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// Deps is what a Service works with; all but Now are required.
type Deps struct {
	Pool    *pgxpool.Pool
	Ops     *ops.Engine // enqueues what is asked for; needs no workflow
	Tenants *tenants.Service
	Now     func() time.Time // nil: time.Now
}

// Options tell where backups lie.
type Options struct {
	Prefix string // of every key in the bucket, S3_PREFIX; "" or ending in a slash
}

// Service keeps the rows of backups and enqueues what is done with them. It touches neither the store nor the engine: a process
// without the worker role has one too.
type Service struct {
	pool    *pgxpool.Pool
	ops     *ops.Engine
	tenants *tenants.Service
	now     func() time.Time
	prefix  string
}

// New checks the dependencies; it reaches for nothing.
func New(deps Deps, opts Options) (*Service, error) {
	if deps.Pool == nil || deps.Ops == nil || deps.Tenants == nil {
		return nil, errors.New("backups lack a dependency")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Service{pool: deps.Pool, ops: deps.Ops, tenants: deps.Tenants, now: deps.Now, prefix: opts.Prefix}, nil
}

// input is what the operations on one backup are enqueued with.
type input struct {
	BackupID ID `json:"backup_id"`
}

// Take asks for a backup. Errors: ErrUnknownKind, ErrNothingThere, ErrBusy.
func (s *Service) Take(ctx context.Context, in TakeInput) (Backup, error) {
	var b Backup
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		var err error
		b, err = s.TakeTx(ctx, tx, in)
		return err
	})
	if err != nil {
		return Backup{}, err
	}
	return b, nil
}

// TakeTx is Take within tx, which is of no use any more after ErrBusy.
func (s *Service) TakeTx(ctx context.Context, tx pgx.Tx, in TakeInput) (Backup, error) {
	if !in.Kind.Known() {
		return Backup{}, ErrUnknownKind
	}
	t, err := s.tenants.Lock(ctx, tx, in.TenantID)
	if err != nil {
		return Backup{}, err
	}
	if !worthKeeping(t, in.Kind) {
		return Backup{}, ErrNothingThere
	}
	now := s.now()
	b, err := insert(ctx, tx, Backup{
		TenantID: t.ID, TenantName: t.Name, Kind: in.Kind, KeyPrefix: s.keyPrefix(t.Name, in.Kind, now), RequestedBy: in.By, CreatedAt: now,
	})
	if err != nil {
		return Backup{}, err
	}
	op, err := s.ops.EnqueueTx(ctx, tx, TakeKind, b.ID.Subject(), input{BackupID: b.ID})
	if err != nil {
		return Backup{}, fmt.Errorf("enqueue backup %s: %w", b.ID, err)
	}
	return setOperation(ctx, tx, b.ID, op.ID)
}

// worthKeeping reports whether the tenant has an Odoo whose content is worth a backup: one that was never up has none, and what is being
// deleted is only backed up for the last time.
func worthKeeping(t tenants.Tenant, k Kind) bool {
	if t.ActivatedAt == nil {
		return false
	}
	switch t.State {
	case tenants.Active, tenants.Suspended, tenants.Sleeping, tenants.Scheduled, tenants.Maintenance, tenants.Failed:
		return true
	case tenants.Deleting:
		return k == Final
	case tenants.Pending, tenants.Provisioning, tenants.Deleted:
	}
	return false
}

// keyPrefix never gives the same twice, not even after our database was lost and numbers begin anew.
func (s *Service) keyPrefix(name string, k Kind, now time.Time) string {
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails
	return fmt.Sprintf("%s%s/%s_%s_%s_%s/", s.prefix, name, name, k, now.UTC().Format("20060102_150405"), hex.EncodeToString(salt[:]))
}

// Get returns a backup, also a deleted one. Errors: ErrNotFound.
func (s *Service) Get(ctx context.Context, id ID) (Backup, error) {
	return get(ctx, s.pool, id, "")
}

// Named returns the backup that a Vault calls so, also a deleted one. Errors: ErrNotFound.
func (s *Service) Named(ctx context.Context, name string) (Backup, error) {
	key := s.prefix + strings.Trim(name, "/") + "/"
	return one(ctx, s.pool, "look for the backup "+name, "SELECT "+columns+" FROM backups b WHERE b.key_prefix = $1", key)
}

// List returns matching backups, the newest first. Errors: ErrPageBounds.
func (s *Service) List(ctx context.Context, f Filter) (Page, error) {
	return list(ctx, s.pool, f)
}

// also is done in the transaction of what is asked for, by those who keep a record of it.
type also = func(ctx context.Context, tx pgx.Tx, b Backup) error

// Verify asks for another look at all of a backup. Errors: ErrNotFound, ErrNotGood, ErrInUse.
func (s *Service) Verify(ctx context.Context, id ID, with ...also) (ops.Operation, error) {
	return s.enqueue(ctx, id, VerifyKind, with, func(_ context.Context, _ pgx.Tx, b Backup) error {
		if b.State != Done {
			return ErrNotGood
		}
		return nil
	})
}

// Delete has a backup's objects removed, whether it is good or not. A repeat of one that was held begins it again.
// Errors: ErrNotFound, ErrKept, ErrInUse.
func (s *Service) Delete(ctx context.Context, id ID, with ...also) (ops.Operation, error) {
	return s.enqueue(ctx, id, DeleteKind, with, func(ctx context.Context, tx pgx.Tx, b Backup) error {
		switch {
		case b.Kept:
			return ErrKept
		case b.State == Deleted:
			return ErrNotFound
		case b.State == Queued || b.State == Running:
			return ErrInUse
		}
		needed, err := beingRestored(ctx, tx, b)
		if err != nil {
			return err
		}
		if needed {
			return ErrInUse
		}
		return setState(ctx, tx, b.ID, Deleting)
	})
}

// Keep marks a backup as not to be pruned, or lets go of it. Errors: ErrNotFound, ErrNotGood.
func (s *Service) Keep(ctx context.Context, id ID, keep bool, with ...also) (Backup, error) {
	var kept Backup
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		b, err := get(ctx, tx, id, "FOR UPDATE")
		switch {
		case err != nil:
			return err
		case b.State == Deleted || b.State == Deleting:
			return ErrNotFound
		case keep && !b.Good():
			return ErrNotGood
		}
		if kept, err = setKept(ctx, tx, id, keep); err != nil {
			return err
		}
		return together(ctx, tx, kept, with)
	})
	return kept, err
}

// enqueue asks for something to be done with a backup if check, which sees its locked row, has nothing against it.
func (s *Service) enqueue(ctx context.Context, id ID, kind string, with []also, check also) (ops.Operation, error) {
	return s.order(ctx, id, with, func(ctx context.Context, tx pgx.Tx, b Backup) (order, error) {
		return order{kind: kind, subject: id.Subject(), input: input{BackupID: id}, busy: ErrInUse}, check(ctx, tx, b)
	})
}

// order is an operation that is asked for.
type order struct {
	kind, subject string
	input         any
	busy          *errs.Error // when something else is being done with the subject
	instead       bool        // of one that is held there
}

// order asks for what decide says, which sees the backup's locked row.
func (s *Service) order(
	ctx context.Context, id ID, with []also, decide func(ctx context.Context, tx pgx.Tx, b Backup) (order, error),
) (ops.Operation, error) {
	var op ops.Operation
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		b, err := get(ctx, tx, id, "FOR UPDATE")
		if err != nil {
			return err
		}
		o, err := decide(ctx, tx, b)
		if err != nil {
			return err
		}
		if op, err = s.orderTx(ctx, tx, o); err != nil {
			return err
		}
		return together(ctx, tx, b, with)
	})
	return op, err
}

func (s *Service) orderTx(ctx context.Context, tx pgx.Tx, o order) (ops.Operation, error) {
	enqueue := s.ops.EnqueueTx
	if o.instead {
		before, err := s.ops.Unfinished(ctx, tx, o.subject)
		if err != nil {
			return ops.Operation{}, err
		}
		if len(before) == 1 && before[0].State == ops.Held {
			enqueue = s.ops.EnqueueNextTx
		}
	}
	op, err := enqueue(ctx, tx, o.kind, o.subject, o.input)
	if errors.Is(err, ops.ErrLive) {
		return op, o.busy.WithCause(err)
	}
	return op, err
}

func together(ctx context.Context, tx pgx.Tx, b Backup, with []also) error {
	for _, do := range with {
		if err := do(ctx, tx, b); err != nil {
			return err
		}
	}
	return nil
}
