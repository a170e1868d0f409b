package backup_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
)

// A process that can't make zips hands what a link is for to one that can.
func TestDownload_IsCarried(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	b := o.take(o.client("acme", "basic"), backup.Daily)
	o.done()
	link, err := o.desk.Link(t.Context(), o.asks(o.owner), b.ID)
	require.NoError(t, err)
	d, err := o.desk.Redeem(t.Context(), link.Secret, true)
	require.NoError(t, err)
	order, err := d.Carry()
	require.NoError(t, err)
	require.NotContains(t, string(order), link.Secret.Reveal())
	got, err := o.backups.Carried(t.Context(), order)
	require.NoError(t, err)
	got.Account = d.Account // which has been looked at
	require.Equal(t, d, got)
	o.exec("UPDATE backups SET broken_at = $1", o.now)
	_, err = o.backups.Carried(t.Context(), order)
	require.ErrorIs(t, err, backup.ErrNotGood)
	_, err = o.backups.Carried(t.Context(), []byte("{"))
	require.Error(t, err)
}
