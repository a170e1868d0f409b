package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"controlplane/internal/secrets"
)

// Folder is the copy of the certificates on an edge's disk, by which it serves when PostgreSQL is down. Keys are as sealed as there.
type Folder struct {
	path   string
	sealer *secrets.Sealer
}

// NewFolder returns the copy at path, which is made when it isn't there.
func NewFolder(path string, sealer *secrets.Sealer) (*Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for certificates: %w", err)
	}
	return &Folder{path: path, sealer: sealer}, nil
}

// folderFile is a certificate on disk.
type folderFile struct {
	Certificate

	Sealed secrets.Sealed
}

// fileOf returns a host's file. Hosts are names that the platform has accepted; a star isn't wanted in a file's name.
func (f *Folder) fileOf(host string) (string, error) {
	name := strings.Replace(host, "*", "wildcard_", 1)
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("%q is no host", host)
	}
	return filepath.Join(f.path, name+".json"), nil
}

// Put replaces a host's certificate in one move, so that a crash leaves the old or the new one.
func (f *Folder) Put(c Certificate) error {
	name, err := f.fileOf(c.Host)
	if err != nil {
		return err
	}
	stored := folderFile{Certificate: c, Sealed: f.sealer.Seal(c.Key, keyContext(c.Host))}
	stored.Key = ""
	text, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("encode the certificate of %s: %w", c.Host, err)
	}
	if err := replaceFile(name, text); err != nil {
		return fmt.Errorf("copy the certificate of %s to disk: %w", c.Host, err)
	}
	return nil
}

// replaceFile leaves the old file or the new one, whenever it is cut short.
func replaceFile(name string, text []byte) error {
	return renameio.WriteFile(name, text, 0o600, renameio.WithTempDir(filepath.Dir(name)))
}

// Get returns a host's certificate. Errors: ErrNotFound.
func (f *Folder) Get(host string) (Certificate, error) {
	name, err := f.fileOf(host)
	if err != nil {
		return Certificate{}, err
	}
	text, err := os.ReadFile(name) //nolint:gosec // below our own folder
	if errors.Is(err, fs.ErrNotExist) {
		return Certificate{}, ErrNotFound
	}
	if err != nil {
		return Certificate{}, fmt.Errorf("read the copy of %s's certificate: %w", host, err)
	}
	var stored folderFile
	if err := json.Unmarshal(text, &stored); err != nil {
		return Certificate{}, fmt.Errorf("read the copy of %s's certificate: %w", host, err)
	}
	if stored.Key, err = f.sealer.Open(stored.Sealed, keyContext(host)); err != nil {
		return Certificate{}, fmt.Errorf("open the copy of %s's certificate: %w", host, err)
	}
	return stored.Certificate, nil
}

// Remove deletes a host's copy. Absence is success.
func (f *Folder) Remove(host string) error {
	name, err := f.fileOf(host)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete the copy of %s's certificate: %w", host, err)
	}
	return nil
}

// Hosts returns whose certificates are there.
func (f *Folder) Hosts() ([]string, error) {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return nil, fmt.Errorf("list the copies of certificates: %w", err)
	}
	var hosts []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && !strings.HasPrefix(name, ".") {
			hosts = append(hosts, strings.Replace(name, "wildcard_", "*", 1))
		}
	}
	return hosts, nil
}
