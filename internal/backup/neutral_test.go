package backup_test

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const (
	smtpPassword = "the password of a customer's mail server"
	oldSecret    = "the secret that signs what the customer's Odoo mails"
)

// neutral is Odoo's own command, on the real databases of a sandbox.
type neutral struct {
	*sandbox
	stubborn atomic.Bool // it fails
	runs     atomic.Int64
}

func (n *neutral) Neutralise(ctx context.Context, _ tenants.Tenant, subject string, _ int) (backup.Cell, error) {
	n.runs.Add(1)
	if n.stubborn.Load() {
		return backup.Cell{}, backup.ErrNotNeutralised
	}
	name, password := n.name(subject), secrets.RandomPassword(20)
	quoted := pgx.Identifier{name}.Sanitize()
	if err := n.exec(ctx, "ALTER ROLE "+quoted+" PASSWORD '"+password.Reveal()+"'"); err != nil {
		return backup.Cell{}, err
	}
	u, err := url.Parse(pgtest.ServerURL(n.plant.T))
	if err != nil {
		return backup.Cell{}, err
	}
	u.Path = "/" + name
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return backup.Cell{}, err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `UPDATE ir_mail_server SET active = false;
		INSERT INTO ir_config_parameter (key, value) VALUES ('database.is_neutralized', 'true') ON CONFLICT (key) DO UPDATE SET value = 'true'`)
	return backup.Cell{Database: name, Password: password, Volume: name, Dir: "filestore/" + name}, err
}

// clinic is where a plant's backups are neutralised.
type clinic struct {
	*plant
	desk    *backup.Desk
	neutral *neutral
	packer  *backup.Packer
	owner   backup.Request
}

func (p *plant) openClinic() *clinic {
	p.Helper()
	c := &clinic{plant: p, neutral: &neutral{sandbox: p.cell}}
	p.odoo.Exec(p.T, `CREATE TABLE ir_mail_server (id serial PRIMARY KEY, active boolean, smtp_host text NOT NULL, smtp_pass text, smtp_ssl_private_key bytea,
			google_gmail_refresh_token text);
		INSERT INTO ir_mail_server (active, smtp_host, smtp_pass, google_gmail_refresh_token) VALUES (true, 'mail.example.com', '`+strings.ReplaceAll(smtpPassword, "'", "''")+`', 'a token');
		INSERT INTO ir_config_parameter (key, value) VALUES ('database.secret', '`+strings.ReplaceAll(oldSecret, "'", "''")+`')`)
	var err error
	c.desk, err = backup.NewDesk(backup.DeskDeps{Pool: p.pool, Backups: p.backups, Tenants: p.tenants, Audit: audit.New(p.pool)}, backup.DeskOptions{})
	require.NoError(p, err)
	c.packer, err = backup.NewPacker(p.worker(), p.odoo.Server(p.T, p.engine, p.odoo.Image()))
	require.NoError(p, err)
	c.owner = backup.Request{By: accounts.Principal{AccountID: p.tenant.AccountID, Username: "owner"}, IP: netip.MustParseAddr("192.0.2.7")}
	return c
}

func (c *clinic) neutraliser() *backup.Neutraliser {
	c.Helper()
	n, err := backup.NewNeutraliser(c.worker(), c.neutral, c.odoo.Server(c.T, c.engine, c.odoo.Image()))
	require.NoError(c, err)
	return n
}

func (c *clinic) start() *ops.Engine {
	c.Helper()
	w := c.worker()
	return opstest.Start(c.T, c.pool, w.TakeWorkflow(), w.VerifyWorkflow(), w.DeleteWorkflow(), c.neutraliser().NeutraliseWorkflow())
}

// asked wants it to be made first.
func (c *clinic) asked(b backup.Backup) ops.ID {
	c.Helper()
	_, op, err := c.desk.NeutralLink(c.Context(), c.owner, b.ID)
	require.NoError(c, err)
	require.NotNil(c, op)
	return op.ID
}

// unzipped downloads what a link leads to.
func (c *clinic) unzipped(link backup.Link) map[string]string {
	c.Helper()
	d, err := c.desk.Redeem(c.Context(), link.Secret, true)
	require.NoError(c, err)
	var out bytes.Buffer
	require.NoError(c, c.packer.Zip(c.Context(), d, &out))
	in, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	require.NoError(c, err)
	files := map[string]string{}
	for _, f := range in.File {
		r, err := f.Open()
		require.NoError(c, err)
		text, err := io.ReadAll(r)
		require.NoError(c, err)
		require.NoError(c, r.Close())
		files[f.Name] = string(text)
	}
	return files
}

func (c *clinic) state(b backup.Backup) (state string) {
	c.Helper()
	require.NoError(c, c.pool.QueryRow(c.Context(), "SELECT state FROM backup_neutral_dumps WHERE backup_id = $1 ORDER BY id DESC LIMIT 1", b.ID).Scan(&state))
	return state
}

// What is handed out neutralised acts on nobody and holds no credentials; it is made once for a day, and goes with the backup.
func TestNeutralLink(t *testing.T) {
	t.Parallel()
	c := build(t).openClinic()
	engine := c.start()
	b := c.took(engine, backup.Manual, ops.Done)
	stored := len(c.stored())
	first := c.asked(b)
	require.Equal(t, first, c.asked(b), "a repeat gives the same operation")
	_, err := c.backups.Delete(t.Context(), b.ID)
	require.ErrorIs(t, err, backup.ErrInUse)
	opstest.Wait(t, engine, first, ops.Done)
	require.Zero(t, c.cell.left())
	c.idle()

	link, op, err := c.desk.NeutralLink(t.Context(), c.owner, b.ID)
	require.NoError(t, err)
	require.Nil(t, op)
	require.EqualValues(t, 1, c.neutral.runs.Load())
	files := c.unzipped(link)
	require.Contains(t, files, "manifest.json")
	require.Equal(t, logo, files["filestore/"+backuptest.FileName(logo)])
	sql := files["dump.sql"]
	require.Contains(t, sql, "database.is_neutralized\ttrue")
	require.Contains(t, sql, "f\tmail.example.com\t\\N\t\\N\t\\N")
	require.Contains(t, sql, "database.secret")
	require.Contains(t, sql, "a customer of the tenant, number 1000")
	plain, err := c.desk.Link(t.Context(), c.owner, b.ID)
	require.NoError(t, err)
	plainly := c.unzipped(plain)["dump.sql"]
	for _, secret := range []string{smtpPassword, oldSecret, "a token"} {
		require.NotContains(t, sql, secret)
		require.Contains(t, plainly, secret)
	}
	require.Equal(t, oldSecret, c.odoo.Parameter(t, "database.secret"), "the client's own is as it was")
	require.Len(t, c.stored(), stored+1)
	for _, path := range c.stored() {
		content, err := os.ReadFile(path) //nolint:gosec // of this test
		require.NoError(t, err)
		require.NotContains(t, string(content), "customer")
	}

	// It is none of the backup's parts, and of what was stored nothing stays for longer than downloads may take.
	verify, err := c.backups.Verify(t.Context(), b.ID)
	require.NoError(t, err)
	opstest.Wait(t, engine, verify.ID, ops.Done)
	require.True(t, c.reread(b).Good())
	c.expire("1 minute")
	require.NoError(t, c.neutraliser().Sweep(t.Context()))
	require.NotEmpty(t, c.unzipped(link), "a link that was given before leads there")
	c.expire("7 hours")
	require.NoError(t, c.store.Put(t.Context(), b.KeyPrefix+"0badcafe.neutral.dump.zst.age", strings.NewReader("x"), 1)) // what a worker that died left
	require.NoError(t, c.neutraliser().Sweep(t.Context()))
	require.Len(t, c.stored(), stored)
	_, err = c.desk.Redeem(t.Context(), link.Secret, true)
	require.ErrorIs(t, err, backup.ErrLinkOver)
	opstest.Wait(t, engine, c.asked(b), ops.Done)
	require.Len(t, c.stored(), stored+1)
	gone, err := c.backups.Delete(t.Context(), b.ID)
	require.NoError(t, err)
	opstest.Wait(t, engine, gone.ID, ops.Done)
	require.Empty(t, c.stored())
}

func (c *clinic) expire(ago string) {
	c.Helper()
	_, err := c.pool.Exec(c.Context(), "UPDATE backup_neutral_dumps SET expires_at = now() - $1::interval WHERE removed_at IS NULL", ago)
	require.NoError(c, err)
}

func TestNeutralise_SurvivesRepeatsAndCrashesAtEachStep(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(*testing.T, *pgxpool.Pool, func(*testing.T) ops.Workflow, any, string, func(*testing.T)){
		"repeat": opstest.Repeat, "crash": opstest.CrashEach,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := build(t).openClinic()
			engine := c.start()
			b := c.took(engine, backup.Manual, ops.Done)
			opstest.Stop(t, engine)
			stored := len(c.stored())
			prove(t, c.pool, func(t *testing.T) ops.Workflow {
				t.Helper()
				_, err := c.pool.Exec(t.Context(), "DELETE FROM backup_neutral_dumps")
				require.NoError(t, err)
				_, err = c.pool.Exec(t.Context(), "INSERT INTO backup_neutral_dumps (backup_id, tenant_id, requested_by, created_at) VALUES ($1, $2, 'owner', now())",
					b.ID, c.tenant.ID)
				require.NoError(t, err)
				return c.neutraliser().NeutraliseWorkflow()
			}, map[string]any{"backup_id": b.ID}, b.ID.Subject(), func(t *testing.T) {
				t.Helper()
				require.Equal(t, "ready", c.state(b))
				require.Len(t, c.stored(), stored+1, "of other attempts nothing is left")
				require.Zero(t, c.cell.left())
				c.idle()
			})
		})
	}
}
