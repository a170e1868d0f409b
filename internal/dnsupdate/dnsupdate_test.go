package dnsupdate_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/stretchr/testify/require"

	"controlplane/internal/acme/acmetest"
	"controlplane/internal/dnsupdate"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // each test removes its own containers
	os.Exit(m.Run())
}

func text(name, value string) []libdns.Record {
	return []libdns.Record{libdns.RR{Type: "TXT", Name: name, Data: value, TTL: time.Minute}}
}

func TestRecordsComeAndGo(t *testing.T) {
	t.Parallel()
	server := acmetest.NewNameServer(t)
	provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: server.Address, Key: server.Key, Secret: server.Secret})
	require.NoError(t, err)
	const name = "_acme-challenge.example.test"
	for range 2 { // what is done already can be done again
		for _, value := range []string{"one", "two"} { // two challenges may share a name
			_, err = provider.AppendRecords(t.Context(), "example.test.", text("_acme-challenge", value))
			require.NoError(t, err)
		}
		require.ElementsMatch(t, []string{"one", "two"}, server.Texts(t, name))
	}
	for range 2 {
		_, err = provider.DeleteRecords(t.Context(), "example.test.", text("_acme-challenge", "one"))
		require.NoError(t, err)
		require.Equal(t, []string{"two"}, server.Texts(t, name), "the other one's is left alone")
	}

	var refused *dnsupdate.RefusedError
	_, err = provider.AppendRecords(t.Context(), "example.test.", []libdns.Record{libdns.RR{Type: "A", Name: "www", Data: "192.0.2.1"}})
	require.ErrorAs(t, err, &refused, "the key is good for TXT alone")
	_, err = provider.AppendRecords(t.Context(), "other.test.", text("x", "y"))
	require.ErrorAs(t, err, &refused)

	stranger, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: server.Address, Key: "nobody", Secret: server.Secret})
	require.NoError(t, err)
	_, err = stranger.AppendRecords(t.Context(), "example.test.", text("x", "y"))
	require.ErrorAs(t, err, &refused)
	require.ErrorContains(t, err, "the zone or the key")
	require.NotContains(t, err.Error(), server.Secret.Reveal())
}

func TestAServerThatIsDownIsAnError(t *testing.T) {
	t.Parallel()
	provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: acmetest.FreeAddress(t), Key: "edge", Secret: "c2VjcmV0"})
	require.NoError(t, err)
	_, err = provider.AppendRecords(t.Context(), "example.test.", text("x", "y"))
	require.ErrorContains(t, err, "refused")
}

func TestWhatCannotWorkIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]dnsupdate.Options{
		"no key":        {Server: "ns.test", Secret: "c2VjcmV0"},
		"no server":     {Key: "edge", Secret: "c2VjcmV0"},
		"no secret":     {Server: "ns.test", Key: "edge"},
		"no base64":     {Server: "ns.test", Key: "edge", Secret: "not base64 !"},
		"MD5 is broken": {Server: "ns.test", Key: "edge", Secret: "c2VjcmV0", Algorithm: "hmac-md5"},
	} {
		_, err := dnsupdate.NewRFC2136(opts)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "not base64 !")
	}
}

// script writes a hook and returns its path and that of its diary.
func script(t *testing.T, body string) (command, diary string) {
	t.Helper()
	command, diary = filepath.Join(t.TempDir(), "hook"), filepath.Join(t.TempDir(), "diary")
	require.NoError(t, os.WriteFile(command, []byte("#!/bin/sh\n"+body+"\n"), 0o700)) //nolint:gosec // it is to be run
	return command, diary
}

func TestTheHookIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	command, diary := script(t, `echo "$@" >>"$DIARY"; echo "home=$HOME" >>"$DIARY"`)
	hook := dnsupdate.NewHook(command, []string{"DIARY=" + diary})
	_, err := hook.AppendRecords(t.Context(), "example.test.", text("_acme-challenge", "a;b $(c)"))
	require.NoError(t, err)
	_, err = hook.DeleteRecords(t.Context(), "example.test.", text("_acme-challenge", "a;b $(c)"))
	require.NoError(t, err)
	said, err := os.ReadFile(diary)
	require.NoError(t, err)
	require.Equal(t, "add _acme-challenge.example.test. TXT a;b $(c)\nhome=\nremove _acme-challenge.example.test. TXT a;b $(c)\nhome=\n", string(said),
		"no shell reads the value, and only what was given is in the environment")
}

func TestAHookThatFailsOrHangs(t *testing.T) {
	t.Parallel()
	command, _ := script(t, `echo "no such account" >&2; exit 3`)
	_, err := dnsupdate.NewHook(command, nil).AppendRecords(t.Context(), "example.test.", text("x", "y"))
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "no such account")

	command, _ = script(t, `exec sleep 600`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = dnsupdate.NewHook(command, nil).AppendRecords(ctx, "example.test.", text("x", "y"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
