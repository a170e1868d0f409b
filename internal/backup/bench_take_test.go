//go:build bench

package backup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
)

const (
	takeRounds    = 6
	restoreRounds = 6
)

// step is how long a step of an operation took, and all that its log says.
func (p *plant) step(engine *ops.Engine, id ops.ID, first, last string) (took time.Duration, text string) {
	p.Helper()
	events, err := engine.Events(p.Context(), id)
	require.NoError(p, err)
	var lines []string
	var began, ended time.Time
	for _, e := range events {
		lines = append(lines, e.At.Format("05.000")+" "+e.Step+" "+e.Event+" "+e.Message)
		switch e.Step + " " + e.Event {
		case first + " started":
			began = e.At
		case last + " finished":
			ended = e.At
		}
	}
	return ended.Sub(began), strings.Join(lines, "\n")
}

// What is compared with: the floor is what nobody can do without, the script what people do by hand.
func TestBenchTakeAndRestore(t *testing.T) {
	p := build(t)
	p.grow(ordinary())
	engine, in := p.start(), p.box()
	t.Logf("load before: %s", load(t))
	b := p.benchTake(engine, in)
	p.benchRestore(engine, in, b)
	t.Logf("load after: %s", load(t))
}

func (p *plant) benchTake(engine *ops.Engine, in *box) backup.Backup {
	p.Helper()
	var last backup.Backup
	var stored []time.Duration
	took := inTurns(p.T, takeRounds,
		rival{"floor: pg_dump >/dev/null, then the filestore read once", func() time.Duration {
			return in.took("pg_dump >/dev/null; find /files -type f -print0 | xargs -0 cat >/dev/null")
		}},
		rival{"the documented script: plain dump, gzip -9, file, upload", func() time.Duration {
			took := in.took("pg_dump --format=plain --no-owner --no-privileges | gzip -9 >/out/dump.sql.gz")
			return took + since(func() {
				file, err := os.Open(filepath.Join(in.out, "dump.sql.gz"))
				require.NoError(p, err)
				require.NoError(p, p.store.Put(p.Context(), "script", file, 0))
				require.NoError(p, file.Close())
			})
		}},
		rival{"a backup, files and all, encrypted and read back", func() time.Duration {
			last = p.patiently(engine, backup.Manual)
			copied, _ := p.step(engine, last.OperationID, "copy", "seal")
			stored = append(stored, copied)
			return last.FinishedAt.Sub(last.CreatedAt)
		}})
	took = append(took, stored)
	_, text := p.step(engine, last.OperationID, "copy", "seal")
	p.Logf("of it until all was stored: median %.2f s\n%s", median(stored).Seconds(), text)
	p.Logf("database %.1f MB, files %.1f MB, stored %.1f MB", float64(last.DatabaseBytes)/1e6, float64(last.FilestoreBytes)/1e6, float64(last.StoredBytes)/1e6)
	p.Logf("stored : floor       %.2f (target 1.2)", took.ratio(3, 0))
	p.Logf("read back : floor    %.2f (target 1.2)", took.ratio(2, 0))
	p.Logf("stored : script      %.2f", took.ratio(3, 1))
	p.Logf("read back : script   %.2f (target 1)", took.ratio(2, 1))
	return last
}

func (p *plant) benchRestore(engine *ops.Engine, in *box, b backup.Backup) {
	p.Helper()
	in.took("pg_dump --format=custom --compress=0 >/out/dump")
	subject := p.tenant.ID.Subject()
	into := func(script string) func() time.Duration {
		return func() time.Duration {
			name, err := p.cluster.BeginRestore(p.Context(), p.tenant.DBName, subject)
			require.NoError(p, err)
			took := in.took("export PGDATABASE=" + name + "; " + script)
			require.NoError(p, p.cluster.DropRestored(p.Context(), p.tenant.DBName, subject))
			return took
		}
	}
	var whole []time.Duration
	took := inTurns(p.T, restoreRounds,
		rival{"pg_restore -j 2 of the same dump, from a file", into("pg_restore -j 2 --no-owner --no-privileges -d $PGDATABASE /out/dump")},
		rival{"the documented gunzip | psql", into("gunzip -c /out/dump.sql.gz | psql -q >/dev/null 2>&1")},
		rival{"a restore until it is loaded and compared, files and all", func() time.Duration {
			op, err := p.backups.Restore(p.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
			require.NoError(p, err)
			p.finished(engine, op.ID)
			all, _ := p.step(engine, op.ID, "safety", "start")
			whole = append(whole, all)
			loaded, _ := p.step(engine, op.ID, "load", "load")
			return loaded
		}})
	took = append(took, whole)
	p.Logf("with the swap, but for Odoo's own start: median %.2f s", median(whole).Seconds())
	p.Logf("loaded : pg_restore  %.2f (target 1.2)", took.ratio(2, 0))
	p.Logf("swapped : pg_restore %.2f", took.ratio(3, 0))
	p.Logf("swapped : psql       %.2f (target 1)", took.ratio(3, 1))
}
