package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/joho/godotenv"

	"controlplane/internal/secrets"
)

// devState is the folder in which dev keeps what has to outlive a run: secrets that it made up, the image references that the
// set-up scripts found, and logs.
type devState struct {
	dir      string
	instance string            // tells the containers of two checkouts on one engine apart
	settings map[string]string // generated once; see generate
	images   map[string]string // from scripts/images.sh
	locked   *os.File          // nil unless this process has the folder to itself
}

// openDevState reads the folder, and makes and fills it at the first start.
func openDevState(dir string) (*devState, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the state folder: %w", err)
	}
	s := &devState{dir: abs}
	if err := os.MkdirAll(s.path("logs"), 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if s.settings, err = readSettings(s.path("dev.env")); err != nil {
		return nil, err
	}
	missing := generate()
	maps.DeleteFunc(missing, func(name, _ string) bool { return s.settings[name] != "" })
	if len(missing) > 0 {
		maps.Copy(s.settings, missing)
		if err := s.writeSettings(); err != nil {
			return nil, err
		}
	}
	s.instance = s.settings["DEV_INSTANCE"]
	if s.images, err = readSettings(s.path("images.env")); err != nil {
		return nil, err
	}
	return s, nil
}

// generate makes up what a real installation configures. Nothing of it is ever the same twice.
func generate() map[string]string {
	return map[string]string{
		"DEV_INSTANCE":              secrets.RandomHex(3),
		"DEV_PLATFORM_PASSWORD":     secrets.RandomPassword(24).Reveal(), // the superuser's; only dev and migrate use it
		"DEV_PLATFORM_APP_PASSWORD": secrets.RandomPassword(24).Reveal(),
		"DEV_CLUSTER_PASSWORD":      secrets.RandomPassword(24).Reveal(), // the superuser's; only dev uses it
		"DEV_ADMIN_PASSWORD":        secrets.RandomPassword(16).Reveal() + "a9A!",
		"DEV_CUSTOMER_PASSWORD":     secrets.RandomPassword(16).Reveal() + "a9A!",
		"SECRET_KEY":                secrets.RandomHex(32),
		"DATA_KEY":                  secrets.RandomHex(32),
		"EXTERNAL_DB_PASSWORD":      secrets.RandomPassword(24).Reveal(),
		"PAYSTACK_SECRET_KEY":       "sk_test_" + secrets.RandomHex(20),
		"S3_SECRET_KEY":             secrets.RandomPassword(32).Reveal(),
		"BACKUP_KEY":                secrets.RandomHex(32),
	}
}

// lock keeps a second process from working with the folder until this one ends: a clean under a running platform would leave things
// behind that nothing knows of any more.
func (s *devState) lock() error {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { //nolint:gosec // a descriptor is small
		_ = f.Close()
		return errors.New("another \"make run\", stop or clean works with this state folder; end it first (Ctrl-C)")
	}
	s.locked = f
	return nil
}

func (s *devState) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// container names one of dev's own containers or volumes.
func (s *devState) container(role string) string { return "odoo-hosting-" + s.instance + "-" + role }

func (s *devState) writeSettings() error {
	var b strings.Builder
	b.WriteString("# Made by \"controlplane dev\"; secret. Delete the folder with \"make clean\".\n")
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		fmt.Fprintf(&b, "%s=%s\n", name, s.settings[name])
	}
	return s.writeFile("dev.env", b.String(), 0o600)
}

// writeFile replaces a file in one move, so that a crash leaves the old or the new one.
func (s *devState) writeFile(name, content string, mode fs.FileMode) error {
	if err := renameio.WriteFile(s.path(name), []byte(content), mode, renameio.WithTempDir(s.dir)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func readSettings(path string) (map[string]string, error) {
	settings, err := godotenv.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: it isn't a list of NAME=value lines", path)
	}
	return settings, nil
}
