// Package docker is provision.Runtime on the Docker Engine, and the only importer of its client. What a container may do is fixed
// in spec.go, which is pure; everything that touches the engine checks the installation label first. The firewall's rules are
// internal/provision/netguard's: this package only keeps the container alive that applies them.
package docker

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"controlplane/internal/errs"
	"controlplane/internal/provision"
)

// Upper bounds of single calls to the engine, whatever the caller's context allows.
const (
	quickCall  = 30 * time.Second // inspect, list, create, start, remove
	slowCall   = 15 * time.Minute // pull, import
	copyCall   = 30 * time.Minute // a tree from one volume to another
	runCall    = 3 * time.Hour    // a one-off container
	toolCall   = 24 * time.Hour   // a tool, which is as slow as who reads what it writes
	cleanUp    = time.Minute      // removing what a cancelled call leaves behind
	stopMargin = 20 * time.Second // on top of the grace period
)

// ErrUnavailable is returned when the engine is down, doesn't answer in time, or doesn't let us in; its cause says which.
var ErrUnavailable = errs.New(errs.Unavailable, "engine_unavailable", "The container engine can't be reached.")

// ErrMissing is returned when a container that should be used isn't there.
var ErrMissing = errs.New(errs.NotFound, "container_missing", "The container doesn't exist.")

// Options are what a Runtime needs.
type Options struct {
	Host         string // of the engine: a socket's path, or unix://… or tcp://…; empty: the default socket
	Installation string // the id that all objects of ours bear
	Binary       string // path of a static controlplane binary, for the netguard image; only EnsureFirewall needs it
	Log          *slog.Logger
}

// Runtime runs tenants on one Docker engine. It is safe for concurrent use and keeps nothing but caches.
type Runtime struct {
	api          *client.Client
	installation string
	binary       string
	log          *slog.Logger

	reading sync.Mutex // one image's accounts are read at a time: the container that this takes has the image's name

	mu     sync.Mutex
	images map[string]provision.Image // by content id, which never changes its meaning
	guard  string                     // tag of the netguard image, once known
	trees  trees
	ncpu   int // of the engine's host, once known
}

var _ provision.Runtime = (*Runtime)(nil)

// New makes a Runtime; it doesn't call the engine, so it succeeds while that is down. The API version is negotiated on first use.
func New(o Options) (*Runtime, error) {
	if o.Installation == "" {
		return nil, errors.New("docker runtime: no installation id")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	host := o.Host
	switch {
	case host == "":
		host = client.DefaultDockerHost
	case strings.HasPrefix(host, "/"):
		host = "unix://" + host
	}
	api, err := client.New(client.WithTLSClientConfigFromEnv(), client.WithHost(host))
	if err != nil {
		return nil, fmt.Errorf("docker runtime: host %q: %w", o.Host, err)
	}
	return &Runtime{
		api: api, installation: o.Installation, binary: o.Binary, log: o.Log,
		images: map[string]provision.Image{},
	}, nil
}

// Ping reports whether the engine answers and lets us in; the error is one line for operators.
func (r *Runtime) Ping(ctx context.Context) error {
	return r.call(ctx, 5*time.Second, "ping the container engine", func(ctx context.Context) error {
		_, err := r.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
		return err
	})
}

// Close drops idle connections.
func (r *Runtime) Close() error { return r.api.Close() }

// call runs f under its own upper bound, and tells an engine that can't be reached from one that refuses.
func (r *Runtime) call(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(bounded)
	var known *errs.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err // made by ourselves, further down
	case client.IsErrConnectionFailed(err):
		return ErrUnavailable.WithCause(fmt.Errorf("%s: %w", what, err))
	case bounded.Err() != nil && ctx.Err() == nil:
		return ErrUnavailable.WithCause(fmt.Errorf("%s: not done within %v: %w", what, limit, err))
	}
	return fmt.Errorf("%s: %w", what, err)
}

// digest is a short name-safe hash that the same input always gives.
func digest(length int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:length]
}
