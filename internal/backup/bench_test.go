//go:build bench

package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/ops"
	"controlplane/internal/provision"
)

const (
	benchRows  = 400_000
	benchFiles = 1200
	benchFile  = 50 << 10
	rounds     = 3
)

// grow makes database and filestore as large as those of an ordinary customer.
func (p *plant) grow() {
	p.Helper()
	p.odoo.Exec(p.T, `CREATE TABLE mail_message (id serial PRIMARY KEY, author int, subject text, body text);
		INSERT INTO mail_message (author, subject, body)
			SELECT n % 97, 'order ' || n, repeat(md5(n::text) || ' and what was said about it ', 2) FROM generate_series(1, `+fmt.Sprint(benchRows)+`) n;
		CREATE INDEX ON mail_message (author); CREATE INDEX ON mail_message (subject)`)
	volume, dir := provision.Filestore(p.tenant)
	mount := "fill_" + p.tenant.Name
	require.NoError(p, p.engine.MountVolume(p.Context(), mount, volume, p.tenant.ID.String(), p.odoo.Image(), false))
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	var names []string
	for range benchFiles {
		content := make([]byte, benchFile)
		_, _ = rand.Read(content)
		name := backuptest.FileName(string(content))
		names = append(names, name)
		require.NoError(p, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + "/" + name, Mode: 0o644, Uid: 101, Gid: 101, Size: benchFile}))
		_, err := w.Write(content)
		require.NoError(p, err)
	}
	require.NoError(p, w.Close())
	require.NoError(p, p.engine.WriteTree(p.Context(), mount, &files))
	require.NoError(p, p.engine.RemoveContainer(p.Context(), mount))
	p.odoo.Exec(p.T, "INSERT INTO ir_attachment (name, store_fname) SELECT 'a file', unnest($1::text[])", names)
}

// best is the quickest of some goes, as other load only ever slows down.
func best(t *testing.T, what string, do func()) time.Duration {
	t.Helper()
	quickest := time.Hour
	for range rounds {
		began := time.Now()
		do()
		quickest = min(quickest, time.Since(began))
	}
	t.Logf("%-60s %6.2f s", what, quickest.Seconds())
	return quickest
}

// peak is the most of the heap that was in use while do ran.
func peak(do func()) uint64 {
	var most atomic.Uint64
	done := make(chan struct{})
	go func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapInuse))
			}
		}
	}()
	runtime.GC()
	do()
	close(done)
	return most.Load()
}

// phases are the times of one backup's steps.
func (p *plant) phases(engine *ops.Engine, b backup.Backup) string {
	events, err := engine.Events(p.Context(), b.OperationID)
	require.NoError(p, err)
	var out []string
	for _, e := range events {
		out = append(out, e.At.Format("05.000")+" "+e.Step+" "+e.Event+" "+e.Message)
	}
	return strings.Join(out, "\n")
}

func TestBenchTake(t *testing.T) {
	p := build(t)
	p.grow()
	engine := p.start()
	access := p.odoo.Access()
	volume, dir := provision.Filestore(p.tenant)
	floor := best(t, "pg_dump to nowhere, and reading the filestore once", func() {
		snapshot, err := p.database.Snapshot(t.Context(), access)
		require.NoError(t, err)
		defer snapshot.Close(context.Background())
		require.NoError(t, snapshot.Dump(t.Context(), io.Discard))
		require.NoError(t, p.engine.MountVolume(t.Context(), "floor", volume, p.tenant.ID.String(), p.odoo.Image(), true))
		tree, err := p.engine.ReadTree(t.Context(), "floor", dir)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, tree)
		require.NoError(t, err)
		require.NoError(t, p.engine.RemoveContainer(t.Context(), "floor"))
	})
	script := best(t, "the documented script: plain dump, gzip -9, file, upload", func() {
		path := filepath.Join(t.TempDir(), "dump.sql.gz")
		file, err := os.Create(path) //nolint:gosec // of this test
		require.NoError(t, err)
		zip, err := gzip.NewWriterLevel(file, gzip.BestCompression)
		require.NoError(t, err)
		snapshot, err := p.database.Snapshot(t.Context(), access)
		require.NoError(t, err)
		require.NoError(t, snapshot.Dump(t.Context(), zip))
		snapshot.Close(t.Context())
		require.NoError(t, zip.Close())
		_, err = file.Seek(0, io.SeekStart)
		require.NoError(t, err)
		require.NoError(t, p.store.Put(t.Context(), "script", file, 0))
		require.NoError(t, file.Close())
	})
	var b backup.Backup
	var heap uint64
	copied := time.Hour
	whole := best(t, "a backup, read back", func() {
		heap = max(heap, peak(func() { b = p.took(engine, backup.Manual, ops.Done) }))
		events, err := engine.Events(t.Context(), b.OperationID)
		require.NoError(t, err)
		var began, ended time.Time
		for _, e := range events {
			if e.Step == "copy" && e.Event == "started" {
				began = e.At
			}
			if e.Step == "seal" && e.Event == "finished" {
				ended = e.At
			}
		}
		copied = min(copied, ended.Sub(began))
	})
	t.Logf("copied and sealed in %.2f s, of it %.1f MB dump, %.1f MB files; stored %.1f MB; heap in use at most %d MB\n%s", copied.Seconds(),
		float64(b.DatabaseBytes)/1e6, float64(b.FilestoreBytes)/1e6, float64(b.StoredBytes)/1e6, heap>>20, p.phases(engine, b))
	t.Logf("copy : floor   %.2f\nwhole : floor  %.2f\ncopy : script  %.2f\nwhole : script %.2f",
		copied.Seconds()/floor.Seconds(), whole.Seconds()/floor.Seconds(), copied.Seconds()/script.Seconds(), whole.Seconds()/script.Seconds())

	var dump bytes.Buffer
	snapshot, err := p.database.Snapshot(t.Context(), access)
	require.NoError(t, err)
	require.NoError(t, snapshot.Dump(t.Context(), &dump))
	snapshot.Close(t.Context())
	subject := p.tenant.ID.Subject()
	plain := best(t, "pg_restore with two jobs from memory", func() {
		into, err := p.cluster.BeginRestore(t.Context(), p.tenant.DBName, subject)
		require.NoError(t, err)
		beside := access
		beside.Database = into
		require.NoError(t, p.database.Restore(t.Context(), beside, bytes.NewReader(dump.Bytes()), int64(dump.Len())))
		require.NoError(t, p.cluster.DropRestored(t.Context(), p.tenant.DBName, subject))
	})
	restored := best(t, "a restore, files and all, without the safety backup", func() {
		op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
		require.NoError(t, err)
		done, err := engine.Wait(t.Context(), op.ID)
		require.NoError(t, err)
		require.Equal(t, ops.Done, done.State, done.ErrorDetail)
	})
	t.Logf("restore : pg_restore %.2f", restored.Seconds()/plain.Seconds())
}
