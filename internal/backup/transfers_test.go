package backup_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/odoozip"
	s3 "controlplane/internal/backup/store"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// scratch makes databases on the test server, as a cluster would.
type scratch struct {
	*testing.T
	tag string // of the test's own
}

func (s scratch) name(subject string) string { return "import_" + s.tag + "_" + path.Base(subject) }

func (s scratch) exec(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, pgtest.ServerURL(s.T))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (s scratch) BeginScratch(ctx context.Context, subject string, password secrets.Secret, _ int) (string, error) {
	if err := s.RemoveScratch(ctx, subject); err != nil {
		return "", err
	}
	name := pgx.Identifier{s.name(subject)}.Sanitize()
	return s.name(subject), s.exec(ctx, "CREATE ROLE "+name+" LOGIN PASSWORD '"+password.Reveal()+"'", "CREATE DATABASE "+name+" OWNER "+name)
}

func (s scratch) RemoveScratch(ctx context.Context, subject string) error {
	name := pgx.Identifier{s.name(subject)}.Sanitize()
	return s.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)", "DROP ROLE IF EXISTS "+name)
}

func (s scratch) SweepScratch(context.Context, func(context.Context, string) (bool, error)) (int, error) {
	return 0, nil
}

func (s scratch) left() (n int) {
	s.Helper()
	conn, err := pgx.Connect(s.Context(), pgtest.ServerURL(s.T))
	require.NoError(s, err)
	defer func() { require.NoError(s, conn.Close(s.Context())) }()
	require.NoError(s, conn.QueryRow(s.Context(), "SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)", "import_"+s.tag).Scan(&n))
	return n
}

// counter is where a plant's owner brings backups along.
type counter struct {
	*plant
	scratch scratch
	intake  *backup.Intake
	dir     string
	packer  *backup.Packer
	jobs    *ops.Engine
	owner   backup.Request
}

func (p *plant) open() *counter {
	p.Helper()
	c := &counter{plant: p, scratch: scratch{p.T, p.tenant.Name}, dir: filepath.Join(p.TempDir(), "uploads")}
	keys, err := archive.NewKeys(backupKey)
	require.NoError(p, err)
	desk, err := backup.NewDesk(backup.DeskDeps{Pool: p.pool, Backups: p.backups, Tenants: p.tenants, Audit: audit.New(p.pool)}, backup.DeskOptions{})
	require.NoError(p, err)
	c.intake, err = backup.NewIntake(backup.IntakeDeps{Desk: desk, Store: p.store, Keys: keys, Log: slog.New(slog.DiscardHandler)},
		backup.IntakeOptions{Dir: c.dir, Largest: 8 << 20, Reserve: 1})
	require.NoError(p, err)
	w := p.worker()
	server := p.odoo.Server(p.T, p.engine, p.odoo.Image())
	c.packer, err = backup.NewPacker(w, server)
	require.NoError(p, err)
	importer, err := backup.NewImporter(w, c.scratch, server)
	require.NoError(p, err)
	c.jobs = opstest.Start(p.T, p.pool, w.TakeWorkflow(), w.RestoreWorkflow(), importer.ImportWorkflow())
	c.owner = backup.Request{By: accounts.Principal{AccountID: p.tenant.AccountID, Username: "owner"}, IP: netip.MustParseAddr("192.0.2.7")}
	return c
}

func (c *counter) bring(content []byte) (backup.Backup, error) {
	return c.intake.Import(c.Context(), c.owner, c.tenant.Name, bytes.NewReader(content), int64(len(content)))
}

// brought waits for what becomes of an upload.
func (c *counter) brought(content []byte, want ops.State) backup.Backup {
	c.Helper()
	b, err := c.bring(content)
	require.NoError(c, err)
	require.Equal(c, backup.Imported, b.Kind)
	opstest.Wait(c.T, c.jobs, b.OperationID, want)
	b, err = c.backups.Get(c.Context(), b.ID)
	require.NoError(c, err)
	require.Zero(c, c.scratch.left())
	return b
}

// odooZip is a backup of an Odoo as its database manager makes it.
func odooZip(t *testing.T, major, sql string, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := odoozip.NewWriter(&out, time.Now())
	dump, err := w.Dump()
	require.NoError(t, err)
	_, err = io.WriteString(dump, sql)
	require.NoError(t, err)
	for _, content := range files {
		require.NoError(t, w.File(backuptest.FileName(content), time.Now(), strings.NewReader(content)))
	}
	require.NoError(t, w.Close(odoozip.NewManifest("theirs", major+".1.3", "17.6", nil)))
	return out.Bytes()
}

// foreign is the dump of another Odoo, with a customer and a file.
func foreign(version, file string) string {
	return `\restrict abc
SET transaction_timeout = 0;
CREATE TABLE public.ir_attachment (id serial PRIMARY KEY, name text, store_fname text);
CREATE TABLE public.ir_module_module (id serial PRIMARY KEY, name text, state text, latest_version text);
CREATE TABLE public.ir_config_parameter (id serial PRIMARY KEY, key text UNIQUE, value text);
CREATE TABLE public.res_partner (id serial PRIMARY KEY, name text);
ALTER TABLE public.res_partner OWNER TO nobody_here;
INSERT INTO public.ir_module_module (name, state, latest_version) VALUES ('base', 'installed', '` + version + `');
INSERT INTO public.ir_config_parameter (key, value) VALUES ('database.uuid', '3f0a9c1b-0000-4d7e-8a2b-5c8d1e4f7a0b');
INSERT INTO public.ir_attachment (store_fname) VALUES ('` + backuptest.FileName(file) + `');
COPY public.res_partner (name) FROM stdin;
Brought Along
\.
\unrestrict abc
`
}

func TestWhatIsDownloadedCanBeBroughtBack(t *testing.T) {
	t.Parallel()
	c := build(t).open()
	b := c.took(c.jobs, backup.Daily, ops.Done)
	var out bytes.Buffer
	require.NoError(t, c.packer.Zip(t.Context(), backup.Download{Backup: b}, &out))
	in, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	require.NoError(t, err)
	var names []string
	for _, f := range in.File {
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"dump.sql", "filestore/" + backuptest.FileName(logo), "manifest.json"}, names)

	c.lose()
	imported := c.brought(out.Bytes(), ops.Done)
	require.True(t, imported.Good())
	require.EqualValues(t, 1, imported.FilestoreFiles)
	restore := c.restored()
	opstest.Wait(t, c.jobs, restore, ops.Done)
	require.Equal(t, 1000, c.odoo.Partners(t))
	require.Contains(t, c.files(), backuptest.FileName(logo))
	require.NotContains(t, strings.Join(c.stored(), " "), "upload.sql")
	require.Zero(t, c.count("backup_uploads"))
	require.Equal(t, 1, c.count("activity_log WHERE action = 'backup.import' AND actor = 'owner'"))

	// A damaged source never ends in a whole zip.
	require.NoError(t, os.Truncate(c.object(b, "filestore"), 100))
	out.Reset()
	require.Error(t, c.packer.Zip(t.Context(), backup.Download{Backup: b}, &out))
	_, err = zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	require.Error(t, err)
	c.idle()
}

// restored returns the operation that the last import asked for.
func (c *counter) restored() (id ops.ID) {
	c.Helper()
	require.NoError(c, c.pool.QueryRow(c.Context(), "SELECT id FROM operations WHERE kind = 'tenant.restore' ORDER BY id DESC LIMIT 1").Scan(&id))
	return id
}

func (c *counter) count(what string) (n int) {
	c.Helper()
	require.NoError(c, c.pool.QueryRow(c.Context(), "SELECT count(*) FROM "+what).Scan(&n))
	return n
}

// object is the path of a part of a backup.
func (c *counter) object(b backup.Backup, part string) string {
	c.Helper()
	for _, name := range c.stored() {
		if strings.Contains(name, b.KeyPrefix) && strings.Contains(path.Base(name), part) {
			return name
		}
	}
	require.Fail(c, "there is no such part")
	return ""
}

func TestForeignBackups(t *testing.T) {
	t.Parallel()
	c := build(t).open()
	before := len(c.stored())
	for name, test := range map[string]struct {
		sql, file, want string
	}{
		"statement":       {foreign("19.0.1.3", "theirs") + "SELECT nonsense;\n", "theirs", "refuses statement 10 of dump.sql, with code 42703"},
		"not an Odoo":     {"CREATE TABLE public.x ();\n", "theirs", "isn't the database of an Odoo"},
		"another version": {foreign("18.0.1.3", "theirs"), "theirs", "of Odoo 18.0, and this client has Odoo 19.0"},
		"a missing file":  {foreign("19.0.1.3", "theirs"), "another", "one of them needs filestore/" + backuptest.FileName("theirs")},
	} {
		b := c.brought(odooZip(t, "19.0", test.sql, test.file), ops.Abandoned)
		require.Equal(t, backup.Failed, b.State, name)
		require.Contains(t, b.Error, test.want, name)
	}
	require.Len(t, c.stored(), before, "nothing of them is left")
	require.Zero(t, c.openAlerts(), "it isn't our trouble")
	require.Zero(t, c.count("operations WHERE kind = 'tenant.restore'"))
	require.Equal(t, 1000, c.odoo.Partners(t))

	b := c.brought(odooZip(t, "19.0", foreign("19.0.1.3", "theirs"), "theirs", "nobody needs this"), ops.Done)
	require.True(t, b.Good())
	opstest.Wait(t, c.jobs, c.restored(), ops.Done)
	require.Equal(t, 1, c.odoo.Partners(t))
	require.Contains(t, c.files(), backuptest.FileName("theirs"))
}

func TestUploadsAreLookedThroughFirst(t *testing.T) {
	t.Parallel()
	c := build(t).open()
	refused := func(content []byte, want error) {
		t.Helper()
		_, err := c.bring(content)
		require.ErrorIs(t, err, want)
	}
	good := odooZip(t, "19.0", foreign("19.0.1.3", "theirs"), "theirs")
	_ = c.took(c.jobs, backup.Daily, ops.Done) // which tells the version
	before := len(c.stored())
	refused([]byte("no zip"), odoozip.ErrNotZip)
	refused(good[:len(good)-30], odoozip.ErrNotZip)
	refused(nil, backup.ErrImportEmpty)
	refused(odooZip(t, "18.0", "SELECT 1;"), backup.ErrImportVersion)
	refused(odooZip(t, "20.0", "SELECT 1;"), backup.ErrImportVersion)
	refused(odooZip(t, "19.0", "SELECT 1; \\! id\n"), odoozip.ErrCommand)
	damaged := bytes.ReplaceAll(good, []byte("filestore/"+backuptest.FileName("theirs")), []byte("filestore/"+backuptest.FileName("others")))
	refused(damaged, odoozip.ErrAltered)
	_, err := c.intake.Import(t.Context(), c.owner, c.tenant.Name, bytes.NewReader(good), 1<<40)
	require.ErrorIs(t, err, odoozip.ErrTooLarge, "before any of it is read")
	_, err = c.intake.Import(t.Context(), c.owner, c.tenant.Name, io.LimitReader(endless{}, 9<<20), -1)
	require.ErrorIs(t, err, odoozip.ErrTooLarge)
	lost := io.MultiReader(bytes.NewReader(good[:100]), iotest.ErrReader(errors.New("the line went dead")))
	_, err = c.intake.Import(t.Context(), c.owner, c.tenant.Name, lost, int64(len(good)))
	require.ErrorIs(t, err, backup.ErrImportCut)
	_, err = c.intake.Import(t.Context(), backup.Request{By: accounts.Principal{AccountID: 999}}, c.tenant.Name, bytes.NewReader(good), -1)
	require.ErrorIs(t, err, tenants.ErrNotFound)

	left, err := os.ReadDir(c.dir)
	require.NoError(t, err)
	require.Empty(t, left)
	info, err := os.Stat(c.dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.Len(t, c.stored(), before, "nothing of them is left")
	require.Zero(t, c.count("backup_uploads"))
	require.Equal(t, 1, c.count("backups"))

	// What an upload stored whose process died goes after a day.
	require.NoError(t, c.store.Put(t.Context(), "clients/acme/cut/upload.sql.zst.age", strings.NewReader("x"), 1))
	_, err = c.pool.Exec(t.Context(), "INSERT INTO backup_uploads VALUES ('clients/acme/cut/', $1, now() - interval '25 hours'), ('clients/acme/going/', $1, now())", c.tenant.ID)
	require.NoError(t, err)
	swept, err := c.intake.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, swept)
	require.Len(t, c.stored(), before)
	require.Equal(t, 1, c.count("backup_uploads"))
}

func TestUploadsWaitInADirectoryOfTheirOwn(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	keys, err := archive.NewKeys(backupKey)
	require.NoError(t, err)
	everybodys, link := filepath.Join(t.TempDir(), "tmp"), filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Mkdir(everybodys, 0o700))
	require.NoError(t, os.Chmod(everybodys, 0o777|os.ModeSticky))
	require.NoError(t, os.Symlink(t.TempDir(), link))
	for _, dir := range []string{everybodys, link} {
		_, err = backup.NewIntake(backup.IntakeDeps{Desk: o.desk, Store: &s3.Store{}, Keys: keys, Log: slog.New(slog.DiscardHandler)}, backup.IntakeOptions{Dir: dir})
		require.ErrorContains(t, err, "isn't a directory of our own")
	}
	info, err := os.Stat(everybodys)
	require.NoError(t, err)
	require.Equal(t, 0o777|os.ModeSticky, info.Mode()&(os.ModePerm|os.ModeSticky), "it is left as it was")

	own := t.TempDir()
	for _, name := range []string{"upload-1.zip", "theirs"} {
		require.NoError(t, os.WriteFile(filepath.Join(own, name), nil, 0o600))
	}
	_, err = backup.NewIntake(backup.IntakeDeps{Desk: o.desk, Store: &s3.Store{}, Keys: keys, Log: slog.New(slog.DiscardHandler)}, backup.IntakeOptions{Dir: own})
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(own, "upload-1.zip"), "whoever made it was killed")
	require.FileExists(t, filepath.Join(own, "theirs"))
}

// endless is a body that goes on.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
