package prove_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup/archive"
	"controlplane/test/rig"
)

// clean says that nothing is left that backups, trials, imports and restores work with: containers, volumes, networks, databases, roles,
// objects and unfinished uploads in the store, and files of uploads.
func (k *kept) clean(ctx context.Context, w *world) error {
	return errors.Join(w.noHelpers(ctx), w.noSideDatabases(ctx), w.noLooseVolumes(ctx), k.onlyBackupsAreStored(ctx, w), w.noUploadedFiles())
}

// noHelpers says that no container is left that a backup, a trial or a restore worked with.
func (w *world) noHelpers(ctx context.Context) error {
	var left []string
	for _, list := range [][]string{{"ps", "-a", "--format", "{{.Names}}"}, {"volume", "ls", "--format", "{{.Name}}"}, {"network", "ls", "--format", "{{.Name}}"}} {
		out, err := rig.Docker(ctx, append(list, "--filter", "label=com.odoo-cloud.installation="+w.Installation)...)
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(out) {
			if strings.HasPrefix(name, "backup_") || strings.HasPrefix(name, "odooproof_") || strings.HasSuffix(name, "_neutralise") {
				left = append(left, name)
			}
		}
	}
	if left != nil {
		return fmt.Errorf("left on the engine: %v", left)
	}
	return nil
}

// noSideDatabases says that no database or role is left of trials, imports and restores; what restores put aside stays a day.
func (w *world) noSideDatabases(ctx context.Context) error {
	rows, err := w.cluster.Query(ctx, `SELECT datname::text FROM pg_database WHERE starts_with(datname, $1) OR starts_with(datname, $2) OR datname LIKE '%~new'
		UNION ALL SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1) OR starts_with(rolname, $2)`,
		"odooproof_"+w.Installation, "odooimport_"+w.Installation)
	if err != nil {
		return err
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left on the tenants' server: %v", left)
	}
	return err
}

// noLooseVolumes says that each volume of a restore is used by its client, or written down to go in a day.
func (w *world) noLooseVolumes(ctx context.Context) error {
	out, err := rig.Docker(ctx, "volume", "ls", "--format", "{{.Name}}", "--filter", "label=com.odoo-cloud.installation="+w.Installation)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(out) {
		if !restoredVolume.MatchString(name) {
			continue
		}
		err := w.holds(ctx, "SELECT EXISTS (SELECT FROM tenants WHERE data_volume = $1) OR EXISTS (SELECT FROM spare_volumes WHERE volume = $1)", name)
		if err != nil {
			return fmt.Errorf("the volume %s is nobody's: %w", name, err)
		}
	}
	return nil
}

// onlyBackupsAreStored says that the store holds all parts of all backups that are good, and their neutral dumps, and nothing else.
func (k *kept) onlyBackupsAreStored(ctx context.Context, w *world) error {
	rows, err := w.Pool.Query(ctx, `SELECT key_prefix || unnest(ARRAY[$1, manifest->'dump'->>'object', manifest->'filestore'->>'object'])
		FROM backups WHERE state = 'done' UNION ALL
		SELECT b.key_prefix || (d.part->>'object') FROM backup_neutral_dumps d JOIN backups b ON b.id = d.backup_id
		WHERE b.state = 'done' AND d.state = 'ready' AND d.expires_at > now()`, archive.ManifestObject)
	if err != nil {
		return err
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var stray []string
	err = filepath.WalkDir(k.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() { // it went while we looked
			return nil
		}
		name, relErr := filepath.Rel(k.dir, path)
		if i := slices.Index(want, name); i >= 0 {
			want = slices.Delete(want, i, i+1)
		} else {
			stray = append(stray, name)
		}
		return errors.Join(err, relErr)
	})
	if err == nil && len(stray)+len(want) > 0 {
		err = fmt.Errorf("stored and of no backup: %v; missing: %v", stray, want)
	}
	return err
}

// noUploadedFiles says that the scratch folder is empty.
func (w *world) noUploadedFiles() error {
	left, err := filepath.Glob(w.Setting("BACKUP_DIR") + "/*")
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left in the scratch folder: %v", left)
	}
	return err
}

// shed removes what would pile up over hundreds of kills: all backups but the newest, and what restores put aside.
func (k *kept) shed(ctx context.Context, w *world) error {
	rows, err := w.Pool.Query(ctx, "SELECT id FROM backups WHERE state = 'done' AND id <> $1", k.newest)
	if err != nil {
		return err
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	for _, id := range old {
		if err := w.ask(http.MethodDelete, fmt.Sprintf("/api/backups/%d", id), nil)(ctx); err != nil {
			return fmt.Errorf("remove an old backup: %w", err)
		}
	}
	rows, err = w.cluster.Query(ctx, "SELECT datname::text FROM pg_database WHERE datname LIKE '%~b%'")
	if err != nil {
		return err
	}
	aside, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range aside {
		if _, err := w.cluster.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	if _, err := w.Pool.Exec(ctx, "UPDATE spare_volumes SET since = since - interval '2 days'"); err != nil { // the next start's sweep removes them
		return err
	}
	return rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error {
		return w.holds(ctx, "SELECT NOT EXISTS (SELECT FROM backups WHERE state = 'deleting')")
	})
}
