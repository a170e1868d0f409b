package provision_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// activeScene is a tenant that runs.
func activeScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.build(t)
	s.world.databases["odoo_acme"] = &databaseState{
		owner: "odoo_acme", identity: provision.Identity{Login: "boss@acme.test", PasswordHash: "$pbkdf2-sha512$1$old$old"},
	}
	require.NoError(t, postgres.InTx(t.Context(), s.pool, func(tx pgx.Tx) error {
		if err := s.tenants.MintSecretsTx(t.Context(), tx, s.tenant.ID); err != nil {
			return err
		}
		return s.tenants.ActivateTx(t.Context(), tx, s.tenant.ID, tenants.Endpoint{Address: netip.MustParseAddr("10.99.0.66"), HTTPPort: 8069, EventPort: 8072})
	}))
	s.refresh(t)
	return s
}

func (s *scene) refresh(t *testing.T) {
	t.Helper()
	var err error
	s.tenant, err = s.tenants.ByID(t.Context(), s.tenant.ID)
	require.NoError(t, err)
}

func (s *scene) resetter() provision.Resetter {
	return provision.Resetter{Pool: s.pool, Ops: s.ops, Patience: opstest.Limit}
}

// shown is what the owner reads.
func (s *scene) shown(t *testing.T) (tenants.Credentials, error) {
	t.Helper()
	return s.tenants.Credentials(t.Context(), owner(s.tenant), netip.MustParseAddr("192.0.2.7"), s.tenant.Name)
}

// requireShownWorks wants the owner to read what the database knows, once.
func (s *scene) requireShownWorks(t *testing.T) {
	t.Helper()
	got, err := s.shown(t)
	require.NoError(t, err)
	require.Equal(t, "boss@acme.test", got.Login, "as it is in the Odoo now")
	require.True(t, s.world.knows(t, got.Password))
	_, err = s.shown(t)
	require.ErrorIs(t, err, tenants.ErrCredentialsRead)
}

// knows reports whether the password is the one whose hash the Odoo has.
func (w *world) knows(t *testing.T, password secrets.Secret) bool {
	t.Helper()
	w.mu.Lock()
	hash := w.databases["odoo_acme"].identity.PasswordHash
	w.mu.Unlock()
	parts := strings.Split(hash, "$")
	require.Len(t, parts, 5, hash)
	salt, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(parts[3], ".", "+"))
	require.NoError(t, err)
	want, err := provision.HashWithSalt(password, salt, 600_000)
	require.NoError(t, err)
	return want == hash
}

func TestReset_SurvivesWhatOperationsMust(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(*testing.T, *scene, func(*testing.T) ops.Workflow){
		"each step twice": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow) {
			t.Helper()
			opstest.Repeat(t, s.pool, build, s.input, s.tenant.ID.Subject(), s.requireShownWorks)
		},
		"a failure at each step": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow) {
			t.Helper()
			opstest.FailEach(t, s.pool, build, s.input, s.tenant.ID.Subject(), s.requireShownWorks)
		},
		"a crash after each step": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow) {
			t.Helper()
			opstest.CrashEach(t, s.pool, build, s.input, s.tenant.ID.Subject(), s.requireShownWorks)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := activeScene(t)
			prove(t, s, func(*testing.T) ops.Workflow { return s.ResetWorkflow() })
		})
	}
}

func TestReset_IsDoneByAWorkerWhileTheCallerWaits(t *testing.T) {
	t.Parallel()
	s := activeScene(t)
	s.start(t, s.ResetWorkflow())
	require.NoError(t, s.resetter().ResetAdminPassword(t.Context(), s.tenant))
	s.requireShownWorks(t)
}

// A password that nobody has read yet isn't shown any more once the database may have another.
func TestReset_ShowsNothingMeanwhile(t *testing.T) {
	t.Parallel()
	s := activeScene(t)
	workflow := s.ResetWorkflow()
	entered, release := make(chan struct{}), make(chan struct{})
	set := workflow.Steps[1].Tx
	workflow.Steps[1].Tx = func(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
		close(entered)
		<-release
		return set(ctx, tx, r)
	}
	s.start(t, workflow)
	done := make(chan error, 1)
	go func() { done <- s.resetter().ResetAdminPassword(t.Context(), s.tenant) }()
	<-entered
	_, err := s.shown(t)
	require.ErrorIs(t, err, tenants.ErrResetting)
	require.ErrorIs(t, s.resetter().ResetAdminPassword(t.Context(), s.tenant), ops.ErrLive)
	close(release)
	require.NoError(t, <-done)
	s.requireShownWorks(t)
}

func TestReset_GivesUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cause    error
		attempts int
		says     string
	}{
		"at once when there is no administrator": {provision.ErrNoAdmin, 1, provision.ErrNoAdmin.Message},
		"after some tries, telling no details":   {errors.New("connect to 10.0.0.5: refused"), 3, "Something went wrong on our side"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := activeScene(t)
			s.start(t, s.ResetWorkflow())
			s.world.fail("SetAdminPassword", tc.cause)
			err := s.resetter().ResetAdminPassword(t.Context(), s.tenant)
			require.ErrorIs(t, err, provision.ErrResetFailed)
			var shown *errs.Error
			require.ErrorAs(t, err, &shown)
			require.Contains(t, shown.Message, tc.says)
			require.NotContains(t, shown.Message, "10.0.0.5")
			require.Equal(t, tc.attempts, s.world.called("SetAdminPassword"))
			op, err := s.ops.Latest(t.Context(), s.tenant.ID.Subject())
			require.NoError(t, err)
			require.Equal(t, ops.Abandoned, op.State, "a held one would stand in the way of everything else")
			_, err = s.shown(t)
			require.ErrorIs(t, err, tenants.ErrCredentialsRead, "which of the two the database has nobody knows")

			s.world.fail("SetAdminPassword", nil)
			require.NoError(t, s.resetter().ResetAdminPassword(t.Context(), s.tenant))
			s.requireShownWorks(t)
		})
	}
}

func TestReset_OnlyOfWhatHasADatabase(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	require.ErrorIs(t, s.resetter().ResetAdminPassword(t.Context(), s.tenant), provision.ErrNotRunning)

	a := activeScene(t)
	stale := a.tenant
	_, err := a.pool.Exec(t.Context(), "UPDATE tenants SET state = 'maintenance'")
	require.NoError(t, err)
	a.start(t, a.ResetWorkflow())
	require.ErrorIs(t, a.resetter().ResetAdminPassword(t.Context(), stale), provision.ErrResetFailed)
	known, err := a.tenants.Secrets(t.Context(), a.tenant.ID)
	require.NoError(t, err)
	require.NotEmpty(t, known.AdminPassword, "nothing was begun, so the first password stays good")
}

// Without any worker the caller is told after a while, and the reset is done when one comes.
func TestReset_WaitsForAWorker(t *testing.T) {
	t.Parallel()
	s := activeScene(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := s.resetter().ResetAdminPassword(ctx, s.tenant)
	require.ErrorIs(t, err, provision.ErrResetPending)
	op, err := s.ops.Latest(t.Context(), s.tenant.ID.Subject())
	require.NoError(t, err)
	opstest.Wait(t, s.start(t, s.ResetWorkflow()), op.ID, ops.Done)
	s.requireShownWorks(t)
}

func (w *world) called(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[method]
}
