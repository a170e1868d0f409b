package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/certs"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
)

const oldKey, newKey = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

type bundle struct {
	t     *testing.T
	pool  *pgxpool.Pool
	store *certs.Store
	now   time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pgtest.New(t), now: time.Now().UTC().Truncate(time.Second)}
	b.store = certs.NewStore(b.pool, sealer(t, oldKey))
	return b
}

func sealer(t *testing.T, ring string) *secrets.Sealer {
	t.Helper()
	s, err := secrets.NewSealer(secrets.Secret(ring))
	require.NoError(t, err)
	return s
}

// certificate makes one that it has signed itself, good for ninety days from now.
func (b *bundle) certificate(host string) certs.Certificate {
	b.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(b.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(b.now.UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: b.now, NotAfter: b.now.Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(b.t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(b.t, err)
	return certs.Certificate{
		Host: host, Names: []string{host}, Issuer: "https://ca.test/dir", NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		Chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:   secrets.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})),
	}
}

// save stores a new certificate of host and returns it as it was stored.
func (b *bundle) save(host string) certs.Certificate {
	b.t.Helper()
	require.NoError(b.t, b.store.Save(b.t.Context(), b.certificate(host), b.now))
	stored, err := b.store.Load(b.t.Context(), host)
	require.NoError(b.t, err)
	return stored
}
