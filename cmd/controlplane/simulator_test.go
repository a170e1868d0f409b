package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

func TestSimulatorCommand_Help(t *testing.T) {
	t.Parallel()
	cmd := newSimulatorCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--help"})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	for _, words := range []string{"paystack-simulator", "--listen", "--admin-listen", "--webhook-url", "--state-file", "--seed", "PAYSTACK_SECRET_KEY_FILE"} {
		require.Contains(t, out.String(), words)
	}
}

func TestSimulatorKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("sk_test_from_a_file\n"), 0o600))
	for name, tc := range map[string]struct {
		env  map[string]string
		want []secrets.Secret
	}{
		"two":       {map[string]string{"PAYSTACK_SECRET_KEY": "sk_test_a, sk_live_b"}, []secrets.Secret{"sk_test_a", "sk_live_b"}},
		"a file":    {map[string]string{"PAYSTACK_SECRET_KEY_FILE": file}, []secrets.Secret{"sk_test_from_a_file"}},
		"none":      {nil, nil},
		"empty":     {map[string]string{"PAYSTACK_SECRET_KEY": " , "}, nil},
		"lost file": {map[string]string{"PAYSTACK_SECRET_KEY_FILE": file + ".gone"}, nil},
	} {
		got, err := simulatorKeys(func(key string) (string, bool) { v, ok := tc.env[key]; return v, ok })
		require.Equal(t, tc.want == nil, err != nil, name)
		require.Equal(t, tc.want, got, name)
	}
}

// It serves, says where, and ends when it is told to.
func TestSimulatorCommand_Serves(t *testing.T) {
	t.Setenv("PAYSTACK_SECRET_KEY", "sk_test_a_key")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	said, out := io.Pipe()
	cmd := newSimulatorCommand()
	cmd.SetOut(out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--webhook-url", ""})
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(line)
	require.NotEmpty(t, address, line)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/transaction/initialize",
		strings.NewReader(`{"email":"ada@example.com","amount":500000,"reference":"R1"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer sk_test_a_key")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()
	stop()
	require.NoError(t, <-ended)
}
