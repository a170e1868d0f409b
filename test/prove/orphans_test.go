package prove_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/test/rig"
)

// orphans says what is there of ours and shouldn't be: by our own look at engine and server, and by the operator's command.
func (w *world) orphans(ctx context.Context) error {
	return errors.Join(w.strayObjects(ctx), w.strayDatabases(ctx), w.commandOrphans(ctx))
}

// strayObjects looks for containers, networks and volumes of tenants that have none.
func (w *world) strayObjects(ctx context.Context) error {
	rows, err := w.Pool.Query(ctx, "SELECT name FROM tenants WHERE state NOT IN ('pending', 'deleted')")
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var strays []string
	for kind, list := range map[string][]string{
		"container": {"ps", "-a", "--format", "{{.Names}}"},
		"network":   {"network", "ls", "--format", "{{.Name}}"},
		"volume":    {"volume", "ls", "--format", "{{.Name}}"},
	} {
		out, err := rig.Docker(ctx, append(list, "--filter", "label=com.odoo-cloud.installation="+w.Installation)...)
		if err != nil {
			return err
		}
		for _, object := range strings.Fields(out) {
			if !w.belongs(object, names) {
				strays = append(strays, kind+" "+object)
			}
		}
	}
	if strays != nil {
		return fmt.Errorf("nobody's: %s", strings.Join(strays, ", "))
	}
	return nil
}

var restoredVolume = regexp.MustCompile(`_data_r\d+$`) //nolint:gochecknoglobals // a constant

func (w *world) belongs(object string, tenants []string) bool {
	if strings.HasPrefix(object, "odootmpl_"+w.Installation) || !strings.HasPrefix(object, "odoo_") && !strings.HasSuffix(object, "_network") {
		return !strings.HasSuffix(object, "_build") // the firewall's guard, and templates
	}
	name := strings.TrimSuffix(strings.TrimPrefix(object, "odoo_"), "_network")
	name = restoredVolume.ReplaceAllString(name, "_data") // what restores make, and put aside for a day
	for _, suffix := range []string{"_data", "_addons", "_config"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return slices.Contains(tenants, name)
}

// strayDatabases looks for databases and roles of tenants that have none.
func (w *world) strayDatabases(ctx context.Context) error {
	rows, err := w.cluster.Query(ctx, `
		SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE $1
		UNION SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE shobj_description(oid, 'pg_authid') LIKE $1`,
		"odoo-hosting "+w.Installation+" tenant/%")
	if err != nil {
		return err
	}
	marked := map[string]string{}
	var name, mark string
	if _, err := pgx.ForEachRow(rows, []any{&name, &mark}, func() error { marked[name] = mark; return nil }); err != nil {
		return err
	}
	for name, mark := range marked {
		mark, _, _ = strings.Cut(mark, " instead of ") // what restores put in its place
		id := mark[strings.LastIndex(mark, "/")+1:]
		name, _, _ = strings.Cut(name, "~b") // what restores put aside for a day
		err := w.holds(ctx, "SELECT EXISTS (SELECT FROM tenants WHERE id::text = $1 AND db_name = $2 AND state NOT IN ('pending', 'deleted'))", id, name)
		if err != nil {
			return fmt.Errorf("database or role %s (%s) is nobody's: %w", name, mark, err)
		}
	}
	return nil
}

func (w *world) commandOrphans(ctx context.Context) error {
	cmd := w.Command(ctx, "admin", "orphans")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if text := strings.TrimSpace(string(out)); text != "" || err != nil {
		return errors.Join(err, errors.New("admin orphans says: "+text))
	}
	return nil
}
