package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// tlsApp configures Caddy's TLS: certificates come from show, and Caddy itself gets none.
func (e *Edge) tlsApp() object {
	app := object{"disable_storage_check": true, "disable_storage_clean": true}
	if e.tls == nil {
		app["session_tickets"] = object{"disabled": true}
		return app
	}
	own := func(kind string) object { return object{kind: "odoohost", "edge": e.id} }
	issuers := []object{own("module")}
	if e.tls.ACME != nil {
		issuers = nil
		for _, key := range e.tls.ACME.ChallengeKeys() {
			issuer := own("module")
			issuer["key"] = key
			issuers = append(issuers, issuer)
		}
	}
	app["automation"] = object{
		"policies": []object{{
			"on_demand": true, "disable_ocsp_stapling": true, "issuers": issuers, "get_certificate": []object{own("via")}, "storage": own("module"),
		}},
		"on_demand": object{"permission": own("module")},
	}
	return app
}

// tlsServer is as the server for HTTP, with TLS 1.2 or newer and HTTP/2; serveQUIC adds HTTP/3. Caddy offers only suites with forward secrecy
// and authenticated encryption.
func (e *Edge) tlsServer() object {
	server := e.server()
	server["listen"] = []string{e.tls.Listen}
	server["protocols"] = []string{"h1", "h2"}
	server["tls_connection_policies"] = []object{{"protocol_min": "tls1.2"}}
	return server
}

// shower is the module by which Caddy asks for the certificate to show.
type shower struct {
	Edge string `json:"edge"`

	edge *Edge
}

// CaddyModule names the module.
func (*shower) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.get_certificate.odoohost", New: func() caddy.Module { return new(shower) }}
}

// Provision finds the edge.
func (s *shower) Provision(caddy.Context) (err error) {
	s.edge, err = instance(s.Edge)
	return err
}

// GetCertificate returns the certificate for a handshake; nil: none, and the handshake is refused.
func (s *shower) GetCertificate(ctx context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := serverName(hello.ServerName)
	if !s.edge.ours(name) {
		return nil, nil //nolint:nilnil // Caddy's contract
	}
	return s.edge.tls.show(ctx, name)
}

// neverOnDemand is the module that keeps Caddy from asking a CA during a handshake: the keeper does, at its own pace.
type neverOnDemand struct {
	Edge string `json:"edge"`
}

// CaddyModule names the module.
func (*neverOnDemand) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.permission.odoohost", New: func() caddy.Module { return new(neverOnDemand) }}
}

// CertificateAllowed refuses.
func (*neverOnDemand) CertificateAllowed(context.Context, string) error {
	return caddytls.ErrPermissionDenied
}

// silentIssuer is the module by which Caddy knows under which key challenges of TLS-ALPN-01 are kept. It issues nothing.
type silentIssuer struct {
	Edge string `json:"edge"`
	Key  string `json:"key"`
}

// CaddyModule names the module.
func (*silentIssuer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.issuance.odoohost", New: func() caddy.Module { return new(silentIssuer) }}
}

// IssuerKey returns the key.
func (s *silentIssuer) IssuerKey() string { return s.Key }

// Issue refuses.
func (*silentIssuer) Issue(context.Context, *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return nil, errors.New("certificates aren't obtained during a handshake")
}

// challengeStorage is the module in which Caddy looks for challenges that another edge, or the command line, has begun. It holds nothing
// else, and doesn't ask the database about hosts of somebody else's.
type challengeStorage struct {
	Edge string `json:"edge"`

	certmagic.Storage `json:"-"`

	edge *Edge
}

// CaddyModule names the module.
func (*challengeStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.odoohost", New: func() caddy.Module { return new(challengeStorage) }}
}

// Provision finds the edge.
func (c *challengeStorage) Provision(caddy.Context) (err error) {
	c.edge, err = instance(c.Edge)
	return err
}

// CertMagicStorage returns the storage itself.
func (c *challengeStorage) CertMagicStorage() (certmagic.Storage, error) { return c, nil }

// Load returns a challenge.
func (c *challengeStorage) Load(ctx context.Context, key string) ([]byte, error) {
	host, ok := strings.CutSuffix(path.Base(key), ".json")
	if !ok || c.edge.tls.ACME == nil || !c.edge.ours(host) {
		return nil, fs.ErrNotExist
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	value, err := c.edge.tls.ACME.Storage().Load(ctx, key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for a challenge: %w", err)
	}
	return value, err
}
