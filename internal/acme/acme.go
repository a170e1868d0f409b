// Package acme gets certificates from a CA by ACME (RFC 8555), with certmagic: one for all of the platform's addresses by DNS-01, and one
// for each domain of a customer by HTTP-01 or TLS-ALPN-01. Several edges share what they have in internal/certs. Keeper sees to it that
// what is wanted is there and renewed in time; nothing is asked for while a browser waits.
package acme

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"controlplane/internal/certs"
	"controlplane/internal/secrets"
)

// Directories of the CA that is asked when no other is named.
const (
	LetsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	LetsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
)

const (
	// platformPatience bounds an order for the platform, in which a record may take two minutes to be seen by all name servers.
	platformPatience = 6 * time.Minute
	// domainPatience bounds an order for a domain. Others wait for it to end, and a CA that is well takes seconds.
	domainPatience = time.Minute
)

// ErrNoDNS is returned for the platform's certificate when there is no way to change DNS.
var ErrNoDNS = errors.New("a certificate for all of the platform's addresses needs DNS-01: no DNS provider is configured")

// Options say who is asked, and how it can look at us. BaseDomain and Email are required.
type Options struct {
	Directory  string // default LetsEncrypt
	Email      string // whom the CA may write to
	EABKeyID   string // by which the CA knows whose account a new one belongs to; "": it doesn't ask
	EABKey     secrets.Secret
	Roots      *x509.CertPool
	BaseDomain string

	DNS            certmagic.DNSProvider // nil: no certificate for the platform's addresses
	DNSResolvers   []string              // host:port, asked whether a record is there; default: the zone's own servers
	DNSPropagation time.Duration         // for which a record may take until all of the servers have it; default 2 min

	Patience time.Duration // with the CA, in one order for a domain; default 1 min

	ListenHost string // where this machine's edge listens, so that challenges are left to it
	HTTPPort   int
	TLSPort    int
}

// Client asks the CA.
type Client struct {
	opts     Options
	storage  *storage
	solver   *certmagic.DNS01Solver // nil: no DNS
	platform *certmagic.ACMEIssuer  // nil: no DNS
	domains  *certmagic.ACMEIssuer
	rehearse *certmagic.ACMEIssuer // whose challenges are answered as well; nil: domains' are the same
}

// New returns a client that keeps its account and challenges in store.
func New(opts Options, store *certs.Store) (*Client, error) {
	if opts.BaseDomain == "" || opts.Email == "" {
		return nil, errors.New("the ACME client needs a base domain and an e-mail address")
	}
	if opts.Directory == "" {
		opts.Directory = LetsEncrypt
	}
	opts.Patience = cmp.Or(opts.Patience, domainPatience)
	c := &Client{opts: opts, storage: newStorage(store)}
	c.domains = c.issuer(opts.Directory, nil)
	if opts.DNS != nil {
		c.solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
			DNSProvider: opts.DNS, TTL: time.Minute, PropagationTimeout: opts.DNSPropagation, Resolvers: opts.DNSResolvers,
		}}
		c.platform = c.issuer(opts.Directory, c.solver)
	}
	if r := rehearsal(opts.Directory); r != opts.Directory {
		c.rehearse = c.issuer(r, nil)
	}
	return c, nil
}

// rehearsal returns the CA for trials: Let's Encrypt has one, and others are their own.
func rehearsal(directory string) string {
	if directory == LetsEncrypt {
		return LetsEncryptStaging
	}
	return directory
}

// Rehearsal returns a client for trials, which don't count against the CA's limits where it has another CA for that.
func (c *Client) Rehearsal() *Client {
	opts := c.opts
	opts.Directory = rehearsal(opts.Directory)
	if opts.Directory == c.opts.Directory {
		return c
	}
	other := &Client{opts: opts, storage: c.storage, solver: c.solver, domains: c.rehearse}
	if c.solver != nil {
		other.platform = other.issuer(opts.Directory, c.solver)
	}
	return other
}

// IssuesPlatform reports whether there is a way to the certificate for the platform's addresses.
func (c *Client) IssuesPlatform() bool { return c.platform != nil }

// Directory returns whom the client asks.
func (c *Client) Directory() string { return c.opts.Directory }

// issuer's library is left without a log: whatever matters is in the errors that it returns, and nothing secret can get out.
func (c *Client) issuer(directory string, dns *certmagic.DNS01Solver) *certmagic.ACMEIssuer {
	config := &certmagic.Config{Storage: c.storage, Logger: zap.NewNop()}
	template := certmagic.ACMEIssuer{
		CA: directory, TestCA: directory, Email: c.opts.Email, Agreed: true, TrustedRoots: c.opts.Roots, Logger: zap.NewNop(),
		ListenHost: c.opts.ListenHost, AltHTTPPort: c.opts.HTTPPort, AltTLSALPNPort: c.opts.TLSPort, CertObtainTimeout: c.opts.Patience,
	}
	if c.opts.EABKeyID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: c.opts.EABKeyID, MACKey: c.opts.EABKey.Reveal()}
	}
	if dns != nil {
		template.CertObtainTimeout = platformPatience
		template.DNS01Solver = dns
	}
	issuer := certmagic.NewACMEIssuer(config, template)
	config.Issuers = []certmagic.Issuer{issuer}
	return issuer
}

// Platform returns the name under which the certificate for all of the platform's addresses is kept.
func Platform(baseDomain string) string { return "*." + baseDomain }

// Covers reports whether the certificate for all of the platform's addresses is good for host: a wildcard stands for one label.
func Covers(baseDomain, host string) bool {
	label, below := strings.CutSuffix(host, "."+baseDomain)
	return host == baseDomain || below && label != "" && !strings.Contains(label, ".")
}

// names returns what a host's certificate is to be good for: the platform's covers the base domain as well.
func (c *Client) names(host string) []string {
	if host == Platform(c.opts.BaseDomain) {
		return []string{host, c.opts.BaseDomain}
	}
	return []string{host}
}

// Issue asks for a host's certificate: once, without a second try, and without storing it. An account that the CA has closed is replaced
// on the way.
func (c *Client) Issue(ctx context.Context, host string) (certs.Certificate, error) {
	issuer, patience := c.domains, c.opts.Patience
	if host == Platform(c.opts.BaseDomain) {
		issuer, patience = c.platform, platformPatience
	}
	if issuer == nil {
		return certs.Certificate{}, ErrNoDNS
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cert, err := c.issue(ctx, issuer, host)
	if err == nil {
		return cert, nil
	}
	replaced, replaceErr := c.replaceAccount(ctx, issuer, err)
	if replaceErr != nil {
		return certs.Certificate{}, errors.Join(err, replaceErr)
	}
	if replaced {
		return c.issue(ctx, issuer, host)
	}
	return certs.Certificate{}, err
}

func (c *Client) issue(ctx context.Context, issuer *certmagic.ACMEIssuer, host string) (certs.Certificate, error) {
	names := c.names(host)
	key, csr, err := request(names)
	if err != nil {
		return certs.Certificate{}, err
	}
	if err := issuer.PreCheck(ctx, names, false); err != nil {
		return certs.Certificate{}, fmt.Errorf("%w: %w", errUnfit, err)
	}
	issued, err := issuer.Issue(ctx, csr)
	if err != nil {
		return certs.Certificate{}, err
	}
	cert := certs.Certificate{Host: host, Names: names, Chain: string(issued.Certificate), Key: key, Issuer: issuer.CA}
	return cert, check(&cert)
}

// request returns a fresh key and what is asked for with it. Each certificate has a key of its own.
func request(names []string) (secrets.Secret, *x509.CertificateRequest, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, fmt.Errorf("make a key: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", nil, fmt.Errorf("encode a key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		return "", nil, fmt.Errorf("make a certificate request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return "", nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return secrets.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})), csr, nil
}

// check reads from the certificate until when it is good, and refuses one that isn't what was asked for.
func check(c *certs.Certificate) error {
	pair, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.Key.Reveal()))
	if err != nil {
		return fmt.Errorf("the CA's answer isn't a certificate for our key: %w", err)
	}
	for _, name := range c.Names {
		if err := pair.Leaf.VerifyHostname(strings.Replace(name, "*", "any", 1)); err != nil {
			return fmt.Errorf("the CA's certificate isn't good for %s: %w", name, err)
		}
	}
	c.NotBefore, c.NotAfter = pair.Leaf.NotBefore, pair.Leaf.NotAfter
	return nil
}

// AnswerHTTP answers the CA's question of an HTTP-01 challenge that any edge began; false: it isn't one.
func (c *Client) AnswerHTTP(w http.ResponseWriter, r *http.Request) bool {
	return c.domains.HandleHTTPChallenge(w, r) || c.rehearse != nil && c.rehearse.HandleHTTPChallenge(w, r)
}

// IsHTTPChallenge reports whether a request may be such a question.
func IsHTTPChallenge(r *http.Request) bool { return certmagic.LooksLikeHTTPChallenge(r) }

// ChallengeKeys returns the names under which challenges are kept in Storage, so that a TLS server finds those of TLS-ALPN-01.
func (c *Client) ChallengeKeys() []string {
	keys := []string{c.domains.IssuerKey()}
	if c.rehearse != nil {
		keys = append(keys, c.rehearse.IssuerKey())
	}
	return keys
}

// Storage returns where the account and challenges are kept.
func (c *Client) Storage() certmagic.Storage { return c.storage }
