package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"controlplane/internal/acme"
	"controlplane/internal/certs"
)

const (
	storeTimeout = 3 * time.Second
	missingAgain = 5 * time.Second // that a certificate which isn't there isn't looked for again
	shelfSize    = 4096
	freshFor     = 10 * time.Minute // it is on disk, too; a reading that a change overtook doesn't last
	filesEvery   = 10 * time.Second
	filesHost    = "certificate files" // whose they are, in Health and metrics
)

// show returns the certificate for a server name: from memory, the copy on disk or the database, in this order. nil without an error means
// that there is none; nothing is asked of a CA while a browser waits.
func (t *tlsSide) show(ctx context.Context, name string) (*tls.Certificate, error) {
	if acme.Covers(t.base, name) {
		if t.files != nil {
			return t.files.current.Load(), nil
		}
		name = acme.Platform(t.base)
	}
	before, known := t.shelf.get(name, t.Now())
	if known {
		return before, nil
	}
	pair, err := t.find(ctx, name)
	switch {
	case err == nil:
		t.shelf.put(name, pair, t.Now().Add(freshFor))
	case before != nil: // neither disk nor database can be read now: what was good is still shown
		t.shelf.put(name, before, t.Now().Add(missingAgain))
		return before, nil
	default:
		t.shelf.put(name, nil, t.Now().Add(missingAgain))
		if errors.Is(err, certs.ErrNotFound) {
			return nil, nil //nolint:nilnil // as said
		}
	}
	return pair, err
}

func (t *tlsSide) find(ctx context.Context, name string) (*tls.Certificate, error) {
	copied, missing := t.Folder.Get(name)
	if missing == nil && t.Now().Before(copied.RenewAt()) {
		return copied.TLS()
	}
	// There is no copy, none that can be read, or one that should have been replaced: the database has it, if anybody.
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	cert, err := t.Store.Load(ctx, name)
	switch {
	case err == nil:
		return cert.TLS()
	case missing == nil:
		return copied.TLS()
	}
	return nil, err
}

// shelf holds certificates that are in use, ready to show.
type shelf struct {
	mu     sync.RWMutex
	byName map[string]onShelf
}

// onShelf is what is known of a name: its certificate, or nil if there is none.
type onShelf struct {
	pair  *tls.Certificate
	until time.Time // then it is looked for again
}

func newShelf() *shelf { return &shelf{byName: map[string]onShelf{}} }

// get returns what was found for a name last, and whether that can be relied on still.
func (s *shelf) get(name string, now time.Time) (pair *tls.Certificate, known bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := s.byName[name]
	return found.pair, now.Before(found.until)
}

// put makes room by taking any other away: that one is read from disk again when it is asked for.
func (s *shelf) put(name string, pair *tls.Certificate, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.byName {
		if len(s.byName) < shelfSize {
			break
		}
		delete(s.byName, other)
	}
	s.byName[name] = onShelf{pair, until}
}

// drop forgets what was known of a name.
func (s *shelf) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
}

// certificateFiles are the operator's own, read again when they change.
type certificateFiles struct {
	certFile, keyFile string
	base              string
	text              []byte // of both, as they were read
	current           atomic.Pointer[tls.Certificate]
}

func openCertificateFiles(certFile, keyFile, base string) (*certificateFiles, error) {
	f := &certificateFiles{certFile: certFile, keyFile: keyFile, base: base}
	_, err := f.read()
	return f, err
}

// read takes the files if they have changed, fit each other and are good for the platform's addresses.
func (f *certificateFiles) read() (changed bool, err error) {
	chain, err := os.ReadFile(f.certFile)
	if err != nil {
		return false, fmt.Errorf("read the certificate: %w", err)
	}
	key, err := os.ReadFile(f.keyFile)
	if err != nil {
		return false, fmt.Errorf("read the certificate's key: %w", err)
	}
	text := append(chain, key...) //nolint:gocritic // chain isn't used any more but through it
	if bytes.Equal(text, f.text) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(text[:len(chain)], key)
	if err != nil {
		return false, fmt.Errorf("read the certificate %s: %w", f.certFile, err)
	}
	for _, host := range []string{f.base, "any." + f.base} {
		if err := pair.Leaf.VerifyHostname(host); err != nil {
			return false, fmt.Errorf("the certificate %s has to be good for %s and *.%[2]s: %w", f.certFile, f.base, err)
		}
	}
	f.text = text
	f.current.Store(&pair)
	return true, nil
}

// record shows the files as if we had obtained them.
func (f *certificateFiles) record() certs.Record {
	leaf := f.current.Load().Leaf
	c := certs.Certificate{NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	return certs.Record{Host: filesHost, Version: 1, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, RenewAt: c.RenewAt()}
}

// watchFiles looks at the files until ctx ends. Files that are no good, perhaps because only one of the two has been replaced yet, leave
// the ones before in use.
func (t *tlsSide) watchFiles(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	told, broken := "", ""
	for {
		changed, err := t.files.read()
		switch {
		case err != nil && err.Error() != broken:
			broken = err.Error()
			log.WarnContext(ctx, "edge goes on with the certificate that it has", "error", err)
		case err == nil:
			broken = ""
		}
		if changed {
			log.InfoContext(ctx, "edge shows another certificate", "not_after", t.files.current.Load().Leaf.NotAfter)
		}
		if trouble := acme.Trouble(t.files.record(), t.Now()); trouble != told {
			if err := t.OnHealth(ctx, acme.Health{Host: filesHost, Trouble: trouble}); err == nil {
				told = trouble
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// serverName returns a name as the table has it.
func serverName(sni string) string { return strings.TrimSuffix(strings.ToLower(sni), ".") }
