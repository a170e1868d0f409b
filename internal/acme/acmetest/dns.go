package acmetest

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"controlplane/internal/secrets"
)

// Resolver starts a name server for which every name is on this machine, and returns its address.
func Resolver(tb testing.TB) string {
	tb.Helper()
	address := FreeAddress(tb)
	server, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{address}, Log: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)})
	require.NoError(tb, err)
	server.SetDefaultDNSIPv4("127.0.0.1")
	server.SetDefaultDNSIPv6("")
	go server.Run()
	tb.Cleanup(server.Shutdown)
	answers(tb, address)
	return address
}

// answers waits until a name server does.
func answers(tb testing.TB, address string) {
	tb.Helper()
	question := new(dns.Msg).SetQuestion("any.example.test.", dns.TypeA)
	require.Eventually(tb, func() bool {
		_, err := dns.Exchange(question, address)
		return err == nil
	}, time.Minute, 20*time.Millisecond, "the name server answers")
}

// NameServer is one that takes dynamic updates of its zone, if they are signed.
type NameServer struct {
	Address string
	Key     string
	Secret  secrets.Secret
}

const (
	zone = "@ 60 SOA ns.example.test. admin.example.test. 1 60 60 600 1\n@ 60 NS ns\n@ 60 A 127.0.0.1\n* 60 A 127.0.0.1\nns 60 A 127.0.0.1\n"

	configuration = `server:
    listen: [ "0.0.0.0@53" ]
key:
  - id: edge
    algorithm: hmac-sha256
    secret: SECRET
acl:
  - id: updates
    key: edge
    action: update
    update-type: [ TXT ]
zone:
  - domain: example.test
    file: /zones/example.test.zone
    acl: updates
`
	updateSecret = "bm90IGEgc2VjcmV0LCBidXQgYSB0ZXN0J3Mga2V5ISE=" //nolint:gosec // of the test's own server
)

// NewNameServer starts Knot, in a container, for the zone example.test, all of whose names are on this machine.
func NewNameServer(tb testing.TB) *NameServer {
	tb.Helper()
	image := os.Getenv("NAMESERVER_IMAGE") //nolint:forbidigo // test set-up, not the platform's configuration
	if image == "" {
		image = "odoo-hosting/nameserver:knot" // scripts/images.sh makes it
	}
	file := func(path, text string) testcontainers.ContainerFile {
		return testcontainers.ContainerFile{Reader: bytes.NewReader([]byte(text)), ContainerFilePath: path, FileMode: 0o644}
	}
	container, err := testcontainers.Run(tb.Context(), image,
		testcontainers.WithExposedPorts("53/tcp", "53/udp"),
		testcontainers.WithFiles(
			file("/etc/knot/knot.conf", string(bytes.Replace([]byte(configuration), []byte("SECRET"), []byte(updateSecret), 1))),
			file("/zones/example.test.zone", zone),
		),
		testcontainers.WithWaitStrategy(wait.ForLog("server started")),
	)
	testcontainers.CleanupContainer(tb, container)
	require.NoError(tb, err)
	address, err := container.ContainerIP(tb.Context())
	require.NoError(tb, err)
	s := &NameServer{Address: net.JoinHostPort(address, "53"), Key: "edge", Secret: updateSecret}
	answers(tb, s.Address)
	return s
}

// Texts returns the TXT records of a name.
func (s *NameServer) Texts(tb testing.TB, name string) []string {
	tb.Helper()
	answer, err := dns.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), s.Address)
	require.NoError(tb, err)
	var texts []string
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, txt.Txt...)
		}
	}
	return texts
}

// FreeAddress returns an address of loopback that nobody listens on.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
