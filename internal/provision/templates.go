package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// TemplateID identifies a template.
type TemplateID int64

// Subject is the operations subject of a template.
func (id TemplateID) Subject() string { return "template/" + strconv.FormatInt(int64(id), 10) }

// TemplateState is where a template stands.
type TemplateState string

// The states of a template.
const (
	TemplateBuilding TemplateState = "building"
	TemplateReady    TemplateState = "ready"
	TemplateFailed   TemplateState = "failed" // its operation is held: a person looks
)

// Template is an installed Odoo, kept to be cloned.
type Template struct {
	ID        TemplateID
	ImageID   string
	Apps      []string
	Name      string // of its database, and what the names of its container and volumes begin with
	State     TemplateState
	Error     string
	CreatedAt time.Time
	ReadyAt   *time.Time
}

// volume holds the filestore; the container of that name never runs and is there for the volume to be copied from.
func (t Template) volume() string { return t.Name + "_data" }

// ErrTemplateFailed is returned while the template of a plan can't be built.
var ErrTemplateFailed = errs.New(errs.Unavailable, "template_failed", "We can't set up this plan's apps at the moment; our staff have been told.")

const templateColumns = "id, image_id, apps, database_name, state, coalesce(error, ''), created_at, ready_at"

func scanTemplate(row pgx.CollectableRow) (Template, error) {
	var t Template
	err := row.Scan(&t.ID, &t.ImageID, &t.Apps, &t.Name, &t.State, &t.Error, &t.CreatedAt, &t.ReadyAt)
	return t, err
}

func queryTemplates(ctx context.Context, q postgres.Querier, where string, args ...any) ([]Template, error) {
	rows, err := q.Query(ctx, "SELECT "+templateColumns+" FROM templates "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanTemplate)
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	return list, nil
}

// Templates returns all templates, oldest first; ops.Latest of a template's Subject tells how its building goes.
func Templates(ctx context.Context, q postgres.Querier) ([]Template, error) {
	return queryTemplates(ctx, q, "ORDER BY id")
}

func (s *Service) template(ctx context.Context, id TemplateID) (Template, error) {
	list, err := queryTemplates(ctx, s.pool, "WHERE id = $1", id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("there is no template %d", id)
	}
	if err != nil {
		return Template{}, err
	}
	return list[0], nil
}

// EnsureTemplates asks for the templates of all plans that are offered, so that they are there before a customer is.
func (s *Service) EnsureTemplates(ctx context.Context) error {
	plans, err := s.tenants.Plans(ctx)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if _, err := s.EnsureTemplate(ctx, p.Apps); err != nil && !errors.Is(err, ErrTemplateFailed) {
			return fmt.Errorf("template of plan %s: %w", p.ID, err)
		}
	}
	return nil
}

// earlierTemplate returns the newest ready template with these apps, of whatever image is still on the engine.
func (s *Service) earlierTemplate(ctx context.Context, apps []string) (Template, bool, error) {
	list, err := queryTemplates(ctx, s.pool, "WHERE apps_key = $1 AND state = 'ready' ORDER BY id DESC", appsKey(apps))
	if err != nil {
		return Template{}, false, err
	}
	for _, t := range list {
		if _, err := s.runtime.Image(ctx, t.ImageID); err == nil {
			return t, true, nil
		}
	}
	return Template{}, false, nil
}

// usedTemplates are the ready ones of the plans that are offered, for the present image.
func (s *Service) usedTemplates(ctx context.Context) ([]Template, error) {
	if s.opts.Spares == 0 {
		return nil, nil
	}
	plans, err := s.tenants.Plans(ctx)
	if err != nil {
		return nil, err
	}
	image, err := s.runtime.Image(ctx, s.opts.Image)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(plans))
	for _, p := range plans {
		keys = append(keys, appsKey(p.Apps))
	}
	return queryTemplates(ctx, s.pool, "WHERE image_id = $1 AND apps_key = ANY($2) AND state = 'ready' ORDER BY id", image.ID, keys)
}

// EnsureTemplate returns the template of the present image with these apps, enqueueing its building unless it is there or being built. The
// template may not be ready yet. Errors: ErrTemplateFailed.
func (s *Service) EnsureTemplate(ctx context.Context, apps []string) (Template, error) {
	image, err := s.runtime.Image(ctx, s.opts.Image)
	if err != nil {
		return Template{}, fmt.Errorf("find the image of Odoo: %w", err)
	}
	key := appsKey(apps)
	list, err := queryTemplates(ctx, s.pool, "WHERE image_id = $1 AND apps_key = $2", image.ID, key)
	if err != nil {
		return Template{}, err
	}
	if len(list) == 1 && list[0].State == TemplateReady {
		return list[0], nil
	}
	var t Template
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		t, err = s.enqueueBuild(ctx, tx, image.ID, key, apps)
		return err
	})
	return t, err
}

func (s *Service) enqueueBuild(ctx context.Context, tx pgx.Tx, imageID, key string, apps []string) (Template, error) {
	name := s.templateName(imageID, key)
	sorted := slices.Sorted(slices.Values(apps))
	_, err := tx.Exec(ctx, `
		INSERT INTO templates (image_id, apps_key, apps, database_name, volume_name, state) VALUES ($1, $2, $3, $4, $5, 'building')
		ON CONFLICT (image_id, apps_key) DO NOTHING`, imageID, key, slices.Compact(sorted), name, Template{Name: name}.volume())
	if err != nil {
		return Template{}, fmt.Errorf("add a template: %w", err)
	}
	list, err := queryTemplates(ctx, tx, "WHERE image_id = $1 AND apps_key = $2 FOR UPDATE", imageID, key)
	if err != nil {
		return Template{}, err
	}
	t := list[0]
	if t.State == TemplateReady {
		return t, nil
	}
	_, err = s.ops.EnqueueTx(ctx, tx, BuildKind, t.ID.Subject(), buildInput{TemplateID: t.ID})
	if errors.Is(err, ops.ErrLive) {
		if t.State == TemplateFailed {
			return t, ErrTemplateFailed.WithCause(fmt.Errorf("template %d: %s", t.ID, t.Error))
		}
		return t, nil
	}
	if err != nil {
		return t, err
	}
	return t, setTemplate(ctx, tx, t.ID, TemplateBuilding, "")
}

func setTemplate(ctx context.Context, q postgres.Querier, id TemplateID, state TemplateState, reason string) error {
	_, err := q.Exec(ctx, `
		UPDATE templates SET state = $2, error = nullif($3, ''), ready_at = CASE WHEN $2 = 'ready' THEN now() END WHERE id = $1`, id, state, reason)
	if err != nil {
		return fmt.Errorf("set template %d to %s: %w", id, state, err)
	}
	return nil
}
