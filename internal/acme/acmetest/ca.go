// Package acmetest gives tests a real CA (Pebble) on loopback, which can be made to fail, and name servers for it to ask: one whose answers
// the test sets, and one that takes dynamic updates.
package acmetest

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/stretchr/testify/require"
)

// CA is a running CA.
type CA struct {
	Directory string
	Roots     *x509.CertPool // by which the CA itself is trusted
	RootsPEM  []byte
	Trust     *x509.CertPool // by which its certificates are
	TrustPEM  []byte
	Orders    atomic.Int64 // that were taken; some are refused at first, as their nonce is

	mu      sync.Mutex
	trouble func(w http.ResponseWriter, r *http.Request) bool
}

// Options say how the CA looks at those who ask.
type Options struct {
	HTTPPort int // of HTTP-01
	TLSPort  int // of TLS-ALPN-01
	DNS      string
	Validity uint64 // of certificates, in seconds; 0: 90 days

	// EABKeyID and EABKey (base64url) are what new accounts have to be bound to; none by default.
	EABKeyID, EABKey string
}

var settings sync.Once //nolint:gochecknoglobals // Pebble reads the environment

// New starts a CA until the test ends.
func New(tb testing.TB, opts Options) *CA {
	tb.Helper()
	settings.Do(func() {
		// No pauses before it looks, and no answer from memory: tests are to see each question.
		for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"} {
			_ = os.Setenv(name, value) //nolint:usetesting // for all tests, which run side by side
		}
	})
	logger := slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "tests", ValidityPeriod: opts.Validity}})
	front := wfe.New(logger, store, va.New(logger, opts.HTTPPort, opts.TLSPort, false, opts.DNS, store), authority,
		[]string{"ca.test"}, false, opts.EABKeyID != "", 1, 1)
	if opts.EABKeyID != "" {
		require.NoError(tb, store.AddExternalAccountKeyByID(opts.EABKeyID, opts.EABKey))
	}
	c := &CA{Roots: x509.NewCertPool(), Trust: x509.NewCertPool()}
	handler := front.Handler()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.fails(w, r) {
			return
		}
		seen := &statusWriter{ResponseWriter: w}
		handler.ServeHTTP(seen, r)
		if seen.status == http.StatusCreated && strings.Contains(r.URL.Path, "order-plz") {
			c.Orders.Add(1)
		}
	}))
	tb.Cleanup(server.Close)
	server.Config.ErrorLog = logger
	c.Directory = server.URL + wfe.DirectoryPath
	c.Roots.AddCert(server.Certificate())
	c.RootsPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c.TrustPEM = authority.GetRootCert(0).PEM()
	require.True(tb, c.Trust.AppendCertsFromPEM(c.TrustPEM))
	return c
}

// statusWriter sees how an answer begins.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader begins it.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (c *CA) fails(w http.ResponseWriter, r *http.Request) bool {
	c.mu.Lock()
	trouble := c.trouble
	c.mu.Unlock()
	return trouble != nil && trouble(w, r)
}

// Trouble lets a function answer requests in the CA's place, those for which it returns true; nil ends that.
func (c *CA) Trouble(how func(w http.ResponseWriter, r *http.Request) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = how
}

// Down is a Trouble: nothing works.
func Down(w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusServiceUnavailable)
	return true
}

// RateLimited is a Trouble: there were too many orders.
func RateLimited(detail string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !strings.Contains(r.URL.Path, "order-plz") {
			return false
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","status":429,"detail":"`+detail+`"}`)
		return true
	}
}
