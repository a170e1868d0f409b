package pgcluster_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

// found lists the objects of an installation by name.
func (b *bundle) found(t *testing.T) map[string]provision.ClusterObject {
	t.Helper()
	list, err := b.ClusterObjects(t.Context())
	require.NoError(t, err)
	byName := map[string]provision.ClusterObject{}
	for _, o := range list {
		require.NotEmpty(t, o.ID)
		o.ID = ""
		byName[o.Name] = o
	}
	require.Len(t, byName, len(list))
	return byName
}

func clusterObject(kind provision.ObjectKind, name, owner string, role bool, limit int) provision.ClusterObject {
	return provision.ClusterObject{
		Object: provision.Object{Kind: kind, Name: name, Owner: owner}, Database: kind == provision.KindDatabase, Role: role, ConnectionLimit: limit,
	}
}

func TestClusterObjects(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		neighbour := &bundle{Cluster: newCluster(t, b.server, "other"+secrets.RandomHex(3))}
		require.Empty(t, neighbour.found(t))
		mine, halfway := b.provisioned(t, "tenant/1"), b.tenant(t, "tenant/2")
		require.NoError(t, b.EnsureTenant(t.Context(), halfway))
		require.NoError(t, b.EnsureSpares(t.Context(), b.template, 1))

		found := b.found(t)
		require.Len(t, found, 5)
		require.Equal(t, clusterObject(provision.KindDatabase, mine.Name, "tenant/1", true, 9), found[mine.Name])
		require.Equal(t, clusterObject(provision.KindDatabase, halfway.Name, "tenant/2", true, 9), found[halfway.Name])
		require.Equal(t, clusterObject(provision.KindDatabase, b.template, "template/"+b.template, false, 0), found[b.template])
		owners := map[string]int{}
		for _, o := range found {
			owners[o.Owner]++
		}
		require.Equal(t, 1, owners["spare/"+b.template])
		require.Equal(t, 1, owners["templates"])
		require.Empty(t, neighbour.found(t))
	})
}

func TestClusterObjects_believesTheRoleAndNotTheTenantsComment(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		mine := b.provisioned(t, "tenant/1")
		conn := b.login(t, mine.Name, mine.Password, mine.Name)
		for _, comment := range []string{"'odoo-hosting " + b.installation + " tenant/2'", "'odoo-hosting other tenant/1'", "NULL"} {
			_, err := conn.Exec(t.Context(), "COMMENT ON DATABASE "+mine.Name+" IS "+comment)
			require.NoError(t, err)
			require.Equal(t, clusterObject(provision.KindDatabase, mine.Name, "tenant/1", true, 9), b.found(t)[mine.Name], comment)
		}
	})
}

func TestClusterObjects_seesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.tenant(t, "tenant/7")
		require.NoError(t, b.EnsureTenant(t.Context(), tenant))
		control := b.login(t, controlRole, b.server.password, "postgres")
		_, err := control.Exec(t.Context(), "COMMENT ON DATABASE "+tenant.Name+" IS NULL")
		require.NoError(t, err)
		require.Equal(t, clusterObject(provision.KindDatabase, tenant.Name, "tenant/7", true, 9), b.found(t)[tenant.Name], "created, not yet marked")
		_, err = control.Exec(t.Context(), "DROP DATABASE "+tenant.Name)
		require.NoError(t, err)
		require.Equal(t, clusterObject(provision.KindRole, tenant.Name, "tenant/7", true, 9), b.found(t)[tenant.Name])
		require.NoError(t, b.RemoveTenant(t.Context(), tenant.Name, "tenant/7"))
		require.NotContains(t, b.found(t), tenant.Name)
	})
}
