package provision_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres"
)

// prove makes a domain the tenant's own.
func (s *scene) prove(t *testing.T, domain string) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), `INSERT INTO tenant_domains (tenant_id, domain, display, token, created_at, next_check_at, verified_at, status)
		VALUES ($1, $2, $2, repeat('a', 32), now(), now(), now(), 'live')`, s.tenant.ID, domain)
	require.NoError(t, err)
}

// choose makes a domain the tenant's primary one; "" is the platform address.
func (s *scene) choose(t *testing.T, domain string) {
	t.Helper()
	require.NoError(t, postgres.InTx(t.Context(), s.pool, func(tx pgx.Tx) error {
		tenant, err := s.tenants.SetPrimaryDomainTx(t.Context(), tx, s.tenant.ID, domain)
		if err != nil {
			return err
		}
		_, err = s.tenants.LinksTx(t.Context(), tx, tenant)
		return err
	}))
}

func (s *scene) baseURL() string {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return s.world.databases["odoo_acme"].identity.BaseURL
}

func (s *scene) linkDomain(t *testing.T) string {
	t.Helper()
	s.refresh(t)
	return s.tenant.LinkDomain
}

func TestLinks_SurviveWhatOperationsMust(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(*testing.T, *scene, func(*testing.T) ops.Workflow, func(*testing.T)){
		"each step twice": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow, check func(*testing.T)) {
			t.Helper()
			opstest.Repeat(t, s.pool, build, s.input, s.tenant.ID.Subject(), check)
		},
		"a failure at each step": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow, check func(*testing.T)) {
			t.Helper()
			opstest.FailEach(t, s.pool, build, s.input, s.tenant.ID.Subject(), check)
		},
		"a crash after each step": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow, check func(*testing.T)) {
			t.Helper()
			opstest.CrashEach(t, s.pool, build, s.input, s.tenant.ID.Subject(), check)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := activeScene(t)
			s.prove(t, "erp.example.com")
			_, err := s.pool.Exec(t.Context(), "UPDATE tenants SET primary_domain = 'erp.example.com'")
			require.NoError(t, err)
			build := func(t *testing.T) ops.Workflow {
				t.Helper()
				_, err := s.pool.Exec(t.Context(), "UPDATE tenants SET link_domain = NULL, link_tried_at = NULL")
				require.NoError(t, err)
				return s.LinksWorkflow()
			}
			prove(t, s, build, func(t *testing.T) {
				t.Helper()
				require.Equal(t, "http://erp.example.com:8080", s.baseURL())
				require.Equal(t, "erp.example.com", s.linkDomain(t))
			})
		})
	}
}

func TestLinks_FollowThereAndBack(t *testing.T) {
	t.Parallel()
	s := activeScene(t)
	s.prove(t, "erp.example.com")
	s.prove(t, "shop.example.com")
	s.start(t, s.LinksWorkflow())
	for _, domain := range []string{"erp.example.com", "", "shop.example.com"} {
		s.choose(t, domain)
		want := domain
		if want == "" {
			want = "acme.example.test"
		}
		require.Eventually(t, func() bool { return s.linkDomain(t) == want && s.baseURL() == "http://"+want+":8080" }, 20*time.Second, pollInterval)
	}
}

func TestLinks_AreGivenUpAndTriedAgain(t *testing.T) {
	t.Parallel()
	s := activeScene(t)
	s.world.fail("SetBaseURL", errors.New("the tenant has put a trigger there"))
	s.prove(t, "erp.example.com")
	s.start(t, s.LinksWorkflow())
	s.choose(t, "erp.example.com")
	require.Eventually(t, func() bool {
		op, err := s.ops.Latest(t.Context(), s.tenant.ID.Subject())
		return err == nil && op.State == ops.Abandoned
	}, 30*time.Second, pollInterval, "a held one would stand in the way of everything else")
	require.Equal(t, "acme.example.test", s.linkDomain(t))
	open := func() (n int) {
		require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT count(*) FROM alerts WHERE kind = 'tenant.links' AND resolved_at IS NULL").Scan(&n))
		return n
	}
	require.Equal(t, 1, open())
	n, err := s.tenants.FollowLinks(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "not at once")

	s.world.fail("SetBaseURL", nil)
	_, err = s.pool.Exec(t.Context(), "UPDATE tenants SET link_tried_at = now() - interval '2 hours'")
	require.NoError(t, err)
	_, err = s.tenants.FollowLinks(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.linkDomain(t) == "erp.example.com" }, 20*time.Second, pollInterval)
	require.Zero(t, open())
}
