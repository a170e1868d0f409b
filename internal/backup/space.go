package backup

import "context"

// databaseRoom wants the tenants' server to have so much left, where it is known how much that is.
func (w *Worker) databaseRoom(ctx context.Context, need int64) error {
	free, known, err := w.cluster.FreeBytes(ctx)
	if err != nil || !known || free >= need {
		return err
	}
	return ErrNoSpace.WithMessage("There isn't enough space on our database server for this backup: it takes about %d MB, and %d MB are free. "+
		"Our staff have to look at it.", need>>20, max(free, 0)>>20)
}
