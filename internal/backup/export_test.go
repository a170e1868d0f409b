package backup

import (
	"context"
	"time"
)

// WatchRestores is what is done each minute.
func (w *Worker) WatchRestores(ctx context.Context) error { return w.watchRestores(ctx) }

// SweepRestores is what is done each hour, with another limit.
func (w *Worker) SweepRestores(ctx context.Context, before time.Time) (int, error) {
	return w.sweepRestoresBefore(ctx, before)
}

// TakeSlot is what a worker does before it neutralises a backup.
func (s *Service) TakeSlot(ctx context.Context, id ID) (slot *int, err error) {
	return s.takeSlot(ctx, id)
}
