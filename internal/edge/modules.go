package edge

import (
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"

	// What our configuration names: nothing else of Caddy's is compiled in.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/zstd"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls/standardstek"
)

// Caddy finds modules through registration at init, and makes their instances itself from JSON. That JSON carries only an edge's
// id, by which an instance finds its Edge here.
var instances sync.Map //nolint:gochecknoglobals // see above: id → *Edge

func init() { //nolint:gochecknoinits // Caddy's module registration
	caddy.RegisterModule(new(gate))
	caddy.RegisterModule(new(upstreams))
	caddy.RegisterModule(new(logCore))
	caddy.RegisterModule(new(listeners))
	caddy.RegisterModule(new(shower))
	caddy.RegisterModule(new(neverOnDemand))
	caddy.RegisterModule(new(silentIssuer))
	caddy.RegisterModule(new(challengeStorage))
}

// instance returns the running edge that a module belongs to.
func instance(id string) (*Edge, error) {
	found, _ := instances.Load(id)
	e, ok := found.(*Edge)
	if !ok {
		return nil, fmt.Errorf("no edge %q runs in this process", id)
	}
	return e, nil
}
