//go:build bench

package backup_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
)

// peak is the most of the heap that was in use while do ran, and the most memory that the process had, in bytes.
func peak(t *testing.T, do func()) (heap, resident int64) {
	t.Helper()
	var most atomic.Int64
	done, ended := make(chan struct{}), make(chan struct{})
	debug.FreeOSMemory()
	require.NoError(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) // begins the peak anew
	go func() {
		defer close(ended)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), int64(m.HeapInuse))) //nolint:gosec // far below
			}
		}
	}()
	do()
	close(done)
	<-ended
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return most.Load(), kilobytes << 10
}

// memoryGoal is what serve has its process collect garbage for, unless GOMEMLIMIT is set.
const memoryGoal = 96 << 20

// All of this test's process is measured, of which some 30 MB aren't the backup's: "before" tells.
func TestBenchMemory(t *testing.T) {
	before := debug.SetMemoryLimit(memoryGoal)
	defer debug.SetMemoryLimit(before)
	for _, s := range []struct {
		name string
		size
	}{
		{"100 MB", size{rows: 260_000, files: 60, fileSize: 1 << 20}},
		{"5 GB", size{rows: 6_500_000, files: 4000, fileSize: 1 << 20}},
	} {
		t.Run(s.name, func(t *testing.T) {
			p := build(t)
			p.messages(s.rows)
			p.odoo.Exec(t, "INSERT INTO ir_attachment (name, store_fname) SELECT 'a file', unnest($1::text[])", p.fill(s.size))
			engine := p.start()
			p.patiently(engine, backup.Hourly)
			_, before := peak(t, func() {})
			var b backup.Backup
			began := time.Now()
			heap, resident := peak(t, func() { b = p.patiently(engine, backup.Manual) })
			t.Logf("%s: database %d MB, files %d MB in %.0f s, load %s; heap in use at most %d MB, resident at most %d MB, %d MB before (target: 100 MB, flat)", s.name,
				b.DatabaseBytes>>20, b.FilestoreBytes>>20, time.Since(began).Seconds(), load(t), heap>>20, resident>>20, before>>20)
			heap, resident = peak(t, func() {
				op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
				require.NoError(t, err)
				p.finished(engine, op.ID)
			})
			t.Logf("%s restored: heap in use at most %d MB, resident at most %d MB", s.name, heap>>20, resident>>20)
		})
	}
}
