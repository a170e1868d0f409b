package provision_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

func (w *world) BeginSandbox(_ context.Context, name, subject string, _ secrets.Secret) error {
	leave, err := w.enter("BeginSandbox")
	defer leave()
	if err == nil {
		w.databases[name], w.roles[name] = &databaseState{owner: name}, subject
	}
	return err
}

func (w *world) SetSandboxPassword(_ context.Context, name, subject string, _ secrets.Secret) error {
	leave, err := w.enter("SetSandboxPassword")
	defer leave()
	if err == nil && w.roles[name] != subject {
		return provision.ErrSandboxGone
	}
	return err
}

// What a sandbox is made of reaches the database alone, runs no jobs, holds no secret that inspect shows, and goes without a trace.
func TestSandbox(t *testing.T) {
	t.Parallel()
	b, w := setup(t)
	tenant := b.paid(t, "acme", "business")
	box, err := b.OpenSandbox(t.Context(), tenant, "backup/17", 1)
	require.NoError(t, err)
	const name = "odooproof_test_17"
	require.Equal(t, name, box.Database)
	require.Equal(t, name+"_data", box.Volume)
	require.Equal(t, "filestore/"+name, box.Dir)
	require.Equal(t, "backup/17", w.roles[name])
	c := w.containers[name]
	require.Equal(t, "10.99.0.46", c.Address.String(), "the last host of its subnet, which the firewall keeps in")
	require.Equal(t, "127.0.0.1", c.DNS[0].String(), "no name can be looked up")
	require.Equal(t, "odooproof_test_network1", c.Network)
	require.False(t, c.Restart)
	require.Equal(t, 2048, c.MemoryMB)
	require.NotContains(t, strings.Join(c.Command, " "), box.Password.Reveal())
	require.Empty(t, c.Environment)

	again, err := b.OpenSandbox(t.Context(), tenant, "backup/17", 1)
	require.NoError(t, err)
	require.NotEqual(t, box.Password, again.Password)

	// A container that somebody removed, with its client, isn't the backup's fault.
	require.ErrorIs(t, b.StartSandbox(t.Context(), tenant, "backup/18", 0), provision.ErrSandboxGone)

	// It is started with a password that nobody but its own configuration knows.
	w.fail("StartContainer", errors.New("enough for this test"))
	require.ErrorContains(t, b.StartSandbox(t.Context(), tenant, "backup/17", 1), "enough for this test")
	conf := w.volumes[name+"_config"]["/etc/odoo/odoo.conf"]
	require.Contains(t, conf, "\nmax_cron_threads = 0\n")
	require.Contains(t, conf, "\nworkers = 0\n")
	require.Contains(t, conf, "\ndb_name = "+name+"\n")
	require.Contains(t, conf, "\ndb_host = 10.99.0.33\n")
	require.NotContains(t, conf, again.Password.Reveal())

	other, err := b.OpenSandbox(t.Context(), tenant, "backup/18", 0)
	require.NoError(t, err)
	lives := func(_ context.Context, subject string) (bool, error) { return subject == "backup/18", nil }
	removed, err := b.SweepSandboxes(t.Context(), lives)
	require.NoError(t, err)
	require.Positive(t, removed)
	require.NotContains(t, w.containers, name)
	require.NotContains(t, w.databases, name)
	require.Contains(t, w.containers, other.Database)
	require.Contains(t, w.networks, "odooproof_test_network0")
	for range 2 {
		require.NoError(t, b.CloseSandbox(t.Context(), "backup/18", 0))
	}
	for _, name := range []string{name, other.Database} {
		require.NotContains(t, w.containers, name)
		require.NotContains(t, w.databases, name)
		require.NotContains(t, w.roles, name)
		require.NotContains(t, w.volumes, name+"_data")
	}
	require.NotContains(t, w.networks, "odooproof_test_network0")
	_, err = b.SweepSandboxes(t.Context(), func(context.Context, string) (bool, error) { return false, errors.New("away") })
	require.NoError(t, err, "nothing is left to ask about")
	require.Empty(t, w.networks)
}

// What is neutralised there runs where it reaches the database alone, and is believed only as far as the database says so.
func TestSandbox_IsNeutralised(t *testing.T) {
	t.Parallel()
	b, w := setup(t)
	tenant := b.paid(t, "acme", "basic")
	_, err := b.NeutraliseSandbox(t.Context(), tenant, "backup/17", 2)
	require.ErrorIs(t, err, provision.ErrSandboxGone)
	opened, err := b.OpenSandbox(t.Context(), tenant, "backup/17", 2)
	require.NoError(t, err)

	w.deaf = true
	_, err = b.NeutraliseSandbox(t.Context(), tenant, "backup/17", 2)
	require.ErrorIs(t, err, provision.ErrNotNeutralised)
	w.deaf = false
	for range 2 {
		box, err := b.NeutraliseSandbox(t.Context(), tenant, "backup/17", 2)
		require.NoError(t, err)
		require.Equal(t, opened.Database, box.Database)
		require.NotEqual(t, opened.Password, box.Password)
		require.Contains(t, w.volumes[box.Database+"_config"]["/etc/odoo/odoo.conf"], "\ndb_password = "+box.Password.Reveal()+"\n")
		require.True(t, w.databases[box.Database].neutralised)
	}
	require.False(t, w.containers[opened.Database].running)

	// What a worker that died left of it goes with the sandbox, by whichever way.
	left := w.containers[opened.Database].Container
	left.Name += "_neutralise"
	require.NoError(t, w.EnsureContainer(t.Context(), left))
	require.NoError(t, b.CloseSandbox(t.Context(), "backup/17", 2))
	require.Empty(t, w.containers)
	require.NoError(t, w.EnsureNetwork(t.Context(), provision.Network{Name: left.Network}))
	require.NoError(t, w.EnsureContainer(t.Context(), left))
	_, err = b.SweepSandboxes(t.Context(), func(_ context.Context, subject string) (bool, error) { return subject != "backup/17", nil })
	require.NoError(t, err)
	require.Empty(t, w.containers)
}
