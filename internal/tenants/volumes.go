package tenants

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// SetDataVolumeTx says in which volume the data of the tenant, which is locked, are from now on; "" is the one that its name gives. Its Odoo
// doesn't run, and finds it when its container is made the next time.
func (s *Service) SetDataVolumeTx(ctx context.Context, tx pgx.Tx, id ID, volume string) error {
	_, err := one(ctx, tx, "choose the data volume", `UPDATE tenants SET data_volume = nullif($2, ''), updated_at = $3
		WHERE id = $1 RETURNING `+columns, id, volume, s.now())
	return err
}
