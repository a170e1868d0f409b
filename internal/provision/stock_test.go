package provision_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSparesAreKeptForTemplatesInUseOnly(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.build(t)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO templates (image_id, apps_key, apps, database_name, volume_name, state, ready_at)
		VALUES ('sha256:old', 'crm', '{crm}', 'odootmpl_old', 'odootmpl_old_data', 'ready', now())`)
	require.NoError(t, err)
	s.FillStock()
	require.NoError(t, s.EnsureSpares(t.Context()))
	require.Equal(t, map[string]int{"odootmpl_test": 2, "odootmpl_old": 0}, s.world.spares)
}
