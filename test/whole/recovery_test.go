package whole_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/backuptest"
)

// operator runs a command of ours with nothing but the bucket and the key.
func operator(t *testing.T, args ...string) string {
	t.Helper()
	cmd := shared.Command(t.Context(), args...)
	cmd.Env = append(cmd.Env, "S3_ENDPOINT=http://"+shared.Store, "S3_REGION=us-east-1", "S3_BUCKET=odoo-backups", "S3_ACCESS_KEY=dev",
		"S3_SECRET_KEY="+shared.Setting("S3_SECRET_KEY"), "BACKUP_KEY="+shared.Setting("BACKUP_KEY"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// drill is a client that is lost, and how docs/recovery.md calls what is its.
type drill struct {
	*customer

	name, login, password string
	dir                   string // with the newest full backup
	names                 []string
	config                map[string]string
}

func (d *drill) fetch() {
	d.t.Helper()
	list := strings.Fields(operator(d.t, "backup", "list", "--client", d.name))
	newest := slices.IndexFunc(list, func(word string) bool { return strings.HasPrefix(word, d.name+"/") })
	require.GreaterOrEqual(d.t, newest, 0, list)
	operator(d.t, "backup", "restore", list[newest], d.dir)
}

// shell does what a section of the page says.
func (d *drill) shell(section string) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), "sh", "-euc", backuptest.Drill(d.t, section, "sh", d.names...)) //nolint:gosec // our own page
	cmd.Env = append(os.Environ(), "ODOO_IMAGE="+shared.Env["ODOO_IMAGE"])
	out, err := cmd.CombinedOutput()
	require.NoError(d.t, err, string(out))
}

// open returns a browser that is logged in, once Odoo lets it.
func (d *drill) open() *odoo {
	d.t.Helper()
	o := visit(d.t, d.name)
	require.Eventually(d.t, func() bool { _, err := o.login(d.name, d.login, d.password); return err == nil }, activeTimeout, tick)
	return o
}

// again is what the page ends with: suspend and resume.
func (d *drill) again() {
	d.t.Helper()
	d.change(http.MethodPost, "/api/clients/"+d.name+"/suspend", nil)
	d.await(d.name, "suspended")
	d.change(http.MethodPost, "/api/clients/"+d.name+"/resume", nil)
	d.await(d.name, "active")
}

// A host and a database server are lost as far as one client goes, one after the other, with a real Odoo: docs/recovery.md gives both back.
func TestRecovery(t *testing.T) {
	t.Parallel()
	d := &drill{customer: signUp(t)}
	d.name = d.provision("basic")
	d.login, d.password = d.credentials(d.name)
	id := d.call(http.MethodGet, "/api/clients/"+d.name, nil, http.StatusOK)["id"].(float64)
	d.dir = filepath.Join(t.TempDir(), "acme")
	d.config = configOf(t, d.name)
	d.names = []string{
		"odoo_acme", "odoo_" + d.name, "INSTALLATION", installation(t), "client=42", fmt.Sprintf("client=%.0f", id), "tenant/42", fmt.Sprintf("tenant/%.0f", id),
		"…", d.config["db_password"], "/root/acme", d.dir,
	}
	o := d.open()
	kept := o.attach("contract.txt", "a contract that was backed up")
	d.completed(d.call(http.MethodPost, "/api/clients/"+d.name+"/backup?backup_type=manual", nil, http.StatusAccepted)["backup"].(map[string]any))
	o.model("res.partner", "create", []any{map[string]any{"name": "Later Customer"}}, nil)
	lost := o.attach("later.txt", "a contract that came later")
	d.fetch()

	t.Run("of a host", func(t *testing.T) { d.t = t; d.loseHost(kept, lost) })
	t.Run("of the database", func(t *testing.T) { d.t = t; d.loseDatabase(kept) })
}

func (d *drill) loseHost(kept, lost float64) {
	volumes := []string{"odoo_" + d.name + "_data", "odoo_" + d.name + "_addons", "odoo_" + d.name + "_config"}
	require.Eventually(d.t, func() bool { // a worker that goes on, as workers may, tries to start it meanwhile
		_, _ = docker(d.t, "rm", "--force", "odoo_"+d.name)
		_, _ = docker(d.t, "network", "rm", d.name+"_network")
		_, err := docker(d.t, append([]string{"volume", "rm", "--force"}, volumes...)...)
		return err == nil
	}, activeTimeout, tick)
	began := time.Now()
	d.shell("A host of tenants")
	d.again()
	o := d.open()
	d.t.Logf("the client is back after %v", time.Since(began).Round(100*time.Millisecond))
	require.Equal(d.t, "a contract that was backed up", o.content(kept))
	require.Equal(d.t, 1, o.partners("Later Customer"), "its database isn't lost")
	require.NotEqual(d.t, "a contract that came later", o.content(lost), "its file is")
	require.Equal(d.t, d.config["db_password"], configOf(d.t, d.name)["db_password"])
	o.attach("new.txt", "what comes from now on")
}

func (d *drill) loseDatabase(kept float64) {
	const limits = "SELECT rolconnlimit || ' ' || coalesce(array_to_string(rolconfig, ' '), '') FROM pg_roles WHERE rolname = current_user"
	before := query(d.t, d.name, limits)
	database, port := "odoo-hosting-"+shared.Setting("DEV_INSTANCE")+"-tenants-db", shared.Env["EXTERNAL_DB_PORT"]
	as := func(user, password string, command ...string) {
		d.t.Helper()
		mustDocker(d.t, append([]string{"exec", "--env", "PGHOST=127.0.0.1", "--env", "PGPORT=" + port, "--env", "PGUSER=" + user, "--env", "PGPASSWORD=" + password, database}, command...)...)
	}
	control := shared.Setting("EXTERNAL_DB_PASSWORD")
	as("odoo_clients", control, "psql", "-X", "-d", "postgres", "-c", "DROP DATABASE odoo_"+d.name+" WITH (FORCE)", "-c", "DROP ROLE odoo_"+d.name)
	began := time.Now()
	const section = "The tenants' database server"
	for sql := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(backuptest.Drill(d.t, section, "sql", d.names...)), ";"), ";") {
		as("odoo_clients", control, "psql", "-X", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", sql)
	}
	command := strings.Fields(backuptest.Drill(d.t, section, "sh", d.names...))
	dump := "/tmp/" + d.name + ".dump"
	mustDocker(d.t, "cp", command[len(command)-1], database+":"+dump)
	command[len(command)-1] = dump
	as("odoo_clients", control, command...)
	d.again()
	o := d.open()
	d.t.Logf("the client is back after %v", time.Since(began).Round(100*time.Millisecond))
	require.Equal(d.t, "a contract that was backed up", o.content(kept))
	require.Zero(d.t, o.partners("Later Customer"), "it came after the backup")
	require.Equal(d.t, before, query(d.t, d.name, limits))
}
