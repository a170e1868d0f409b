package provision_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

func TestMain(m *testing.M) {
	// The reaper is an image of its own that no registry need be at hand for: containers are removed by the tests.
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	_ = os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	os.Exit(m.Run())
}

func hostNetwork(h *container.HostConfig) { h.NetworkMode = "host" }

// world is an engine and a database server in memory. Every call can be made to fail, and every one is counted.
type world struct {
	mu         sync.Mutex
	calls      map[string]int
	failing    map[string]error // by method
	networks   map[string]provision.Network
	containers map[string]*containerState
	volumes    map[string]map[string]string // volume → path → content
	roles      map[string]string            // role → subject
	databases  map[string]*databaseState
	spares     map[string]int // by template
	limits     map[string]int // role → connections
	tempFiles  map[string]int // role → megabytes
	onStop     func()         // while a container stops, once
	deaf       bool           // what should neutralise a database does nothing, and says it went well
}

type containerState struct {
	provision.Container
	running  bool
	stubborn bool // doesn't stop
	usedMB   int
}

type databaseState struct {
	template, owner string
	sealed          bool
	identity        provision.Identity
	identities      int
	neutralised     bool
}

func newWorld() *world {
	return &world{
		calls: map[string]int{}, failing: map[string]error{}, networks: map[string]provision.Network{}, containers: map[string]*containerState{},
		volumes: map[string]map[string]string{}, roles: map[string]string{}, databases: map[string]*databaseState{}, spares: map[string]int{},
		limits: map[string]int{}, tempFiles: map[string]int{},
	}
}

func (w *world) enter(method string) (func(), error) {
	w.mu.Lock()
	w.calls[method]++
	return w.mu.Unlock, w.failing[method]
}

func (w *world) count(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[method]
}

func (w *world) failure(method string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing[method]
}

const pollInterval = 20 * time.Millisecond

func (w *world) fail(method string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing[method] = err
}

func (w *world) Image(_ context.Context, ref string) (provision.Image, error) {
	leave, err := w.enter("Image")
	defer leave()
	id := ref
	if ref == testImage {
		id = "sha256:0123"
	}
	return provision.Image{ID: id, UID: 100, GID: 101, Volumes: []string{"/var/lib/odoo"}}, err
}

func (w *world) EnsureNetwork(_ context.Context, n provision.Network) error {
	leave, err := w.enter("EnsureNetwork")
	defer leave()
	w.networks[n.Name] = n
	return err
}

func (w *world) RemoveNetwork(_ context.Context, name string) error {
	leave, err := w.enter("RemoveNetwork")
	defer leave()
	for _, c := range w.containers {
		if c.Network == name {
			return errors.New("network is in use")
		}
	}
	delete(w.networks, name)
	return err
}

func (w *world) EnsureContainer(_ context.Context, c provision.Container) error {
	leave, err := w.enter("EnsureContainer")
	defer leave()
	if err != nil {
		return err
	}
	if c.Network != "" {
		if _, ok := w.networks[c.Network]; !ok {
			return errors.New("no such network")
		}
	}
	found, ok := w.containers[c.Name]
	switch {
	case !ok:
		w.containers[c.Name] = &containerState{Container: c}
	case found.running && c.MemoryMB < found.usedMB:
		return provision.ErrMemoryInUse
	case c.Address.IsValid() && found.Address != c.Address: // replaced, and not started
		w.containers[c.Name] = &containerState{Container: c}
	default:
		found.MemoryMB, found.CPUMilli, found.PIDs = c.MemoryMB, c.CPUMilli, c.PIDs
	}
	for _, m := range c.Mounts {
		if w.volumes[m.Volume] == nil {
			w.volumes[m.Volume] = map[string]string{}
		}
	}
	return nil
}

func (w *world) StartContainer(_ context.Context, name string) error {
	leave, err := w.enter("StartContainer")
	defer leave()
	if err != nil {
		return err
	}
	c, ok := w.containers[name]
	if !ok {
		return errors.New("no such container")
	}
	c.running = true
	return nil
}

func (w *world) StopContainer(_ context.Context, name string, _ time.Duration) error {
	leave, err := w.enter("StopContainer")
	defer leave()
	if c, ok := w.containers[name]; ok && err == nil {
		c.running = c.stubborn
	}
	if w.onStop != nil {
		w.onStop()
		w.onStop = nil
	}
	return err
}

func (w *world) RemoveContainer(_ context.Context, name string) error {
	leave, err := w.enter("RemoveContainer")
	defer leave()
	if err == nil {
		delete(w.containers, name)
	}
	return err
}

func (w *world) RemoveVolume(_ context.Context, name string) error {
	leave, err := w.enter("RemoveVolume")
	defer leave()
	for _, c := range w.containers {
		for _, m := range c.Mounts {
			if m.Volume == name {
				return errors.New("volume is in use")
			}
		}
	}
	if err == nil {
		delete(w.volumes, name)
	}
	return err
}

func (w *world) InspectContainer(_ context.Context, name string) (provision.ContainerStatus, error) {
	leave, err := w.enter("InspectContainer")
	defer leave()
	c, ok := w.containers[name]
	if !ok {
		return provision.ContainerStatus{}, err
	}
	return provision.ContainerStatus{Exists: true, Running: c.running, Image: c.Image}, err
}

func (w *world) RunContainer(_ context.Context, c provision.Container) (provision.RunResult, error) {
	leave, err := w.enter("RunContainer")
	defer leave()
	if err != nil {
		return provision.RunResult{ExitCode: 1}, err
	}
	if _, ok := w.volumes[c.Mounts[2].Volume]["/etc/odoo/odoo.conf"]; !ok {
		return provision.RunResult{ExitCode: 1, Tail: []string{"no odoo.conf"}}, nil
	}
	if database, ok := strings.CutPrefix(strings.Join(c.Command, " "), "env odoo neutralize -d "); ok {
		w.neutralise(c, database)
		return provision.RunResult{}, nil
	}
	w.volumes[c.Mounts[0].Volume]["/var/lib/odoo/filestore/"+strings.TrimSuffix(c.Name, "_build")] = "attachments"
	delete(w.containers, c.Name)
	return provision.RunResult{}, nil
}

// neutralise does nothing while the tenant's Odoo runs, or where it could reach anybody.
func (w *world) neutralise(c provision.Container, database string) {
	own := w.containers[strings.TrimSuffix(c.Name, "_neutralise")]
	if !w.deaf && !own.running && c.Address.As4()[3]&15 == 14 && c.Network == own.Network {
		w.databases[database].neutralised = true
	}
}

func (w *world) PutFiles(_ context.Context, name string, files []provision.File) error {
	leave, err := w.enter("PutFiles")
	defer leave()
	if err != nil {
		return err
	}
	for _, f := range files {
		volume, err := w.volumeAt(name, f.Path)
		if err != nil {
			return err
		}
		volume[f.Path] = string(f.Content)
	}
	return nil
}

func (w *world) volumeAt(container, path string) (map[string]string, error) {
	c, ok := w.containers[container]
	if !ok {
		return nil, errors.New("no such container")
	}
	for _, m := range c.Mounts {
		if strings.HasPrefix(path, m.Path+"/") {
			return w.volumes[m.Volume], nil
		}
	}
	return nil, errors.New("path is in no volume")
}

func (w *world) CopyTree(_ context.Context, fromContainer, fromDir, toContainer, toDir string) error {
	leave, err := w.enter("CopyTree")
	defer leave()
	if err != nil {
		return err
	}
	from, err := w.volumeAt(fromContainer, fromDir)
	if err != nil {
		return err
	}
	to, err := w.volumeAt(toContainer, toDir)
	if err != nil {
		return err
	}
	if from[fromDir] == "" {
		return errors.New("no such directory")
	}
	to[toDir] = from[fromDir]
	return nil
}

func (w *world) EnsureFirewall(context.Context, provision.Firewall) error {
	leave, err := w.enter("EnsureFirewall")
	defer leave()
	return err
}

func (w *world) EnsureTenant(_ context.Context, t provision.TenantDatabase) error {
	leave, err := w.enter("EnsureTenant")
	defer leave()
	if err != nil {
		return err
	}
	if found, ok := w.roles[t.Name]; ok && found != t.Subject {
		return provision.ErrForeign
	}
	template, ok := w.databases[t.Template]
	if !ok || !template.sealed {
		return errors.New("no such template")
	}
	w.roles[t.Name], w.limits[t.Name], w.tempFiles[t.Name] = t.Subject, t.ConnectionLimit, t.TempFilesMB
	if _, ok := w.databases[t.Name]; !ok {
		w.databases[t.Name] = &databaseState{template: t.Template, owner: "control"}
	}
	return nil
}

func (w *world) HandOver(_ context.Context, name string, id provision.Identity) error {
	leave, err := w.enter("HandOver")
	defer leave()
	if err != nil {
		return err
	}
	d, ok := w.databases[name]
	if !ok {
		return errors.New("no such database")
	}
	if d.owner != name {
		d.owner, d.identity = name, id
		d.identities++
	}
	return nil
}

func (w *world) SetAdminPassword(_ context.Context, t provision.TenantDatabase, hash string) (string, error) {
	leave, err := w.enter("SetAdminPassword")
	defer leave()
	if err != nil {
		return "", err
	}
	w.databases[t.Name].identity.PasswordHash = hash
	return w.databases[t.Name].identity.Login, nil
}

func (w *world) SetBaseURL(_ context.Context, t provision.TenantDatabase, url string) error {
	leave, err := w.enter("SetBaseURL")
	defer leave()
	if err == nil {
		w.databases[t.Name].identity.BaseURL = url
	}
	return err
}

// Adopt isn't called by any workflow here.
func (w *world) Adopt(context.Context, provision.TenantDatabase, string, string) error { return nil }

func (w *world) Neutralised(_ context.Context, t provision.TenantDatabase) (bool, error) {
	leave, err := w.enter("Neutralised")
	defer leave()
	return w.databases[t.Name].neutralised, err
}

func (w *world) RemoveTenant(_ context.Context, name, subject string) error {
	leave, err := w.enter("RemoveTenant")
	defer leave()
	if err == nil && w.roles[name] == subject {
		delete(w.databases, name)
		delete(w.roles, name)
	}
	return err
}

func (w *world) BeginTemplate(_ context.Context, name string, _ secrets.Secret) error {
	leave, err := w.enter("BeginTemplate")
	defer leave()
	w.databases[name] = &databaseState{owner: name}
	return err
}

func (w *world) SealTemplate(_ context.Context, name string) error {
	leave, err := w.enter("SealTemplate")
	defer leave()
	if err == nil {
		w.databases[name].sealed = true
	}
	return err
}

func (w *world) RemoveTemplate(_ context.Context, name string) error {
	leave, err := w.enter("RemoveTemplate")
	defer leave()
	delete(w.databases, name)
	return err
}

func (w *world) EnsureSpares(_ context.Context, template string, count int) error {
	leave, err := w.enter("EnsureSpares")
	defer leave()
	w.spares[template] = count
	return err
}

func (w *world) Inspect(context.Context) (provision.ServerStatus, error) {
	leave, err := w.enter("Inspect")
	defer leave()
	return provision.ServerStatus{}, err
}
