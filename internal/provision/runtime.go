package provision

import (
	"context"
	"net/netip"
	"time"

	"controlplane/internal/errs"
)

// Runtime is the container engine that tenants run on, as the workflows need it. Ensure… finds or makes, Remove… takes absence for
// success, and neither touches an object of ours by name that doesn't bear the installation's id: that is ErrForeign.
// It must not assume that there is one host.
type Runtime interface {
	// Image finds ref on the engine, pulling it if a registry has to be asked.
	Image(ctx context.Context, ref string) (Image, error)

	// EnsureNetwork makes the bridge network; one whose subnet differs is replaced if nothing is attached. Errors: ErrNetworkInUse.
	EnsureNetwork(ctx context.Context, n Network) error
	RemoveNetwork(ctx context.Context, name string) error

	// EnsureContainer creates the container and its volumes without starting it. One of the same spec hash is kept as it is (running or
	// not), with CPU, memory and pids mended by update; any other is replaced, its volumes kept. CPU is cut to what the host has.
	// Errors: ErrMemoryInUse.
	EnsureContainer(ctx context.Context, c Container) error
	StartContainer(ctx context.Context, name string) error
	StopContainer(ctx context.Context, name string, grace time.Duration) error
	RemoveContainer(ctx context.Context, name string) error
	RemoveVolume(ctx context.Context, name string) error
	InspectContainer(ctx context.Context, name string) (ContainerStatus, error)

	// RunContainer runs a one-off container to its end and removes it, also when ctx ends. The last lines of its output come back
	// for the log; a run that was cut short by a crash is found by its name and waited for.
	RunContainer(ctx context.Context, c Container) (RunResult, error)

	// PutFiles writes small files into a container's volume through the copy API; the container need not run.
	PutFiles(ctx context.Context, container string, files []File) error
	// CopyTree copies the directory from one container's volume into another's as toDir (which replaces a half-made copy), keeping owners and
	// modes, without starting either. What is there when a container's directory is first copied is what later copies of it get.
	CopyTree(ctx context.Context, fromContainer, fromDir, toContainer, toDir string) error

	// EnsureFirewall makes the host's rules for the tenants' supernet true and keeps them so over restarts of engine and host.
	EnsureFirewall(ctx context.Context, f Firewall) error

	EngineEstate
	EngineInventory
}

// ErrForeign is returned when a name of ours is taken by something that isn't ours.
var ErrForeign = errs.New(errs.Conflict, "foreign_object", "Something on our server is in the way; our staff have been told.")

// Image is an image on the engine.
type Image struct {
	ID      string   // content id, "sha256:…"
	UID     int      // of the user it runs as
	GID     int      // of the same
	Volumes []string // its VOLUME paths
}

// Network is one tenant's network.
type Network struct {
	Name    string
	Subnet  netip.Prefix
	Gateway netip.Addr
	Labels  map[string]string
}

// Container is what to run. Nothing in it may be secret: all of it shows in inspect.
type Container struct {
	Name        string
	Image       string // content id or reference
	Command     []string
	Environment map[string]string
	Network     string
	Address     netip.Addr // fixed address in Network; zero: the engine's choice
	DNS         []netip.Addr
	Mounts      []Mount
	Tmpfs       map[string]string // path → options
	MemoryMB    int
	CPUMilli    int
	PIDs        int
	Restart     bool // unless stopped by us
	Labels      map[string]string
}

// Mount is a named volume at a path.
type Mount struct {
	Volume   string
	Path     string
	ReadOnly bool
}

// File is a small file to write.
type File struct {
	Path    string
	Mode    uint32
	UID     int
	GID     int
	Content []byte
}

// ContainerStatus is how a container is doing.
type ContainerStatus struct {
	Exists   bool
	Running  bool
	ExitCode int
	OOM      bool // killed for its memory limit, as far as the engine noticed: Docker 20.10 misses some
	Restarts int
	SpecHash string
	Image    string // content id
	Address  netip.Addr
}

// RunResult is how a one-off container ended.
type RunResult struct {
	ExitCode int
	Tail     []string // last lines of its output
}

// Firewall is what the tenants' supernet may reach: established connections, public addresses but port 25, and the database. An address in
// quarantine reaches the database alone.
type Firewall struct {
	Supernet     netip.Prefix
	DatabaseHost netip.Addr // zero or one of the host's own: the port on the host itself
	DatabasePort uint16

	QuarantineMask netip.Addr // the bits by which an address in quarantine is known; zero: none is
	QuarantineHost netip.Addr // what they are
}
