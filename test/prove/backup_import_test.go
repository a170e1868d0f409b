package prove_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"controlplane/test/rig"
	"controlplane/test/wire"
)

// download returns the newest backup as its owner takes it along.
func (k *kept) download(ctx context.Context, w *world) ([]byte, error) {
	if k.zip != nil {
		return k.zip, nil
	}
	url, err := k.link(ctx, w, fmt.Sprintf("/api/backups/%d/download", k.newest))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if k.zip, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		k.zip, err = nil, fmt.Errorf("download: status %d", resp.StatusCode)
	}
	return k.zip, err
}

// link asks for one to download a backup.
func (k *kept) link(ctx context.Context, w *world, path string) (url string, err error) {
	if _, err := w.Pool.Exec(ctx, "DELETE FROM rate_limits"); err != nil { // nobody asks so often
		return "", err
	}
	got, err := k.owner.Must(ctx, http.MethodGet, path, nil)
	if url, _ = got["url"].(string); err == nil && url == "" {
		err = fmt.Errorf("there is no link: %v", got)
	}
	return url, err
}

// upload brings the zip back.
func (k *kept) upload(w *world) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		return w.insist(ctx, func(ctx context.Context) (rig.Answer, error) {
			return w.admin.Send(ctx, http.MethodPost, "/api/clients/"+k.tenant.Name+"/import", "application/zip", bytes.NewReader(k.zip))
		})
	}
}

// importing is killed while the upload is made a backup, which is restored then.
func (k *kept) importing() scenario {
	return scenario{
		name: "import", within: settled,
		brief: []point{
			{"convert", "tenants", `CREATE DATABASE "$T$N" OWNER "$T$N" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' ALLOW_CONNECTIONS false`, 1, wire.After},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			if _, err := k.download(ctx, w); err != nil {
				return subject{}, err
			}
			before, err := k.changed(ctx, w)
			s := k.of("backup.import")
			s.names = append(s.names, "odooimport_"+w.Installation+"_")
			s.begin = k.upload(w)
			s.goal = func(ctx context.Context) error { return k.imported(ctx, w, before) }
			return s, err
		},
		tidy: k.shedding,
	}
}

// imported says that the upload was made a backup, and that the client is what it holds.
func (k *kept) imported(ctx context.Context, w *world, before int64) error {
	err := w.holds(ctx, `SELECT count(*) = 2 AND bool_and(state = 'done') FROM operations
		WHERE id > $1 AND (kind = 'backup.import' OR kind = 'tenant.restore' AND subject = $2)`, before, k.tenant.Subject)
	if err != nil {
		return err
	}
	return errors.Join(w.active(ctx, k.tenant), w.isOfBackup(ctx, k.tenant), k.clean(ctx, w))
}

// uploading is killed at each call to the store by which an upload is kept, before anybody works on it. Then there was none: what it left
// goes with the sweep, a day later.
func (k *kept) uploading() scenario {
	return scenario{
		name: "upload", within: settled,
		brief: []point{
			{"before", "store", "POST /backups/clients/$T/$T_imported_$H_$N_$H/$H.filestore.tar.zst.age?uploadId=$U", 1, wire.Before},
		},
		prepare: func(ctx context.Context, w *world) (subject, error) {
			if _, err := k.download(ctx, w); err != nil {
				return subject{}, err
			}
			before, err := k.changed(ctx, w)
			s := k.of("backup.import")
			s.prelude = true
			s.begin = k.upload(w)
			s.goal = func(ctx context.Context) error { return k.imported(ctx, w, before) }
			s.after = func(ctx context.Context) error {
				handedOver, err := w.asks(ctx, "SELECT EXISTS (SELECT FROM operations WHERE id > $1 AND kind = 'backup.import')", before)
				if err != nil || handedOver {
					return errors.Join(err, k.imported(ctx, w, before))
				}
				return k.forgotten(ctx, w)
			}
			return s, err
		},
		tidy: k.shedding,
	}
}

// forgotten says that an upload that was cut short has changed nothing, and leaves nothing.
func (k *kept) forgotten(ctx context.Context, w *world) error {
	n, err := w.inDatabase(ctx, k.tenant, "SELECT count(*) FROM res_partner WHERE name = '"+later+"'")
	if err == nil && n == 0 {
		err = errors.New("the client has lost what came later")
	}
	if err != nil {
		return err
	}
	if _, err := w.Pool.Exec(ctx, "UPDATE backup_uploads SET begun_at = begun_at - interval '2 days'"); err != nil {
		return err
	}
	if err := w.ask(http.MethodPost, "/api/admin/schedules/imports/run", nil)(ctx); err != nil {
		return err
	}
	return errors.Join(w.holds(ctx, "SELECT NOT EXISTS (SELECT FROM backup_uploads)"), w.active(ctx, k.tenant), k.clean(ctx, w))
}
