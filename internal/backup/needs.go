package backup

import (
	"context"
	"io"
	"time"

	"controlplane/internal/errs"
)

// Store is the object store that backups are kept in.
type Store interface {
	// Put stores what r gives, however much that is, and nothing if r or the store fails. size is about how much will come; 0: unknown.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// Get returns an object's content; a connection that is lost on the way is made again, unseen. Errors: ErrObjectMissing.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// List calls fn for each object whose key begins with prefix, in the order of keys.
	List(ctx context.Context, prefix string, fn func(Object) error) error
	// Remove removes an object; absence is success.
	Remove(ctx context.Context, key string) error
	// AbortUploads gives up uploads below prefix that were begun before and never ended, and returns how many.
	AbortUploads(ctx context.Context, prefix string, before time.Time) (int, error)
}

// Object is one object of the store.
type Object struct {
	Key   string
	Bytes int64
	At    time.Time // when it was stored
}

// What the store may answer; all are safe to show.
var (
	ErrStoreUnreachable = errs.New(errs.Unavailable, "backup_store_unreachable", "The backup store can't be reached; we try again.")
	ErrStoreRefused     = errs.New(errs.Unavailable, "backup_store_refused", "The backup store refuses us; our staff have to look at it.")
	ErrStoreFull        = errs.New(errs.Unavailable, "backup_store_full", "The backup store is full; our staff have to look at it.")
	ErrObjectMissing    = errs.New(errs.NotFound, "backup_object_missing", "A part of the backup is missing in the backup store.")
)
