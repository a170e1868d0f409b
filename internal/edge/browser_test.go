package edge_test

import (
	"context"
	"crypto/sha1" //nolint:gosec // what WebSockets are opened with
	"encoding/base64"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/acme/acmetest"
	"controlplane/internal/dnsupdate"
	"controlplane/internal/edge"
	"controlplane/internal/tenants"
	"controlplane/test/browser"
)

// TestTLS_PagesInChromium opens each of our pages as people see it, on a telephone, over HTTPS with the CA's certificate.
func TestTLS_PagesInChromium(t *testing.T) {
	t.Parallel()
	var step atomic.Value
	step.Store("create")
	dns := acmetest.NewNameServer(t)
	provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: dns.Address, Key: dns.Key, Secret: dns.Secret})
	require.NoError(t, err)
	s := setupTLS(t, dns.Address, nil, func(o *edge.Options) {
		o.Brand = edge.Brand{Color: "#0b6e4f", SupportURL: "https://help.example.test/"}
		o.Step = func(context.Context, tenants.ID) (string, error) { return step.Load().(string), nil } //nolint:forcetypeassert // it is
	})
	s.acme.DNS, s.acme.DNSResolvers = provider, []string{dns.Address}
	odoo := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Odoo</title><h1>Log in</h1>")
	}), http.HandlerFunc(saysHelloOnASocket))
	ids := map[tenants.State]tenants.ID{}
	for _, state := range tenants.States() {
		if state != tenants.Deleted {
			ids[state] = s.tenant(strings.ReplaceAll(string(state), "_", "-"), state, nil)
		}
	}
	s.endpoint(ids[tenants.Active], odoo)
	s.tenant("down", tenants.Active, nil)
	s.begin()
	s.served("active.example.test")

	b := browser.New(t, s.ca.TrustPEM)
	at := func(name string) string { return "https://" + name + ".example.test:" + s.tls.PublicPort + "/" }
	for name, want := range map[string]struct {
		status        int64
		heading, text string
	}{
		"active":                 {200, "Log in", "Log in"},
		"nobody":                 {404, "Nothing here", "There is no Odoo at this address."},
		"pending":                {402, "Waiting for payment", "starts as soon as it is paid for. Odoo hosting · 402 · Get help"},
		"provisioning":           {503, "Your Odoo is being prepared", "The page comes back by itself when it is ready. Creating its database"},
		"suspended":              {503, "Suspended", "Nothing is lost; its owner can find out more in their account."},
		"sleeping":               {503, "Waking up", "being woken"},
		"scheduled-for-deletion": {503, "Going to be deleted", "Its owner can still cancel that."},
		"deleting":               {410, "Deleted", "This Odoo has been deleted."},
		"failed":                 {503, "Something went wrong", "its payment isn't lost. Odoo hosting · 503 · Get help"},
		"maintenance":            {503, "Maintenance", "being maintained and will be back soon."},
		"down":                   {503, "Odoo isn't answering", "please try again in a moment."},
	} {
		p := b.Open(at(name))
		b.Picture(filepath.Join(t.ArtifactDir(), name+".png"))
		require.Equal(t, want.status, p.Status, name)
		require.Equal(t, want.heading, p.Heading, name)
		require.Contains(t, p.Text, want.text, name)
		require.Empty(t, p.Problems, name)
		require.Equal(t, []string{"h2", "secure"}, []string{p.Protocol, p.Security}, name)
		require.Contains(t, p.Issuer, "Pebble", name)
		if name != "active" {
			require.LessOrEqual(t, p.Width, int64(360), "%s fits a telephone", name)
			require.Equal(t, want.heading+" · Odoo hosting", p.Title)
		}
	}
	_, err = b.Try("https://stranger.test:" + s.tls.PublicPort + "/")
	require.ErrorContains(t, err, "ERR_SSL", "a name that isn't ours gets no certificate")

	s.opensASocket(b, at("active"))
	s.followsProgress(b, at("provisioning"), &step, func() {
		s.endpoint(ids[tenants.Provisioning], odoo)
		s.setState(ids[tenants.Provisioning], tenants.Active)
	})
}

// opensASocket has a script do what Odoo's bus does, after it has been told of HTTP/2 and 3.
func (s *secure) opensASocket(b *browser.Browser, address string) {
	s.t.Helper()
	b.Open(address)
	eventuallySlow(s.t, "it is opened", func() bool {
		return browser.Eval[string](b, `new Promise(function (done) {
			var socket = new WebSocket('wss://' + location.host + '/websocket');
			socket.onmessage = function (message) { done(message.data); };
			socket.onerror = function () { done('an error'); };
		})`) == "hello"
	})
}

// followsProgress waits in front of the page, which nobody loads again.
func (s *secure) followsProgress(b *browser.Browser, address string, step *atomic.Value, ready func()) {
	s.t.Helper()
	b.Open(address)
	require.Equal(s.t, "Creating its database", browser.Eval[string](b, "document.getElementById('step').innerText"))
	require.Equal(s.t, 1, browser.Eval[int](b, "document.getElementById('bar').value"))
	step.Store("wait")
	eventuallySlow(s.t, "it moves on", func() bool { return strings.Contains(b.Look().Text, "Waiting for Odoo's first answer") })
	require.Equal(s.t, 3, browser.Eval[int](b, "document.getElementById('bar').value"))
	require.Empty(s.t, b.Look().Problems)
	ready()
	eventuallySlow(s.t, "Odoo appears by itself", func() bool { return b.Look().Heading == "Log in" })
}

// saysHelloOnASocket opens a WebSocket (RFC 6455), and sends a message at once and whenever something comes.
func saysHelloOnASocket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	conn, stream, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n\x81\x05hello")
	for err == nil && stream.Flush() == nil {
		_, err = stream.Read(make([]byte, 100))
		_, _ = stream.WriteString("\x81\x05hello")
	}
}
