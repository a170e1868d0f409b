package edge

import (
	"bufio"
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
	stateVersion  = 2
	stateSettle   = time.Second // at most one writing to disk in this time
	journalFewest = 10_000      // changes that are appended before the file is written anew; or as many as there are routes
	noteTimeout   = 5 * time.Second
)

// The table's copy on disk is a line that says what it is, a line for each route, and then a line for each change: a table of ten thousand
// isn't written anew because of one. The last word on a tenant counts, and a line that a crash cut short ends the reading. The file holds no
// secrets, but who our customers are.
type stateHead struct {
	Version int             `json:"version"`
	Edge    string          `json:"edge"` // whose copy it is
	AsOf    time.Time       `json:"saved_at"`
	Routes  []tenants.Route `json:"routes,omitempty"` // of version 1, all of them
}

// stateLine is one of the lines after the first; one of its fields is set.
type stateLine struct {
	Route *tenants.Route `json:"route,omitempty"`
	Gone  tenants.ID     `json:"gone,omitempty"`
	AsOf  *time.Time     `json:"as_of,omitempty"` // all of it is still so
}

// stateFile is the copy on disk as its writer sees it.
type stateFile struct {
	path     string
	edge     string
	file     *os.File // nil: it has to be written anew
	appended int
}

// loadState fills the table from disk, so that tenants are served before, or without, PostgreSQL. A copy that can't be read is as good
// as none, and so is one that is too old to be true.
func (e *Edge) loadState(ctx context.Context) {
	if e.opts.StateFile == "" {
		return
	}
	head, err := readState(e.opts.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && head.Edge != "" {
		e.copyID = head.Edge
	}
	if age := time.Since(head.AsOf); err == nil && age >= tenants.RoutesLast {
		err = fmt.Errorf("it is %s old", age.Round(time.Hour))
	}
	if err != nil {
		e.log.WarnContext(ctx, "edge can't use its copy of the routes", "file", e.opts.StateFile, "error", err)
		return
	}
	e.table.merge(head.Routes, head.AsOf)
	e.log.InfoContext(ctx, "edge starts with its copy of the routes", "routes", len(head.Routes), "saved_at", head.AsOf)
}

// readState returns the head with all routes in it.
func readState(name string) (head stateHead, err error) {
	file, err := os.Open(name) //nolint:gosec // the operator's choice
	if err != nil {
		return head, err
	}
	defer func() { _ = file.Close() }()
	in := json.NewDecoder(bufio.NewReaderSize(file, 64<<10))
	if err := in.Decode(&head); err != nil {
		return head, fmt.Errorf("read the copy of the routes: %w", err)
	}
	if head.Version < 1 || head.Version > stateVersion {
		return head, fmt.Errorf("the copy of the routes has version %d, not %d", head.Version, stateVersion)
	}
	routes := map[tenants.ID]tenants.Route{}
	for _, r := range head.Routes {
		routes[r.TenantID] = r
	}
	for {
		var line stateLine
		if in.Decode(&line) != nil {
			break
		}
		switch {
		case line.Route != nil:
			routes[line.Route.TenantID] = *line.Route
		case line.Gone != 0:
			delete(routes, line.Gone)
		case line.AsOf != nil:
			head.AsOf = *line.AsOf
		}
	}
	head.Routes = make([]tenants.Route, 0, len(routes))
	for _, r := range routes {
		head.Routes = append(head.Routes, r)
	}
	return head, nil
}

// keepState copies the table to disk when it has changed, and once more at the end. The database is told how old the copy is.
func (e *Edge) keepState(ctx context.Context) {
	state := stateFile{path: e.opts.StateFile, edge: e.copyID}
	defer state.close()
	var noted time.Time
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-e.table.dirty:
			if asOf, ok := e.saveState(ctx, &state); ok && asOf.After(noted) && e.noteState(ctx, asOf) {
				noted = asOf
			}
			select {
			case <-ctx.Done():
			case <-time.After(stateSettle):
			}
		}
	}
	select {
	case <-e.table.dirty:
		e.saveState(context.WithoutCancel(ctx), &state)
	default:
	}
}

// saveState returns of when the copy is now.
func (e *Edge) saveState(ctx context.Context, state *stateFile) (asOf time.Time, ok bool) {
	changed, asOf := e.table.changes()
	if state.path == "" {
		return asOf, true
	}
	err := state.save(changed, asOf, e.table)
	if err != nil {
		state.close()
		e.log.WarnContext(ctx, "edge can't keep a copy of its routes", "file", state.path, "error", err)
	}
	return asOf, err == nil
}

// noteState tells the database what this edge goes by, even if it should be started anew and find no database.
func (e *Edge) noteState(ctx context.Context, asOf time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	err := tenants.NoteEdge(ctx, e.opts.Pool, e.copyID, asOf)
	if err != nil && e.table.status().Connected {
		e.log.WarnContext(ctx, "edge couldn't say how old its routes are", "error", err)
	}
	return err == nil
}

// save appends what has changed, or writes everything: at first, when the appended lines are many, and when the file isn't ours any
// more, because the edge that takes over from us has written its own.
func (s *stateFile) save(changed map[tenants.ID]*tenants.Route, asOf time.Time, all *table) error {
	if s.file == nil || !s.inPlace() || s.appended > max(journalFewest, all.status().Routes) {
		return s.rewrite(all.all(), asOf)
	}
	out := bufio.NewWriter(s.file)
	lines := json.NewEncoder(out)
	for id, r := range changed {
		line := stateLine{Route: r}
		if r == nil {
			line.Gone = id
		}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	if err := lines.Encode(stateLine{AsOf: &asOf}); err != nil {
		return err
	}
	s.appended += len(changed) + 1
	return errors.Join(out.Flush(), s.file.Sync())
}

// inPlace reports whether the file at the path is the one that is open.
func (s *stateFile) inPlace() bool {
	open, err := s.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(s.path)
	return err == nil && os.SameFile(open, there)
}

// rewrite replaces the file in one move, so that a crash leaves the old or the new one.
func (s *stateFile) rewrite(routes []*tenants.Route, asOf time.Time) error {
	s.close()
	folder := filepath.Dir(s.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	file, err := renameio.NewPendingFile(s.path, renameio.WithTempDir(folder), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = file.Cleanup() }() // nothing to do when all went well
	out := bufio.NewWriterSize(file, 64<<10)
	lines := json.NewEncoder(out)
	if err := lines.Encode(stateHead{Version: stateVersion, Edge: s.edge, AsOf: asOf}); err != nil {
		return err
	}
	for _, r := range routes {
		if err := lines.Encode(stateLine{Route: r}); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return err
	}
	s.file, err = os.OpenFile(s.path, os.O_APPEND|os.O_WRONLY, 0) //nolint:gosec // the operator's choice
	s.appended = 0
	return err
}

// close has the file written anew next time.
func (s *stateFile) close() {
	if s.file != nil {
		_ = s.file.Close() // each save is synced
		s.file = nil
	}
}
