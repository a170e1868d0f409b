//go:build bench

package backup_test

import (
	"archive/tar"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/ops"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

// size is of what is backed up, beside what Odoo installs.
type size struct {
	rows     int // of a table of messages, of about 150 bytes each
	files    int // that can't be compressed
	fileSize int
}

// ordinary is a customer's after some months: a dump of about 62 MB, as the documented script was tried with, and as much again in files.
func ordinary() size { return size{rows: 230_000, files: 1200, fileSize: 50 << 10} }

// apps are those of a plan in between.
const apps = "base,web,mail,sale_management,account,crm"

// install puts a real Odoo's tables and files in the place of those that only look like them.
func (p *plant) install() {
	p.Helper()
	server, err := url.Parse(pgtest.ServerURL(p.T))
	require.NoError(p, err)
	volume, _ := provision.Filestore(p.tenant)
	p.odoo.Exec(p.T, "DROP TABLE ir_attachment, ir_module_module, ir_config_parameter, res_partner")
	shell(p.T, "docker", "run", "--rm", "--name", "bench_"+secrets.RandomHex(6), "--network", "host", "--user", "root", "-v", volume+":/var/lib/odoo",
		os.Getenv("ODOO_IMAGE"), "env", "odoo", //nolint:forbidigo // "env" passes by the entry point
		"--db_host="+server.Hostname(), "--db_port="+server.Port(), "--db_user="+p.odoo.Name, "--db_password="+p.odoo.Password.Reveal(),
		"--database="+p.odoo.Name, "--data-dir=/var/lib/odoo", "--init="+apps, "--without-demo=all", "--stop-after-init", "--workers=0", "--no-http")
}

// shell runs a program.
func shell(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput() //nolint:gosec,noctx // of this test
	require.NoError(t, err, string(out))
	return string(out)
}

// grow makes database and filestore as large as that.
func (p *plant) grow(s size) {
	p.Helper()
	p.install()
	p.messages(s.rows)
	p.odoo.Exec(p.T, "CREATE INDEX ON bench_message (author); CREATE INDEX ON bench_message (subject)")
	p.odoo.Exec(p.T, "INSERT INTO ir_attachment (name, type, store_fname) SELECT 'a file', 'binary', unnest($1::text[])", p.fill(s))
	p.odoo.Exec(p.T, "ANALYZE")
}

// messages makes a large table.
func (p *plant) messages(rows int) {
	p.Helper()
	p.odoo.Exec(p.T, fmt.Sprintf(`CREATE TABLE bench_message (id serial PRIMARY KEY, author int, subject text, body text);
		INSERT INTO bench_message (author, subject, body)
			SELECT n %% 97, 'order ' || n, repeat(md5(n::text) || ' and what was said about it ', 2) FROM generate_series(1, %d) n`, rows))
}

// fill streams files that can't be compressed into the volume, and returns their names.
func (p *plant) fill(s size) []string {
	p.Helper()
	volume, dir := provision.Filestore(p.tenant)
	mount := "fill_" + p.tenant.Name
	require.NoError(p, p.engine.MountVolume(p.Context(), mount, volume, p.tenant.ID.String(), p.odoo.Image(), false))
	in, out := io.Pipe()
	var names []string
	go func() {
		w := tar.NewWriter(out)
		content := make([]byte, s.fileSize)
		for range s.files {
			_, _ = rand.Read(content)
			name := backuptest.FileName(string(content))
			names = append(names, name)
			_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + "/" + name, Mode: 0o644, Uid: 101, Gid: 101, Size: int64(s.fileSize)})
			_, _ = w.Write(content)
		}
		_ = out.CloseWithError(w.Close())
	}()
	require.NoError(p, p.engine.WriteTree(p.Context(), mount, in))
	require.NoError(p, p.engine.RemoveContainer(p.Context(), mount))
	return names
}

// patiently takes a backup, however long that may be.
func (p *plant) patiently(engine *ops.Engine, kind backup.Kind) backup.Backup {
	p.Helper()
	p.finished(engine, p.take(kind).OperationID)
	page, err := p.backups.List(p.Context(), backup.Filter{Limit: 1})
	require.NoError(p, err)
	return page.Backups[0]
}

func (p *plant) finished(engine *ops.Engine, id ops.ID) {
	p.Helper()
	op, err := engine.Wait(p.Context(), id)
	require.NoError(p, err)
	require.Equal(p, ops.Done, op.State, op.ErrorDetail)
}

// box is a container that runs already, with PostgreSQL's programs, the filestore at /files and a folder of ours at /out: what is compared
// with pays for no container's start. Its share of the processor is that of our tools, which make room for tenants.
type box struct {
	*testing.T
	name string
	out  string
}

func (p *plant) box() *box {
	p.Helper()
	server, err := url.Parse(pgtest.ServerURL(p.T))
	require.NoError(p, err)
	volume, _ := provision.Filestore(p.tenant)
	b := &box{T: p.T, name: "bench_" + secrets.RandomHex(6), out: p.TempDir()}
	shell(p.T, "docker", "run", "-d", "--rm", "--name", b.name, "--network", "host", "--cpu-shares", "256", "--entrypoint", "sleep", "-v", volume+":/files:ro", "-v", b.out+":/out",
		"-e", "PGHOST="+server.Hostname(), "-e", "PGPORT="+server.Port(), "-e", "PGUSER="+p.odoo.Name, "-e", "PGDATABASE="+p.odoo.Name,
		"-e", "PGPASSWORD="+p.odoo.Password.Reveal(), p.odoo.Image(), "86400")
	p.Cleanup(func() { shell(p.T, "docker", "rm", "-f", b.name) })
	return b
}

// took runs a script in the box and returns how long it took there.
func (b *box) took(script string) time.Duration {
	b.Helper()
	timed := `set -e -o pipefail; began=$(date +%s%N); ` + script + `; echo $(($(date +%s%N) - began))`
	out := shell(b.T, "docker", "exec", b.name, "bash", "-c", timed)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	n, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	require.NoError(b, err, out)
	return time.Duration(n)
}

// rival is one of several ways that are measured in turns, since other load changes from minute to minute. Each round begins with another one:
// what is just done leaves the server work that who comes next pays for.
type rival struct {
	name string
	do   func() time.Duration
}

// times are those of each round.
type times [][]time.Duration

func inTurns(t *testing.T, rounds int, rivals ...rival) times {
	t.Helper()
	took := make(times, len(rivals))
	for round := range rounds {
		for i := range rivals {
			i = (round + i) % len(rivals)
			took[i] = append(took[i], rivals[i].do())
		}
	}
	for i, r := range rivals {
		t.Logf("%-62s median %6.2f s, best %6.2f s", r.name, median(took[i]).Seconds(), slices.Min(took[i]).Seconds())
	}
	return took
}

// ratio is the median of the rounds' ratios.
func (t times) ratio(a, b int) float64 {
	var all []float64
	for i := range t[a] {
		all = append(all, t[a][i].Seconds()/t[b][i].Seconds())
	}
	return median(all)
}

func median[T int64 | float64 | time.Duration](of []T) T {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// since times what do does.
func since(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

// load is how busy the machine is with all that goes on.
func load(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
