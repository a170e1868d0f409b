package backup

import (
	"context"
	"time"
)

// SweepRestores is what is done each hour, with another limit.
func (w *Worker) SweepRestores(ctx context.Context, before time.Time) (int, error) {
	return w.sweepRestoresBefore(ctx, before)
}
