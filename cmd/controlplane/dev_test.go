package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDevState_OneProcessAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := openDevState(dir)
	require.NoError(t, err)
	require.NoError(t, first.lock())
	second, err := openDevState(dir)
	require.NoError(t, err)
	require.Equal(t, first.settings, second.settings, "secrets are made up once")
	require.ErrorContains(t, second.lock(), "another")
	require.NoError(t, first.locked.Close())
	require.NoError(t, second.lock())
}

func TestPortSetting_NamesWhatToChange(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	err = portSetting{"EXTERNAL_DB_PORT", port}.free(t.Context())
	require.EqualError(t, err, "port "+port+" is in use or can't be used; set EXTERNAL_DB_PORT to another one")
	require.NoError(t, l.Close())
	require.NoError(t, portSetting{"EXTERNAL_DB_PORT", port}.free(t.Context()))
}

func TestComplaint(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{
		"":                        "exit status 125",
		"one\ntwo\n":              "two",
		"docker: no such image\n": "no such image",
		"docker: Error response from daemon: port is taken.\nSee 'docker run --help'.\n":                "Error response from daemon: port is taken.",
		"docker: Error response from daemon: no host\n\nRun 'docker run --help' for more information\n": "Error response from daemon: no host",
	} {
		require.Equal(t, want, complaint(output, errors.New("exit status 125")))
	}
}

// Ctrl-C during the start is no error to report.
func TestDev_InterruptedWhileItWaits(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	for name, wait := range map[string]func(context.Context) error{
		"engine": func(ctx context.Context) error { _, err := engineCLI(ctx, "version"); return err },
		"database": func(ctx context.Context) error {
			return waitForDatabase(ctx, "postgres://127.0.0.1:1/none?sslmode=disable")
		},
		"API": func(ctx context.Context) error { return waitFor(ctx, server.URL, time.Minute) },
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		interrupt()
		require.ErrorIs(t, wait(ctx), context.Canceled, name)
	}
	require.ErrorContains(t, waitFor(t.Context(), server.URL, time.Millisecond), "didn't answer")
}

func TestDev_UsesTheEngineOfTheDockerCommand(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
	d, err := openDev(t.TempDir(), io.Discard)
	require.NoError(t, err)
	require.Equal(t, "unix:///run/user/1000/docker.sock", d.setting("DOCKER_SOCKET_PATH"))
	t.Setenv("DOCKER_SOCKET_PATH", "/other.sock")
	d, err = openDev(t.TempDir(), io.Discard)
	require.NoError(t, err)
	require.Equal(t, "/other.sock", d.setting("DOCKER_SOCKET_PATH"))
}
