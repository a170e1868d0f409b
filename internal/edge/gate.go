package edge

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"controlplane/internal/cors"
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

// Provision finds the edge that the gate belongs to, and has it follow its server's connections.
func (g *gate) Provision(ctx caddy.Context) (err error) {
	if g.edge, err = instance(g.Edge); err != nil {
		return err
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterConnState(g.edge.open.follow)
	}
	return nil
}

// verdict is what the gate makes of a request.
type verdict struct {
	page    pageID // that answers it; "": it goes on to dial
	dial    string
	route   tenants.Route // zero when it is no tenant's
	traffic *traffic
	class   pathClass
	isAPI   bool
	wait    time.Duration // how long the caller was told to keep away
}

// ServeHTTP answers or passes on one request.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	began := time.Now()
	if !connectsSocket(r) { // as one of HTTP/1.1 is nobody's to wait for
		g.edge.open.requests.Add(1)
		defer g.edge.open.requests.Add(-1)
	}
	w.Header().Del("Server")
	g.edge.tls.announce(w.Header(), r)
	g.edge.releaseConnection(w.Header(), r)
	client, https := takeAddress(r)
	if g.answersChallenge(w, r, client, began) {
		return nil
	}
	v, moved := g.movesToHTTPS(r, https)
	if !moved {
		v = g.judge(r, client)
	}
	out := &watchedWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, https: https, embeddable: v.class.embeddable,
	}
	body := g.admit(out, r, &v)
	out.body = body
	defer func() { // also when the proxy gives up by a panic, because the answer broke off
		a := answered{status: out.status, passed: v.page == "", sent: out.sent, took: time.Since(began)}
		if body != nil {
			a.received = body.read
		}
		if connectsSocket(r) && a.status == http.StatusOK {
			a.status = http.StatusSwitchingProtocols
		}
		if v.page == "" {
			v.traffic.leave()
		}
		v.traffic.count(a)
		g.edge.access.note(r, v, a, client, began)
	}()
	if v.page != "" {
		g.answer(out, r, v, v.page)
		return nil
	}
	caddyhttp.SetVar(r.Context(), varDial, v.dial)
	switch err := next.ServeHTTP(out, r); {
	case err != nil:
		g.failed(out, r, v, body, err)
	case out.status == 0 && body.tooSlow():
		g.answer(out, r, v, pageTimeout)
	}
	return nil
}

// judge finds out where the request goes, or which page answers it.
func (g *gate) judge(r *http.Request, client netip.Addr) verdict {
	v := verdict{class: classify(r.URL), traffic: &g.edge.traffic.nobody}
	if v.class.kind == pathMalformed || r.Method == http.MethodConnect && !connectsSocket(r) || r.Method == http.MethodTrace {
		v.page = pageBadRequest
		return v
	}
	host := hostOf(r.Host)
	if g.edge.opts.APIUpstream != "" && host == "api."+g.edge.opts.BaseDomain {
		g.judgeAPI(&v, r, client)
		return v
	}
	route, found, loaded := g.edge.table.find(host)
	if !found {
		v.page = pageStarting
		if loaded {
			v.page = g.unknown(host)
		}
		return v
	}
	v.route, v.traffic = route, g.edge.traffic.of(route.TenantID)
	switch {
	case v.class.kind == pathForbidden:
		v.page = pageNotFound
	case !passes(route, r):
		v.page = pageOf(route.State)
	case v.class.limited:
		if v.wait = g.edge.tenantLimit.take(client, time.Now()); v.wait > 0 {
			v.page = pageTooMany
		}
	}
	v.dial = dialOf(route, r)
	return v
}

// judgeAPI lets each address make so many calls. The gateway's aren't counted: it reports all customers' payments from few addresses, and
// the API checks its signature first.
func (g *gate) judgeAPI(v *verdict, r *http.Request, client netip.Addr) {
	v.isAPI, v.traffic, v.dial = true, &g.edge.traffic.api, g.edge.opts.APIUpstream
	if v.class.internal {
		v.page = pageNotFound
		return
	}
	if r.URL.EscapedPath() == webhookPath {
		return
	}
	if v.wait = g.edge.apiLimit.take(client, time.Now()); v.wait > 0 {
		v.page = pageTooMany
	}
}

// webhookPath is where the payment gateway calls the API.
const webhookPath = "/api/payments/webhook"

// admit takes in a request that is to be passed on: within the limits of its body and of open connections, and no call of the database
// service. It changes the verdict if there is no room.
func (g *gate) admit(w http.ResponseWriter, r *http.Request, v *verdict) *watchedBody {
	if v.page != "" {
		if v.page == pageTooMany {
			v.traffic.limited.Add(1)
		}
		return nil
	}
	most, largest := int64(maxAPIConnections), int64(apiBodyBytes)
	if !v.isAPI {
		most, largest = maxConnections(v.route), g.edge.maxBody(v.route)
	}
	if connectsSocket(r) {
		largest = math.MaxInt64
		if reader, _ := caddyhttp.IdleTimeoutsFromContext(r.Context()); reader != nil {
			reader.Override(socketIdle, 0)
		}
	}
	body, fits := limitBody(w, r, largest)
	if !fits {
		v.page = pageTooLarge
		return nil
	}
	if !v.traffic.enter(most) {
		v.page = pageBusy
		return body
	}
	if v.class.kind == pathJSONRPC && !v.isAPI {
		if err := guardRPC(r); err != nil {
			v.traffic.leave()
			v.page = pageOfBodyError(err, body)
		}
	}
	return body
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
	if !route.Address.IsValid() {
		return ""
	}
	port := route.HTTPPort
	if ofEvents(r) {
		port = route.EventPort
	}
	return net.JoinHostPort(route.Address.String(), strconv.Itoa(port))
}

func ofEvents(r *http.Request) bool {
	return r.URL.Path == "/websocket" || strings.HasPrefix(r.URL.Path, "/websocket/")
}

// socketIdle is how long nothing may come over a WebSocket in HTTP/3. QUIC itself notices a client that is gone.
const socketIdle = 24 * time.Hour

// connectsSocket reports whether a request opens a WebSocket in the way of HTTP/3 (RFC 9220), which our server offers to browsers, so that
// they wouldn't try another one. In HTTP/2 (RFC 8441) nothing is offered, and browsers open a connection of HTTP/1.1 for it.
func connectsSocket(r *http.Request) bool {
	return r.ProtoMajor == 3 && r.Method == http.MethodConnect && r.Proto == "websocket" && ofEvents(r)
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
func (g *gate) failed(w *watchedWriter, r *http.Request, v verdict, body *watchedBody, err error) {
	// The context also ends with a body that came too slowly; then there is somebody to tell.
	if r.Context().Err() != nil && !body.tooSlow() {
		if w.status == 0 {
			panic(http.ErrAbortHandler) // the client is gone, or half of it is: silence must not become an empty 200
		}
		return
	}
	client, _ := caddyhttp.GetVar(r.Context(), varClient).(string)
	page := pageOfProxyError(err, body)
	if page == pageNotAnswering && v.isAPI {
		page = pageAPIDown
	}
	g.edge.log.WarnContext(r.Context(), "edge couldn't pass a request on",
		"host", r.Host, "method", r.Method, "path", r.URL.Path, "client", client, "answer", page, "error", err)
	if w.status == 0 {
		g.answer(w, r, v, page)
	}
}

// answer writes one of our own pages. A browser's question before a call to the API is always answered, or the script that asks wouldn't
// even learn that there is a limit.
func (g *gate) answer(w http.ResponseWriter, r *http.Request, v verdict, id pageID) {
	if v.isAPI && cors.IsPreflight(r) {
		g.edge.origins.AnswerPreflight(w, r)
		return
	}
	if v.isAPI {
		g.edge.origins.Allow(w.Header(), r)
	}
	call := pageCall{id: id, retry: v.wait, json: v.isAPI || v.class.remote || wantsJSON(r)}
	if id == pageProvisioning {
		call.progress = g.edge.progress.of(r.Context(), v.route.TenantID)
	}
	if id == pageMoved {
		w.Header().Set("Location", g.httpsURL(r))
	}
	g.edge.pages.write(w, r, call)
}
