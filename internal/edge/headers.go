package edge

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// How browsers are to treat what tenants, the API and we ourselves send: the production checklist's values.
const (
	frameAncestors = "frame-ancestors 'self'"
	hsts           = "max-age=31536000" // without subdomains, which on a customer's own domain aren't ours
)

// Variables that the gate leaves in a request for the proxy.
const (
	varDial   = "odoohost_dial"
	varClient = "odoohost_client"
	varProto  = "odoohost_proto"
)

// forged are headers by which a client could claim to be somebody or somewhere else. X-Forwarded-… are dropped by prefix. Names with
// underscores, which Odoo's WSGI server can't tell from hyphens, are dropped by Caddy.
var forged = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"Forwarded": true, "X-Real-Ip": true, "X-Client-Ip": true, "Client-Ip": true, "True-Client-Ip": true, "X-Cluster-Client-Ip": true,
	"Cf-Connecting-Ip": true, "Fastly-Client-Ip": true, "X-Original-Url": true, "X-Rewrite-Url": true, "X-Host": true,
	"X-Odoo-Database": true, "X-Openerp-Dbfilter": true, "X-Odoo-Dbfilter": true, "Proxy": true, "X-Sendfile": true, "X-Accel-Redirect": true,
}

// takeAddress notes who the client is and how it came, as far as a trusted proxy or the connection says so, and drops all headers
// that claim such things.
func takeAddress(r *http.Request) (address netip.Addr, https bool) {
	ctx := r.Context()
	client, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool)
	proto := "http"
	if r.TLS != nil || trusted && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		proto = "https"
	}
	for name := range r.Header {
		canonical := http.CanonicalHeaderKey(name)
		if forged[canonical] || strings.HasPrefix(canonical, "X-Forwarded-") {
			delete(r.Header, name)
		}
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		delete(r.Header, "Upgrade") // to HTTP/2 without TLS, say: what follows would pass the gate unseen
	}
	r.Trailer = nil // headers that come after the body, when they can't be looked at any more
	caddyhttp.SetVar(ctx, varClient, client)
	caddyhttp.SetVar(ctx, varProto, proto)
	address, _ = netip.ParseAddr(client) // zero: unknown
	return address, proto == "https"
}

// secure adds the security headers that an answer lacks. What Odoo says itself is left alone: it knows the page, and is stricter where it
// says anything at all. embeddable pages may be framed by anybody, which is what they are for.
func secure(h http.Header, https, embeddable bool) {
	setMissing(h, "X-Content-Type-Options", "nosniff")
	setMissing(h, "X-Xss-Protection", "1; mode=block")
	setMissing(h, "Referrer-Policy", "no-referrer-when-downgrade")
	if https {
		setMissing(h, "Strict-Transport-Security", hsts)
		secureCookies(h["Set-Cookie"])
	}
	if !embeddable {
		setMissing(h, "X-Frame-Options", "SAMEORIGIN")
		// A second policy can only forbid more, so a page's own stays as it is.
		if !slices.ContainsFunc(h["Content-Security-Policy"], func(v string) bool { return strings.Contains(v, "frame-ancestors") }) {
			h.Add("Content-Security-Policy", frameAncestors)
		}
	}
	for _, name := range []string{"Server", "Via", "X-Powered-By"} {
		delete(h, name)
	}
}

// secureCookies keeps what was set over HTTPS from ever being sent without it, which Odoo doesn't ask for.
func secureCookies(cookies []string) {
	for i, cookie := range cookies {
		attributes := strings.Split(cookie, ";")[1:]
		if !slices.ContainsFunc(attributes, func(a string) bool { return strings.EqualFold(strings.TrimSpace(a), "Secure") }) {
			cookies[i] = cookie + "; Secure"
		}
	}
}

func setMissing(h http.Header, name, value string) {
	if len(h[name]) == 0 {
		h[name] = []string{value}
	}
}

// forwardedHeaders are set on what goes to the upstream, in place of whatever Caddy would put there: exactly one value each.
func forwardedHeaders() http.Header {
	return http.Header{
		"X-Forwarded-For":   {"{http.vars." + varClient + "}"},
		"X-Forwarded-Proto": {"{http.vars." + varProto + "}"},
		"X-Forwarded-Host":  {"{http.request.hostport}"},
	}
}
