package edge

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// upstreams tells Caddy's proxy where the gate decided that a request goes.
type upstreams struct{}

// CaddyModule names the module.
func (*upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.odoohost", New: func() caddy.Module { return new(upstreams) }}
}

// GetUpstreams returns the one upstream of a request that the gate let through.
func (*upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	dial, ok := caddyhttp.GetVar(r.Context(), varDial).(string)
	if !ok {
		return nil, errors.New("the gate has let a request through without an upstream")
	}
	return []*reverseproxy.Upstream{{Dial: dial}}, nil
}
