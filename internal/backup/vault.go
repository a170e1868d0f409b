package backup

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"controlplane/internal/backup/archive"
	"controlplane/internal/errs"
)

// Vault is the store as it stands, for when nothing but the bucket and the key is left: it needs neither the platform's database nor an
// engine.
type Vault struct {
	worker *Worker // what it has of reading
	prefix string
}

// NewVault returns the backups below prefix, which is Options.Prefix.
func NewVault(place Store, keys *archive.Keys, prefix string) *Vault {
	return &Vault{worker: &Worker{store: place, keys: keys}, prefix: prefix}
}

// Stored is a backup as its objects tell of it.
type Stored struct {
	Name     string // below the vault's prefix: "acme/acme_daily_20260302_021500_0a1b2c3d"
	Client   string // "acme"
	Kind     Kind   // "" where the name doesn't tell
	At       time.Time
	Bytes    int64
	Complete bool // there is a manifest, which is stored last
}

// ErrNotStored is returned for a name under which nothing complete lies.
var ErrNotStored = errs.New(errs.NotFound, "backup_not_stored", "There is no complete backup of that name in the store.")

// List returns what is stored of a client, or of all, the newest first. PlatformOwner is every installation's platform.
func (v *Vault) List(ctx context.Context, client string) ([]Stored, error) {
	prefix := v.prefix
	switch client {
	case "":
	case PlatformOwner:
		prefix += client
	default:
		prefix += client + "/"
	}
	var list []Stored
	err := v.worker.store.List(ctx, prefix, func(o Object) error {
		name, object := path.Split(strings.TrimPrefix(o.Key, v.prefix))
		name = strings.TrimSuffix(name, "/")
		if strings.Count(name, "/") != 1 { // not ours
			return nil
		}
		if len(list) == 0 || list[len(list)-1].Name != name { // keys come in order
			list = append(list, parseStored(name))
		}
		last := &list[len(list)-1]
		last.Bytes += o.Bytes
		last.Complete = last.Complete || object == archive.ManifestObject
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the store: %w", err)
	}
	slices.SortStableFunc(list, func(a, b Stored) int { return b.At.Compare(a.At) })
	return list, nil
}

// parseStored takes a name apart as keyPrefix put it together.
func parseStored(name string) Stored {
	client, base := path.Split(name)
	s := Stored{Name: name, Client: strings.TrimSuffix(client, "/")}
	parts := strings.Split(strings.TrimPrefix(base, s.Client+"_"), "_")
	if len(parts) != 4 {
		return s
	}
	at, err := time.Parse("20060102 150405", parts[1]+" "+parts[2])
	if err == nil {
		s.Kind, s.At = Kind(parts[0]), at
	}
	return s
}

// Verify reads all of a backup back, and returns what it holds. Errors: ErrNotStored, archive.ErrDamaged, archive.ErrWrongKey.
func (v *Vault) Verify(ctx context.Context, name string) (archive.Manifest, error) {
	m, err := v.manifest(ctx, name)
	if err != nil {
		return m, err
	}
	return m, v.worker.prove(ctx, Backup{KeyPrefix: v.key(name)}, m)
}

func (v *Vault) key(name string) string { return v.prefix + strings.Trim(name, "/") + "/" }

func (v *Vault) manifest(ctx context.Context, name string) (archive.Manifest, error) {
	m, err := v.worker.readManifest(ctx, v.key(name))
	if errors.Is(err, ErrObjectMissing) {
		return m, ErrNotStored.WithCause(err)
	}
	return m, err
}

// What Fetch writes, beside a directory "filestore" with Odoo's files.
const (
	fetchedManifest = "manifest.json"
	fetchedDump     = "database.dump"
	fetchedFiles    = "filestore"
)

// Fetch writes a backup into dir, which it makes and nobody else can read: the dump in PostgreSQL's custom format, the files as Odoo keeps
// them, the manifest. What isn't right in the end, or isn't whole, is removed again. Errors: as of Verify, and fs.ErrExist.
func (v *Vault) Fetch(ctx context.Context, name, dir string) (archive.Manifest, error) {
	m, err := v.manifest(ctx, name)
	if err != nil {
		return m, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return m, fmt.Errorf("make the directory: %w", err)
	}
	if err := v.fetch(ctx, m, v.key(name), dir); err != nil {
		return m, errors.Join(err, os.RemoveAll(dir))
	}
	return m, nil
}

func (v *Vault) fetch(ctx context.Context, m archive.Manifest, key, dir string) error {
	root, err := os.OpenRoot(dir) // names come from the store
	if err != nil {
		return fmt.Errorf("open the directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	if err := writeFile(root, fetchedManifest, strings.NewReader(string(text)+"\n")); err != nil {
		return err
	}
	err = v.worker.read(ctx, key+m.Dump.Object, m.Dump, func(content io.Reader) error { return writeFile(root, fetchedDump, content) })
	if err != nil || m.Filestore == nil {
		return err
	}
	return v.worker.read(ctx, key+m.Filestore.Object, m.Filestore.Part, func(content io.Reader) error {
		return archive.EachFile(content, func(header *tar.Header, file io.Reader) error {
			name := fetchedFiles + "/" + header.Name
			if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
				return fmt.Errorf("make a directory: %w", err)
			}
			return writeFile(root, name, file)
		})
	})
}

func writeFile(root *os.Root, name string, content io.Reader) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// Keep stores what dump writes as a backup of its own, reads it back, and returns its name: of what isn't a client's, such as the platform's
// own database. owner stands where clients' have the client's name, and can't be one.
func (v *Vault) Keep(ctx context.Context, owner string, now time.Time, dump func(ctx context.Context, w io.Writer) error) (string, error) {
	prefix := (&Service{prefix: v.prefix}).keyPrefix(owner, Daily, now)
	m := archive.Manifest{Format: archive.Format, Prefix: prefix, Kind: string(Daily), TakenAt: now, Tenant: owner}
	var err error
	m.Dump, err = v.worker.uploadPart(ctx, prefix+archive.DatabaseObject, 0, dump)
	m.Dump.Object = archive.DatabaseObject
	if err == nil {
		err = v.seal(ctx, m)
	}
	name := strings.Trim(strings.TrimPrefix(prefix, v.prefix), "/")
	if err == nil {
		_, err = v.Verify(ctx, name)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return "", errors.Join(err, v.Remove(ctx, name))
	}
	return name, nil
}

func (v *Vault) seal(ctx context.Context, m archive.Manifest) error {
	var stored strings.Builder
	part, err := v.worker.keys.WriteManifest(&stored, m)
	if err != nil {
		return err
	}
	return v.worker.store.Put(ctx, m.Prefix+archive.ManifestObject, strings.NewReader(stored.String()), part.StoredBytes)
}

// Remove removes a backup's objects; absence is success.
func (v *Vault) Remove(ctx context.Context, name string) error {
	key := v.key(name)
	if strings.Count(key[len(v.prefix):], "/") < 2 {
		return ErrNotStored // never a whole client's
	}
	var objects []string
	err := v.worker.store.List(ctx, key, func(o Object) error {
		objects = append(objects, o.Key)
		return nil
	})
	for _, object := range objects {
		if err == nil {
			err = v.worker.store.Remove(ctx, object)
		}
	}
	return err
}
