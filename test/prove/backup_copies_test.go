package prove_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/test/rig"
	"controlplane/test/wire"
)

// copying makes a new client of a backup.
func (k *kept) copying() scenario {
	return scenario{
		name: "copy into a new client", within: settled,
		brief: []point{
			{"swap", "platform", "commit", 2, wire.After},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, page, err := k.newCopy(ctx, w)
			return subject{
				tenant: t, kind: "tenant.restore", names: []string{t.Name, k.tenant.Name}, steady: k.tenant.Name,
				begin: func(ctx context.Context) error { return rig.Pay(ctx, page) },
				goal:  func(ctx context.Context) error { return k.copied(ctx, w, t) },
			}, err
		},
		tidy: func(ctx context.Context, w *world, s subject) error {
			return errors.Join(remove(ctx, w, s), k.shed(ctx, w))
		},
	}
}

// newCopy has the owner name a client that is to be a copy of the newest backup, and leaves it unpaid.
func (k *kept) newCopy(ctx context.Context, w *world) (t tenant, page string, err error) {
	if _, err := w.Pool.Exec(ctx, "DELETE FROM rate_limits"); err != nil {
		return t, "", err
	}
	name := "c" + k.tenant.Name[1:7] + fmt.Sprint(time.Now().UnixMilli())
	_, err = k.owner.Must(ctx, http.MethodPost, "/api/clients", map[string]any{"name": name, "email": k.owner.Email, "plan": plan, "from_backup": k.newest})
	if err != nil {
		return t, "", err
	}
	if _, page, err = k.owner.Checkout(ctx, name, plan); err != nil {
		return t, "", err
	}
	t, err = w.tenant(ctx, name)
	return t, page, err
}

// copied says that the client has the backup's data, an identity of its own, and is in quarantine.
func (k *kept) copied(ctx context.Context, w *world, t tenant) error {
	err := w.holds(ctx, `SELECT quarantined_at IS NOT NULL AND copy_of IS NULL AND NOT EXISTS (SELECT FROM alerts WHERE subject = $2 AND resolved_at IS NULL)
		FROM tenants WHERE id = $1`, t.ID, t.Subject)
	if err != nil {
		return err
	}
	return errors.Join(w.active(ctx, t), w.isOfBackup(ctx, t), w.inQuarantine(ctx, t, true), k.differs(ctx, w, t), w.active(ctx, k.tenant), k.clean(ctx, w))
}

// differs wants the copy to have another uuid than what it is of.
func (k *kept) differs(ctx context.Context, w *world, t tenant) error {
	var uuids [2]string
	for i, of := range []tenant{k.tenant, t} {
		conn, err := pgx.Connect(ctx, w.ClusterURL("odoo_"+of.Name))
		if err != nil {
			return err
		}
		err = conn.QueryRow(ctx, "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'").Scan(&uuids[i])
		if err := errors.Join(err, conn.Close(ctx)); err != nil {
			return err
		}
	}
	if uuids[0] == uuids[1] {
		return fmt.Errorf("%s has the uuid of what it is a copy of", t.Name)
	}
	return nil
}

// inQuarantine says whether the client's container is where the firewall keeps it from everything: at the last address of its subnet.
func (w *world) inQuarantine(ctx context.Context, t tenant, want bool) error {
	out, err := rig.Docker(ctx, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "odoo_"+t.Name)
	if err != nil {
		return err
	}
	var last int
	if _, err := fmt.Sscan(out[strings.LastIndexByte(out, '.')+1:], &last); err != nil {
		return err
	}
	if (last&15 == 14) != want {
		return fmt.Errorf("the container of %s is at %s", t.Name, out)
	}
	return nil
}

// neutralising makes a copy harmless for good.
func (k *kept) neutralising() scenario {
	return scenario{
		name: "neutralisation of a copy", within: settled,
		brief: []point{
			{"neutralise", "engine", "POST /containers/$H/start", 1, wire.During},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, err := k.quarantined(ctx, w)
			return subject{
				tenant: t, kind: "tenant.neutralise", names: []string{t.Name}, steady: k.tenant.Name,
				begin: w.ask(http.MethodPost, "/api/clients/"+t.Name+"/neutralise", nil),
				goal: func(ctx context.Context) error {
					if err := w.holds(ctx, "SELECT quarantined_at IS NULL AND neutralised_at IS NOT NULL FROM tenants WHERE id = $1", t.ID); err != nil {
						return err
					}
					n, err := w.inDatabase(ctx, t, "SELECT count(*) FROM ir_config_parameter WHERE key = 'database.is_neutralized' AND value = 'true'")
					if err == nil && n != 1 {
						err = errors.New("the database isn't neutralised")
					}
					return errors.Join(err, w.active(ctx, t), w.isOfBackup(ctx, t), w.inQuarantine(ctx, t, false), k.clean(ctx, w))
				},
			}, err
		},
		tidy: k.shedding,
	}
}

// quarantined returns a copy that is in quarantine: a new one, or one that the backup is restored into again.
func (k *kept) quarantined(ctx context.Context, w *world) (tenant, error) {
	begin := k.restore(w, k.copy.Name)
	if k.copy.ID == 0 {
		t, page, err := k.newCopy(ctx, w)
		if err != nil {
			return t, err
		}
		k.copy, begin = t, func(ctx context.Context) error { return rig.Pay(ctx, page) }
	}
	return k.copy, w.do(ctx, begin, func(ctx context.Context) error { return k.copied(ctx, w, k.copy) })
}

// handingOut makes a neutralised dump of a backup, for a download.
func (k *kept) handingOut() scenario {
	return scenario{
		name: "neutralised download", within: settled,
		brief: []point{
			{"neutralise", "engine", "POST /containers/create?name=$T$N_neutralise", 1, wire.After},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			_, err := w.Pool.Exec(ctx, "UPDATE backup_neutral_dumps SET expires_at = expires_at - interval '2 days'") // the next start's sweep removes them
			path := fmt.Sprintf("/api/backups/%d/download?neutralised=true", k.newest)
			s := k.of("backup.neutralise")
			s.names = append(s.names, "odooproof_"+w.Installation+"_")
			s.begin = w.ask(http.MethodGet, path, nil)
			s.goal = func(ctx context.Context) error {
				ready := `SELECT NOT ` + busy + ` AND (SELECT d.state = 'ready' AND d.expires_at > now() FROM backup_neutral_dumps d WHERE d.backup_id = backups.id
					ORDER BY d.id DESC LIMIT 1) FROM backups WHERE id = $1`
				if err := w.holds(ctx, ready, k.newest); err != nil {
					return err
				}
				if err := errors.Join(w.active(ctx, k.tenant), k.clean(ctx, w)); err != nil {
					return err
				}
				_, err := k.link(ctx, w, path)
				return err
			}
			return s, err
		},
		tidy: keep,
	}
}
