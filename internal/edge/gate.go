package edge

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"controlplane/internal/tenants"
)

// gate is the first handler of every request: it finds the tenant, lets through what may reach it, and answers everything else itself.
type gate struct {
	Edge string `json:"edge"`

	edge *Edge
}

// CaddyModule names the module.
func (*gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.odoohost_gate", New: func() caddy.Module { return new(gate) }}
}

// Provision finds the edge that the gate belongs to.
func (g *gate) Provision(caddy.Context) (err error) {
	g.edge, err = instance(g.Edge)
	return err
}

// ServeHTTP answers or passes on one request.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	w.Header().Del("Server")
	takeAddress(r)
	dial, page := g.route(r)
	if page != "" {
		g.edge.pages.write(w, r, page)
		return nil
	}
	caddyhttp.SetVar(r.Context(), varDial, dial)
	watched := &watchedWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	if err := next.ServeHTTP(watched, r); err != nil {
		g.failed(watched, r, err)
	}
	return nil
}

// route returns where the request goes, or which page answers it.
func (g *gate) route(r *http.Request) (dial string, page pageID) {
	kind := classify(r.URL)
	if kind == pathMalformed || r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return "", pageBadRequest
	}
	host := hostOf(r.Host)
	if api := g.edge.opts.APIUpstream; api != "" && host == "api."+g.edge.opts.BaseDomain {
		return api, ""
	}
	route, found, loaded := g.edge.table.find(host)
	switch {
	case !loaded:
		return "", pageStarting
	case !found:
		return "", g.unknown(host)
	case kind == pathForbidden:
		return "", pageNotFound
	case !passes(route, r):
		return "", pageOf(route.State)
	case kind == pathJSONRPC:
		if err := guardRPC(r); err != nil {
			return "", pageOfBodyError(err)
		}
	}
	return dialOf(route, r), ""
}

// unknown tells a name of ours that nobody has from a host that was never ours to serve.
func (g *gate) unknown(host string) pageID {
	if base := g.edge.opts.BaseDomain; host == base || strings.HasSuffix(host, "."+base) {
		return pageUnknown
	}
	return pageMisdirected
}

// passes reports whether the tenant takes this request now. One that is still being made takes only our own probe.
func passes(route tenants.Route, r *http.Request) bool {
	if !route.Address.IsValid() {
		return false
	}
	probe := r.Method == http.MethodGet && r.URL.Path == "/web/health" && r.URL.RawPath == ""
	return route.State == tenants.Active || route.State == tenants.Provisioning && probe
}

// dialOf sends /websocket and what is below it to the event port, as Odoo's own proxy set-up does.
func dialOf(route tenants.Route, r *http.Request) string {
	port := route.HTTPPort
	if r.URL.Path == "/websocket" || strings.HasPrefix(r.URL.Path, "/websocket/") {
		port = route.EventPort
	}
	return net.JoinHostPort(route.Address.String(), strconv.Itoa(port))
}

// hostOf returns a Host header's name as the table has it: lower case, without port and the root's dot. The header goes on to Odoo as
// it is, so one whose port is no number, by which another name could get into Odoo's links, is nobody's: "".
func hostOf(header string) string {
	host := header
	if name, port, err := net.SplitHostPort(header); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return ""
		}
		host = name
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// failed answers when the upstream couldn't be asked, or its answer not be passed on.
func (g *gate) failed(w *watchedWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client is gone: nobody to tell, and nothing wrong with us
	}
	client, _ := caddyhttp.GetVar(r.Context(), varClient).(string)
	page := pageOfProxyError(err)
	g.edge.log.WarnContext(r.Context(), "edge couldn't pass a request on",
		"host", r.Host, "method", r.Method, "path", r.URL.Path, "client", client, "answer", page, "error", err)
	if !w.wrote {
		g.edge.pages.write(w, r, page)
	}
}

// watchedWriter knows whether an answer has begun.
type watchedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	wrote bool
}

// WriteHeader begins the answer; a 1xx doesn't.
func (w *watchedWriter) WriteHeader(status int) {
	w.wrote = w.wrote || status >= http.StatusOK || status == http.StatusSwitchingProtocols
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write begins the answer if nothing has.
func (w *watchedWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriterWrapper.Write(p)
}
