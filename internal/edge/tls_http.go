package edge

import (
	"cmp"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"controlplane/internal/acme"
)

// answersChallenge answers the CA's question whether a host is ours. It is asked over plain HTTP.
func (g *gate) answersChallenge(w http.ResponseWriter, r *http.Request, client netip.Addr, began time.Time) bool {
	t := g.edge.tls
	if t == nil || t.ACME == nil || !acme.IsHTTPChallenge(r) || !g.edge.ours(hostOf(r.Host)) {
		return false
	}
	if g.edge.tenantLimit.take(client, began) > 0 { // each answer asks the database
		return false
	}
	out := &watchedWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	if !t.ACME.AnswerHTTP(out, r) {
		return false
	}
	g.edge.access.note(r, verdict{}, answered{status: out.status, sent: out.sent, took: time.Since(began)}, client, began)
	return true
}

// movesToHTTPS sends a plain request for a host of ours to HTTPS. Health may be asked for over either, as by our own probe, which knows
// the edge by its address alone.
func (g *gate) movesToHTTPS(r *http.Request, https bool) (verdict, bool) {
	host := hostOf(r.Host)
	if g.edge.tls == nil || https || isHealth(r) || !g.edge.ours(host) {
		return verdict{}, false
	}
	return verdict{page: pageMoved, class: classify(r.URL), traffic: &g.edge.traffic.nobody}, true
}

// announce has browsers look for HTTP/3 at the port that they see, which isn't the one that we listen on where something in front of us
// passes ports on.
func (t *tlsSide) announce(h http.Header, r *http.Request) {
	if t != nil && r.TLS != nil && r.ProtoMajor < 3 && t.quic.Load() {
		h["Alt-Svc"] = []string{`h3=":` + cmp.Or(t.PublicPort, "443") + `"; ma=2592000`}
	}
}

// httpsURL returns where a moved request finds its page.
func (g *gate) httpsURL(r *http.Request) string {
	host := hostOf(r.Host)
	if port := g.edge.tls.PublicPort; port != "" && port != "443" {
		host += ":" + port
	}
	return "https://" + host + r.URL.RequestURI()
}

func isHealth(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/web/health" || r.URL.Path == "/health") && r.URL.RawPath == ""
}
