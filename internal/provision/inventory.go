package provision

import (
	"context"
	"net/netip"
	"time"
)

// EngineInventory lists what is ours on the engine, for the reconciliation. The firewall's guard, which the engine's adapter looks after
// itself, isn't in it.
type EngineInventory interface {
	// EngineObjects lists every container, network and volume that bears the installation's id.
	EngineObjects(ctx context.Context) (EngineObjects, error)
	// SpecHash is what EnsureContainer would mark the container with.
	SpecHash(ctx context.Context, c Container) (string, error)
	// RemoveObject removes this very object, also a running container, and nothing that took its name meanwhile. Absence is success,
	// a volume or network that is in use is an error.
	RemoveObject(ctx context.Context, o Object) error
}

// ClusterInventory lists what is ours on the tenants' database server.
type ClusterInventory interface {
	// ClusterObjects lists every database and role that bears the installation's id.
	ClusterObjects(ctx context.Context) ([]ClusterObject, error)
}

// ObjectKind is what sort of thing an object is.
type ObjectKind string

// The kinds of objects.
const (
	KindContainer ObjectKind = "container"
	KindNetwork   ObjectKind = "network"
	KindVolume    ObjectKind = "volume"
	KindDatabase  ObjectKind = "database" // with its role, if that is there
	KindRole      ObjectKind = "role"     // without a database
	KindTemplate  ObjectKind = "template" // all that a template consists of
)

// Object is one thing outside our database that bears the installation's id.
type Object struct {
	Kind  ObjectKind
	Name  string
	ID    string // tells it from a later one of the same name
	Owner string // an operations subject such as "tenant/42"; "" for what belongs to no tenant
}

// ContainerObject is a container as the engine has it.
type ContainerObject struct {
	Object
	Running   bool
	ExitCode  int
	Restarts  int
	StartedAt time.Time
	Image     string // content id
	SpecHash  string
	MemoryMB  int
	CPUMilli  int
	PIDs      int
	Network   string
	Volumes   []string // that it mounts
}

// NetworkObject is a network as the engine has it.
type NetworkObject struct {
	Object
	Subnet netip.Prefix
}

// EngineObjects is all that we have on the engine.
type EngineObjects struct {
	Containers []ContainerObject
	Networks   []NetworkObject
	Volumes    []Object
	Cores      int // of the host; a container has no more of them than there are, whatever its plan says
}

// ClusterObject is the database and the role of one name.
type ClusterObject struct {
	Object
	Database        bool
	Role            bool
	ConnectionLimit int  // of the role
	Unbounded       bool // its queries may fill the disk with temporary files, and we could limit them
}
