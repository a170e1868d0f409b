package tenants

import (
	"context"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

const planColumns = `id, name, price_monthly_kobo, annual_discount_percent, currency, memory_mb, db_memory_mb, cpu_milli, db_cpu_milli,
	pids, workers, db_connections, storage_gb, backup_frequency, backups_daily, backups_weekly, backups_monthly,
	apps, active`

func scanPlan(row pgx.CollectableRow) (Plan, error) {
	var p Plan
	err := row.Scan(&p.ID, &p.Name, &p.PriceMonthlyKobo, &p.AnnualDiscountPercent, &p.Currency, &p.MemoryMB, &p.DBMemoryMB, &p.CPUMilli,
		&p.DBCPUMilli, &p.PIDs, &p.Workers, &p.DBConnections, &p.StorageGB, &p.BackupFrequency,
		&p.BackupsDaily, &p.BackupsWeekly, &p.BackupsMonthly, &p.Apps, &p.Active)
	return p, err
}

// Plans returns what is offered to new clients, cheapest first as operators ordered them.
func (s *Service) Plans(ctx context.Context) ([]Plan, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+planColumns+` FROM plans WHERE active ORDER BY position, id`)
	if err != nil {
		return nil, wrap(err, "list the plans")
	}
	list, err := pgx.CollectRows(rows, scanPlan)
	return list, wrap(err, "list the plans")
}

// Plan returns a plan, also one that is no longer offered: clients keep theirs. Errors: ErrUnknownPlan.
func (s *Service) Plan(ctx context.Context, id string) (Plan, error) {
	return s.PlanIn(ctx, s.pool, id)
}

// PlanIn is Plan for those who have a transaction open, or may have: whoever holds one connection and waits for another is waited for by others
// who do the same.
func (s *Service) PlanIn(ctx context.Context, q postgres.Querier, id string) (Plan, error) {
	if !planShaped(id) {
		return Plan{}, ErrUnknownPlan
	}
	rows, err := q.Query(ctx, `SELECT `+planColumns+` FROM plans WHERE id = $1`, id)
	if err != nil {
		return Plan{}, wrap(err, "find the plan")
	}
	plan, err := pgx.CollectExactlyOneRow(rows, scanPlan)
	if postgres.NoRows(err) {
		return Plan{}, ErrUnknownPlan
	}
	return plan, wrap(err, "find the plan")
}

// offered returns ErrUnknownPlan unless the plan exists and may be chosen now.
func offered(ctx context.Context, q postgres.Querier, id string) error {
	if !planShaped(id) {
		return ErrUnknownPlan
	}
	var found bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM plans WHERE id = $1 AND active)`, id).Scan(&found); err != nil {
		return wrap(err, "find the plan")
	}
	if !found {
		return ErrUnknownPlan
	}
	return nil
}

// planShaped keeps what PostgreSQL can't even compare (NUL, broken UTF-8) away from it.
func planShaped(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return id != "" && len(id) <= 31
}
