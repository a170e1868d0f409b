package edge

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
)

func TestShelf_IsBoundedAndForgets(t *testing.T) {
	t.Parallel()
	s, now := newShelf(), time.Now()
	for i := range shelfSize + 100 {
		s.put(fmt.Sprint(i), &tls.Certificate{}, now.Add(time.Minute))
	}
	require.Len(t, s.byName, shelfSize)

	s.put("missing", nil, now.Add(time.Minute))
	pair, known := s.get("missing", now)
	require.True(t, known, "what isn't there isn't looked for with each handshake")
	require.Nil(t, pair)
	_, known = s.get("missing", now.Add(time.Hour))
	require.False(t, known)
	s.drop("missing")
	_, known = s.get("missing", now)
	require.False(t, known, "a new certificate is seen at once")

	s.put("there", &tls.Certificate{}, now)
	pair, known = s.get("there", now)
	require.False(t, known)
	require.NotNil(t, pair, "in case that nothing newer can be read")
}

func TestCertificateFiles_AreReadAgainWhenBothFit(t *testing.T) {
	t.Parallel()
	certFile, keyFile := filepath.Join(t.TempDir(), "chain.pem"), filepath.Join(t.TempDir(), "key.pem")
	write := func(name string, text []byte) { require.NoError(t, os.WriteFile(name, text, 0o600)) }
	now := time.Now()
	chain, key := acmetest.SelfSigned(t, now, "example.test", "*.example.test")
	write(certFile, chain)
	write(keyFile, key)
	f, err := openCertificateFiles(certFile, keyFile, "example.test")
	require.NoError(t, err)
	first := f.current.Load()
	changed, err := f.read()
	require.NoError(t, err)
	require.False(t, changed)

	chain, key = acmetest.SelfSigned(t, now.Add(time.Minute), "example.test", "*.example.test")
	write(certFile, chain)
	_, err = f.read()
	require.Error(t, err, "only one of the two has been replaced yet")
	require.Same(t, first, f.current.Load())
	write(keyFile, key)
	changed, err = f.read()
	require.NoError(t, err)
	require.True(t, changed)
	require.NotSame(t, first, f.current.Load())

	require.Equal(t, acme.Valid, acme.StateOf(f.record(), now))
	require.Empty(t, acme.Trouble(f.record(), now.Add(70*24*time.Hour)))
	require.Contains(t, acme.Trouble(f.record(), now.Add(80*24*time.Hour)), "certificate files expires on")
}

func TestAnnounce_NamesThePortThatBrowsersSee(t *testing.T) {
	t.Parallel()
	https := &http.Request{TLS: &tls.ConnectionState{}, ProtoMajor: 2}
	announced := func(side *tlsSide, r *http.Request) []string {
		h := http.Header{}
		side.announce(h, r)
		return h["Alt-Svc"]
	}
	for port, want := range map[string]string{"": "443", "443": "443", "8443": "8443"} {
		side := &tlsSide{TLS: TLS{PublicPort: port}}
		require.Empty(t, announced(side, https), "another edge has the port still")
		side.quic.Store(true)
		require.Equal(t, []string{`h3=":` + want + `"; ma=2592000`}, announced(side, https))
		require.Empty(t, announced(side, &http.Request{ProtoMajor: 1}), "plain HTTP moves to HTTPS")
		require.Empty(t, announced(side, &http.Request{TLS: &tls.ConnectionState{}, ProtoMajor: 3}))
	}
	require.Empty(t, announced(nil, https))
}

func TestCalm_KeepsSomeLinesOfEachMessage(t *testing.T) {
	t.Parallel()
	c, now := newCalm(), time.Now()
	kept := 0
	for range 100 {
		if ok, _ := c.take("a handshake failed", now); ok {
			kept++
		}
	}
	require.Equal(t, calmLines, kept)
	ok, _ := c.take("something else", now)
	require.True(t, ok)
	ok, dropped := c.take("a handshake failed", now.Add(calmWindow))
	require.True(t, ok)
	require.Equal(t, 100-calmLines, dropped)
	for i := range 2 * calmWords {
		c.take(fmt.Sprint(i), now)
	}
	require.LessOrEqual(t, len(c.said), calmWords)
}

func TestSecure_CookiesStayWithHTTPS(t *testing.T) {
	t.Parallel()
	set := func() http.Header {
		return http.Header{"Set-Cookie": {"session_id=secure; HttpOnly; Path=/", "a=b; secure", "c=d"}}
	}
	h := set()
	secure(h, true, false)
	require.Equal(t, []string{"session_id=secure; HttpOnly; Path=/; Secure", "a=b; secure", "c=d; Secure"}, h["Set-Cookie"])
	h = set()
	secure(h, false, false)
	require.Equal(t, set()["Set-Cookie"], h["Set-Cookie"])
}
