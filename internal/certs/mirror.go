package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const mirrorBatch = 200

// Mirror keeps a folder as the database is.
type Mirror struct {
	store  *Store
	folder *Folder
}

// NewMirror returns the mirror of store in folder.
func NewMirror(store *Store, folder *Folder) *Mirror { return &Mirror{store: store, folder: folder} }

// Sync copies what is new since the last Sync, and calls changed with each host; the folder remembers how far it got, also over a restart.
func (m *Mirror) Sync(ctx context.Context, changed func(host string)) error {
	seen, err := m.seen(ctx)
	if err != nil {
		return err
	}
	for {
		list, err := m.store.Newer(ctx, seen, mirrorBatch)
		if err != nil {
			return err
		}
		for _, c := range list {
			if err := m.folder.Put(c); err != nil {
				return err
			}
			seen = c.Version
			changed(c.Host)
		}
		if len(list) == 0 {
			return nil
		}
		if err := replaceFile(m.versionFile(), []byte(strconv.FormatInt(seen, 10))); err != nil {
			return fmt.Errorf("note which certificates are on disk: %w", err)
		}
	}
}

func (m *Mirror) versionFile() string { return filepath.Join(m.folder.path, ".version") }

// seen returns the version up to which the folder is complete. A database that is behind it was restored from a backup: all is copied
// again then.
func (m *Mirror) seen(ctx context.Context) (int64, error) {
	text, err := os.ReadFile(m.versionFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read which certificates are on disk: %w", err)
	}
	seen, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // no file, or half of one: all is copied
	}
	var newest int64
	if err := m.store.pool.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM certificates`).Scan(&newest); err != nil {
		return 0, fmt.Errorf("look for new certificates: %w", err)
	}
	if newest < seen {
		return 0, nil
	}
	return seen, nil
}

// Prune removes the copies of certificates that the database has no more, and calls gone with each host.
func (m *Mirror) Prune(ctx context.Context, gone func(host string)) error {
	there, err := m.store.All(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(there))
	for _, r := range there {
		known[r.Host] = r.Version > 0
	}
	hosts, err := m.folder.Hosts()
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if known[host] {
			continue
		}
		if err := m.folder.Remove(host); err != nil {
			return err
		}
		gone(host)
	}
	return nil
}
