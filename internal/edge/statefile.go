package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"controlplane/internal/tenants"
)

const (
	stateVersion = 1
	stateSettle  = time.Second // at most one copy to disk in this time
)

// stateFile is the table's copy on disk. It holds no secrets, but who our customers are.
type stateFile struct {
	Version int             `json:"version"`
	SavedAt time.Time       `json:"saved_at"`
	Routes  []tenants.Route `json:"routes"`
}

// loadState fills the table from disk, so that tenants are served before, or without, PostgreSQL. A copy that can't be read is as good
// as none.
func (e *Edge) loadState(ctx context.Context) {
	if e.opts.StateFile == "" {
		return
	}
	state, err := readState(e.opts.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		e.log.WarnContext(ctx, "edge can't use its copy of the routes", "file", e.opts.StateFile, "error", err)
		return
	}
	e.table.replace(state.Routes, time.Time{})
	e.log.InfoContext(ctx, "edge starts with its copy of the routes", "routes", len(state.Routes), "saved_at", state.SavedAt)
}

func readState(name string) (stateFile, error) {
	var state stateFile
	text, err := os.ReadFile(name) //nolint:gosec // the operator's choice
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return state, fmt.Errorf("read the copy of the routes: %w", err)
	}
	if state.Version != stateVersion {
		return state, fmt.Errorf("the copy of the routes has version %d, not %d", state.Version, stateVersion)
	}
	return state, nil
}

// keepState copies the table to disk when it has changed, and once more at the end.
func (e *Edge) keepState(ctx context.Context) {
	if e.opts.StateFile == "" {
		return
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-e.table.dirty:
			e.saveState(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(stateSettle):
			}
		}
	}
	select {
	case <-e.table.dirty:
		e.saveState(context.WithoutCancel(ctx))
	default:
	}
}

func (e *Edge) saveState(ctx context.Context) {
	state := stateFile{Version: stateVersion, SavedAt: time.Now().UTC(), Routes: e.table.all()}
	if err := writeState(e.opts.StateFile, state); err != nil {
		e.log.WarnContext(ctx, "edge can't keep a copy of its routes", "file", e.opts.StateFile, "error", err)
	}
}

// writeState replaces the file in one move, so that a crash leaves the old or the new one.
func writeState(name string, state stateFile) error {
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode the routes: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(name, text, 0o600, renameio.WithTempDir(filepath.Dir(name)))
}
