package backup_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
)

// halting is a loader that takes a piece of a script and then waits.
type halting struct {
	backup.Loader
	goOn chan struct{}
}

func (h halting) Load(ctx context.Context, a backup.Access, script io.Reader, most int64) error {
	begin := make([]byte, 100)
	n, err := io.ReadFull(script, begin)
	if err != nil {
		return err
	}
	select {
	case <-h.goOn:
	case <-ctx.Done():
		return ctx.Err()
	}
	return h.Loader.Load(ctx, a, io.MultiReader(bytes.NewReader(begin[:n]), script), most)
}

func TestImport_TellsHowFarItIs(t *testing.T) {
	t.Parallel()
	c := build(t).open()
	opstest.Stop(t, c.jobs)
	h := halting{c.odoo.Server(t, c.engine, c.odoo.Image()), make(chan struct{})}
	w := c.worker()
	importer, err := backup.NewImporter(w, c.scratch, h)
	require.NoError(t, err)
	c.jobs = opstest.Start(t, c.pool, importer.ImportWorkflow())
	sql := foreign("19.0.1.3", "theirs")
	b, err := c.bring(odooZip(t, "19.0", sql, "theirs"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		op, err := c.jobs.Get(t.Context(), b.OperationID)
		return err == nil && op.Progress != nil && op.Progress.DoneBytes > 0 &&
			op.Progress.TotalBytes > int64(len(sql)+len("theirs")) && op.Progress.DoneBytes < op.Progress.TotalBytes
	}, time.Minute, 20*time.Millisecond)
	close(h.goOn)
	opstest.Wait(t, c.jobs, b.OperationID, ops.Done)
}
