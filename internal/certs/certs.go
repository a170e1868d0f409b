// Package certs keeps the edges' certificates in the platform database, sealed, with the state of each: until when it is good, why there
// is none yet, when the CA is asked again. It also keeps what an ACME client has to remember, and the leases by which several edges ask
// for a certificate only once. Folder is the copy on an edge's disk. It knows no CA.
package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"controlplane/internal/secrets"
)

// ErrNotFound is returned where there is no such certificate, or none yet.
var ErrNotFound = errors.New("no such certificate")

// Certificate is one that was issued.
type Certificate struct {
	Host      string   // whose row it is in: a domain, or "*.<base domain>" for all of the platform's addresses
	Names     []string // that it is good for
	Chain     string   // PEM, leaf first
	Key       secrets.Secret
	Issuer    string // the CA's directory
	NotBefore time.Time
	NotAfter  time.Time
	Version   int64 // 0 until it is saved
}

// TLS returns the certificate as a server shows it.
func (c Certificate) TLS() (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.Key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("read the certificate of %s: %w", c.Host, err)
	}
	return &pair, nil
}

// RenewAt returns when it is time for the next one: when a third of its life is left, which leaves a month for trouble with the usual
// ninety days.
func (c Certificate) RenewAt() time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

// Cause is why a certificate couldn't be had, in a word that may be shown to whoever waits for it.
type Cause string

// The causes.
const (
	NoName      Cause = "dns"            // the CA doesn't find the host in the DNS, or the DNS fails it
	Unreachable Cause = "unreachable"    // the CA finds the host, and nobody answers there
	Elsewhere   Cause = "elsewhere"      // somebody else answers the CA there
	Forbidden   Cause = "caa"            // the host's DNS forbids this CA to issue
	Refused     Cause = "refused"        // the CA doesn't issue for this host at all
	TooMany     Cause = "rate_limited"   // the CA says that too much was asked of it
	Silent      Cause = "ca_unavailable" // the CA doesn't answer, or not in time
	NoCA        Cause = "no_ca"          // there is no CA to ask
	Other       Cause = "other"          // the platform's own affair
)

// Failure is that a certificate couldn't be had.
type Failure struct {
	Cause   Cause
	Reason  string    // for operators: it holds the CA's own words
	RetryAt time.Time // the CA isn't asked again before
}

// Record is how a host's certificate stands.
type Record struct {
	Host        string
	Names       []string
	Issuer      string    // "" until there is a certificate
	NotBefore   time.Time // zero until then, as are the next two
	NotAfter    time.Time
	RenewAt     time.Time
	Version     int64
	Failures    int   // since the last success
	Cause       Cause // of the last failure; "": none since the last success
	LastError   string
	LastErrorAt time.Time
	RetryAt     time.Time // the CA isn't asked again before; zero: no wait
}

// Due reports whether a certificate is to be asked for now.
func (r Record) Due(now time.Time) bool {
	return (r.Version == 0 || !now.Before(r.RenewAt)) && !now.Before(r.RetryAt)
}
