package ops

import (
	"context"
	"fmt"

	"controlplane/internal/postgres"
)

// StepOf returns the step that the live operation on subject is at, "" when there is none or when it is held: for those who only show
// how far it is, without an engine of their own.
func StepOf(ctx context.Context, q postgres.Querier, subject string) (string, error) {
	var step string
	err := q.QueryRow(ctx, "SELECT step FROM operations WHERE subject = $1 AND finished_at IS NULL AND state = 'running'", subject).Scan(&step)
	if postgres.NoRows(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the step of the operation on %s: %w", subject, err)
	}
	return step, nil
}
