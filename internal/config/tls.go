package config

import (
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"

	"controlplane/internal/secrets"
)

// TLS is how the edge serves HTTPS, and where certificates come from. Its own files first: with none the CA is asked.
type TLS struct {
	Listen   string `env:"EDGE_TLS_LISTEN" validate:"omitempty,hostname_port|startswith=:"` // default: no HTTPS
	CertFile string `env:"EDGE_TLS_CERT_FILE"`
	KeyFile  string `env:"EDGE_TLS_KEY_FILE"`

	Email     string `env:"ACME_EMAIL" validate:"omitempty,email"`        // default: no CA is asked
	Directory string `env:"ACME_DIRECTORY" validate:"omitempty,http_url"` // default: Let's Encrypt's
	Staging   bool   `env:"ACME_STAGING" envDefault:"false"`
	EABKeyID  string `env:"ACME_EAB_KEY_ID"` // of a CA that takes only its customers' accounts

	EABKey    secrets.Secret `env:"ACME_EAB_HMAC_KEY"`
	RootsFile string         `env:"ACME_CA_ROOTS_FILE"` // by which a private CA's server is trusted; default: the system's

	DNSServer    string         `env:"ACME_DNS_SERVER" validate:"omitempty,hostname_port|hostname_rfc1123|ip"` // takes dynamic updates
	DNSKey       string         `env:"ACME_DNS_TSIG_KEY"`
	DNSAlgorithm string         `env:"ACME_DNS_TSIG_ALGORITHM" envDefault:"hmac-sha256" validate:"oneof=hmac-sha224 hmac-sha256 hmac-sha384 hmac-sha512"`
	DNSSecret    secrets.Secret `env:"ACME_DNS_TSIG_SECRET"`
	DNSHook      string         `env:"ACME_DNS_HOOK"` // a program for hosted DNS
	DNSResolvers []string       `env:"ACME_DNS_RESOLVERS" validate:"dive,hostname_port"`
}

// UsesACME reports whether a CA is asked for certificates.
func (t TLS) UsesACME() bool { return t.Email != "" }

// UsesDNS reports whether DNS can be changed for challenges.
func (t TLS) UsesDNS() bool { return t.DNSServer != "" || t.DNSHook != "" }

// Ports returns where the edge listens: the host that it binds to, "" for all, and its ports.
func (c Config) Ports() (host string, plain, tls int) {
	host, port, _ := net.SplitHostPort(c.Edge.Listen) // checked by Load
	_, tlsPort, _ := net.SplitHostPort(c.TLS.Listen)
	plain, _ = strconv.Atoi(port)
	tls, _ = strconv.Atoi(tlsPort)
	return host, plain, tls
}

// missing checks that what is set fits together.
func (t TLS) missing(needed bool, c Config) []string {
	var problems []string
	add := func(when bool, problem string) {
		if when {
			problems = append(problems, problem)
		}
	}
	add((t.CertFile == "") != (t.KeyFile == ""), "EDGE_TLS_CERT_FILE and EDGE_TLS_KEY_FILE must be set together")
	add(t.Staging && t.Directory != "", "ACME_STAGING means Let's Encrypt's trial CA, so it can't be set with ACME_DIRECTORY")
	add((t.EABKeyID == "") != (t.EABKey == ""), "ACME_EAB_KEY_ID and ACME_EAB_HMAC_KEY (or ACME_EAB_HMAC_KEY_FILE) must be set together")
	add(t.EABKeyID != "" && t.Directory == "", "ACME_EAB_KEY_ID is of no use without ACME_DIRECTORY: Let's Encrypt knows no customers")
	add(t.DNSServer != "" && t.DNSHook != "", "ACME_DNS_SERVER and ACME_DNS_HOOK are both set: there is one way to change DNS")
	add(t.DNSServer != "" && (t.DNSKey == "" || t.DNSSecret == ""), "ACME_DNS_SERVER needs ACME_DNS_TSIG_KEY and ACME_DNS_TSIG_SECRET (or ACME_DNS_TSIG_SECRET_FILE)")
	if t.RootsFile != "" {
		_, err := os.Stat(t.RootsFile)
		add(err != nil, "ACME_CA_ROOTS_FILE can't be read")
	}
	if !needed || t.Listen == "" {
		return problems
	}
	add(t.CertFile == "" && (!t.UsesACME() || !t.UsesDNS()),
		"EDGE_TLS_LISTEN needs a certificate for the platform's addresses: EDGE_TLS_CERT_FILE and EDGE_TLS_KEY_FILE, or ACME_EMAIL with ACME_DNS_SERVER or ACME_DNS_HOOK")
	add(c.Auth.DataKey == "", "EDGE_TLS_LISTEN needs DATA_KEY (or DATA_KEY_FILE): certificates' keys are sealed with it")
	u, err := url.Parse(c.Edge.PublicURL)
	add(err == nil && u.Scheme != "https", "EDGE_PUBLIC_URL must begin with https:// when EDGE_TLS_LISTEN is set")
	return slices.Compact(problems)
}
