package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
	"controlplane/internal/certs"
	"controlplane/internal/dnsupdate"
	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

func pool509(pem []byte) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

func TestTLS_ThePlatformsAddresses(t *testing.T) {
	t.Parallel()
	dns := acmetest.NewNameServer(t)
	provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: dns.Address, Key: dns.Key, Secret: dns.Secret})
	require.NoError(t, err)
	database, viaDatabase := viaRelay(t)
	s := setupTLS(t, dns.Address, nil, viaDatabase, func(o *edge.Options) { o.SlowClient = 300 * time.Millisecond })
	s.acme.DNS, s.acme.DNSResolvers = provider, []string{dns.Address}
	s.tenant("shop", tenants.Active, newUpstream(t, says("hello from Odoo"), http.HandlerFunc(saysHelloOnASocket)))
	s.begin()
	s.served("shop.example.test")

	for _, name := range []string{"shop.example.test", "SHOP.example.test", "api.example.test", "example.test", "nobody.example.test"} {
		state, err := s.shake(name)
		require.NoError(t, err, name)
		require.Equal(t, "h2", state.NegotiatedProtocol)
	}
	require.Equal(t, int64(1), s.ca.Orders.Load(), "one certificate for all of them")
	s.refusesStrangers()
	s.refusesOldTLS()
	s.answersOverEachProtocol()
	s.sendsPlainRequestsOn()

	database.cut()
	state, err := s.shake("shop.example.test")
	require.NoError(t, err)
	s.stop()
	s.run()
	s.served("shop.example.test")
	again, err := s.shake("shop.example.test")
	require.NoError(t, err)
	require.Equal(t, state.PeerCertificates[0].SerialNumber, again.PeerCertificates[0].SerialNumber, "the copy on disk is shown, without PostgreSQL")
	res, err := s.browser().Get("https://shop.example.test/")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NotContains(t, s.log.String(), "PRIVATE KEY")
	require.NotContains(t, s.log.String(), dns.Secret.Reveal())
}

// refusesStrangers tries names for which we have no certificate: the handshake fails, and no CA is asked.
func (s *secure) refusesStrangers() {
	s.t.Helper()
	orders := s.ca.Orders.Load()
	for _, name := range []string{"stranger.test", "a.b.example.test", "example.test.stranger.test", "127.0.0.1", ""} {
		_, err := s.shake(name, func(c *tls.Config) { c.InsecureSkipVerify = true }) //nolint:gosec // whatever it shows would be wrong
		require.Error(s.t, err, "%q", name)
	}
	_, err := s.shake("shop.example.test", func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"}; c.InsecureSkipVerify = true }) //nolint:gosec // as above
	require.Error(s.t, err, "there is no such challenge")
	for range 30 {
		_, err := s.shake("stranger.test", func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"}; c.InsecureSkipVerify = true }) //nolint:gosec // as above
		require.Error(s.t, err)
	}
	require.Less(s.t, strings.Count(s.log.String(), "acme"), 20, "strangers don't fill the log")
	require.Equal(s.t, orders, s.ca.Orders.Load())
}

func (s *secure) refusesOldTLS() {
	s.t.Helper()
	_, err := s.shake("shop.example.test", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }) //nolint:gosec // that is the test
	require.Error(s.t, err)
	weak := func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
	}
	_, err = s.shake("shop.example.test", weak)
	require.Error(s.t, err, "no suites without authenticated encryption or forward secrecy")
	state, err := s.shake("shop.example.test", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	require.NoError(s.t, err)
	require.Equal(s.t, uint16(tls.VersionTLS12), state.Version)
}

// answersOverEachProtocol asks by HTTP/2 and 3, and with curl, for which the CA's root is all that it trusts.
func (s *secure) answersOverEachProtocol() {
	s.t.Helper()
	res, err := s.browser().Get("https://shop.example.test/web?x=1")
	require.NoError(s.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	require.Equal(s.t, "hello from Odoo", string(body))
	require.Equal(s.t, 2, res.ProtoMajor)
	require.Equal(s.t, "max-age=31536000", res.Header.Get("Strict-Transport-Security"))
	require.Contains(s.t, res.Header.Get("Alt-Svc"), `h3=":`+strconv.Itoa(portOf(s.t, s.tlsAt)))

	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: s.ca.Trust, ServerName: "shop.example.test"}}
	defer func() { _ = transport.Close() }()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+s.tlsAt+"/web", nil)
	require.NoError(s.t, err)
	req.Host = "shop.example.test"
	three := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	res, err = three.Do(req)
	require.NoError(s.t, err)
	require.NoError(s.t, res.Body.Close())
	require.Equal(s.t, 3, res.ProtoMajor)
	require.Equal(s.t, http.StatusOK, res.StatusCode)

	s.opensASocketOverHTTP3()
	root := filepath.Join(s.t.TempDir(), "root.pem")
	require.NoError(s.t, os.WriteFile(root, s.ca.TrustPEM, 0o600))
	port := strconv.Itoa(portOf(s.t, s.tlsAt))
	curl := func(args ...string) (string, error) {
		args = append([]string{"--silent", "--show-error", "--max-time", "20", "--resolve", "shop.example.test:" + port + ":127.0.0.1"}, args...)
		out, err := exec.CommandContext(s.t.Context(), "curl", append(args, "https://shop.example.test:"+port+"/")...).CombinedOutput() //nolint:gosec // the test's own
		return string(out), err
	}
	out, err := curl("--cacert", root)
	require.NoError(s.t, err, out)
	require.Equal(s.t, "hello from Odoo", out)
	_, err = curl()
	require.Error(s.t, err, "nobody else's root is good for it")
}

// opensASocketOverHTTP3 does it as RFC 9220 says, which our server tells browsers that they may: on a path of Odoo's bus, and nothing else.
func (s *secure) opensASocketOverHTTP3() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	conn, err := quic.DialAddr(ctx, s.tlsAt, &tls.Config{RootCAs: s.ca.Trust, ServerName: "shop.example.test", NextProtos: []string{"h3"}}, nil)
	require.NoError(s.t, err)
	defer func() { _ = conn.CloseWithError(0, "") }()
	client := new(http3.Transport).NewClientConn(conn)
	<-client.ReceivedSettings()
	require.True(s.t, client.Settings().EnableExtendedConnect)
	for path, status := range map[string]int{"/websocket?version=1": http.StatusOK, "/jsonrpc": http.StatusBadRequest} {
		stream, err := client.OpenRequestStream(ctx)
		require.NoError(s.t, err)
		req, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://shop.example.test"+path, nil)
		require.NoError(s.t, err)
		req.Proto = "websocket"
		req.Header.Set("Sec-WebSocket-Version", "13")
		require.NoError(s.t, stream.SendRequestHeader(req))
		res, err := stream.ReadResponse()
		require.NoError(s.t, err)
		require.Equal(s.t, status, res.StatusCode, path)
		if status != http.StatusOK {
			continue
		}
		for range 2 { // beyond what a slow client may take
			got := make([]byte, len("\x81\x05hello"))
			_, err = io.ReadFull(stream, got)
			require.NoError(s.t, err)
			require.Equal(s.t, "\x81\x05hello", string(got))
			timer := time.NewTimer(2 * s.opts.SlowClient)
			<-timer.C
			_, err = io.WriteString(stream, "again")
			require.NoError(s.t, err)
		}
	}
}

// sendsPlainRequestsOn looks at port 80: only health and the CA's questions are answered there.
func (s *secure) sendsPlainRequestsOn() {
	s.t.Helper()
	moved := s.get("http://shop.example.test/web/login?redirect=%2Fweb")
	require.Equal(s.t, http.StatusPermanentRedirect, moved.status)
	require.Equal(s.t, "https://shop.example.test:"+s.tls.PublicPort+"/web/login?redirect=%2Fweb", moved.header.Get("Location"))
	require.Empty(s.t, moved.header.Get("Strict-Transport-Security"), "only https may say so")
	require.Equal(s.t, http.StatusOK, s.status("http://shop.example.test/web/health"))
	require.Equal(s.t, http.StatusMisdirectedRequest, s.status("http://stranger.test/"))
	require.Equal(s.t, http.StatusPermanentRedirect, s.status("http://shop.example.test/.well-known/acme-challenge/guess"))
	require.Equal(s.t, http.StatusMisdirectedRequest, s.status("http://stranger.test/.well-known/acme-challenge/guess"))
	out := s.raw("GET //evil.test/x HTTP/1.1\r\nHost: shop.example.test\r\nConnection: close\r\n\r\n")
	require.Contains(s.t, out, "Location: https://shop.example.test:"+s.tls.PublicPort+"//evil.test/x\r\n")
}

// A domain's certificate is asked for when it is proven, whichever of its two challenges gets through.
func TestTLS_CustomersDomains(t *testing.T) {
	t.Parallel()
	closed := func(t *testing.T) int { t.Helper(); return portOf(t, freeAddress(t)) }
	for name, doors := range map[string]func(*testing.T) func(*acmetest.Options){
		"HTTP-01": func(t *testing.T) func(*acmetest.Options) {
			t.Helper()
			return func(o *acmetest.Options) { o.TLSPort = closed(t) }
		},
		"TLS-ALPN-01": func(t *testing.T) func(*acmetest.Options) {
			t.Helper()
			return func(o *acmetest.Options) { o.HTTPPort = closed(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupTLS(t, acmetest.Resolver(t), doors(t))
			s.certificateFiles()
			id := s.tenant("shop", tenants.Active, newUpstream(t, says("hello from Odoo"), nil))
			s.domain(id, "claimed.test", "pending")
			s.begin()
			require.ErrorIs(t, s.edge.CertificateWanted(t.Context(), "shop.test"), edge.ErrNotOurs)

			s.domain(id, "shop.test", "live")
			s.served("shop.test")
			require.NoError(t, s.edge.CertificateWanted(t.Context(), "shop.test"))
			res, err := s.browser().Get("https://shop.test/")
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, http.StatusOK, res.StatusCode)
			_, err = s.shake("claimed.test")
			require.Error(t, err)

			require.Equal(t, acme.Health{Host: "shop.test"}, <-s.healths)
			s.showsWhatIsRenewed("shop.test")
			s.beginsInAnotherProcess()

			orders := s.ca.Orders.Load()
			s.exec("DELETE FROM tenant_domains WHERE domain = 'shop.test'")
			eventuallySlow(t, "it isn't shown any more", func() bool { _, err := s.shake("shop.test"); return err != nil })
			require.Equal(t, orders, s.ca.Orders.Load())
		})
	}
}

// showsWhatIsRenewed renews a certificate, whether it is time or not, and waits until it is shown.
func (s *secure) showsWhatIsRenewed(host string) {
	s.t.Helper()
	before, err := s.shake(host)
	require.NoError(s.t, err)
	done, err := acme.Obtain(s.t.Context(), acme.Deps{Store: s.tls.Store, Issuer: s.tls.ACME, Log: slog.New(slog.DiscardHandler)}, host, true)
	require.NoError(s.t, err)
	require.True(s.t, done)
	eventuallySlow(s.t, "the new one is shown, without a restart", func() bool {
		now, err := s.shake(host)
		return err == nil && now.PeerCertificates[0].SerialNumber.Cmp(before.PeerCertificates[0].SerialNumber) != 0
	})
}

// beginsInAnotherProcess has another process, as that of the command line or of another edge, ask for a certificate: this edge answers.
func (s *secure) beginsInAnotherProcess() {
	s.t.Helper()
	self, err := os.Executable()
	require.NoError(s.t, err)
	cmd := exec.CommandContext(s.t.Context(), self) //nolint:gosec // this test's binary
	cmd.Env = append(os.Environ(), issueInstead+"="+s.job("shop.test"))
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, string(out))
}

// certificateFiles gives the platform's addresses a certificate of the operator's.
func (s *secure) certificateFiles() {
	s.t.Helper()
	chain, key := acmetest.SelfSigned(s.t, time.Now(), "example.test", "*.example.test")
	s.tls.CertFile, s.tls.KeyFile = filepath.Join(s.t.TempDir(), "chain.pem"), filepath.Join(s.t.TempDir(), "key.pem")
	require.NoError(s.t, os.WriteFile(s.tls.CertFile, chain, 0o600))
	require.NoError(s.t, os.WriteFile(s.tls.KeyFile, key, 0o600))
}

// A domain whose certificate can't be had leaves everything else as it was, and its row says why.
func TestTLS_ADomainWithoutACertificate(t *testing.T) {
	t.Parallel()
	s := setupTLS(t, acmetest.Resolver(t), nil, func(o *edge.Options) { o.MetricsListen = freeAddress(t) })
	s.certificateFiles()
	s.ca.Trouble(acmetest.RateLimited("too many certificates"))
	id := s.tenant("shop", tenants.Active, newUpstream(t, says("hello from Odoo"), nil))
	s.domain(id, "shop.test", "live")
	s.begin()
	eventuallySlow(t, "the reason is put down", func() bool {
		r, err := s.tls.Store.Record(t.Context(), "shop.test")
		return err == nil && r.Cause == certs.TooMany && r.RetryAt.After(r.LastErrorAt)
	})
	_, err := s.shake("shop.test")
	require.Error(t, err)
	chain, err := os.ReadFile(s.tls.CertFile)
	require.NoError(t, err)
	_, err = s.shake("shop.example.test", func(c *tls.Config) { c.RootCAs = pool509(chain) })
	require.NoError(t, err, "the platform's address works")
	require.Equal(t, http.StatusOK, s.status("http://shop.test/web/health"), "it is routed all the same")
	require.Contains(t, s.metrics(), `odoohost_edge_certificates{state="missing"} 1`)

	s.ca.Trouble(nil)
	done, err := acme.Obtain(t.Context(), acme.Deps{Store: s.tls.Store, Issuer: s.tls.ACME, Log: slog.New(slog.DiscardHandler)}, "shop.test", true)
	require.NoError(t, err)
	require.True(t, done)
	s.served("shop.test")
}

func TestTLS_FilesWithoutACA(t *testing.T) {
	t.Parallel()
	s := setupTLS(t, acmetest.Resolver(t), nil, func(o *edge.Options) { o.MetricsListen = freeAddress(t) })
	s.certificateFiles()
	s.tenant("shop", tenants.Active, newUpstream(t, says("hello"), nil))
	s.opts.TLS = &s.tls
	s.start()
	chain, err := os.ReadFile(s.tls.CertFile)
	require.NoError(t, err)
	_, err = s.shake("shop.example.test", func(c *tls.Config) { c.RootCAs = pool509(chain) })
	require.NoError(t, err)
	s.refusesStrangers()
	require.Zero(t, s.ca.Orders.Load())
	metrics := s.metrics()
	require.Contains(t, metrics, `odoohost_edge_certificates{state="valid"} 1`)
	require.Contains(t, metrics, `odoohost_edge_certificate_expiry_timestamp_seconds{host="certificate files"}`)
}

// metrics returns what operators are told.
func (s *secure) metrics() string {
	s.t.Helper()
	var text []byte
	eventuallySlow(s.t, "metrics are told", func() bool {
		res, err := http.Get("http://" + s.opts.MetricsListen + "/metrics") //nolint:noctx // loopback
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		text, err = io.ReadAll(res.Body)
		return err == nil
	})
	return string(text)
}

func TestTLS_NeedsACertificateForThePlatform(t *testing.T) {
	t.Parallel()
	s := setupTLS(t, acmetest.Resolver(t), nil)
	s.opts.TLS = &s.tls
	_, err := edge.New(s.opts)
	require.ErrorContains(t, err, "needs a certificate for the platform's addresses")
	chain, key := acmetest.SelfSigned(t, time.Now(), "example.test")
	s.tls.CertFile, s.tls.KeyFile = filepath.Join(t.TempDir(), "chain.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(s.tls.CertFile, chain, 0o600))
	require.NoError(t, os.WriteFile(s.tls.KeyFile, key, 0o600))
	_, err = edge.New(s.opts)
	require.ErrorContains(t, err, "*.example.test")
	require.NotContains(t, err.Error(), strings.Split(string(key), "\n")[1])
}
