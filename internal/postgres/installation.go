package postgres

import (
	"context"
	"fmt"
)

// InstallationID returns the id (12 hex digits) that marks what this installation made on engines and database servers.
func InstallationID(ctx context.Context, db Querier) (string, error) {
	var id string
	if err := db.QueryRow(ctx, "SELECT id FROM installation").Scan(&id); err != nil {
		return "", fmt.Errorf("read the installation id: %w", err)
	}
	return id, nil
}
