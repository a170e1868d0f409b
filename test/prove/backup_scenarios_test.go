package prove_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"controlplane/test/rig"
	"controlplane/test/wire"
)

// settled is how long the end is waited for: programs of PostgreSQL's take their time on a busy machine. docs/proofs.md has the times.
const settled = 4 * rig.SettleTimeout

// scenarios are all that is done with backups.
func (k *kept) scenarios() []scenario {
	return []scenario{
		k.taking(), k.verifying(), k.removing(), k.restoring(), k.proving(), k.uploading(), k.importing(), k.copying(), k.neutralising(), k.handingOut(),
	}
}

// of is what is done to one backup.
func (k *kept) of(kind string) subject {
	return subject{
		tenant: tenant{ID: k.tenant.ID, Name: k.tenant.Name, Subject: "backup/"}, kind: kind, names: []string{k.tenant.Name}, steady: k.tenant.Name,
	}
}

func (k *kept) taking() scenario {
	return scenario{
		name: "backup", within: settled,
		brief: []point{
			{"copy", "store", "POST /backups/clients/$T/$T_manual_$H_$N_$H/$H.filestore.tar.zst.age?uploadId=$U", 1, wire.Before},
			{"read back", "platform", "commit", 1, wire.After},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			var before int64
			err := w.Pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM backups").Scan(&before)
			s := k.of("backup.take")
			s.begin = k.order(w)
			s.goal = func(ctx context.Context) error {
				err := w.Pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM backups WHERE tenant_id = $1 AND state = 'done'", k.tenant.ID).Scan(&k.newest)
				if err == nil && k.newest <= before {
					err = errors.New("the backup isn't done")
				}
				if err != nil {
					return err
				}
				return errors.Join(w.active(ctx, k.tenant), k.clean(ctx, w))
			}
			return s, err
		},
		tidy: k.shedding,
	}
}

func (k *kept) shedding(ctx context.Context, w *world, _ subject) error { return k.shed(ctx, w) }

// verifying reads a backup back once more.
func (k *kept) verifying() scenario {
	return scenario{
		name: "another look at a backup", within: settled,
		brief: []point{
			{"read back", "store", "GET /backups/clients/$T/$T_manual_$H_$N_$H/$H.filestore.tar.zst.age?x-id=GetObject", 1, wire.During},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			var before time.Time
			err := w.Pool.QueryRow(ctx, "SELECT verified_at FROM backups WHERE id = $1", k.newest).Scan(&before)
			s := k.of("backup.verify")
			s.begin = w.ask(http.MethodPost, fmt.Sprintf("/api/backups/%d/verify", k.newest), nil)
			s.goal = func(ctx context.Context) error {
				looked := "SELECT state = 'done' AND broken_at IS NULL AND verified_at > $2 AND NOT " + busy + " FROM backups WHERE id = $1"
				if err := w.holds(ctx, looked, k.newest, before); err != nil {
					return err
				}
				return errors.Join(w.active(ctx, k.tenant), k.clean(ctx, w))
			}
			return s, err
		},
		tidy: keep,
	}
}

// busy holds while something is done to a backup.
const busy = "EXISTS (SELECT FROM operations o WHERE o.subject = 'backup/' || backups.id AND o.finished_at IS NULL)"

func (k *kept) removing() scenario {
	return scenario{
		name: "removal of a backup", within: settled,
		brief: []point{
			{"remove", "store", "DELETE /backups/clients/$T/$T_manual_$H_$N_$H/$H.database.dump.zst.age?x-id=DeleteObject", 1, wire.After},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			id, err := k.take(ctx, w)
			s := k.of("backup.delete")
			s.begin = w.ask(http.MethodDelete, fmt.Sprintf("/api/backups/%d", id), nil)
			s.goal = func(ctx context.Context) error {
				if err := w.holds(ctx, "SELECT state = 'deleted' AND NOT "+busy+" FROM backups WHERE id = $1", id); err != nil {
					return err
				}
				return errors.Join(w.active(ctx, k.tenant), k.clean(ctx, w))
			}
			return s, err
		},
		tidy: keep,
	}
}

func (k *kept) restoring() scenario {
	return scenario{
		name: "restore", within: settled,
		brief: []point{
			{"load", "engine", "POST /containers/$H/start", 1, wire.After},
			{"swap", "platform", "commit", 2, wire.After},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			before, err := k.changed(ctx, w)
			return subject{
				tenant: k.tenant, kind: "tenant.restore", names: []string{k.tenant.Name}, begin: k.restore(w, ""),
				goal: func(ctx context.Context) error { return k.restored(ctx, w, before) },
			}, err
		},
		tidy: k.shedding,
	}
}

// restored says that the client is what the backup holds, and that nothing of the restore goes on.
func (k *kept) restored(ctx context.Context, w *world, before int64) error {
	err := w.holds(ctx, `SELECT count(*) = 1 AND bool_and(o.state = 'done' AND t.data_volume LIKE '%\_r' || o.id)
		FROM operations o, tenants t WHERE o.subject = $1 AND o.kind = 'tenant.restore' AND o.id > $2 AND t.id = $3`, k.tenant.Subject, before, k.tenant.ID)
	if err != nil {
		return err
	}
	return errors.Join(w.active(ctx, k.tenant), w.isOfBackup(ctx, k.tenant), k.clean(ctx, w))
}

// proving restores a backup for a trial, by the operator's command: nobody else asks for it.
func (k *kept) proving() scenario {
	return scenario{
		name: "proof", within: settled,
		brief: []point{
			{"load", "engine", "POST /containers/create?name=$T$N", 1, wire.After},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			var name string
			var before time.Time
			err := w.Pool.QueryRow(ctx, "SELECT substring(key_prefix FROM '([^/]+/[^/]+)/$'), coalesce(proven_at, created_at) FROM backups WHERE id = $1", k.newest).Scan(&name, &before)
			s := k.of("backup.prove")
			s.names = append(s.names, "odooproof_"+w.Installation+"_")
			s.begin = func(ctx context.Context) error {
				out, err := w.Command(ctx, "backup", "verify", name, "--restore").CombinedOutput()
				if err != nil {
					err = fmt.Errorf("%w: %s", err, out)
				}
				return err
			}
			s.goal = func(ctx context.Context) error {
				proven := `SELECT proven_at > $2 AND proof_failed_at IS NULL AND NOT ` + busy + `
					AND (SELECT state = 'proven' FROM backup_proofs WHERE backup_id = $1 ORDER BY id DESC LIMIT 1) FROM backups WHERE id = $1`
				if err := w.holds(ctx, proven, k.newest, before); err != nil {
					return err
				}
				return errors.Join(w.active(ctx, k.tenant), k.clean(ctx, w))
			}
			return s, err
		},
		tidy: keep,
	}
}
