package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// Orphans returns what bears our installation's id and shouldn't be there, also what is within its grace. It changes nothing.
func (s *Service) Orphans(ctx context.Context) ([]Orphan, error) {
	w, _, clusterErr, err := s.survey(ctx)
	if err = errors.Join(err, clusterErr); err != nil {
		return nil, err
	}
	confirmed, err := s.confirm(ctx, findOrphans(w))
	if err != nil || len(confirmed) == 0 {
		return nil, err
	}
	recorded, err := recordedOrphans(ctx, s.pool)
	for i, o := range confirmed {
		if before, ok := recorded[key(o)]; ok && before.ID == o.ID {
			confirmed[i].FirstSeen, confirmed[i].LastSeen = before.FirstSeen, before.LastSeen
		}
	}
	return confirmed, err
}

// confirm looks a second time: what was just being made or removed isn't an orphan.
func (s *Service) confirm(ctx context.Context, found []Orphan) ([]Orphan, error) {
	if len(found) == 0 {
		return nil, nil
	}
	w, _, _, err := s.survey(ctx)
	if err != nil {
		return nil, err
	}
	again := findOrphans(w)
	return slices.DeleteFunc(found, func(o Orphan) bool {
		return !slices.ContainsFunc(again, func(a Orphan) bool { return a.Object == o.Object })
	}), nil
}

// key is what one orphan at a time has.
func key(o Orphan) string { return string(o.Kind) + " " + o.Name }

// clearOrphans records what it is seen for the first time, tells a person, and removes what has been there for longer than the grace.
func (s *Service) clearOrphans(ctx context.Context, w Worlds, found []Orphan) (left, removed int, err error) {
	if found, err = s.confirm(ctx, found); err != nil {
		return 0, 0, err
	}
	var recorded map[string]Orphan
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) (err error) {
		recorded, err = recordOrphans(ctx, tx, found, w.NoCluster)
		return err
	})
	if err != nil {
		return len(found), 0, err
	}
	var failures []error
	for _, o := range found {
		seen := recorded[key(o)]
		if o.Keep || !o.AtOnce && seen.LastSeen.Sub(seen.FirstSeen) < s.opts.OrphanGrace {
			left++
			continue
		}
		if err := s.removeOrphan(ctx, o); err != nil {
			left++
			failures = append(failures, fmt.Errorf("remove orphaned %s %s: %w", o.Kind, o.Name, err))
			continue
		}
		removed++
		s.log.WarnContext(ctx, "removed an orphan", "kind", o.Kind, "object", o.Name, "owner", o.Owner, "reason", o.Reason, "first_seen", seen.FirstSeen)
		failures = append(failures, forgetOrphan(ctx, s.pool, o))
	}
	return left, removed, errors.Join(append(failures, s.tellOrphans(ctx, left))...)
}

// recordOrphans writes down what was found and forgets what wasn't; without the database server's answer what is there is kept.
func recordOrphans(ctx context.Context, tx pgx.Tx, found []Orphan, noCluster bool) (map[string]Orphan, error) {
	batch := &pgx.Batch{}
	for _, o := range found {
		batch.Queue(`
			INSERT INTO orphans (kind, name, object_id, owner, reason, first_seen, last_seen) VALUES ($1, $2, $3, $4, $5, now(), now())
			ON CONFLICT (kind, name) DO UPDATE SET object_id = excluded.object_id, owner = excluded.owner, reason = excluded.reason,
				last_seen = excluded.last_seen,
				first_seen = CASE WHEN orphans.object_id = excluded.object_id THEN orphans.first_seen ELSE excluded.first_seen END`,
			o.Kind, o.Name, o.ID, o.Owner, o.Reason)
	}
	batch.Queue("DELETE FROM orphans WHERE last_seen < now() AND NOT ($1 AND kind IN ('database', 'role'))", noCluster)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("record orphans: %w", err)
	}
	return recordedOrphans(ctx, tx)
}

func recordedOrphans(ctx context.Context, q postgres.Querier) (map[string]Orphan, error) {
	rows, err := q.Query(ctx, "SELECT kind, name, object_id, owner, reason, first_seen, last_seen FROM orphans")
	if err != nil {
		return nil, fmt.Errorf("read the recorded orphans: %w", err)
	}
	all := map[string]Orphan{}
	var o Orphan
	_, err = pgx.ForEachRow(rows, []any{&o.Kind, &o.Name, &o.ID, &o.Owner, &o.Reason, &o.FirstSeen, &o.LastSeen}, func() error {
		all[key(o)] = o
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the recorded orphans: %w", err)
	}
	return all, nil
}

func forgetOrphan(ctx context.Context, q postgres.Querier, o Orphan) error {
	if _, err := q.Exec(ctx, "DELETE FROM orphans WHERE kind = $1 AND name = $2", o.Kind, o.Name); err != nil {
		return fmt.Errorf("forget an orphan: %w", err)
	}
	return nil
}

// removeOrphan removes it, or whatever is left of it. Both adapters refuse what isn't this very owner's any more.
func (s *Service) removeOrphan(ctx context.Context, o Orphan) error {
	switch o.Kind {
	case KindContainer, KindNetwork, KindVolume:
		return s.runtime.RemoveObject(ctx, o.Object)
	case KindTemplate:
		return s.removeTemplate(ctx, o.Name)
	case KindDatabase, KindRole:
	}
	kind, template, _ := strings.Cut(o.Owner, "/")
	if kind != "template" && kind != "spare" {
		return s.database.RemoveTenant(ctx, o.Name, o.Owner)
	}
	var wanted bool
	err := s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM templates WHERE database_name = $1 AND state <> 'removed')", template).Scan(&wanted)
	switch {
	case err != nil:
		return fmt.Errorf("look for template %s: %w", template, err)
	case wanted:
		return errors.New("the template is being made again")
	case kind == "spare":
		return s.database.EnsureSpares(ctx, template, 0)
	}
	return s.database.RemoveTemplate(ctx, template)
}

// TemplateRemoved is a template that no plan needed any more. The row stays: it tells the image of the tenants that were cloned from it.
const TemplateRemoved TemplateState = "removed"

// removeTemplate marks the row first, so that nobody clones the template any more. What a crash leaves of the rest is an orphan by itself.
func (s *Service) removeTemplate(ctx context.Context, name string) error {
	tag, err := s.pool.Exec(ctx, `
		UPDATE templates t SET state = $3, ready_at = NULL WHERE database_name = $1 AND state = 'ready'
		AND NOT EXISTS (SELECT FROM operations o WHERE o.subject = 'template/' || t.id AND o.finished_at IS NULL)
		AND NOT EXISTS (SELECT FROM operations o WHERE o.kind = $2 AND o.finished_at IS NULL AND o.data->>'template' = t.id::text)`,
		name, tenants.ProvisionKind, TemplateRemoved)
	if err != nil {
		return fmt.Errorf("remove template %s: %w", name, err)
	}
	if tag.RowsAffected() == 0 {
		return errors.New("the template is needed again")
	}
	if err := s.removeTemplateContainers(ctx, Template{Name: name}); err != nil {
		return err
	}
	return s.database.RemoveTemplate(ctx, name)
}
