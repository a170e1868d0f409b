package pgcluster

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScramVerifier checks the form; that PostgreSQL takes it for the password is what every log-in of the other tests shows.
func TestScramVerifier(t *testing.T) {
	t.Parallel()
	salt, err := base64.StdEncoding.DecodeString("MDEyMzQ1Njc4OWFiY2RlZg==")
	require.NoError(t, err)
	verifier, err := scramWithSalt("pencil", salt, 4096)
	require.NoError(t, err)
	require.Regexp(t, `^SCRAM-SHA-256\$4096:MDEyMzQ1Njc4OWFiY2RlZg==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$`, verifier)
}
