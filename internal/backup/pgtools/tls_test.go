package pgtools_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/secrets"
)

func TestMain(m *testing.M) {
	// The reaper is an image of its own that no registry need be at hand for: each test removes its own containers.
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	_ = os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	os.Exit(m.Run())
}

// certificate returns one that signs itself, for localhost and a name that nobody can look up, and its key.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost", "db.invalid"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// startTLS starts a server that nobody reaches without TLS, and returns its port.
func startTLS(t *testing.T, cert, key []byte) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const own = `cp /tls.key /tls.crt /tmp/ && chown postgres /tmp/tls.* && chmod 600 /tmp/tls.key &&
		exec docker-entrypoint.sh postgres -c fsync=off -c ssl=on -c ssl_cert_file=/tmp/tls.crt -c ssl_key_file=/tmp/tls.key`
	file := func(path string, content []byte) testcontainers.ContainerFile {
		return testcontainers.ContainerFile{Reader: bytes.NewReader(content), ContainerFilePath: path, FileMode: 0o644}
	}
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		Started: true,
		ContainerRequest: testcontainers.ContainerRequest{
			Image: backuptest.Image("17"), ExposedPorts: []string{"5432/tcp"}, Env: map[string]string{"POSTGRES_PASSWORD": "hush"},
			Entrypoint: []string{"sh", "-c", own}, Files: []testcontainers.ContainerFile{file("/tls.crt", cert), file("/tls.key", key)},
			WaitingFor: wait.ForLog("database system is ready to accept connections").WithOccurrence(2).WithStartupTimeout(2 * time.Minute),
		},
	})
	testcontainers.CleanupContainer(t, c)
	require.NoError(t, err)
	endpoint, err := c.PortEndpoint(ctx, "5432/tcp", "postgres")
	require.NoError(t, err)
	u, err := url.Parse(endpoint)
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	return port
}

// The programs verify the server as we do: by the certificate, and by its name where that is asked for.
func TestProgramsVerifyTheServer(t *testing.T) {
	t.Parallel()
	engine := backuptest.Engine(t)
	cert, key := certificate(t)
	foreign, _ := certificate(t)
	port := startTLS(t, cert, key)
	ours, theirs := filepath.Join(t.TempDir(), "ours.pem"), filepath.Join(t.TempDir(), "theirs.pem")
	require.NoError(t, os.WriteFile(ours, cert, 0o600))
	require.NoError(t, os.WriteFile(theirs, foreign, 0o600))
	access := backup.Access{Database: "postgres", Role: "postgres", Password: "hush", Tool: "tls_" + secrets.RandomHex(4)}
	for _, c := range []struct {
		mode, host, root string
		good             bool
	}{
		{"verify-full", "localhost", ours, true},
		{"verify-ca", "127.0.0.1", ours, true},
		{"require", "127.0.0.1", "", true},
		{"verify-full", "127.0.0.1", ours, false},
		{"verify-full", "localhost", theirs, false},
		{"verify-ca", "localhost", theirs, false},
	} {
		server, err := pgtools.New(pgtools.Options{Host: c.host, Port: port, SSLMode: c.mode, RootCertFile: c.root, Image: backuptest.Image("17"), Tools: engine})
		require.NoError(t, err)
		err = server.Dump(t.Context(), access, io.Discard)
		require.Equal(t, c.good, err == nil, "%s of %s with %s: %v", c.mode, c.host, filepath.Base(c.root), err)
	}
	// And a tool by itself, as a tenant's Odoo does that can look up no names: the address and the certificate are from a file.
	for service, good := range map[string]bool{
		"sslrootcert=/tmp/root.crt\nhostaddr=127.0.0.1": true, "hostaddr=127.0.0.1": false, "sslrootcert=/tmp/root.crt": false,
	} {
		script := fmt.Sprintf(`cat >/tmp/root.crt && printf '[tenants]\n%%b\n' %q >/tmp/service && export PGSERVICEFILE=/tmp/service PGSERVICE=tenants PGPASSWORD=hush &&
			exec psql "host=db.invalid port=%d user=postgres dbname=postgres sslmode=verify-full" -c 'SELECT 1'`, service, port)
		err := engine.RunTool(t.Context(), access.Tool, "0", backuptest.Image("17"), []string{"sh", "-c", script}, bytes.NewReader(cert), io.Discard)
		require.Equal(t, good, err == nil, "%s: %v", service, err)
	}
}
