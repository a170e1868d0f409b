package provision_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
)

var errAway = errs.New(errs.Unavailable, "away", "It can't be reached.")

// An outage may last longer than all attempts take: the work goes on by itself when it is over.
func TestProvisioning_OutlastsAnOutage(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Image", "EnsureTenant", "EnsureContainer", "EnsureFirewall", "StartContainer"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.outlasts(t, s.build(t), s.tenant.ID.Subject(), method)
			s.check(t)
		})
	}
}

func TestBuilding_OutlastsAnOutage(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"InspectContainer", "EnsureFirewall", "BeginTemplate", "RunContainer", "SealTemplate"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s, template := buildScene(t)
			s.outlasts(t, s.rebuild(t), template.ID.Subject(), method)
			s.checkTemplate(t)
		})
	}
}

// outlasts wants the operation done although the method fails more often than a step is tried.
func (s *scene) outlasts(t *testing.T, workflow ops.Workflow, subject, method string) {
	t.Helper()
	workflow.MaxAttempts = 2
	s.world.fail(method, errAway)
	engine := s.start(t, workflow)
	var op ops.Operation
	require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
		op, err = engine.EnqueueTx(t.Context(), tx, workflow.Kind, subject, s.input)
		return err
	}))
	require.Eventually(t, func() bool { return s.world.count(method) > 6 }, opstest.Limit, pollInterval)
	s.world.fail(method, nil)
	opstest.Wait(t, engine, op.ID, ops.Done)
}

// What is stopped while we wait for it, with "make stop" or by hand, is started by the next attempt.
func TestProvisioning_AStoppedContainerIsStartedAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	workflow := s.build(t)
	stopped := false
	s.ProbeThrough(roundTrip(func(req *http.Request) (*http.Response, error) {
		if !stopped {
			stopped = true
			_ = s.world.StopContainer(req.Context(), "odoo_acme", 0)
			return nil, errors.New("connection refused")
		}
		return s.world.RoundTrip(req)
	}), opstest.Limit)
	s.finish(t, workflow, nil)
	require.True(t, stopped)
	s.check(t)
}

// An Odoo whose database server is away isn't what is broken.
func TestProvisioning_AnOdooWithoutItsServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	workflow := s.build(t)
	s.ProbeThrough(roundTrip(func(req *http.Request) (*http.Response, error) {
		if s.world.failure("Inspect") != nil {
			return nil, errors.New("connection refused")
		}
		return s.world.RoundTrip(req)
	}), pollInterval)
	s.outlasts(t, workflow, s.tenant.ID.Subject(), "Inspect")
	s.ProbeThrough(s.world, opstest.Limit)
	s.check(t)
}
