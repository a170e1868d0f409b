package provision_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/tenants"
)

// TestConvergence lets an owner and an administrator change their minds faster than anything can be done. When they rest the tenant is what
// they wanted last, and its container runs or doesn't accordingly.
func TestConvergence(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isActive, true)
	s.ProbeThrough(roundTrip(func(req *http.Request) (*http.Response, error) {
		select { // an Odoo that takes its time, so that there is something to cut short
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(time.Duration(rand.IntN(100)) * time.Millisecond): //nolint:gosec // a delay
			return s.world.RoundTrip(req)
		}
	}), 5*time.Second)
	engine := s.start(t, s.SuspendWorkflow(), s.StopWorkflow(), s.ResumeWorkflow(), s.ResizeWorkflow(), s.DeleteWorkflow())
	var story []string
	for range 25 {
		for range 1 + rand.IntN(8) { //nolint:gosec // a test
			what, err := s.somebodyWants(t)
			story = append(story, fmt.Sprintf("%s: %v", what, err))
			require.True(t, err == nil || errs.KindOf(err) != errs.Internal, strings.Join(story, "\n"))
			<-time.After(time.Duration(rand.IntN(30)) * time.Millisecond) //nolint:gosec // a person's pause
		}
		s.settles(t, engine, story)
	}
	ip := netip.MustParseAddr("192.0.2.7")
	_, err := s.tenants.Delete(t.Context(), administrator(), ip, s.tenant.Name, tenants.DeleteInput{Reason: "enough"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { s.refresh(t); return s.tenant.State == tenants.Deleted }, opstest.Limit, 5*time.Millisecond)
	s.requireGone(t)
}

func administrator() accounts.Principal { return accounts.Principal{Admin: true, Username: "admin"} }

func (s *scene) somebodyWants(t *testing.T) (what string, err error) {
	t.Helper()
	ctx, ip, name := t.Context(), netip.MustParseAddr("192.0.2.7"), s.tenant.Name
	plans := []string{"basic", "business", "enterprise"}
	switch rand.IntN(5) { //nolint:gosec // a test
	case 0:
		_, err = s.tenants.Suspend(ctx, administrator(), ip, name, "")
		return "suspend", err
	case 1:
		_, err = s.tenants.Resume(ctx, administrator(), ip, name)
		return "resume", err
	case 2:
		_, err = s.tenants.ScheduleDeletion(ctx, owner(s.tenant), ip, name, 12)
		return "schedule", err
	case 3:
		_, err = s.tenants.CancelDeletion(ctx, owner(s.tenant), ip, name)
		return "cancel", err
	}
	plan := plans[rand.IntN(len(plans))] //nolint:gosec // a test
	_, err = s.tenants.ChangePlan(ctx, administrator(), ip, name, plan)
	return "change to " + plan, err
}

// settles waits until nothing goes on any more, and wants everything in its place.
func (s *scene) settles(t *testing.T, engine *ops.Engine, story []string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var live int
		err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM operations WHERE finished_at IS NULL AND state <> 'held'").Scan(&live)
		return err == nil && live == 0
	}, opstest.Limit, 5*time.Millisecond, "something goes on for ever")
	s.refresh(t)
	tell := strings.Join(story[max(len(story)-12, 0):], "\n")
	if _, err := engine.Latest(t.Context(), s.tenant.ID.Subject()); err == nil { // else nobody wanted anything that needs doing
		tell += "\n" + s.events(t, s.tenant.ID.Subject())
	}
	_, held, _, err := engine.Stats(t.Context())
	require.NoError(t, err)
	require.Zero(t, held, tell)
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	switch s.tenant.Desired {
	case tenants.WantsActive:
		require.Equal(t, tenants.Active, s.tenant.State, tell)
	case tenants.WantsSuspended:
		require.Equal(t, tenants.Suspended, s.tenant.State, tell)
	case tenants.WantsDeleted:
		require.Equal(t, tenants.Scheduled, s.tenant.State, tell)
	}
	require.Equal(t, s.tenant.State == tenants.Active, s.container().running, tell)
	conf := s.world.volumes["odoo_acme_config"]["/etc/odoo/odoo.conf"]
	if conf != "" && s.tenant.State == tenants.Active { // a start that was cut short for a stop may have written the one and not the other
		require.Equal(t, strings.Contains(conf, "workers = 0\n"), s.tenant.EventPort == 8069, "the route fits odoo.conf\n%s", tell)
	}
}
